"""The messages that dispatch publishes are ordinary ones: a stock Celery worker runs them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from celery import Celery
from celery.app.amqp import AMQP
from celery.contrib.testing.worker import start_worker
from kombu import Queue

from supervisor.broker import BrokerConnection, CeleryPublisher
from supervisor.dispatch import Message, PublishFailed
from supervisor.model import TICK_LEASE
from tests.conftest import OwnRedis, RedisServer, free_port
from tests.waiting import wait_until

TASK = "some.task"
PREFIX = "contract:celery:"


def message(number: int, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "supervisor": "plant-1",
        "place": "edge-1",
        "worker_id": f"flow-{number}",
        "action": "restart_child",
        "action_id": f"id-{number}",
        "token": "1800000000000000",
        "params": {"child_name": "broker", "failed_pid": number},
        "timeout": 60.0,
        "queue": "actions.edge-1",
        "reason": "is down",
        **changes,
    }
    return Message(**fields)


class Broker(AMQP):  # type: ignore[misc]  # celery ships no types
    """Messaging over our connections, as the supervisor's app has it."""

    Connection = BrokerConnection


def app_of(url: str, **ours: Any) -> Celery:
    """Return a Celery app as anybody would write it, without anything of ours but what is said."""
    app = Celery("stock", broker=url, set_as_current=False, **ours)
    app.conf.update(
        task_ignore_result=True,
        broker_transport_options={"global_keyprefix": PREFIX, "socket_connect_timeout": 2},
        task_queues=[Queue("actions.edge-1")],
        task_default_queue="actions.edge-1",
        broker_connection_retry_on_startup=False,
        worker_hijack_root_logger=False,
    )
    return app


def test_a_stock_worker_runs_them_with_their_arguments_id_name_and_limits(
    redis_server: RedisServer, real_client: Any
) -> None:
    app = app_of(redis_server.url)
    got: list[dict[str, Any]] = []

    @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]  # celery ships no types
    def task(self: Any, *args: Any, **kwargs: Any) -> None:
        request = self.request
        names = ("id", "shadow", "timelimit", "argsrepr", "kwargsrepr", "expires", "eta", "retries", "ignore_result")
        seen = {name: getattr(request, name) for name in names}
        got.append({**seen, "args": args, "kwargs": kwargs, "lease": request.fsm_lease})

    CeleryPublisher(app, TASK)([message(1)])
    ours = app_of(redis_server.url, amqp=Broker)
    CeleryPublisher(ours, TASK)([message(2, params={}, action="start", timeout=30.0)])
    assert real_client.llen(f"{PREFIX}actions.edge-1") == 2
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=10.0, loglevel="error"):
        wait_until(lambda: len(got) == 2, "both messages were run")
    usual = {"args": (), "expires": None, "eta": None, "retries": 0, "ignore_result": True}
    lease = {"supervisor": "plant-1", "place": "edge-1", "token": "1800000000000000"}
    first, second = sorted(got, key=lambda seen: str(seen["id"]))
    assert first == {
        **usual,
        "id": "id-1",
        "shadow": "actions.restart_child",
        "timelimit": [65.0, 60.0],
        "argsrepr": "(flow-1)",
        "kwargsrepr": '{"reason": "is down", "child_name": "broker", "failed_pid": 1}',
        "kwargs": {
            **lease,
            "worker_id": "flow-1",
            "action": "restart_child",
            "params": {"child_name": "broker", "failed_pid": 1},
        },
        "lease": {**lease, "worker_id": "flow-1", "action": "restart_child", "action_id": "id-1"},
    }
    assert second == {
        **usual,
        "id": "id-2",
        "shadow": "actions.start",
        "timelimit": [35.0, 30.0],
        "argsrepr": "(flow-2)",
        "kwargsrepr": '{"reason": "is down"}',
        "kwargs": {**lease, "worker_id": "flow-2", "action": "start", "params": {}},
        "lease": {**lease, "worker_id": "flow-2", "action": "start", "action_id": "id-2"},
    }
    assert real_client.llen(f"{PREFIX}actions.edge-1") == 0


