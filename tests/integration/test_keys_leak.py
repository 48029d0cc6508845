"""Nothing grows without bound: every key is of a permanent kind, or capped, or has a time to live."""

from __future__ import annotations

import re
from contextlib import nullcontext

from actions.model import Outcome
from supervisor import execute
from supervisor.keys import ASKS_CAP, EVENTS_CAP, HISTORY_CAP, SUPERVISOR, nodes, schema, supervisors
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, worker

# what supervisor/keys.py says of each kind
ONE_EACH = {
    "settings",
    "index",
    "generations",
    "tick",
    "circuit",
    "node",
    "collector",
    "counters",
    "revision",
    "mismatches",
    "scope",
    "orders",
    "rejected",
}  # per place
ONE_PER_ITEM = {"identity", "desired", "override", "observed", "status", "lease"}  # gone with forget
STREAMS = {"events": EVENTS_CAP, "history": HISTORY_CAP}
LISTS = {"asks": ASKS_CAP}
WITH_TTL = {"wake"}


class SoftTimeout(Exception):
    """Stands for the pool's own."""


def unbounded(plant: Plant, items: set[str]) -> list[str]:
    """Return the keys that nothing bounds, given the items that the fleet has."""
    found = []
    for key in plant.client.keys("*"):
        if key in (schema("test"), supervisors("test"), nodes("test")):
            continue
        form = re.fullmatch(rf"test:{NAME}:({SUPERVISOR}|{NODE}):([a-z]+)(?::(.+))?", key)
        kind, item = (form[2], form[3]) if form else ("", None)
        ttl = plant.client.ttl(key)
        bounded = (
            (kind in ONE_EACH and item is None)
            or (kind in ONE_PER_ITEM and item in items)
            or (kind in STREAMS and plant.client.xlen(key) <= 1.1 * STREAMS[kind])
            or (kind in LISTS and plant.client.llen(key) <= LISTS[kind])
            or (kind in WITH_TTL and 0 < ttl <= 60)
        )
        if not bounded:
            found.append(key)
    return sorted(found)


def live(plant: Plant, running: set[str], rounds: int) -> None:
    """Run ticks, execute what they ask for with a component that is only told, and observe what it says."""
    pool = execute.Pool("edge-1@h1", "r1", SoftTimeout, nullcontext)
    for _ in range(rounds):
        plant.clock.advance(2)
        plant.heartbeat()
        index = plant.store.index(NAME)
        assert index is not None
        seen = {item: plant.up() if item in running else plant.down() for item, _ in index.workers}
        children = {item: plant.child_up() for item, _ in index.children}
        plant.observe({**seen, **children}, wake=True)
        _, messages = plant.must_tick()
        for message in messages:
            plant.clock.advance(0.5)
            execute.run(plant.runtime, grant_of(message), message.params, pool)
            (running.add if message.action == "start" else running.discard)(message.worker_id)


def test_after_the_whole_life_of_a_worker_every_key_is_permanent_capped_or_expires(bare_plant: Plant) -> None:
    plant = bare_plant
    running: set[str] = set()
    plant.apply_fleet(worker("flow-1"), worker("flow-2", cwd="/no/such/folder"), children=[make_child()])
    live(plant, running, 4)
    assert [(message.worker_id, message.action) for message in plant.sent[:2]] == [
        ("flow-1", "start"),
        ("flow-2", "start"),
    ]
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    live(plant, running, 4)
    everything = {"flow-1", "flow-2", "child/broker"}
    assert unbounded(plant, everything) == []
    assert unbounded(plant, everything - {"flow-1"}) != []
    plant.apply_fleet()
    running.clear()
    live(plant, running, 4)
    index = plant.store.index(NAME)
    assert index is not None
    assert index.places == {}
    assert unbounded(plant, set()) == []
    assert [field for field in plant.counters() if "flow-" in field] == []


def test_events_and_asks_stay_capped_however_many_actions_end(plant: Plant) -> None:
    with plant.client.pipeline() as pipe:
        for number in range(EVENTS_CAP + 500):
            pipe.xadd(plant.keys.events(NODE), {"n": number})
        pipe.rpush(plant.keys.asks(NODE), *range(ASKS_CAP + 500))
        pipe.execute()
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    assert plant.client.llen(plant.keys.asks(NODE)) == ASKS_CAP
    assert EVENTS_CAP <= plant.client.xlen(plant.keys.events(NODE)) <= 1.1 * EVENTS_CAP


def test_the_hunt_finds_a_key_that_nobody_bounds(plant: Plant) -> None:
    strays = ["test:stray", f"test:{NAME}:{NODE}:strange", f"test:{NAME}:{NODE}:lease:ghost", "other:key"]
    for key in strays:
        plant.client.set(key, "1")
    plant.client.sadd(plant.keys.wake(NODE), "flow-1")
    assert unbounded(plant, {"flow-1"}) == sorted([*strays, plant.keys.wake(NODE)])
