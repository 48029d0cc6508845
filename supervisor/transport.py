"""kombu's transport over Redis, made so that no message can end or silence the executor that takes it.

What cannot be unpacked becomes a message with an error, which Celery and the guard drop; kombu would raise out of the
executor's loop. What is taken is held in memory alone: docs/decisions/0011-who-takes-a-message-holds-it.md.

What has the header `FIRST` is put where it is taken first: docs/decisions/0009-stops-are-taken-first.md.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from secrets import token_hex
from traceback import walk_tb
from typing import Any, cast

import msgspec
from kombu.transport import virtual
from kombu.transport.redis import PublishBatch
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import loads

from supervisor.connection import STORE_ERRORS
from supervisor.logs import logger

log = logger("supervisor.transport")
FIRST = "fsm_first"  # the header of a message that overtakes what waits in its queue
_DEEPEST = 50  # levels of lists and tables in a message; ours have 5, and kombu's JSON ends somewhere below 1000


class CarefulMessage(virtual.Message):
    """A message out of a queue, whatever was there."""

    def __init__(self, payload: Any, channel: Any = None, **named: Any) -> None:
        """Unpack what was in a queue; keep the error if that is no message."""
        try:
            _check(payload)
            super().__init__(payload, channel=channel, **named)  # type: ignore[no-untyped-call]  # kombu
        except Exception:  # noqa: BLE001 - a stranger's bytes may raise anything; who takes the message is told of it
            failed = sys.exc_info()
            super().__init__(_nothing(), channel=channel, **named)  # type: ignore[no-untyped-call]  # kombu
            self.errors.append(failed)


class _Batch(PublishBatch):
    """Messages on their way: encoded as kombu encodes them, but in a tenth of the time; one command for each queue."""

    def __init__(self, channel: Any, max_size: int) -> None:
        """Gather at most `max_size` messages before they are sent."""
        super().__init__(channel, max_size)  # type: ignore[no-untyped-call]  # kombu
        self._texts: dict[tuple[str, str], list[bytes]] = {}
        self._tags = (f"{batch}-{number}" for batch in (token_hex(12),) for number in count())

    def publish(self, message: dict[str, Any], exchange: str = "", routing_key: str = "", **options: Any) -> None:
        """Keep a message for its queue, of which it goes to the end, or in front."""
        if exchange or routing_key in self.channel._expires:
            super().publish(message, exchange=exchange, routing_key=routing_key, **options)  # type: ignore[no-untyped-call]  # kombu
            return
        self._check_usable()  # type: ignore[no-untyped-call]  # kombu
        named = message["properties"]
        named["delivery_info"].update(exchange=exchange, routing_key=routing_key)
        named.update(body_encoding="base64", delivery_tag=next(self._tags))
        body = str_to_bytes(message["body"])  # type: ignore[no-untyped-call]  # kombu
        text = msgspec.json.encode({**message, "body": body})  # bytes are written as base64
        self._texts.setdefault(("rpush" if FIRST in message["headers"] else "lpush", routing_key), []).append(text)
        self._buffered += 1
        if self._buffered >= self.max_size:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        texts, self._texts = self._texts, {}
        for (command, queue), several in texts.items():
            getattr(self.pipeline, command)(queue, *several)
        super().flush()  # type: ignore[no-untyped-call]  # kombu

    def discard(self) -> None:
        """Forget what was gathered."""
        self._texts = {}
        super().discard()  # type: ignore[no-untyped-call]  # kombu


class Held(virtual.QoS):
    """The messages that an executor has taken and not ended, in its memory alone.

    kombu writes each of them down, so that others may give it back when its executor is long gone: two round trips more
    for each. Nothing here waits for that: a claim whose message is lost reaches its deadline long before.
    """

    def restore_unacked(self) -> list[tuple[BaseException, Any]]:
        """Put back what is held, to be taken again in the same order; tell of what cannot be put back."""
        self._flush()  # type: ignore[no-untyped-call]  # kombu
        held = list(self._delivered.values())
        self._delivered.clear()
        try:
            while held:
                self.channel._restore(held[-1])
                held.pop()
        except STORE_ERRORS as error:
            log.tell("message.not_put_back", count=len(held), error=str(error))
        return []


class _Careful:
    """Part of a channel."""

    Message = CarefulMessage
    QoS = Held
    _caller: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Yield a client for a short call. kombu makes one for each, which takes as long as the call itself."""
        channel: Any = self
        if client is None and (self._caller is None or self._caller.connection_pool is not channel.pool):
            self._caller = channel._create_client()
        yield client or self._caller

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return what gathers the messages of a `Producer.batch()`."""
        return _Batch(self, max_size)

    def _restore(self, message: Any, leftmost: bool = False) -> None:
        """Put back a message as it came."""
        raw, channel = message._raw, cast("Any", self)
        told = raw["properties"]["delivery_info"]
        with self.conn_or_acquire() as client:
            channel._do_restore_message(raw, told["exchange"], told["routing_key"], client, leftmost)

    def _do_restore_message(
        self, payload: Any, exchange: Any, routing_key: Any, pipe: Any, leftmost: bool = False
    ) -> None:
        """Give a message back that was taken and not run: what is to be taken first is put in front again."""
        this: Any = super()
        headers = payload.get("headers") if isinstance(payload, dict) else None
        first = isinstance(headers, dict) and FIRST in headers
        this._do_restore_message(payload, exchange, routing_key, pipe, leftmost and not first)

    def _brpop_read(self, **options: Any) -> Any:
        """Take a message; what is not even JSON is passed on as a message with an error."""
        this: Any = super()
        try:
            return this._brpop_read(**options)
        except Exception as error:
            channel: Any = self
            if not _is_of_unpacking(error):
                raise
            channel.connection._deliver(error, channel._active_queues[0])
            return True


@cache
def careful(transport: type) -> type:
    """Return a transport over Redis (kombu's own, or its kind for sentinels) that takes whatever is in a queue."""
    kind: Any = transport
    channel = type(f"Careful{kind.Channel.__name__}", (_Careful, kind.Channel), {})
    return type(f"Careful{kind.__name__}", (kind,), {"Channel": channel})


def _check(payload: Any) -> None:
    """See that a message has what kombu goes by, and is not made to use up our memory. Raises whatever is nearest."""
    if isinstance(payload, Exception):
        raise payload
    if not _is_flat(payload):
        raise ValueError(f"expected a message of at most {_DEEPEST} levels")
    properties = payload["properties"]
    told = [properties["delivery_info"][name] for name in ("exchange", "routing_key")]
    if not isinstance(properties["delivery_tag"], str) or not all(one is None or isinstance(one, str) for one in told):
        raise TypeError(f"expected texts as its tag, exchange and routing key: {properties!r:.200}")
    if not isinstance(payload.get("headers") or {}, dict):
        raise TypeError(f"expected names and values as its headers: {payload['headers']!r:.200}")
    if (payload.get("headers") or {}).get("compression"):
        raise ValueError("expected a message that is not compressed: a few bytes of it may be gigabytes")


def _is_flat(payload: Any) -> bool:
    """Tell whether lists and tables in a message end before it is too deep to be written down again."""
    level = [payload]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def _nothing() -> dict[str, Any]:
    """Return what stands for a message that is none, until it is dropped."""
    told = {"exchange": "", "routing_key": ""}
    return {"body": "", "headers": {}, "properties": {"delivery_tag": uuid.uuid4().hex, "delivery_info": told}}


def _is_of_unpacking(error: Exception) -> bool:
    """Tell whether kombu raised it on the JSON of a message, not on the way to Redis or in who takes the message."""
    codes = [frame.f_code for frame, _ in walk_tb(error.__traceback__)]
    return codes[2:3] == [loads.__code__]  # after our `_brpop_read` and kombu's
