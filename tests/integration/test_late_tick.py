"""A tick that is paused before any of its calls to Redis, and wakes when another has done its work, changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from supervisor import tick
from supervisor.clock import FakeClock
from supervisor.model import TICK_LEASE
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, make_plant, put, worker
from workers.model import Status

CHILD = "child/broker"
CHILDREN = [make_child(start_grace=0.0)]


def look(plant: Plant, broker_works: bool) -> None:
    """Beat, and observe all as it is now: flow-up runs, the others do not."""
    plant.heartbeat()
    down = {name: plant.down() for name in ("flow-1", "flow-gone", "flow-lost", "flow-off")}
    broker = plant.child_up() if broker_works else plant.child_failed()
    plant.observe({CHILD: broker, "flow-up": plant.up(), **down})


def work_of_every_kind(plant: Plant) -> None:
    """Let flow-1 be about to be started, flow-up to be running, flow-lost to be reaped, flow-gone to be forgotten, and
    the action of flow-off to be told to give up.
    """
    names = ["flow-1", "flow-gone", "flow-lost", "flow-off", "flow-up"]
    plant.apply_fleet(*map(worker, names), children=CHILDREN)
    for name in names:
        state = "stopped" if name == "flow-gone" else "starting"
        put(plant, plant.keys.status(NODE, name), Status(state=state, since=plant.clock.now()))
    plant.running("flow-lost")
    plant.clock.advance(5)
    plant.running("flow-off", action_id="a2")
    plant.clock.advance(5)
    kept = [worker(name, "stopped" if name == "flow-off" else "running") for name in names if name != "flow-gone"]
    plant.apply_fleet(*kept, children=CHILDREN)


def a_broker_that_fails(plant: Plant) -> None:
    """Let the circuit be about to be opened, and the broker restarted."""
    plant.apply_fleet(worker("flow-1"), children=CHILDREN)


@dataclass(frozen=True)
class Scene:
    """What there is to do for a tick, and the events that tell that it was done."""

    prepare: Callable[[Plant], None]
    broker_works: bool
    done: frozenset[str]


PLAN = Scene(
    work_of_every_kind,
    True,
    frozenset(
        {"action.claimed", "action.ended", "action.cancel_asked", "worker.transition", "worker.forgotten"},
    ),
)
CIRCUIT = Scene(a_broker_that_fails, False, frozenset({"action.claimed", "circuit.opened", "circuit.restart"}))


@dataclass
class Calls:
    """The calls of a client, counted from 0; before number `pause_at` something else happens."""

    client: Any
    clock: FakeClock
    pause_at: int = -1
    meanwhile: Callable[[], object] = lambda: None
    number: int = 0

    def __enter__(self) -> Calls:
        self.client.execute_command = self._call
        return self

    def __exit__(self, *_: object) -> None:
        del self.client.execute_command

    def _call(self, *arguments: Any, **options: Any) -> Any:
        self.number += 1
        if self.number - 1 == self.pause_at:
            self.meanwhile()
        if arguments[0] == "EVALSHA":  # its time is Redis' when the call arrives, not when it was made
            at = 3 + arguments[2]
            arguments = (*arguments[:at], f"{self.clock.now():.6f}", *arguments[at + 1 :])
        return redis.Redis.execute_command(self.client, *arguments, **options)


@dataclass
class Hosts:
    """Two hosts of one installation, on one clock, with connections and mirrors of their own."""

    one: Plant
    two: Plant

    def set_up(self, scene: Scene) -> None:
        """Begin anew, with something to do for a tick that starts now."""
        self.one.client.flushall()
        for plant in (self.one, self.two):  # what they mirrored would be taken for lost
            shutil.rmtree(plant.runtime.settings.data_dir / "mirror", ignore_errors=True)
        scene.prepare(self.one)
        self.one.clock.advance(1)
        look(self.one, scene.broker_works)

    def tick_on_two(self, scene: Scene) -> dict[str, object]:
        """Let a tick lease run out and the second host do what there is to do; return what Redis holds then."""
        self.two.clock.advance(TICK_LEASE)
        look(self.two, scene.broker_works)
        self.two.must_tick()
        self.two.must_tick()  # finds what the first one's reaping left
        return self.two.dump()


@pytest.fixture
def hosts(real_client: redis.Redis, redis_server: RedisServer, tmp_path: Path) -> Iterator[Hosts]:
    clock = FakeClock()
    with redis_server.connect() as other:
        one, two = (Store(client, "test", clock.now) for client in (real_client, other))
        yield Hosts(make_plant(one, clock, tmp_path / "one"), make_plant(two, clock, tmp_path / "two"))


def run_a_tick(plant: Plant) -> tick.Report | None:
    """Run a tick now."""
    return tick.run(plant.runtime, plant.sent.extend, NAME)


@pytest.mark.parametrize("scene", [PLAN, CIRCUIT], ids=["plan", "circuit"])
def test_a_tick_that_wakes_late_changes_nothing_wherever_it_was_paused(hosts: Hosts, scene: Scene) -> None:
    hosts.set_up(scene)
    run_a_tick(hosts.one)  # after which Redis knows all scripts, and no call is made twice
    hosts.set_up(scene)
    with Calls(hosts.one.client, hosts.one.clock) as whole:
        assert run_a_tick(hosts.one) is not None
    assert scene.done <= {event["event"] for place in (NODE, "supervisor") for event in hosts.one.events(place)}
    published = {number: late_tick(hosts, scene, number) for number in range(whole.number)}
    # what it was granted before it was paused is published all the same, and then begins or is refused by its lease
    assert sorted(published.values()) == list(published.values())
    assert published[0] == 0


def late_tick(hosts: Hosts, scene: Scene, pause_at: int) -> int:
    """Pause a tick before one of its calls, see that it changes nothing, and return how much it published."""
    hosts.set_up(scene)
    hosts.one.sent.clear()
    left: dict[str, object] = {}
    with Calls(hosts.one.client, hosts.one.clock, pause_at, lambda: left.update(hosts.tick_on_two(scene))):
        run_a_tick(hosts.one)
    assert left
    assert hosts.one.dump() == left, f"paused before call {pause_at}"
    return len(hosts.one.sent)
