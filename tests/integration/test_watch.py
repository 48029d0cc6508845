"""What `fsmctl watch` sees of a real store, and does with fsmctl's commands. A terminal: tests/live/test_watch.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from supervisor.cli import fsmctl
from supervisor.cli.screen import Order
from supervisor.cli.watch import Eye, carry_out
from supervisor.clock import SystemClock
from supervisor.runtime import make_runtime
from supervisor.store import Store
from supervisor.view import World, load_world
from tests.conftest import OwnRedis, RedisServer
from tests.factories import make_child
from tests.integration.plant import Plant, settings, worker
from tests.waiting import wait_until


def plant_on(client: redis.Redis, folder: Path) -> Plant:
    store = Store(client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(folder), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), worker("flow-2", "stopped"), children=[make_child()])
    made.heartbeat()
    made.observe({"flow-1": made.up(), "flow-2": made.down(), "child/broker": made.child_up()})
    return made


def eye_on(plant: Plant, act: Callable[[Order], str] = lambda _: "") -> Eye:
    def worlds() -> Iterator[tuple[str, World]]:
        index = plant.store.index("plant-1")
        assert index is not None
        yield "plant-1", load_world(plant.runtime, "plant-1", index, plant.store.now())

    return Eye(plant.runtime, worlds, act)


def test_the_picture_is_of_the_store_and_what_cannot_be_read_is_told_until_it_can(
    real_client: redis.Redis, tmp_path: Path
) -> None:
    plant = plant_on(real_client, tmp_path)
    plant.store.set_override("plant-1", "edge-1", "flow-1", "stopped", "pat")
    eye = eye_on(plant)
    with eye.open():
        wait_until(lambda: eye.looks, "a look")
        assert (eye.trouble, eye.fleet.heads[0][0]) == ("", "plant-1  circuit closed")
        assert eye.fleet.heads[1][0] == "  children broker ok; nodes edge-1 ready"
        assert sorted(one.id for one in eye.fleet.workers) == ["flow-1", "flow-2"]
        assert [event["event"] for event in eye.fleet.events] == ["operator.set"]

        plant.client.set(plant.keys.circuit, "not JSON")
        wait_until(lambda: f"document at {plant.keys.circuit} cannot be read" in eye.trouble, "it to be told", 20)
        assert len(eye.fleet.workers) == 2, "the last picture stays"
        plant.client.delete(plant.keys.circuit)
        wait_until(lambda: not eye.trouble, "the next picture", 20)


def test_a_fault_of_our_own_is_told_and_ends_nothing(real_client: redis.Redis, tmp_path: Path) -> None:
    plant = plant_on(real_client, tmp_path)
    faults: list[Any] = ["a fault"]

    def worlds() -> Iterator[tuple[str, World]]:
        if faults:
            raise KeyError(faults[0])
        return iter(())

    eye = Eye(plant.runtime, worlds, lambda _: "")
    with eye.open():
        wait_until(lambda: "fsmctl itself has failed" in eye.trouble, "it to be told")
        faults.clear()
        wait_until(lambda: not eye.trouble, "the next picture", 20)


def test_a_redis_that_goes_is_told_and_looked_for_again(own_redis: OwnRedis, tmp_path: Path) -> None:
    with own_redis.server.connect() as client:
        eye = eye_on(plant_on(client, tmp_path))
        with eye.open():
            wait_until(lambda: eye.looks, "a look")
            own_redis.kill()
            wait_until(lambda: "does not answer" in eye.trouble, "it to be told", 20)
            own_redis.start()
            plant_on(client, tmp_path)
            wait_until(lambda: not eye.trouble, "the next picture", 30)


@pytest.fixture
def environ(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process find the store."""
    for name, value in (("REDIS_URL", redis_server.url), ("NAMESPACE", "test"), ("DATA_DIR", str(tmp_path))):
        monkeypatch.setenv(f"FSM_{name}", value)


@pytest.mark.usefixtures("environ")
def test_orders_are_carried_out_by_fsmctls_own_commands_and_what_they_say_is_shown(
    real_client: redis.Redis, tmp_path: Path
) -> None:
    plant = plant_on(real_client, tmp_path)
    options: dict[str, str | None] = {"data_dir": str(tmp_path), "supervisor": None}
    eye = eye_on(plant, lambda order: carry_out(fsmctl, options, order))

    def answer(order: Order) -> str:
        eye.order(order)
        answered, text = eye.answers.get(timeout=20)
        assert answered == order
        return text

    with eye.open():
        assert answer(Order("pause", "flow-1")).startswith("worker/flow-1 is paused")
        wait_until(
            lambda: [one.id for one in eye.fleet.workers if one.is_paused] == ["flow-1"], "it on the picture", 20
        )
        assert "paused" in answer(Order("explain", "flow-1"))
        assert answer(Order("resume", "flow-1")).startswith("worker/flow-1 is resumed")
        elsewhere = answer(Order("pause", "flow-1", "plant-9"))
        assert "no supervisor 'plant-9'" in elsewhere, "an order is for the supervisor of the row that was chosen"
        assert answer(Order("pause", "flow-7")).startswith("error: no worker or child 'flow-7'; did you mean ")
