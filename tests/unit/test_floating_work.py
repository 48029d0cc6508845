"""An executor whose node is drained stops consuming floating workers' queue, and takes it up again after."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from supervisor.bootsteps import FloatingWork


class Consumer:
    """A Celery consumer as far as this needs one: what is called soon waits until `turn`."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.task_consumer: object | None = object()
        self.consuming = set(app.amqp.queues.consume_from)
        self._soon: list[Callable[[], Any]] = []

    def call_soon(self, call: Any, *args: Any) -> None:
        self._soon.append(lambda: call(*args))

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            call()

    def add_task_queue(self, name: str) -> None:
        self.consuming.add(name)

    def cancel_task_queue(self, name: str) -> None:
        self.app.amqp.queues.deselect(name)
        self.consuming.discard(name)


def made(*queues: str) -> tuple[FloatingWork, Consumer]:
    app = Celery("test", broker="memory://", set_as_current=False)
    app.amqp.queues.select(queues)
    consumer = Consumer(app)
    return FloatingWork(SimpleNamespace(app=app, consumer=consumer)), consumer


def request(queue: str) -> Any:
    return SimpleNamespace(delivery_info={"routing_key": queue})


BOTH = {"actions", "actions.edge-1"}


def test_floating_work_is_given_up_and_taken_up_again_also_after_a_reconnection() -> None:
    work, consumer = made(*BOTH)
    assert work.take(True)
    consumer.turn()
    assert consumer.consuming == BOTH
    assert work.take(False), "the consumer has not had its turn yet"
    consumer.turn()
    assert not work.take(False)
    assert consumer.consuming == {"actions.edge-1"}
    assert set(consumer.app.amqp.queues.consume_from) == {"actions.edge-1"}
    work.take(True)
    consumer.turn()
    assert work.take(True)
    assert consumer.consuming == BOTH
    assert set(consumer.app.amqp.queues.consume_from) == BOTH


def test_nothing_is_changed_while_the_broker_is_away_and_it_is_asked_again() -> None:
    work, consumer = made(*BOTH)
    consumer.task_consumer = None
    assert work.take(False)
    consumer.turn()
    consumer.task_consumer = object()
    assert work.take(False)
    consumer.turn()
    assert not work.take(False)


def test_floating_work_that_was_taken_before_is_still_to_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    work, consumer = made(*BOTH)
    work.take(False)
    consumer.turn()
    monkeypatch.setattr(state, "reserved_requests", [request("actions")])
    assert work.take(False)
    monkeypatch.setattr(state, "reserved_requests", [request("actions.edge-1")])
    assert not work.take(False)


def test_an_executor_that_never_took_any_takes_none_after_a_drain() -> None:
    work, consumer = made("actions.edge-1")
    assert not work.take(True)
    consumer.turn()
    assert consumer.consuming == {"actions.edge-1"}
