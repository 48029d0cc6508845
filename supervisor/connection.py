"""The connection to Redis: how it is made, what it may raise, and how old a server may be."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from supervisor.errors import StoreUnreachable
from supervisor.settings import Settings

STORE_ERRORS: tuple[type[Exception], ...] = (
    redis.RedisError,
    OSError,
)  # what any call here may raise when Redis is away
MIN_REDIS = (6, 2)
_IMPATIENT_TIMEOUT = 1.0  # seconds
_SOCKET_TIMEOUT = 3.0  # seconds; a hung Redis must not hang us


def connect(settings: Settings, patient: bool = True) -> redis.Redis:
    """Return a client of the installation's Redis; nothing is sent. Raises `StoreUnreachable` without an address.

    An impatient one gives up after a second, so that a thread which has more to do than talk to Redis is never held up.
    """
    if not settings.redis_url:
        raise StoreUnreachable(
            f"no Redis is known: FSM_REDIS_URL is not set and nothing has been started in {settings.data_dir}; "
            "start one with `fsmctl up --fleet FILE`, or set FSM_REDIS_URL"
        )
    url = settings.redis_url.replace("redis+socket://", "unix://", 1)
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # a node that writes what is no text is not read as if Redis were away
        socket_timeout=_SOCKET_TIMEOUT if patient else _IMPATIENT_TIMEOUT,
        socket_connect_timeout=_SOCKET_TIMEOUT if patient else _IMPATIENT_TIMEOUT,
        health_check_interval=5 if patient else 0,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2 if patient else 0),
        **({} if urlsplit(url).scheme == "unix" else {"socket_keepalive": True}),
    )


def trouble_with(error: Exception) -> str:
    """Return what an error of Redis means: "full" (its memory), "disk" (it cannot write its log), "denied", or "away".

    In the first two it answers what only reads. The client's texts come with and without Redis' error code.
    """
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return "denied"
    text = str(error)
    if "command not allowed when used memory" in text:
        return "full"
    return "disk" if "MISCONF" in text else "away"


def words_for(error: Exception, shown_url: str) -> str:
    """Return a sentence for a person about an error of the Redis at `shown_url`: what is wrong, and what to do."""
    what = {
        "full": f"has reached its maxmemory and takes no more: {error}. Raise maxmemory, or remove what does not "
        "belong there; what runs goes on, but nothing new is begun meanwhile (docs/runbooks.md#redis-is-full)",
        "disk": f"cannot write its log to disk and takes nothing: {error}. Make room on its disk, or see why it fails "
        "(docs/runbooks.md#redis-cannot-write-to-its-disk)",
        "denied": f"refuses us: {str(error).partition(',')[0].rstrip('.')}. Check user and password in FSM_REDIS_URL, "
        "or in the context's password_file, and what that user may do",
        "away": f"does not answer: {error}",
    }
    return f"Redis at {shown_url} {what[trouble_with(error)]}"


def check_server(client: redis.Redis, settings: Settings) -> None:
    """See that Redis answers and is new enough. Raises `StoreUnreachable`."""
    try:
        version = str(client.info("server")["redis_version"])
    except STORE_ERRORS as error:
        raise StoreUnreachable(words_for(error, settings.shown_url)) from None
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_REDIS:
        raise StoreUnreachable(f"Redis at {settings.shown_url} is version {version}: expected 6.2 or newer")
