"""The connection to Redis: how it is made, what it may raise, and how old a server may be."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from supervisor.address import Sentinels, is_encrypted, sentinel_options, sentinels_of
from supervisor.errors import StoreUnreachable
from supervisor.settings import Settings

STORE_ERRORS: tuple[type[Exception], ...] = (
    redis.RedisError,
    OSError,
)  # what any call here may raise when Redis is away
MIN_REDIS = (6, 2)
_IMPATIENT_TIMEOUT = 1.0  # seconds
_SOCKET_TIMEOUT = 3.0  # seconds; a hung Redis must not hang us
_SENTINEL_TIMEOUT = 0.5  # seconds for a sentinel to answer, before the next one is asked


def connect(settings: Settings, patient: bool = True) -> redis.Redis:
    """Return a client of the installation's Redis; nothing is sent. Raises `StoreUnreachable` without an address.

    An impatient one gives up after a second, so that a thread which has more to do than talk to Redis is never held up.
    """
    if not settings.redis_url:
        raise StoreUnreachable(
            f"no Redis is known: FSM_REDIS_URL is not set and nothing has been started in {settings.data_dir}; "
            "start one with `fsmctl up --fleet FILE`, or set FSM_REDIS_URL"
        )
    timeout = _SOCKET_TIMEOUT if patient else _IMPATIENT_TIMEOUT
    options: dict[str, Any] = {
        "decode_responses": True,
        "encoding_errors": "replace",  # a node that writes what is no text is not read as if Redis were away
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "health_check_interval": 5 if patient else 0,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2 if patient else 0),
    }
    if settings.access.password:
        options["password"] = settings.access.password
    if is_encrypted(settings.redis_url):
        options |= settings.access.tls
    if found := sentinels_of(settings.redis_url):
        return _connect_to_master(found, settings, options)
    url = settings.redis_url.replace("redis+socket://", "unix://", 1)
    if urlsplit(url).scheme != "unix":
        options["socket_keepalive"] = True
    return redis.Redis.from_url(url, **options)


def _connect_to_master(found: Sentinels, settings: Settings, options: dict[str, Any]) -> redis.Redis:
    """Return a client of whichever server the sentinels call master at the time of each connection."""
    own = {name: value for name, value in (("username", found.user), ("password", found.password)) if value}
    asking = {**sentinel_options(settings.redis_url, settings.access, _SENTINEL_TIMEOUT), "retry": once()}
    sentinel: Any = Sentinel(found.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]  # redis-py's
    client: redis.Redis = sentinel.master_for(
        found.service,
        db=found.db,
        ssl=is_encrypted(settings.redis_url),
        socket_keepalive=True,
        **options,
        **own,
    )
    return client


def once() -> Retry:
    """Return what makes a client try once: redis-py would ask a dead sentinel for seconds before it asks the next."""
    return Retry(NoBackoff(), 0)


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
        "denied": f"refuses us: {str(error).partition(',')[0].rstrip('.')}. Check the user in FSM_REDIS_URL, the "
        "password in FSM_REDIS_PASSWORD_FILE or the context's password_file, and what that user may do",
        "away": f"does not answer: {_away(error, is_encrypted(shown_url))}",
    }
    return f"Redis at {shown_url} {what[trouble_with(error)]}"


_REMEDIES = {
    "CERTIFICATE_VERIFY_FAILED": "Its certificate was not signed by FSM_REDIS_CA, or is not for this name: expected "
    "the CA that signed it, and the host as the certificate names it",
    "CERTIFICATE_REQUIRED": "It wants a certificate of ours: set FSM_REDIS_CERT and FSM_REDIS_KEY",
    "UNKNOWN_CA": "It does not know who signed FSM_REDIS_CERT: expected a certificate signed by its tls-ca-cert-file",
    "WRONG_VERSION_NUMBER": "It speaks no TLS at this port: expected its tls-port, or redis:// in FSM_REDIS_URL",
    "HELLO must be called": "It wants a password: set FSM_REDIS_PASSWORD_FILE, and the user in FSM_REDIS_URL if any",
}


_HUNG_UP = ("EOF occurred", "reset by peer", "Connection closed by server", "Broken pipe")


def _away(error: Exception, encrypted: bool) -> str:
    """Return what an error says, and what to do about it where that is known."""
    if isinstance(error, MasterNotFoundError):
        return "its sentinels know of no master that works, or do not answer; see `redis-cli -p 26379 sentinel masters`"
    text = re.sub(r" \(_ssl\.c:\d+\)", "", str(error)).rstrip(".")
    known = [remedy for mark, remedy in _REMEDIES.items() if mark in text]
    if any(mark in text for mark in _HUNG_UP):
        certificate = "it wants FSM_REDIS_CERT and FSM_REDIS_KEY, signed by its tls-ca-cert-file"
        known.append(f"It hung up: perhaps {certificate if encrypted else 'it speaks TLS alone, which is rediss://'}")
    return f"{text}. {known[0]}" if known else text


def check_server(client: redis.Redis, settings: Settings) -> None:
    """See that Redis answers and is new enough. Raises `StoreUnreachable`."""
    try:
        version = str(client.info("server")["redis_version"])
    except STORE_ERRORS as error:
        raise StoreUnreachable(words_for(error, settings.shown_url)) from None
    if tuple(int(part) for part in version.split(".")[:2]) < MIN_REDIS:
        raise StoreUnreachable(f"Redis at {settings.shown_url} is version {version}: expected 6.2 or newer")
