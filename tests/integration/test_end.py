"""end.lua: outcome, counters, event, lease and the wish to be observed, in one step."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from actions.model import Outcome
from supervisor.circuit import Breaker
from supervisor.keys import SUPERVISOR
from supervisor.model import Stage
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant, put

BEGUN = NOW + 1  # when `plant.running()` begins
ENQUEUED = {"supervisor_actions_enqueued_total|flow-1|start": "1"}
DURATION = "supervisor_action_duration_seconds"


def histogram(name: str, labels: str, counts: dict[str, int], count: int, total: str) -> dict[str, str]:
    """Return the fields of a histogram."""
    buckets = {f"{name}_bucket{labels}|{bound}": str(number) for bound, number in counts.items()}
    return {**buckets, f"{name}_count{labels}": str(count), f"{name}_sum{labels}": total}


def numbers(counters: dict[str, str]) -> dict[str, float]:
    """Return counters as numbers: the two Redis write the same sum with another number of zeros."""
    return {name: float(value) for name, value in counters.items()}


def test_an_end_frees_the_lease_counts_tells_and_asks_for_an_observation(plant: Plant) -> None:
    grant = plant.running()
    lease, events = plant.lease(), plant.events()
    assert lease is not None
    plant.client.delete(plant.keys.wake(NODE))
    plant.clock.advance(2.5)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "started as pid 42") is True
    now = NOW + 3.5
    ended = {"stage": Stage.FREE, "outcome": "success", "detail": "started as pid 42"}
    assert plant.lease() == msgspec.structs.replace(lease, **ended, ended_at=now, deadline=now)
    assert numbers(plant.counters()) == numbers(
        {
            **ENQUEUED,
            "supervisor_actions_completed_total|flow-1|start|success": "1",
            **histogram(DURATION, "|flow-1|start", {"5": 1, "10": 1, "30": 1, "60": 1}, 1, "2.5"),
        }
    )
    told = {
        "event": "action.ended",
        "worker_id": "flow-1",
        "action": "start",
        "action_id": "a1",
        "token": grant.token,
        "outcome": "success",
        "detail": "started as pid 42",
        "duration": "2.500",
    }
    assert plant.events() == [*events, told]
    assert plant.asks() == ["flow-1"]
    assert plant.client.smembers(plant.keys.wake(NODE)) == {"flow-1"}
    assert 0 < plant.client.ttl(plant.keys.wake(NODE)) <= 60
    assert plant.events(SUPERVISOR) == []


def test_durations_fall_into_the_buckets_they_fit(plant: Plant) -> None:
    for number, seconds in enumerate((0, 0.25, 0.5, 61)):
        grant = plant.running(action_id=f"a{number}")
        plant.clock.advance(seconds)
        assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    found = {name: float(value) for name, value in plant.counters().items() if name.startswith(DURATION)}
    buckets = {"0.1": 1, "0.5": 3, "1": 3, "5": 3, "10": 3, "30": 3, "60": 3}
    assert found == numbers(histogram(DURATION, "|flow-1|start", buckets, 4, "61.75"))


def test_a_repeated_end_by_the_same_runner_gets_the_first_answer_and_counts_nothing(plant: Plant) -> None:
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done") is True
    before = plant.dump()
    plant.clock.advance(5)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done") is True
    assert plant.dump() == before


def late(token: str, newest: str) -> dict[str, str]:
    """Return the event by which a late end is told, with both tokens."""
    fields = {"event": "action.discarded", "worker_id": "flow-1", "action_id": "a1", "token": token}
    return {**fields, "reason": "late_end", "outcome": "success", "newest_token": newest}


@pytest.mark.parametrize("runner", ["r2", ""])
def test_the_end_of_another_runner_is_refused_and_counted(plant: Plant, runner: str) -> None:
    grant = plant.running()
    lease, counters, events = plant.lease(), plant.counters(), plant.events()
    assert plant.runtime.leases.end(grant, runner, Outcome.SUCCESS, "done") is False
    assert plant.lease() == lease
    assert plant.counters() == {**counters, "supervisor_actions_discarded_total|late_end": "1"}
    assert plant.events() == [*events, late(grant.token, newest=grant.token)]
    assert plant.asks() == []


@pytest.mark.parametrize("wrong", [{"token": "1"}, {"action_id": "a2"}, {"worker_id": "flow-9"}])
def test_the_end_of_another_action_is_refused_and_counted(plant: Plant, wrong: dict[str, str]) -> None:
    grant = plant.running()
    lease, counters = plant.lease(), plant.counters()
    assert plant.runtime.leases.end(replace(grant, **wrong), "r1", Outcome.SUCCESS, "done") is False
    assert plant.lease() == lease
    assert plant.counters() == {**counters, "supervisor_actions_discarded_total|late_end": "1"}


def test_the_end_of_an_action_that_was_reaped_does_not_change_its_outcome(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(11)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token)
    newer = plant.claim(action_id="a2")
    lease, events = plant.lease(), plant.events()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done") is False
    assert plant.lease() == lease
    assert plant.events() == [*events, late(grant.token, newest=newer.token)]
    assert [event["outcome"] for event in events if event["event"] == "action.ended"] == ["lost"]
    assert "supervisor_actions_completed_total|flow-1|start|success" not in plant.counters()


def test_the_end_of_an_action_that_was_reaped_is_counted_as_late(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(11)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token)
    plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert plant.counters()["supervisor_actions_discarded_total|late_end"] == "1"


@pytest.mark.parametrize(
    ("outcome", "failures"),
    [("success", 0), ("error", 3), ("timeout", 3), ("lost", 3), ("cancelled", 2), ("discarded", 2)],
)
def test_failures_in_a_row_are_those_that_ended_in_error_timeout_or_loss(
    plant: Plant, outcome: str, failures: int
) -> None:
    for number, ending in enumerate(("error", "error", outcome)):
        grant = plant.running(action_id=f"a{number}")
        assert plant.runtime.leases.end(grant, "r1", Outcome(ending), "")
    lease = plant.lease()
    assert lease is not None
    assert (lease.outcome, lease.failures) == (outcome, failures)


def test_s12_an_action_that_ends_while_the_circuit_that_opened_after_it_began_is_open_is_counted_and_timed(
    plant: Plant,
) -> None:
    grant = plant.running()
    before = plant.counters()
    put(plant, plant.keys.circuit, Breaker(state="open", generation=1, opened_at=BEGUN + 10))
    plant.clock.advance(30)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert numbers(plant.counters()) == numbers(
        {
            **before,
            "supervisor_actions_completed_total|flow-1|start|success": "1",
            **histogram(DURATION, "|flow-1|start", {"30": 1, "60": 1}, 1, "30"),
            "supervisor_actions_during_circuit_total": "1",
            **histogram("supervisor_action_post_circuit_duration_seconds", "", {"30": 1, "60": 1}, 1, "20"),
        }
    )
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert plant.counters()["supervisor_actions_during_circuit_total"] == "1"


@pytest.mark.parametrize(
    "circuit",
    [
        Breaker(state="closed", generation=2, opened_at=BEGUN + 10, closed_at=BEGUN + 20),
        Breaker(state="open", generation=1, opened_at=BEGUN - 10),
    ],
    ids=["closed again", "opened before it began"],
)
def test_an_action_is_not_counted_as_during_a_circuit_that_is_closed_or_was_open_before(
    plant: Plant, circuit: Breaker
) -> None:
    grant = plant.running()
    put(plant, plant.keys.circuit, circuit)
    plant.clock.advance(30)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert [name for name in plant.counters() if "circuit" in name] == []


def test_asks_are_capped(plant: Plant) -> None:
    plant.client.rpush(plant.keys.asks(NODE), *(f"old-{number}" for number in range(1000)))
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    asks = plant.asks()
    assert (len(asks), asks[0], asks[-1]) == (1000, "old-1", "flow-1")


def test_an_executor_ends_an_action_whose_process_died_and_counts_the_kill(plant: Plant) -> None:
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.LOST, "its pool process died", "killed") is True
    lease = plant.lease()
    assert lease is not None
    assert (lease.outcome, lease.detail, lease.kills, lease.failures) == ("lost", "its pool process died", 1, 1)


@pytest.mark.parametrize(("outcome", "kills"), [("success", 0), ("error", 0), ("timeout", 0), ("cancelled", 2)])
def test_kills_in_a_row_end_with_an_end_that_was_no_kill(plant: Plant, outcome: str, kills: int) -> None:
    grant = plant.running()
    lease = plant.lease()
    assert lease is not None
    put(plant, plant.keys.lease(NODE, "flow-1"), msgspec.structs.replace(lease, kills=2))
    assert plant.runtime.leases.end(grant, "r1", Outcome(outcome), "")
    after = plant.lease()
    assert after is not None
    assert after.kills == kills


def test_an_executor_that_reports_a_dead_process_after_its_action_had_ended_changes_and_counts_nothing(
    plant: Plant,
) -> None:
    grant = plant.running()
    plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    before = plant.dump()
    assert plant.runtime.leases.end(grant, "r1", Outcome.LOST, "its pool process died", "killed") is False
    assert plant.dump() == before


def test_an_action_that_was_asked_to_cancel_ends_with_the_reason_it_was_asked_for(plant: Plant) -> None:
    grant = plant.running()
    plant.runtime.leases.cancel(NAME, NODE, "flow-1", "", "asked by me")
    assert plant.runtime.leases.end(grant, "r1", Outcome.CANCELLED, "told to give up")
    assert plant.events()[-1]["detail"] == "asked by me"


@pytest.mark.parametrize("by", ["gone", "killed"])
def test_who_took_the_message_of_a_claim_frees_it_unbegun_and_repeats_that_without_harm(plant: Plant, by: str) -> None:
    grant = plant.claim()
    assert plant.runtime.leases.end(grant, "r1", Outcome.CANCELLED, "told to give up before it began", by) is True
    lease, before = plant.lease(), plant.dump()
    assert lease is not None
    assert (lease.stage, lease.outcome, lease.begun_at, lease.kills) == ("free", "cancelled", None, 0)
    assert plant.runtime.leases.end(grant, "r1", Outcome.CANCELLED, "told to give up before it began", by) is True
    assert plant.dump() == before
    assert plant.begin(grant) == "ended"


def test_an_execution_itself_ends_nothing_that_it_has_not_begun(plant: Plant) -> None:
    grant = plant.claim()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done") is False
    lease = plant.lease()
    assert lease is not None
    assert lease.stage == "queued"


def test_a_claim_after_an_effect_was_refused_by_a_larger_token_is_larger_still(plant: Plant) -> None:
    grant = plant.running()
    forgotten = int(grant.token) + 3_600_000_000  # Redis was emptied, and its clock is an hour behind
    assert plant.runtime.leases.end(grant, "r1", Outcome.DISCARDED, "fenced", fence=forgotten) is True
    plant.clock.advance(1)
    assert int(plant.claim(action_id="a2").token) == forgotten + 1
