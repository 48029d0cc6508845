"""When Redis is not the one it was, or had its clock set: hold off, then decide on fresh looks alone."""

from __future__ import annotations

import msgspec
import pytest

from actions.model import Outcome
from supervisor.circuit import Breaker, Recovery
from supervisor.clock import FakeClock
from supervisor.keys import SUPERVISOR
from supervisor.model import HOLD_OFF, NodeDocument, Stage, TickDocument
from supervisor.store import GateAnswer, Index, Store, decode
from supervisor.view import load_world
from tests.factories import NOW, make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, make_plant, put, queued, worker
from workers.model import Status


def must_index(plant: Plant) -> Index:
    index = plant.store.index(NAME)
    assert index is not None
    return index


def ask(plant: Plant, tick_id: str, **saw: bool) -> GateAnswer:
    return plant.store.begin_tick(NAME, must_index(plant), tick_id, **saw)


def restart(plant: Plant) -> None:
    """Let the stored tick be one that began on another Redis."""
    key = plant.keys.tick
    document = decode(plant.client.get(key), TickDocument, key)
    put(plant, key, msgspec.structs.replace(document, run_id="another"))


def skips(plant: Plant) -> dict[str, int]:
    report, _ = plant.must_tick()
    return report.skips


@pytest.fixture
def ready(plant: Plant) -> Plant:
    """Return a plant whose flow-1 wants to be started and has been seen down; a tick has run."""
    plant.observe({"flow-1": plant.down()})
    plant.must_tick()
    return plant


def test_the_first_tick_of_a_new_installation_is_not_held_off(plant: Plant) -> None:
    assert ask(plant, "t1")[:3] == ("started", NOW, "")
    document = plant.tick_document()
    assert (document.data_since, document.hold_until) == (0.0, 0.0)


def test_the_first_tick_on_a_redis_that_has_lost_a_mirrored_fleet_is_held_off(plant: Plant) -> None:
    assert ask(plant, "t1", mirrored=True)[:3] == ("started", NOW, "emptied")
    document = plant.tick_document()
    assert (document.data_since, document.hold_until) == (NOW, pytest.approx(NOW + HOLD_OFF, abs=0.001))


def test_a_mirror_means_nothing_where_a_tick_is_known(ready: Plant) -> None:
    ready.clock.advance(1)
    assert ask(ready, "t9", mirrored=True).held_off == ""


def test_another_redis_starts_a_tick_at_once_and_a_hold_off_which_is_told(ready: Plant) -> None:
    assert ask(ready, "old")[0] == "early"
    restart(ready)
    now = ready.clock.now()
    assert ask(ready, "new")[:3] == ("started", now, "restarted")
    document = ready.tick_document()
    assert (document.id, document.data_since) == ("new", now)
    assert document.hold_until == pytest.approx(now + HOLD_OFF, abs=0.001)
    told = ready.events(SUPERVISOR)[-1]
    assert (told["event"], told["reason"]) == ("store.hold_off", "restarted")
    ready.clock.advance(1)
    assert ask(ready, "next").held_off == ""


def test_a_tick_that_ran_when_redis_was_replaced_can_write_nothing_any_more(ready: Plant) -> None:
    late = ready.start_tick()
    restart(ready)
    before = ready.dump()
    assert ready.write(ready.item(), tick_id=late).late
    assert ready.dump() == before
    assert ask(ready, "new").held_off == "restarted"
    before = ready.dump()
    assert ready.write(ready.item(), tick_id=late).late
    assert ready.store.finish_tick(NAME, late, "{}", {}) is False
    assert ready.dump() == before


@pytest.mark.parametrize("saw", [{"stepped": True}, {}], ids=["seen by the caller", "time went back"])
def test_a_clock_that_was_set_is_held_off_too(ready: Plant, saw: dict[str, bool]) -> None:
    store = ready.store if saw else Store(ready.client, "test", lambda: NOW - 3600)
    answer = store.begin_tick(NAME, must_index(ready), "t9", **saw)
    assert (answer.answer, answer.held_off) == ("started", "clock set")
    assert ready.tick_document().data_since == answer.now


