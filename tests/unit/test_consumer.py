"""An executor's consumer sends Celery's events in bulk."""

from __future__ import annotations

from collections.abc import Callable

import celery.worker.consumer
import pytest

from supervisor.consumer import FLUSH_EVERY, Consumer


class Hub:
    """Keeps what is to be called later."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later.append((seconds, call))


class Sent:
    """Counts how often what was gathered is sent."""

    times = 0

    def flush(self) -> None:
        self.times += 1


class Blueprint:
    """Has no steps."""

    def send_all(self, *_: object, **__: object) -> None:
        """Tell nobody."""

    def shutdown(self, _: object) -> None:
        """Shut nothing down."""


@pytest.fixture
def consumer() -> Consumer:
    made = Consumer.__new__(Consumer)
    made.hub, made.event_dispatcher, made.blueprint = Hub(), Sent(), Blueprint()
    return made


def test_many_events_are_sent_at_once_and_later(consumer: Consumer) -> None:
    for _ in range(20):
        consumer.on_send_event_buffered()
    assert consumer.event_dispatcher.times == 0
    ((seconds, send),) = consumer.hub.later
    assert seconds == FLUSH_EVERY
    send()
    assert consumer.event_dispatcher.times == 1
    consumer.on_send_event_buffered()
    assert len(consumer.hub.later) == 2


def test_a_new_connection_begins_anew_for_its_loop_has_forgotten_what_was_due(consumer: Consumer) -> None:
    consumer.on_send_event_buffered()
    consumer.register_with_event_loop(consumer.hub)
    consumer.on_send_event_buffered()
    assert len(consumer.hub.later) == 2


def test_what_is_gathered_at_the_end_is_sent(consumer: Consumer) -> None:
    consumer.on_send_event_buffered()
    consumer.shutdown()
    assert consumer.event_dispatcher.times == 1


class Controller:
    """Has the guard of its executor."""

    def __init__(self, guard: object) -> None:
        self.guard = guard


class Doorman:
    """Lets through what is asked for by name."""

    unread = 0

    def admit(self, message: Message) -> bool:
        return message.name == "sealed"

    def unreadable(self, error: Exception) -> None:
        self.unread += 1


class Message:
    """A message that keeps what became of it."""

    headers: dict[str, object] = {}
    body, content_type, content_encoding = b"", "application/json", "utf-8"

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = 0

    def ack_log_error(self, *_: object) -> None:
        self.acknowledged += 1

    def ack(self) -> None:
        self.acknowledged += 1


def takes(
    consumer: Consumer, guard: object, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[Message], object], list[str]]:
    """Return what takes a message, and the names of those that Celery was shown."""
    seen: list[str] = []
    celerys = lambda *_: lambda message: seen.append(message.name)  # noqa: E731
    monkeypatch.setattr(celery.worker.consumer.Consumer, "create_task_handler", celerys)
    consumer.controller, consumer.connection_errors = Controller(guard), ()
    return consumer.create_task_handler(), seen


def test_celery_sees_what_the_guard_lets_through_and_the_rest_is_dropped(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, seen = takes(consumer, Doorman(), monkeypatch)
    sealed, forged = Message("sealed"), Message("forged")
    take(sealed)
    take(forged)
    assert (seen, sealed.acknowledged, forged.acknowledged) == (["sealed"], 0, 1)


def test_without_a_guard_celery_sees_everything(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    take, seen = takes(consumer, None, monkeypatch)
    take(Message("forged"))
    assert seen == ["forged"]


def test_a_message_that_cannot_be_unpacked_is_taken_up_by_the_guard_and_dropped(consumer: Consumer) -> None:
    guard, broken = Doorman(), Message("broken")
    consumer.controller, consumer.connection_errors = Controller(guard), ()
    consumer.on_decode_error(broken, ValueError("no base64"))
    assert (guard.unread, broken.acknowledged) == (1, 1)


def test_without_a_guard_celery_drops_it(consumer: Consumer) -> None:
    consumer.controller, broken = Controller(None), Message("broken")
    consumer.on_decode_error(broken, ValueError("no base64"))
    assert broken.acknowledged == 1