def test_each_message_goes_into_its_own_queue_and_none_is_no_round_trip(
    redis_server: RedisServer, real_client: Any
) -> None:
    publish = CeleryPublisher(app_of(redis_server.url), TASK)
    publish([])
    assert real_client.keys("*") == []
    publish([message(number, queue=f"actions.edge-{number % 2}") for number in range(5)])
    lengths = {key: real_client.llen(key) for key in real_client.keys(f"{PREFIX}actions.*")}
    assert lengths == {f"{PREFIX}actions.edge-0": 3, f"{PREFIX}actions.edge-1": 2}


def test_what_is_published_first_after_the_broker_was_replaced_arrives(own_redis: OwnRedis) -> None:
    publish = CeleryPublisher(app_of(own_redis.url), TASK)
    publish([message(1)])
    own_redis.kill()
    own_redis.start()
    publish([message(2)])
    with own_redis.server.connect() as client:
        assert client.llen(f"{PREFIX}actions.edge-1") == 1


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_broker_that_hangs_or_is_gone_holds_up_a_tick_for_less_than_its_lease(own_redis: OwnRedis, how: int) -> None:
    publish = CeleryPublisher(app_of(own_redis.url), TASK)
    publish([message(1)])
    own_redis.signal(how)
    began = time.monotonic()
    with pytest.raises(PublishFailed, match="1 claimed actions were not all published"):
        publish([message(2)])
    assert time.monotonic() - began < TICK_LEASE - 1.5
    own_redis.signal(signal.SIGCONT)


def test_a_broker_that_is_away_is_said_in_one_error() -> None:
    app = app_of(f"redis://127.0.0.1:{free_port()}/0")
    with contextlib.closing(app), pytest.raises(PublishFailed, match="1 claimed actions were not all published"):
        CeleryPublisher(app, TASK)([message(1)])


def taken(channel: Any, queue: str) -> list[str]:
    """Return the ids of what lies in a queue, in the order in which an executor takes it; it is empty then."""
    found = iter(lambda: channel.basic_get(queue), None)
    return [message.headers["id"] for message in found]


def test_stops_are_taken_first_and_overtake_what_waits_since_earlier_ticks(
    redis_server: RedisServer, real_client: Any
) -> None:
    app = app_of(redis_server.url, amqp=Broker)
    publish = CeleryPublisher(app, TASK)
    publish([message(1, action="start"), message(2, action="start")])
    publish([message(3, first=True), message(4, first=True), message(5, action="start"), message(6, action="noop")])
    with app.connection_for_read() as connection, connection.channel() as channel:
        assert taken(channel, "actions.edge-1") == ["id-3", "id-4", "id-1", "id-2", "id-5", "id-6"]


@pytest.mark.parametrize("ours", [{}, {"amqp": Broker}], ids=["as an older version does", "as we do"])
def test_what_is_taken_first_lies_where_any_executor_takes_it_first(
    redis_server: RedisServer, real_client: Any, ours: dict[str, Any]
) -> None:
    publish = CeleryPublisher(app_of(redis_server.url, amqp=Broker), TASK)
    publish([message(1, action="start")])
    publish([message(2, first=True)])
    with app_of(redis_server.url, **ours).connection_for_read() as connection, connection.channel() as channel:
        assert taken(channel, "actions.edge-1") == ["id-2", "id-1"]


def test_a_stop_that_an_executor_gives_back_is_taken_first_again(redis_server: RedisServer, real_client: Any) -> None:
    app = app_of(redis_server.url, amqp=Broker)
    CeleryPublisher(app, TASK)([message(1, action="start"), message(2, action="start"), message(3, first=True)])
    with app.connection_for_read() as connection, connection.channel() as channel:
        channel.basic_get("actions.edge-1").requeue()
        assert taken(channel, "actions.edge-1") == ["id-3", "id-1", "id-2"]


@pytest.mark.parametrize(
    "used",
    [
        ["bench_dispatch", "--workers", "600", "--naive", "5", "--rounds", "1"],
        ["bench_tick", "--workers", "300", "--large", "300", "--rounds", "1"],
    ],
)
def test_the_benchmarks_of_ticks_run(used: list[str], real_client: Any) -> None:
    words = [sys.executable, "-m", f"tests.benchmarks.{used[0]}", *used[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("machine ")
    assert done.stdout.count("bar ") == {"bench_dispatch": 2, "bench_tick": 5}[used[0]]