def test_a_clock_that_is_slewed_by_less_than_a_second_is_not_held_off(ready: Plant) -> None:
    started = ready.tick_document().started_at
    back = Store(ready.client, "test", lambda: started - 0.9)
    assert back.begin_tick(NAME, must_index(ready), "t9")[:3] == ("started", started - 0.9, "")


def test_a_claim_from_before_is_lost_at_the_end_of_the_hold_off_and_made_anew_on_a_new_look(ready: Plant) -> None:
    old = ready.claim()
    restart(ready)
    assert skips(ready) == {"action_in_progress": 1}
    assert skips(ready) == {"action_in_progress": 1}
    assert queued(ready, old).outcome == ""
    ready.clock.advance(HOLD_OFF)
    ready.heartbeat()
    ready.must_tick()
    lease = ready.lease()
    assert lease is not None
    assert (lease.stage, lease.outcome) == (Stage.FREE, Outcome.LOST)
    assert lease.detail == "not known to have begun before Redis was replaced"
    ready.clock.advance(2)
    ready.observe({"flow-1": ready.down()})
    _, (message,) = ready.must_tick()
    assert int(message.token) > int(old.token)
    assert ready.begin(grant_of(message)) is None


def test_in_a_hold_off_nothing_is_claimed_reaped_or_forgotten_and_afterwards_all_is(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1"), worker("flow-2"), worker("flow-3"), children=[make_child(start_grace=0.0)])
    plant.heartbeat()
    grant = plant.running("flow-2")
    plant.apply_fleet(worker("flow-1"), worker("flow-2"), children=[make_child(start_grace=0.0)])
    plant.clock.advance(20)
    restart(plant)
    plant.clock.advance(1)
    assert ask(plant, "t").held_off == "restarted"
    assert plant.store.finish_tick(NAME, "t", "{}", {})

    def look() -> None:
        plant.heartbeat()
        plant.observe(
            {**{f"flow-{n}": plant.down() for n in (1, 2, 3)}, "child/broker": plant.child_failed()}, wake=True
        )

    for _ in range(4):
        plant.clock.advance(0.0625)
        look()
        report, messages = plant.must_tick()
        assert messages == []
        assert report.circuit == "open"
    assert plant.store.breaker(NAME).attempts == 0
    assert plant.store.has_action_in_progress(NAME, "flow-2")
    assert "flow-3" in must_index(plant).places
    assert plant.renew(grant) == {"a1": "renewed"}
    plant.clock.advance(1)
    look()
    report, messages = plant.must_tick()
    assert [message.worker_id for message in messages] == ["child/broker"]


def test_a_claim_that_was_decided_before_a_hold_off_is_refused_and_counted(ready: Plant) -> None:
    restart(ready)
    assert ask(ready, "t").held_off == "restarted"
    assert ready.write(ready.item(), tick_id="t").refused == {"flow-1": "refused:hold_off"}
    assert ready.counters(SUPERVISOR)["supervisor_claims_refused_total|hold_off"] == "1"
    assert ready.lease() is None


def test_after_a_hold_off_a_worker_waits_for_a_look_that_began_since(ready: Plant) -> None:
    restart(ready)
    assert skips(ready) == {"awaiting_observation": 1}
    ready.observe({"flow-1": ready.down()})
    assert skips(ready) == {"awaiting_observation": 1}
    ready.clock.advance(0.0625)
    ready.observe({"flow-1": ready.down()})
    assert skips(ready) == {"hold_off": 1}
    ready.clock.advance(4)
    ready.heartbeat()
    ready.observe({"flow-1": ready.down()})
    _, messages = ready.must_tick()
    assert [message.action for message in messages] == ["start"]


def test_a_child_is_judged_by_looks_that_began_since_redis_came_back(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(children=[make_child(start_grace=0.0)])
    plant.heartbeat()
    plant.observe({"child/broker": plant.child_up()})
    plant.must_tick()
    plant.observe({"child/broker": plant.child_failed()})
    restart(plant)
    report, _ = plant.must_tick()
    assert report.circuit == "closed"
    plant.clock.advance(0.0625)
    plant.observe({"child/broker": plant.child_failed()})
    report, messages = plant.must_tick()
    assert (report.circuit, messages) == ("open", [])


# -- after Redis' clock was set back: what was written ahead of it must not be waited for ------------------------------


def set_back(plant: Plant) -> Plant:
    """Return the same installation, whose clock is two hours behind; a tick has noticed, its hold-off is over."""
    clock = FakeClock(plant.clock.now() - 7200)
    back = make_plant(Store(plant.client, "test", clock.now), clock, plant.runtime.settings.data_dir)
    back.ticks = plant.ticks
    back.must_tick()
    assert back.tick_document().data_since == clock.now()
    clock.advance(HOLD_OFF)
    back.heartbeat()
    return back


@pytest.mark.parametrize("stage", [Stage.QUEUED, Stage.RUNNING])
def test_a_lease_whose_deadline_lies_two_hours_ahead_is_lost_after_the_hold_off(ready: Plant, stage: Stage) -> None:
    grant = ready.claim()
    if stage is Stage.RUNNING:
        assert ready.begin(grant) is None
    back = set_back(ready)
    assert back.store.has_action_in_progress(NAME, "flow-1")
    back.must_tick()
    lease = back.lease()
    assert lease is not None
    assert (lease.stage, lease.outcome) == (Stage.FREE, Outcome.LOST)


def test_a_lease_that_was_renewed_since_is_not_lost(ready: Plant) -> None:
    grant = ready.running()
    back = set_back(ready)
    back.renew(grant)
    back.must_tick()
    assert back.store.has_action_in_progress(NAME, "flow-1")


def test_an_observation_of_two_hours_ahead_does_not_count_and_a_new_one_does(ready: Plant) -> None:
    back = set_back(ready)
    assert skips(back) == {"awaiting_observation": 1}
    back.observe({"flow-1": back.down()})
    _, messages = back.must_tick()
    assert [message.action for message in messages] == ["start"]


def test_an_action_that_ended_two_hours_ahead_is_not_waited_for(ready: Plant) -> None:
    grant = ready.running()
    assert ready.runtime.leases.end(grant, "r1", Outcome.ERROR, "no")
    back = set_back(ready)
    back.observe({"flow-1": back.down()})
    _, messages = back.must_tick()
    assert [message.action for message in messages] == ["start"]


def test_a_node_that_was_seen_two_hours_ahead_is_away_and_its_name_is_free(ready: Plant) -> None:
    back = set_back(ready)
    ready.heartbeat()
    back.observe({"flow-1": back.down()})
    assert skips(back) == {"node_away": 1}
    document = NodeDocument(node=NODE, host="h2", boot_id="b2", executor="edge-1@h2", pid=1, slots=5)
    back.store.heartbeat(NAME, document)


def test_a_status_and_a_circuit_of_two_hours_ahead_hold_nothing_up(ready: Plant) -> None:
    now = ready.clock.now()
    ready.apply_fleet(worker("flow-1"), children=[make_child()])
    put(ready, ready.keys.status(NODE, "flow-1"), Status(state="starting", since=now, early_exits=3, died_at=now))
    broker = {"broker": Recovery(attempts=3, failed_at=now)}
    put(ready, ready.keys.circuit, Breaker(state="open", generation=1, opened_at=now, closed_at=now, children=broker))
    back = set_back(ready)
    world = load_world(back.runtime, NAME, must_index(back), back.clock.now())
    since = back.tick_document().data_since
    (subject,) = world.view.subjects
    assert subject.snapshot is not None
    assert (subject.snapshot.status.since, subject.snapshot.status.died_at) == (since, since)
    assert (world.breaker.opened_at, world.breaker.closed_at, world.breaker.children) == (
        since,
        since,
        {"broker": Recovery(attempts=3, failed_at=since)},
    )
