"""Events put together: actions from claim to end, and which events are meant by a name."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.history import Run, is_kind, is_of, runs_of, standing


def told(event: str, at: float, action_id: str = "a1", **fields: str) -> dict[str, Any]:
    whose = {"supervisor": "plant-1", "place": "edge-1", "worker_id": "flow-1"}
    return {"event": event, "time": at, **whose, "action": "start", "action_id": action_id, "token": "7", **fields}


CLAIMED = told("action.claimed", 10.0, reason="nothing runs")
BEGUN = told("action.begun", 10.5, executor="edge-1@h1", queue_wait="0.500")
ENDED = told("action.ended", 12.0, outcome="success", detail="started as pid 42", duration="1.500")


def test_an_action_is_put_together_from_claim_begin_and_end() -> None:
    assert runs_of([CLAIMED, BEGUN, ENDED]) == [
        Run(
            *("plant-1", "edge-1", "flow-1", "start", "a1", "7", "nothing runs"),
            *(10.0, 10.5, 12.0, 0.5, 1.5, "edge-1@h1", "success", "started as pid 42"),
        )
    ]


def test_actions_are_in_the_order_in_which_they_were_heard_of_last() -> None:
    late = told("action.claimed", 11.0, "a2", reason="nothing runs")
    assert [run.action_id for run in runs_of([CLAIMED, BEGUN, late, ENDED])] == ["a2", "a1"]


def test_what_is_not_an_action_s_is_left_out() -> None:
    discarded = told("action.discarded", 11.0, "a9", reason="no_lease")
    assert runs_of([{"event": "worker.transition", "time": 1.0}, discarded]) == []


def test_an_end_whose_claim_was_trimmed_away_tells_how_long_it_took() -> None:
    (run,) = runs_of([ENDED])
    assert (run.started, run.took, run.claimed_at, run.queue_wait) == (12.0, 1.5, None, None)


def test_what_was_cancelled_in_the_queue_did_not_run() -> None:
    (run,) = runs_of([CLAIMED, told("action.ended", 40.0, outcome="lost", detail="never begun", duration="30.000")])
    assert (run.outcome, run.took, run.last_told) == ("lost", None, 40.0)


@pytest.mark.parametrize("event", [CLAIMED, BEGUN, ENDED])
def test_an_event_that_lacks_something_or_says_nonsense_costs_no_other(event: dict[str, Any]) -> None:
    good = told("action.claimed", 11.0, "a2", reason="nothing runs")
    added = ("event", "time", "supervisor", "place")  # by who reads the stream
    broken = [{key: value for key, value in event.items() if key != lost} for lost in event if lost not in added]
    broken += [{**event, key: "nan"} for key in ("queue_wait", "duration") if key in event]
    broken += [{**event, key: "soon"} for key in ("queue_wait", "duration") if key in event]
    assert [run.action_id for run in runs_of([*broken, good])] == ["a2"]


@pytest.mark.parametrize(
    ("events", "in_progress", "expected"),
    [
        ([CLAIMED], True, "queued"),
        ([CLAIMED, BEGUN], True, "running"),
        ([CLAIMED, BEGUN], False, "unknown"),
        ([CLAIMED, BEGUN, ENDED], False, "success"),
    ],
)
def test_an_action_without_an_end_stands_as_its_lease_says(
    events: list[dict[str, Any]], in_progress: bool, expected: str
) -> None:
    (run,) = runs_of(events)
    assert standing(run, in_progress) == expected


def test_an_action_of_which_nothing_is_known_starts_at_no_time() -> None:
    run = Run("plant-1", "edge-1", "flow-1", "start", "a1")
    assert (run.started, run.last_told) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "meant"),
    [("action.ended", True), ("action", True), ("*.ended", True), ("action.end", False), ("worker", False)],
)
def test_an_event_is_meant_by_its_name_its_family_or_a_pattern(kind: str, meant: bool) -> None:
    assert is_kind("action.ended", ["circuit", kind]) == meant


@pytest.mark.parametrize(("item", "mine"), [("flow-1", True), ("child/broker", True), ("broker", False)])
def test_an_event_is_of_its_worker_and_of_its_child(item: str, mine: bool) -> None:
    assert is_of({"worker_id": "flow-1", "child_name": "broker"}, item) == mine
    assert not is_of({"event": "store.restored", "child_name": ""}, item)
