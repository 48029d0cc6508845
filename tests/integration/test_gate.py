"""gate.lua: who may start a tick, and when."""

from __future__ import annotations

import msgspec
import pytest

from supervisor.keys import MARKS_CAP, SUPERVISOR
from supervisor.model import ScopeDocument, TickDocument
from supervisor.store import Store
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant


def ask(plant: Plant, tick_id: str, **saw: bool) -> tuple[str, float]:
    index = plant.store.index(NAME)
    assert index is not None
    return plant.store.begin_tick(NAME, index, tick_id, **saw)[:2]


@pytest.fixture
def asleep(plant: Plant) -> Plant:
    """Return a plant whose first tick t1 began and ended at NOW; nothing is marked."""
    assert ask(plant, "t1") == ("started", NOW)
    assert plant.store.finish_tick(NAME, "t1", "{}", {})
    return plant


def test_the_first_tick_starts_and_holds_the_lease_for_five_seconds(plant: Plant) -> None:
    assert ask(plant, "t1") == ("started", NOW)
    assert plant.tick_document() == TickDocument(id="t1", started_at=NOW, deadline=NOW + 5)
    assert plant.counters(SUPERVISOR) == {}


def marks(plant: Plant) -> set[str]:
    """Start a tick and return the marks that it is told."""
    index = plant.store.index(NAME)
    assert index is not None
    return set(plant.store.begin_tick(NAME, index, "t1").marks)


def test_a_start_takes_the_marks_of_all_places(plant: Plant) -> None:
    plant.client.delete(plant.keys.wake(SUPERVISOR))
    plant.client.sadd(plant.keys.wake(SUPERVISOR), "flow-1", "flow-2")
    plant.client.sadd(plant.keys.wake(NODE), "flow-2", "child/broker")
    assert marks(plant) == {"flow-1", "flow-2", "child/broker"}
    assert plant.client.exists(plant.keys.wake(SUPERVISOR), plant.keys.wake(NODE)) == 0


def test_more_marks_than_are_worth_telling_stand_for_anything(plant: Plant) -> None:
    plant.client.sadd(plant.keys.wake(NODE), *(f"flow-{number}" for number in range(MARKS_CAP + 1)))
    assert marks(plant) == {"*"}
    assert plant.client.exists(plant.keys.wake(NODE)) == 0


@pytest.mark.parametrize("spoilt", ["string", "list"])
def test_a_mark_of_an_older_version_or_a_spoilt_one_stands_for_anything(plant: Plant, spoilt: str) -> None:
    key = plant.keys.wake(NODE)
    plant.client.set(key, "1") if spoilt == "string" else plant.client.rpush(key, "x")
    plant.observe({"flow-1": plant.down()}, wake=True)
    assert marks(plant) == {"*"}
    assert plant.client.exists(key) == 0


def test_a_tick_is_told_the_scope_of_the_last_one_if_that_has_ended(plant: Plant) -> None:
    def scope_after(tick_id: str) -> ScopeDocument | None:
        plant.clock.advance(1.0)
        index = plant.store.index(NAME)
        assert index is not None
        return plant.store.begin_tick(NAME, index, tick_id).scope

    kept = ScopeDocument(tick_id="t1", at=NOW, of_all="x", seen=("edge-1",), unsettled=("flow-1",), turn="flow-2")
    assert scope_after("t1") is None
    assert plant.store.finish_tick(NAME, "t1", "{}", {}, [], kept)
    assert scope_after("t2") == kept
    plant.clock.advance(10.0)
    assert scope_after("t3") is None, "t2 never ended"
    assert plant.store.finish_tick(NAME, "t3", "{}", {})
    assert scope_after("t4") is None, "t3 left none"
    assert plant.store.finish_tick(NAME, "t4", "{}", {}, [], msgspec.structs.replace(kept, tick_id="t4"))
    plant.client.set(plant.keys.scope, '{"schema": 2}')
    assert scope_after("t5") is None, "another version wrote it"


def test_a_held_lease_lets_nobody_in_and_changes_nothing_before_the_next_is_due(plant: Plant) -> None:
    ask(plant, "t1")
    plant.clock.advance(0.75)
    before = plant.dump()
    assert ask(plant, "t2") == ("held", NOW + 0.75)
    assert plant.dump() == before


def test_a_held_lease_when_a_tick_is_due_is_counted_as_an_overrun_each_time(plant: Plant) -> None:
    ask(plant, "t1")
    document = plant.tick_document()
    plant.clock.advance(0.8125)
    assert [ask(plant, "t2")[0], ask(plant, "t3")[0]] == ["held", "held"]
    assert plant.counters(SUPERVISOR) == {"supervisor_tick_overruns_total": "2"}
    assert plant.tick_document() == document


def test_a_lease_that_was_never_ended_is_held_until_its_deadline_and_then_taken_over(plant: Plant) -> None:
    ask(plant, "t1")
    plant.clock.advance(4.9375)
    assert ask(plant, "t2")[0] == "held"
    plant.clock.advance(0.0625)
    assert ask(plant, "t3") == ("started", NOW + 5)
    assert plant.tick_document() == TickDocument(id="t3", started_at=NOW + 5, deadline=NOW + 10)


def test_a_tick_that_ended_is_followed_after_four_fifths_of_the_interval(asleep: Plant) -> None:
    asleep.clock.advance(0.75)
    before = asleep.dump()
    assert ask(asleep, "t2") == ("early", NOW + 0.75)
    assert asleep.dump() == before
    asleep.clock.advance(0.0625)
    assert ask(asleep, "t3")[0] == "started"


@pytest.mark.parametrize("place", [SUPERVISOR, NODE])
def test_a_mark_lets_a_tick_start_early_once_50_ms_have_passed(asleep: Plant, place: str) -> None:
    asleep.client.delete(asleep.keys.wake(SUPERVISOR))
    asleep.client.sadd(asleep.keys.wake(place), "flow-1")
    asleep.clock.advance(0.049)
    assert ask(asleep, "t2")[0] == "early"
    assert asleep.client.exists(asleep.keys.wake(place)) == 1
    asleep.clock.advance(0.002)
    assert ask(asleep, "t3")[0] == "started"
    assert asleep.client.exists(asleep.keys.wake(place)) == 0


def test_a_mark_does_not_break_a_held_lease(plant: Plant) -> None:
    ask(plant, "t1")
    plant.client.sadd(plant.keys.wake(NODE), "flow-1")
    plant.clock.advance(0.5)
    before = plant.dump()
    assert ask(plant, "t2")[0] == "held"
    assert plant.dump() == before


def test_a_clock_that_went_back_neither_blocks_the_gate_nor_waits_to_be_caught_up(plant: Plant) -> None:
    ask(plant, "t1")
    earlier = Store(plant.client, "test", lambda: NOW - 1000)
    index = earlier.index(NAME)
    assert index is not None
    assert earlier.begin_tick(NAME, index, "t2")[:2] == ("started", NOW - 1000)
    assert plant.tick_document().id == "t2"
