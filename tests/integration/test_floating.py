"""Floating workers: any live executor acts for them, one live node observes them, and another takes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from actions.model import Outcome
from supervisor.fleet import WorkerEntry
from supervisor.keys import POOL
from supervisor.model import CollectorDocument, NodeDocument
from supervisor.plan import Skip, SkipReason, make_plan
from supervisor.rendezvous import winner
from supervisor.runtime import Runtime, make_runtime
from supervisor.store import Store
from supervisor.view import load_world
from tests.integration.observing import Observing, observed
from tests.integration.plant import NAME, NODE, Plant, fleet, grant_of, settings
from tests.integration.processes import sh
from tests.waiting import wait_until
from workers.command.states import CommandObserved
from workers.model import Desired

OTHER = "edge-2"


def gateway(worker_id: str, cwd: str = "/", **config: Any) -> Any:
    """Return a floating worker of a fleet file, by default one that always runs."""
    commands = {"start": ["true"], "stop": ["true"], "status": ["true"], "cwd": cwd, **config}
    return WorkerEntry(worker_id, "command", None, Desired(state="running", config=commands, config_id="c1"))


def won_by(node: str, count: int = 1) -> list[str]:
    """Return ids of workers that `node` wins from the other."""
    names = (f"gw-{number}" for number in range(1000))
    return [name for name in names if winner([NODE, OTHER], name) == node][:count]


# -- ticks ------------------------------------------------------------------------------------------------------------


def beat(plant: Plant, node: str, slots: int, **changes: Any) -> None:
    """Let a node's executor be alive."""
    document = NodeDocument(node=node, host=node, boot_id="b1", executor=f"{node}@h", pid=1, slots=slots)
    plant.store.know_node(node)
    plant.store.heartbeat(NAME, msgspec.structs.replace(document, **changes))


def see(plant: Plant, item: str, running: bool, node: str = NODE) -> None:
    """Write what a node's collector saw of a floating worker."""
    now = plant.clock.now()
    heartbeat = CollectorDocument(node=node, pid=2, at=now, observed=1, clock_skew=0.0)
    seen = CommandObserved(collected_at=now, running=running, config_id="c1" if running else "")
    plant.store.save_observations(NAME, POOL, {item: seen}, heartbeat, [item])


def skips(plant: Plant) -> tuple[Skip, ...]:
    index = plant.store.index(NAME)
    assert index is not None
    return make_plan(load_world(plant.runtime, NAME, index, plant.clock.now()).view, plant.clock.now()).skips


def test_the_pool_has_the_slots_of_all_live_executors_and_is_no_node(bare_plant: Plant) -> None:
    bare_plant.apply_fleet(gateway("gw"))
    beat(bare_plant, NODE, 3)
    beat(bare_plant, OTHER, 4)
    beat(bare_plant, "edge-3", 5)
    bare_plant.clock.advance(10)
    beat(bare_plant, OTHER, 4)
    beat(bare_plant, "edge-3", 5, left=True)
    bare_plant.clock.advance(5)
    index = bare_plant.store.index(NAME)
    assert index is not None
    assert (index.nodes, index.places_used) == ((NODE,), (NODE, POOL))
    world = load_world(bare_plant.runtime, NAME, index, bare_plant.clock.now())
    assert world.view.slots == {OTHER: 4, POOL: 4}
    assert sorted(world.nodes) == [NODE, OTHER]


def test_without_a_live_executor_a_floating_worker_waits(bare_plant: Plant) -> None:
    bare_plant.apply_fleet(gateway("gw"))
    see(bare_plant, "gw", running=False)
    assert skips(bare_plant) == (Skip("gw", SkipReason.NODE_AWAY, "no live executor"),)


def test_a_floating_workers_action_goes_to_the_queue_of_all_and_ends_in_the_pool(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(gateway("gw"))
    beat(plant, OTHER, 2)
    see(plant, "gw", running=False)
    plant.must_tick()
    beat(plant, OTHER, 2)
    _, (message,) = plant.must_tick()
    assert (message.place, message.queue, message.action) == (POOL, "actions", "start")
    grant = grant_of(message)
    assert plant.runtime.leases.begin(grant, "r1", "edge-2@h2").refused is None
    assert plant.store.has_action_in_progress(NAME, "gw")
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "started")
    assert plant.client.lrange(plant.keys.asks(POOL), 0, -1) == ["gw"]
    # the wake flag of the pool lets a tick start before its time
    index = plant.store.index(NAME)
    assert index is not None
    plant.clock.advance(0.1)
    assert plant.store.begin_tick(NAME, index, "woken")[0] == "started"
    told = [fields["event"] for _, fields in plant.store.events(NAME, index.places_used, 10)]
    assert told[-3:] == ["action.claimed", "action.begun", "action.ended"]
    counted = plant.store.counters(NAME, index.places_used)
    assert counted["supervisor_actions_completed_total|gw|start|success"] == 1.0


