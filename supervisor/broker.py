"""The connections to the broker: how patiently they are made anew, and how actions are put into their queues."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import kombu.exceptions
import msgspec
from kombu.connection import Connection

from supervisor.connection import STORE_ERRORS, once
from supervisor.dispatch import BATCH, Message, PublishFailed
from supervisor.envelope import Order, Seal, params_hash, seal
from supervisor.keyring import KeyFile, read_signing_key
from supervisor.model import HARD_KILL_AFTER
from supervisor.settings import Settings
from supervisor.transport import FIRST, careful

PUBLISH_ERRORS: tuple[type[Exception], ...] = (kombu.exceptions.KombuError, *STORE_ERRORS)
_RETRY_EVERY = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": 2.0}  # seconds between tries to connect
# What is published in a tick must end well within the tick lease (5 s), whether the broker is away or hangs: two
# attempts, each of which may wait once. Consumers have longer timeouts, as they lose what they hold by theirs.
_PUBLISHING = {"socket_timeout": 1.2, "socket_connect_timeout": 1.2, "max_retries": 0}


class BrokerConnection(Connection):
    """A connection that is tried again every 2 s at most; kombu's own pauses grow to 30 s, and Celery keeps them.

    Nothing that lies in a queue can end who takes it.
    """

    def get_transport_cls(self) -> Any:
        """Return the transport to Redis."""
        transport = super().get_transport_cls()  # type: ignore[no-untyped-call]  # kombu
        return careful(transport) if transport.driver_type == "redis" else transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Connect later; each sentinel, if there are any, is asked once."""
        options = kwargs.get("transport_options") or {}
        if asking := options.get("sentinel_kwargs"):
            # here and not in celeryconfig.py, from which Flower makes clients of its own, of another kind
            kwargs["transport_options"] = {**options, "sentinel_kwargs": {**asking, "retry": once()}}
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]  # kombu

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, whatever it takes, or as often as the caller says."""
        return super().ensure_connection(*args, **{**_RETRY_EVERY, **kwargs})  # type: ignore[no-untyped-call]  # kombu


class Sealer(Protocol):
    """Makes what is added to a message so that executors run it."""

    def __call__(self, message: Message) -> Seal:
        """Return a message's seal."""


def make_sealer(settings: Settings) -> Sealer | None:
    """Return what seals with this installation's signing key; None where there is none. Raises `UsageError`."""
    if settings.signing_key is None:
        return None
    file = KeyFile(settings.signing_key, read_signing_key)

    def sealer(message: Message) -> Seal:
        key = file.get()
        unsigned = Seal(
            queue=message.queue,
            issued=round(message.issued * 1000),
            expires=round(message.expires * 1000),
            params=params_hash(message.params),
            key=key.id,
        )
        return seal(_order(message), message.action_id, unsigned, key.sign)

    return sealer


class CeleryPublisher:
    """A `Publish` over a Celery app: ordinary protocol 2 messages, pipelined by kombu's `Producer.batch`.

    People see the action's own name (`shadow`) and readable arguments in Flower and in Celery's logs. For one thread.
    """

    def __init__(self, app: Any, task_name: str, sealer: Sealer | None = None) -> None:
        """Publish for `app`, as calls of its task `task_name`, sealed by `sealer`; nothing is connected yet."""
        self._sealer = sealer
        self._app = app
        self._task_name = task_name
        self._producer: Any = None
        self._form = _Form({}, {}, None)

    def __call__(self, messages: Sequence[Message]) -> None:
        """Publish all. Raises `PublishFailed`.

        What failed is sent once more over a new connection, for the old one may have been to a Redis that is gone. A
        message that so goes out twice is begun once.
        """
        if not messages:
            return
        try:
            self._send(messages)
        except PUBLISH_ERRORS:
            self._drop()
            try:
                self._send(messages)
            except PUBLISH_ERRORS as error:
                self._drop()
                raise PublishFailed(f"{len(messages)} claimed actions were not all published: {error}") from error

    def _send(self, messages: Sequence[Message]) -> None:
        if self._producer is None:
            connection = self._app.connection_for_write(transport_options=_PUBLISHING)
            self._producer = self._app.amqp.Producer(connection)
            self._form = _form(self._app, self._task_name)
        with self._producer.batch(max_size=BATCH):
            for message in _as_pushed(messages):
                _publish_one(self._producer, self._form, message, self._sealer)

    def _drop(self) -> None:
        """Forget the connection, without a word to the other end."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(*PUBLISH_ERRORS):
                producer.connection.collect()


def _as_pushed(messages: Sequence[Message]) -> Iterator[Message]:
    """Yield messages in the order in which they have to be put into their queues, to be taken in their own.

    What is to be taken first is put in front of all that waits, each before the one that was put there before it.
    """
    yield from (message for message in reversed(messages) if message.first)
    yield from (message for message in messages if not message.first)


def _order(message: Message, sealed: Seal | None = None) -> Order:
    return Order(
        supervisor=message.supervisor,
        place=message.place,
        worker_id=message.worker_id,
        action=message.action,
        token=message.token,
        params=message.params,
        seal=sealed,
    )


class _Form(NamedTuple):
    """What all messages to a task have in common, as Celery makes them."""

    headers: Mapping[str, object]
    properties: Mapping[str, object]
    options: object


def _form(app: Any, task_name: str) -> _Form:
    made = app.amqp.as_task_v2("", task_name, args=(), kwargs={}, argsrepr="", kwargsrepr="", ignore_result=True)
    _, _, options = made.body
    return _Form(made.headers, made.properties, options)


_readable = json.JSONEncoder(ensure_ascii=False).encode
_encode = msgspec.json.Encoder().encode


def _publish_one(producer: Any, form: _Form, message: Message, sealer: Sealer | None) -> None:
    """Publish a message. Its body is encoded here, once: kombu's own encoder takes several times as long."""
    order = _order(message, sealer(message) if sealer else None)
    headers = {
        **form.headers,
        "id": message.action_id,
        "root_id": message.action_id,
        "shadow": f"actions.{message.action}",
        "timelimit": (message.timeout + HARD_KILL_AFTER, message.timeout),
        "argsrepr": f"({message.worker_id})",
        "kwargsrepr": _readable({"reason": message.reason, **message.params}),
        "fsm_lease": {
            "supervisor": message.supervisor,
            "place": message.place,
            "worker_id": message.worker_id,
            "action": message.action,
            "action_id": message.action_id,
            "token": message.token,
        },
    }
    if message.traceparent:
        headers["traceparent"] = message.traceparent
    if message.first:
        headers[FIRST] = True
    producer.publish(
        _encode(((), order, form.options)),
        exchange="",
        routing_key=message.queue,
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        **{**form.properties, "correlation_id": message.action_id},
    )
