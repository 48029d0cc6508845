"""What an executor has taken is held in its memory alone, and put back when it ends before the message's turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from kombu import Consumer, Queue

from supervisor.broker import BrokerConnection
from supervisor.logs import configure
from tests.conftest import OwnRedis
from tests.loglines import lines_of

PREFIX = "held:celery:"


class Broker(AMQP):  # type: ignore[misc]  # celery ships no types
    """Our connections, as supervisor/celery.py has them."""

    Connection = BrokerConnection


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """Yield a Redis that may be killed."""
    own = OwnRedis(tmp_path)
    own.start()
    yield own
    own.kill()


def app_of(redis: OwnRedis) -> Celery:
    made = Celery("held", broker=redis.url, amqp=Broker, set_as_current=False)
    made.conf.update(
        task_ignore_result=True,
        broker_transport_options={
            "global_keyprefix": PREFIX,
            "socket_timeout": 1,
            "socket_connect_timeout": 1,
            "priority_steps": [0],
        },
        task_queues=[Queue("work")],
    )
    return made


@contextmanager
def taken(app: Celery, number: int, prefetch: int = 0) -> Iterator[list[Any]]:
    """Put messages into a queue and take them; those that are not ended when this is left are given back."""
    for one in range(number):
        app.send_task("work", args=[one], queue="work")
    messages: list[Any] = []
    with app.connection_for_read() as connection:
        consumer = Consumer(connection, [Queue("work")], on_message=messages.append, accept=["json"])
        consumer.qos(prefetch_count=prefetch)
        with consumer:
            while len(messages) < (prefetch or number):
                connection.drain_events(timeout=5)
            yield messages


def waiting(redis: OwnRedis) -> list[int]:
    """Return the numbers of the messages in the queue, in the order in which they would be taken."""
    with redis.server.connect() as client:
        texts = client.lrange(f"{PREFIX}work", 0, -1)
    return [int(json.loads(text)["headers"]["argsrepr"].strip("[]")) for text in reversed(texts)]


def test_what_is_taken_leaves_nothing_behind_in_redis(redis: OwnRedis) -> None:
    with taken(app_of(redis), 3), redis.server.connect() as client:
        assert [key for key in client.keys(f"{PREFIX}*") if "_kombu" not in key] == []


def test_what_was_not_ended_is_put_back_to_be_taken_in_the_same_order_before_what_waits(redis: OwnRedis) -> None:
    with taken(app_of(redis), 5, prefetch=3) as messages:
        messages[1].ack()
        assert waiting(redis) == [3, 4]
    assert waiting(redis) == [0, 2, 3, 4]


def test_no_more_is_taken_than_may_be_held_until_something_ends(redis: OwnRedis) -> None:
    with taken(app_of(redis), 3, prefetch=2) as messages:
        channel = messages[0].channel
        assert not channel.qos.can_consume()
        messages[0].ack()
        assert channel.qos.can_consume()


def test_what_redis_does_not_take_back_is_told_of_and_ends_nothing(
    redis: OwnRedis, capfd: pytest.CaptureFixture[str]
) -> None:
    configure("json", "info")
    with taken(app_of(redis), 2):
        redis.kill()
    (line,) = [line for line in lines_of(capfd.readouterr().err) if line["event"] == "message.not_put_back"]
    assert line["count"] == 2
    assert "onnect" in line["error"]