# -- collectors -------------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime(real_client: Any, tmp_path: Path) -> Runtime:
    """Return a runtime on a real Redis and its time, with folders for two nodes."""
    made = make_runtime(settings(tmp_path / "data"), Store(real_client, "test"))
    for node in (NODE, OTHER):
        (tmp_path / "data" / "nodes" / node).mkdir(parents=True)
    return made


def live(runtime: Runtime, node: str, *, left: bool = False) -> None:
    """Send the heartbeat of a node's executor."""
    document = NodeDocument(node=node, host=node, boot_id="b", executor=f"{node}@h", pid=1, slots=1, left=left)
    runtime.store.know_node(node)
    runtime.store.heartbeat(NAME, document)


def shares(runtime: Runtime) -> dict[str, int]:
    """Return how many items each node's collector observes."""
    found = runtime.store.nodes(NAME, [NODE, OTHER])
    return {node: collector.observed if collector else -1 for node, (_, collector) in found.items()}


def test_each_floating_worker_is_observed_by_the_node_that_wins_it_and_another_takes_over(runtime: Runtime) -> None:
    mine, theirs = won_by(NODE, 2), won_by(OTHER, 3)
    runtime.store.apply_fleets([fleet(*map(gateway, mine + theirs), observation_interval=0.2)])
    for node in (NODE, OTHER):
        live(runtime, node)
    with Observing(runtime, NODE):
        with Observing(runtime, OTHER):
            wait_until(lambda: shares(runtime) == {NODE: 2, OTHER: 3}, "each node observes its share", 15)
            for item in mine + theirs:
                seen = wait_until(
                    lambda item=item: observed(runtime, item, CommandObserved, POOL),  # type: ignore[misc]
                    f"{item} is observed",
                )
                assert seen.running
        live(runtime, OTHER, left=True)
        wait_until(lambda: shares(runtime)[NODE] == 5, "the other node takes over", 15)
        since = runtime.store.now()
        for item in theirs:
            wait_until(
                lambda item=item: observed(runtime, item, CommandObserved, POOL).collected_at > since,  # type: ignore[misc]
                f"{item} is observed again",
            )


def test_who_takes_over_goes_on_from_what_was_seen(runtime: Runtime, tmp_path: Path) -> None:
    (item,) = won_by(OTHER)
    runtime.store.apply_fleets([fleet(gateway(item), observation_interval=0.2)])
    for node in (NODE, OTHER):
        live(runtime, node)
    with Observing(runtime, OTHER):
        wait_until(lambda: observed(runtime, item, CommandObserved, POOL), "a first look", 15)
        first = observed(runtime, item, CommandObserved, POOL)
    live(runtime, OTHER, left=True)
    with Observing(runtime, NODE):
        wait_until(
            lambda: observed(runtime, item, CommandObserved, POOL).collected_at > first.collected_at + 0.5,
            "the other node looks",
            15,
        )
    assert observed(runtime, item, CommandObserved, POOL).started_at == first.started_at


def test_who_takes_the_wish_looks_at_once_whoever_observes_it(runtime: Runtime) -> None:
    (item,) = won_by(OTHER)
    runtime.store.apply_fleets([fleet(gateway(item), observation_interval=9.0)])
    for node in (NODE, OTHER):
        live(runtime, node)
    with Observing(runtime, OTHER):
        wait_until(lambda: observed(runtime, item, CommandObserved, POOL), "a first look", 15)
    first = observed(runtime, item, CommandObserved, POOL)
    with Observing(runtime, NODE):
        runtime.store.client.rpush(runtime.store.keys(NAME).asks(POOL), item, "ghost", item)
        wait_until(
            lambda: observed(runtime, item, CommandObserved, POOL).collected_at > first.collected_at,
            "the node that it does not belong to looks",
            5,
        )
        assert shares(runtime)[NODE] == 0
    assert runtime.store.client.exists(runtime.store.keys(NAME).observed(POOL, "ghost")) == 0


def test_a_floating_worker_whose_status_fails_is_freshly_unknown(runtime: Runtime) -> None:
    (item,) = won_by(NODE)
    silent = gateway(item, status=list(sh("echo no route to host; exit 255")))
    runtime.store.apply_fleets([fleet(silent, observation_interval=0.2)])
    live(runtime, NODE)
    with Observing(runtime, NODE):
        wait_until(lambda: observed(runtime, item, CommandObserved, POOL), "a first look", 15)
    assert observed(runtime, item, CommandObserved, POOL).error == "status ended with exit code 255: no route to host"
