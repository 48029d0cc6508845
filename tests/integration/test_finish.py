"""finish.lua: the end of a tick and its report."""

from __future__ import annotations

from supervisor.keys import SUPERVISOR
from supervisor.model import TickDocument
from tests.factories import NOW
from tests.integration.plant import NAME, Plant


def test_the_end_frees_the_lease_keeps_the_report_and_counts_itself_and_its_skips_once(plant: Plant) -> None:
    tick_id = plant.start_tick()
    plant.clock.advance(0.25)
    assert plant.store.finish_tick(NAME, tick_id, '{"n": 1}', {"node_away": 2, "backing_off": 1}) is True
    assert plant.tick_document() == TickDocument(
        id="t1", started_at=NOW + 1, deadline=0, ended_at=NOW + 1.25, duration=0.25, report='{"n": 1}'
    )
    assert plant.counters(SUPERVISOR) == {
        "supervisor_ticks_total": "1",
        "supervisor_skips_total|node_away": "2",
        "supervisor_skips_total|backing_off": "1",
    }
    assert plant.timed("supervisor_tick_duration_seconds", SUPERVISOR) == {
        **{f"_bucket|{bound}": "1" for bound in ("0.25", "0.5", "1", "2.5", "5")},
        "_count": "1",
        "_sum": "0.25",
    }


def test_since_when_a_worker_is_not_as_desired_is_kept_until_a_tick_finds_it_so(plant: Plant) -> None:
    def end(mismatches: list[str]) -> dict[str, float]:
        assert plant.store.finish_tick(NAME, plant.start_tick(), "{}", {}, mismatches)
        return plant.store.mismatches(NAME)

    assert end(["flow-1"]) == {"flow-1": NOW + 1}
    assert end(["flow-1", "flow-2"]) == {"flow-1": NOW + 1, "flow-2": NOW + 2}
    assert end(["flow-2"]) == {"flow-2": NOW + 2}
    assert end(["flow-1"]) == {"flow-1": NOW + 4}
    assert end([]) == {}


def test_a_tick_that_was_taken_over_ends_nothing(plant: Plant) -> None:
    late = plant.start_tick()
    plant.clock.advance(5)
    plant.start_tick()
    before = plant.dump()
    assert plant.store.finish_tick(NAME, late, "{}", {"node_away": 2}, ["flow-1"]) is False
    assert plant.dump() == before


def test_the_end_of_a_tick_that_never_began_changes_nothing(plant: Plant) -> None:
    before = plant.dump()
    assert plant.store.finish_tick(NAME, "t1", "{}", {"node_away": 2}) is False
    assert plant.dump() == before
