"""An executor's consumer sends Celery's events in bulk."""

from __future__ import annotations

from collections.abc import Callable

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
