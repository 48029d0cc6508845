"""Whatever lies in a queue, who takes it lives on."""

from __future__ import annotations

import base64
import bz2
import json
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from celery.contrib.testing.worker import start_worker
from kombu import Consumer, Queue

from supervisor.broker import BrokerConnection
from tests.conftest import RedisServer
from tests.waiting import wait_until

PREFIX = "garbage:celery:"
RIGHT = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "work"}, "body_encoding": "base64"}
BODY = base64.b64encode(b"[[], {}, {}]").decode()
BOMB = base64.b64encode(bz2.compress(bytes(64 * 2**20))).decode()  # 64 MB in 100 bytes


def nested(depth: int) -> bytes:
    """Return a message whose headers have so many levels."""
    right = json.dumps({"body": BODY, "properties": RIGHT, "headers": {"task": "HERE"}})
    return right.replace('"HERE"', '{"a":' * depth + "1" + "}" * depth).encode()


GARBAGE: list[object] = [
    b"not json",
    b"\xff\xfe",
    b"",
    b"[" * 100_000,
    b'{"__type__": "uuid", "__value__": 5}',
    b'{"__type__": "decimal", "__value__": {}}',
    None,
    5,
    [],
    "text",
    {},
    {"body": "Zm9v", "headers": {}, "properties": {}},
    {"body": BODY, "properties": {**RIGHT, "delivery_tag": {"a": 1}}},
    {"body": BODY, "properties": {**RIGHT, "delivery_tag": None}},
    {"body": BODY, "properties": {**RIGHT, "delivery_info": None}},
    {"body": BODY, "properties": {**RIGHT, "delivery_info": {"exchange": {}, "routing_key": []}}},
    {"body": BODY, "properties": {**RIGHT, "body_encoding": "no such"}},
    {"body": "A", "properties": RIGHT},
    {"body": 7, "properties": RIGHT},
    {"body": BODY, "properties": RIGHT, "headers": ["task"]},
    {"body": BODY, "properties": RIGHT, "headers": {"compression": "no such", "task": "work"}},
    {"body": BOMB, "properties": RIGHT, "headers": {"compression": "application/x-bz2", "task": "work"}},
    *(nested(depth) for depth in (60, 900, *range(940, 1000, 2))),
]


class Broker(AMQP):  # type: ignore[misc]  # celery ships no types
    """Our connections, as supervisor/celery.py has them."""

    Connection = BrokerConnection


@pytest.fixture
def app(redis_server: RedisServer) -> Celery:
    """Return an app over our connections."""
    made = Celery("garbage", broker=redis_server.url, amqp=Broker, set_as_current=False)
    made.conf.update(
        task_ignore_result=True,
        broker_transport_options={"global_keyprefix": PREFIX},
        task_queues=[Queue("work")],
        task_default_queue="work",
        worker_hijack_root_logger=False,
    )
    return made


def put(client: Any, *garbage: object) -> None:
    for one in garbage:
        client.lpush(f"{PREFIX}work", one if isinstance(one, bytes) else json.dumps(one))


def test_each_piece_of_garbage_is_passed_on_as_a_message_with_an_error_and_can_be_dropped(
    app: Celery, real_client: Any
) -> None:
    errors: list[Exception] = []

    def drop(message: Any, error: Exception) -> None:
        errors.append(error)
        message.ack()

    with app.connection_for_read() as connection:
        with Consumer(connection, [Queue("work")], on_message=lambda _: None, on_decode_error=drop, accept=["json"]):
            for number, one in enumerate(GARBAGE, 1):
                put(real_client, one)
                connection.drain_events(timeout=5)
                assert len(errors) == number, one
        assert real_client.llen(f"{PREFIX}work") == 0, "it was dropped, not put back"


def test_an_error_of_who_takes_the_message_is_not_taken_for_garbage(app: Celery, real_client: Any) -> None:
    def fail(_: Any) -> None:
        json.loads("not json")

    app.send_task("work", queue="work")
    with (
        app.connection_for_read() as connection,
        Consumer(connection, [Queue("work")], on_message=fail, accept=["json"]),
        pytest.raises(json.JSONDecodeError),
    ):
        connection.drain_events(timeout=5)
    assert real_client.llen(f"{PREFIX}work") == 1, "it was put back when its connection was closed"


def test_a_worker_goes_on_with_its_work_behind_the_garbage(app: Celery, real_client: Any) -> None:
    done: list[int] = []

    @app.task(name="work")  # type: ignore[untyped-decorator]  # celery ships no types
    def work(number: int) -> None:
        done.append(number)

    work.delay(1)
    put(real_client, *GARBAGE)
    work.delay(2)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10.0, loglevel="error"):
        wait_until(lambda: done == [1, 2], "the work behind the garbage", 30)
