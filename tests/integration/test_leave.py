"""leave.lua: a worker moves or is forgotten, unless it acts, or what is wanted of it has changed since."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actions.model import Outcome
from actions.stop import Stop
from supervisor import tick
from supervisor.fleet import WorkerEntry
from supervisor.keys import POOL
from supervisor.model import CollectorDocument, Lease, NodeDocument
from supervisor.plan import phase_of
from supervisor.store import Applied, Store, decode
from supervisor.view import load_world
from tests.integration.plant import NAME, NODE, Plant, grant_of, put, worker
from workers.model import Control, Desired, Identity, Observed, Override, Phase, Status

OTHER = "edge-2"
LEAVING = {"forgotten": (), "moved": (worker("flow-1", node=OTHER),)}
leaving = pytest.mark.parametrize("workers", LEAVING.values(), ids=LEAVING.keys())


def generation(plant: Plant) -> int:
    return int(plant.client.hget(plant.keys.generations, "flow-1"))


def document(plant: Plant, kind: type[Any], place: str = OTHER) -> Any:
    """Return a document of flow-1 at a place."""
    names = {Control: "control", Identity: "identity", Desired: "desired", Override: "override"}
    names |= {Status: "status", Lease: "lease", Observed: "observed"}
    key = getattr(plant.keys, names[kind])(place, "flow-1")
    text = plant.client.get(key)
    return None if text is None else decode(text, kind, key)


# -- who stays --------------------------------------------------------------------------------------------------------


def stays(plant: Plant, at: int, tick_id: str = "") -> None:
    """See that a worker stays, with nothing changed."""
    before = plant.dump()
    assert plant.store.leave(NAME, NODE, "flow-1", at, tick_id) is False
    assert plant.dump() == before


@leaving
def test_a_worker_whose_desired_has_changed_since_stays_and_nothing_changes(
    plant: Plant, workers: tuple[WorkerEntry, ...]
) -> None:
    plant.apply_fleet(*workers)
    assert plant.apply_fleet(worker("flow-1")) == Applied(changed=["flow-1"])
    stays(plant, 2)


@leaving
def test_a_worker_stays_when_the_tick_that_lets_it_leave_has_lost_its_lease(
    plant: Plant, workers: tuple[WorkerEntry, ...]
) -> None:
    plant.apply_fleet(*workers)
    late = plant.start_tick()
    plant.clock.advance(5.0625)
    stays(plant, 2, late)
    now = plant.start_tick()
    stays(plant, 2, late)
    assert plant.store.leave(NAME, NODE, "flow-1", 2, now) is True


@leaving
def test_a_worker_stays_while_a_hold_off_is_on(plant: Plant, workers: tuple[WorkerEntry, ...]) -> None:
    plant.apply_fleet(*workers)
    used = plant.start_tick()
    held = decode(plant.client.get(plant.keys.tick), type(plant.tick_document()), "tick")
    put(plant, plant.keys.tick, msgspec.structs.replace(held, hold_until=plant.clock.now() + 1))
    stays(plant, 2, used)
    plant.clock.advance(1)
    assert plant.store.leave(NAME, NODE, "flow-1", 2, used) is True


@leaving
def test_a_worker_stays_while_an_action_is_in_progress(plant: Plant, workers: tuple[WorkerEntry, ...]) -> None:
    plant.apply_fleet(*workers)
    grant = plant.claim(action=Stop())
    stays(plant, 2)
    assert plant.begin(grant) is None
    stays(plant, 2)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    assert plant.store.leave(NAME, NODE, "flow-1", 2) is True


def test_a_worker_that_is_not_known_leaves_no_document_behind(plant: Plant) -> None:
    before = plant.dump()
    assert plant.store.leave(NAME, NODE, "flow-9", 7) is False
    assert plant.dump() == before


@leaving
def test_a_worker_leaves_once(plant: Plant, workers: tuple[WorkerEntry, ...]) -> None:
    plant.apply_fleet(*workers)
    assert plant.store.leave(NAME, NODE, "flow-1", 2) is True
    stays(plant, 2)


# -- what becomes of one that moves -----------------------------------------------------------------------------------


def live(plant: Plant) -> None:
    """Give flow-1 one of every document, and a stop as its last action."""
    plant.store.set_override(NAME, NODE, "flow-1", "running", "me")
    plant.store.set_control(NAME, NODE, "flow-1", False, "me")
    put(plant, plant.keys.status(NODE, "flow-1"), Status(state="stopped", since=1.0, restarts=3, quarantines=1))
    plant.observe({"flow-1": plant.down()})
    grant = plant.running(action=Stop())
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "stopped pid 42")


@pytest.mark.parametrize("to", [OTHER, None], ids=["to a node", "to the pool"])
def test_a_worker_that_moves_takes_all_along_but_what_was_observed(plant: Plant, to: str | None) -> None:
    place = to or POOL
    live(plant)
    plant.clock.advance(5)
    plant.apply_fleet(WorkerEntry("flow-1", "process", to, worker("flow-1", config_id="c2").desired))
    at, kinds = generation(plant), (Override, Control, Status, Lease)
    identity, desired = document(plant, Identity, NODE), document(plant, Desired, NODE)
    kept = [document(plant, kind, NODE) for kind in kinds]
    assert None not in kept
    put(plant, plant.keys.observed(place, "flow-1"), plant.up())  # left from another time
    revision = plant.client.get(plant.keys.revision)
    assert plant.leave() is True
    assert [document(plant, kind, place) for kind in kinds] == kept
    assert document(plant, Identity, place) == msgspec.structs.replace(identity, node=to)
    assert document(plant, Desired, place) == msgspec.structs.replace(desired, moves_to="")
    assert (desired.moves_to, desired.config_id) == (place, "c2")
    assert document(plant, Observed, place) is None
    assert plant.client.keys(f"*:{NODE}:*:flow-1") == []
    assert plant.client.hgetall(plant.keys.index) == {"flow-1": place}
    assert generation(plant) == at + 1
    assert int(plant.client.get(plant.keys.revision)) > int(revision)
    assert plant.events(place) == [{"event": "worker.moved", "worker_id": "flow-1", "from": NODE, "to": place}]


def test_a_floating_worker_that_is_given_a_node_leaves_the_pool(plant: Plant) -> None:
    def floating(node: str | None) -> WorkerEntry:
        return WorkerEntry("gw", "command", node, Desired(state="running", config_id="c1"))

    plant.apply_fleet(worker("flow-1"), floating(None))
    assert plant.apply_fleet(worker("flow-1"), floating(OTHER)) == Applied(moving=["gw"], unchanged=["flow-1"])
    assert plant.store.leave(NAME, POOL, "gw", 2) is True
    identity = plant.store.read(Identity, plant.keys.identity(OTHER, "gw"))
    assert identity is not None
    assert identity.node == OTHER
    assert plant.client.keys(f"*:{POOL}:*:gw") == []
    assert plant.apply_fleet(worker("flow-1"), floating(OTHER)) == Applied(unchanged=["flow-1", "gw"])


def test_the_counters_of_a_worker_go_along_and_those_of_others_stay(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"))
    for name in ("flow-1", "flow-2"):
        grant = plant.running(name, action_id=name)
        plant.clock.advance(0.25)
        assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    total = plant.store.counters(NAME, [NODE, OTHER])
    plant.apply_fleet(worker("flow-1", node=OTHER), worker("flow-2"))
    enqueued = "supervisor_actions_enqueued_total|flow-1|start"
    plant.client.hset(plant.keys.counters(OTHER), enqueued, 7)
    assert plant.leave() is True
    assert plant.store.counters(NAME, [NODE, OTHER]) == {**total, enqueued: 8.0}
    assert {name.split("|")[1] for name in plant.counters() if "flow" in name} == {"flow-2"}
    assert {name.split("|")[1] for name in plant.counters(OTHER)} == {"flow-1"}
    assert plant.counters(OTHER)[enqueued] == "8"


def test_no_token_after_a_move_is_smaller_than_one_before_it_even_if_the_clock_has_gone_back(plant: Plant) -> None:
    live(plant)
    last = document(plant, Lease, NODE).token
    plant.apply_fleet(worker("flow-1", node=OTHER))
    assert plant.leave() is True
    assert document(plant, Lease).token == last


def test_an_executor_that_wakes_after_the_move_does_not_get_its_lease_back(plant: Plant) -> None:
    frozen = plant.running()
    plant.clock.advance(20)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", frozen.token)
    plant.apply_fleet(worker("flow-1", node=OTHER))
    assert plant.leave() is True
    before = plant.dump()
    assert plant.renew(frozen) == {"a1": "lost"}
    assert plant.begin(frozen) == "no_lease"
    after = plant.dump()
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} <= {
        plant.keys.events(NODE),
        plant.keys.counters(NODE),
    }


# -- by ticks ---------------------------------------------------------------------------------------------------------


def both(plant: Plant, node: str, seen: Observed | None = None) -> None:
    """Let the executor and the collector of a node be alive; the latter saw flow-1 if told."""
    plant.store.heartbeat(NAME, NodeDocument(node=node, host="h1", boot_id="b1", executor=f"{node}@h", pid=1, slots=5))
    beat = CollectorDocument(node=node, pid=2, at=plant.clock.now(), observed=1, clock_skew=0.0)
    plant.store.save_observations(NAME, node, {"flow-1": seen} if seen else {}, beat, ["flow-1"])


def pass_ticks(plant: Plant, count: int, node: str, **running: Any) -> list[str]:
    """Run ticks, each on a fresh look of a node at flow-1; return the actions asked for, with their places."""
    asked = []
    for _ in range(count):
        plant.clock.advance(1)
        for one in (NODE, OTHER):
            seen = plant.up(**running) if running else plant.down()
            both(plant, one, seen if one == node else None)
        asked += [f"{message.action} at {message.place}" for message in plant.must_tick()[1]]
    return asked


def end(plant: Plant) -> None:
    """Run the last action that was asked for."""
    grant = grant_of(plant.sent[-1])
    assert plant.begin(grant) is None
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")


def phase(plant: Plant) -> tuple[str, Phase]:
    """Return where flow-1 is, and in what phase."""
    index = plant.store.index(NAME)
    assert index is not None
    (subject,) = load_world(plant.runtime, NAME, index, plant.clock.now()).view.subjects
    return subject.place, phase_of(subject)


def test_a_worker_is_stopped_on_its_old_node_then_moves_and_starts_on_the_new_one(plant: Plant) -> None:
    pass_ticks(plant, 3, NODE, pid=42)
    plant.apply_fleet(worker("flow-1", node=OTHER))
    assert pass_ticks(plant, 2, NODE, pid=42) == [f"stop at {NODE}"]
    assert pass_ticks(plant, 2, NODE, pid=42) == []
    end(plant)
    assert plant.must_tick()[0].skips == {"awaiting_observation": 1}
    assert pass_ticks(plant, 2, NODE) == []
    assert phase(plant) == (OTHER, Phase.UNKNOWN)
    both(plant, NODE, plant.down())
    assert document(plant, Observed, NODE) is None
    assert plant.must_tick()[0].skips == {"awaiting_observation": 1}
    assert pass_ticks(plant, 2, OTHER) == [f"start at {OTHER}"]
    told = [event["event"] for event in plant.events(OTHER)]
    assert told == ["worker.moved", "worker.transition", "action.claimed"]


def test_a_move_that_is_called_back_before_it_ends_starts_the_worker_where_it_was(plant: Plant) -> None:
    pass_ticks(plant, 3, NODE, pid=42)
    plant.apply_fleet(worker("flow-1", node=OTHER))
    assert pass_ticks(plant, 2, NODE, pid=42) == [f"stop at {NODE}"]
    end(plant)
    plant.apply_fleet(worker("flow-1"))
    assert pass_ticks(plant, 2, NODE) == [f"start at {NODE}"]
    assert phase(plant)[0] == NODE


def test_a_move_that_is_called_back_while_a_tick_is_about_to_make_it_is_not_made(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1", node=OTHER))
    plant.clock.advance(1)
    both(plant, NODE, plant.down())
    tick.run(plant.runtime, lambda _: plant.apply_fleet(worker("flow-1")), NAME)
    assert plant.client.hgetall(plant.keys.index) == {"flow-1": NODE}


def test_a_worker_waits_where_it_is_while_its_old_node_is_away(plant: Plant) -> None:
    pass_ticks(plant, 3, NODE, pid=42)
    plant.apply_fleet(worker("flow-1", node=OTHER))
    plant.clock.advance(20)
    both(plant, OTHER)
    report, messages = plant.must_tick()
    assert (messages, report.skips) == ([], {"node_away": 1})
    assert phase(plant)[0] == NODE


def test_a_wish_to_move_survives_an_emptied_redis(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1", node=OTHER))
    both(plant, NODE, plant.up())
    plant.must_tick()
    plant.must_tick()
    plant.client.flushall()
    pass_ticks(plant, 8, NODE, pid=42)
    assert [f"{message.action} at {message.place}" for message in plant.sent][-1:] == [f"stop at {NODE}"]
    end(plant)
    pass_ticks(plant, 2, NODE)
    assert phase(plant)[0] == OTHER


def test_a_move_that_was_made_survives_an_emptied_redis(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1", node=OTHER))
    pass_ticks(plant, 3, NODE)
    assert phase(plant)[0] == OTHER
    plant.client.flushall()
    plant.must_tick()
    assert phase(plant)[0] == OTHER
    assert document(plant, Desired).moves_to == ""


# -- while it is read -------------------------------------------------------------------------------------------------


class Restless:
    """A client with which something happens before each pipeline."""

    def __init__(self, client: Any, happens: Callable[[], None]) -> None:
        self._client = client
        self._happens = happens

    def pipeline(self, **how: Any) -> Any:
        self._happens()
        return self._client.pipeline(**how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_a_worker_that_moves_while_counters_are_read_is_counted_once(plant: Plant) -> None:
    live(plant)
    total = plant.store.counters(NAME, [NODE, OTHER])
    assert total["supervisor_actions_enqueued_total|flow-1|stop"] == 1
    plant.apply_fleet(worker("flow-1", node=OTHER))
    moved: list[bool] = []

    def happens() -> None:
        if not moved:
            moved.append(plant.leave())

    read = Store(Restless(plant.client, happens), "test", plant.clock.now)  # type: ignore[arg-type]  # all that a store needs
    assert read.counters(NAME, [NODE, OTHER]) == total
    assert moved == [True]


def test_counters_are_read_at_one_moment_if_what_is_wished_for_never_rests(plant: Plant) -> None:
    live(plant)
    total = plant.store.counters(NAME, [NODE, OTHER])
    tries = []

    def happens() -> None:
        tries.append(1)
        plant.store.touch(NAME)

    read = Store(Restless(plant.client, happens), "test", plant.clock.now)  # type: ignore[arg-type]  # all that a store needs
    assert read.counters(NAME, [NODE, OTHER]) == total
    assert len(tries) == 3
