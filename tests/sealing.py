"""Sealed messages for tests, made with real keys and taken as an executor gets them from the broker."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.message import Message as Received

from actions.registry import built_in
from supervisor.broker import CeleryPublisher, make_sealer
from supervisor.clock import Clock
from supervisor.dispatch import Message
from supervisor.guard import Guard, make_guard
from supervisor.keyring import SIGNING_KEY, VERIFY_KEYS
from supervisor.settings import Settings

NODE_QUEUES = ("actions", "actions.edge-1")


def settings_with(folder: Path, **named: Path) -> Settings:
    """Return settings that name key files."""
    environ = {f"FSM_{name.upper()}": str(path) for name, path in named.items()}
    return Settings.from_env({"FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(folder), **environ})


def guard_of(keys: Path, clock: Clock, queues: Iterable[str] = NODE_QUEUES) -> Guard:
    """Return the guard of an executor that knows the public keys of a folder."""
    guard = make_guard(settings_with(keys, verify_keys=keys / VERIFY_KEYS), queues, built_in(), clock)
    assert guard is not None
    return guard


def publisher_of(app: Celery, keys: Path) -> CeleryPublisher:
    """Return what publishes for a supervisor that signs with the key of a folder."""
    sealer = make_sealer(settings_with(keys, signing_key=keys / SIGNING_KEY))
    return CeleryPublisher(app, "supervisor.execute", sealer)


class Wire:
    """A broker that keeps what is published, each as the text that would lie in Redis."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.app = Celery("wire", broker="memory://", set_as_current=False)
        self.sent: list[dict[str, Any]] = []

    def publish(self, keys: Path | None, *messages: Message) -> list[dict[str, Any]]:
        """Return messages as they are published, sealed with the key of a folder if there is one."""
        publisher = CeleryPublisher(self.app, "supervisor.execute") if keys is None else publisher_of(self.app, keys)
        publisher(messages)
        with self.app.connection_for_read() as connection:
            return [self._take(connection, message.queue) for message in messages]

    @staticmethod
    def _take(connection: Any, queue: str) -> dict[str, Any]:
        raw = connection.default_channel._get(queue)
        found: dict[str, Any] = json.loads(json.dumps(raw))
        return found


def received(raw: dict[str, Any]) -> Received:
    """Return a message as an executor's consumer gets it."""
    body = base64.b64decode(raw["body"])
    return Received(
        body=body,
        content_type=raw["content-type"],
        content_encoding=raw["content-encoding"],
        headers=raw["headers"],
        properties=raw["properties"],
        delivery_info=raw["properties"]["delivery_info"],
        accept={"application/json"},
    )
