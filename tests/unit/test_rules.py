"""Consistency rules: the plan's own example and what becomes of the worker at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from actions.restart import Restart
from supervisor.admission import Skip, SkipReason
from supervisor.circuit import Verdict
from supervisor.conditions import ConditionType, conditions
from supervisor.model import DeclaredRule
from supervisor.plan import Plan, Subject, make_plan
from supervisor.rules import Declared, find, restart
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view
from workers.dfc_read.states import FlowObserved
from workers.model import Desired, Snapshot, Status

RULE = DeclaredRule(
    name="no-output", child="broker", worker_type="dfc_read", observed={"output_connected": False}, lasts=30.0
)
OK = {"broker": Verdict("ok", "passes its check")}
WHY = "child broker is ok and output_connected is False"


def flow(now: float = NOW, **changes: Any) -> Snapshot:
    """Return a flow that has run for 100 seconds and lost its output; `changes`: of its observation or status."""
    status = Status(state="degraded", since=now - 50, reason="test")
    fields = {name: changes.pop(name) for name in list(changes) if name in Status.__struct_fields__}
    seen = FlowObserved(
        collected_at=now - 1,
        pid=42,
        start_ticks=7,
        started_at=now - 100,
        config_id="c1",
        ready=True,
        input_connected=True,
    )
    desired = Desired(state="running", config={"min_uptime": 10.0}, config_id="c1", depends_on=("broker",))
    shown = make_snapshot(kind="dfc_read", observed=msgspec.structs.replace(seen, **changes), now=now)
    return msgspec.structs.replace(shown, desired=desired, status=msgspec.structs.replace(status, **fields))


def plan(snapshot: Snapshot, now: float = NOW, verdicts: Mapping[str, Verdict] = OK, **changes: Any) -> Plan:
    view = make_view(make_subject(snapshot), verdicts=verdicts, rules=(Declared(RULE),))
    return make_plan(msgspec.structs.replace(view, **changes), now)


OPPOSITE = DeclaredRule(
    name="sends-to-the-dead",
    child="broker",
    child_is="failed",
    worker_type="dfc_read",
    observed={"output_connected": True},
    lasts=30.0,
)


@pytest.mark.parametrize("lasted", [0.0, 31.0, 3600.0])
def test_a_flow_that_sends_to_a_broker_seen_down_is_told_and_left_alone_however_long_it_lasts(lasted: float) -> None:
    why = "child broker is failed and output_connected is True"
    noted = {"fault": f"sends-to-the-dead: {why}", "fault_since": NOW - lasted} if lasted else {}
    snapshot = flow(output_connected=True, **noted)
    subject = make_subject(snapshot)
    failed = {"broker": Verdict("failed", "no answer")}
    made = make_plan(make_view(subject, verdicts=failed, rules=(Declared(OPPOSITE),), circuit_open=True), NOW)
    (status,) = [step.status for step in made.steps if step.status is not None] or [snapshot.status]
    assert (status.fault, status.fault_since) == (f"sends-to-the-dead: {why}", NOW - lasted)
    assert [step.action for step in made.steps if step.action is not None] == []
    assert status.failed_at == ()
    shown = make_subject(msgspec.structs.replace(snapshot, status=status))
    assert [
        (one.type, one.reason)
        for one in conditions(shown, make_view().settings, NOW)
        if one.type is ConditionType.INCONSISTENT
    ] == [(ConditionType.INCONSISTENT, f"rule sends-to-the-dead: {why}")]


def test_a_flow_that_sends_to_a_broker_that_is_well_contradicts_nobody() -> None:
    assert find((Declared(OPPOSITE),), flow(output_connected=True), OK) is None


def test_a_flow_without_output_whose_broker_is_well_is_noted_first() -> None:
    (step,) = plan(flow()).steps
    assert step.action is None
    assert step.status is not None
    assert (step.status.fault, step.status.fault_since) == (f"no-output: {WHY}", NOW)


def test_it_is_restarted_once_that_has_lasted_and_that_counts_as_a_failure() -> None:
    (step,) = plan(flow(fault=f"no-output: {WHY}", fault_since=NOW - 30)).steps
    assert step.action == Restart(failed_pid=42, failed_start_ticks=7)
    assert step.reason == f"rule no-output: {WHY} for 30s"
    assert step.status is not None
    assert step.status.failed_at == (NOW,)


def test_the_same_fault_is_counted_once_while_its_restart_waits() -> None:
    fault = {"fault": f"no-output: {WHY}", "fault_since": NOW - 30}
    (first,) = plan(flow(**fault), circuit_open=True).steps
    assert first.status is not None
    assert first.action is None
    later = NOW + 1
    snapshot = msgspec.structs.replace(flow(later), status=first.status)
    again = plan(snapshot, later, circuit_open=True)
    assert again.steps == ()
    assert [skip.reason for skip in again.skips] == [SkipReason.CIRCUIT_OPEN]


def test_one_that_never_got_as_far_as_running_is_restarted_too_if_it_is_up() -> None:
    fault = {"fault": f"no-output: {WHY}", "fault_since": NOW - 30, "state": "starting"}
    assert [step.action for step in plan(flow(**fault)).steps] == [Restart(failed_pid=42, failed_start_ticks=7)]
    down = plan(flow(**fault, pid=None, start_ticks=0))
    assert not [step for step in down.steps if isinstance(step.action, Restart)]


def test_a_new_incarnation_has_the_whole_time_to_connect() -> None:
    young = flow(fault=f"no-output: {WHY}", fault_since=NOW - 300, started_at=NOW - 29)
    assert plan(young).steps == ()


def test_one_that_is_at_fault_again_and_again_is_quarantined_and_left_alone() -> None:
    status = {
        "fault": f"no-output: {WHY}",
        "fault_since": NOW - 30,
        "failed_at": tuple(NOW - n for n in (200, 150, 100, 50)),
    }
    made = plan(flow(**status))
    assert [step.action for step in made.steps] == [None]
    assert [(skip.reason, skip.detail[:9]) for skip in made.skips] == [(SkipReason.QUARANTINED, "failures:")]


@pytest.mark.parametrize(
    ("snapshot", "verdicts"),
    [
        (flow(output_connected=True, state="running"), OK),
        (flow(), {"broker": Verdict("failed", "no answer")}),
        (flow(), {}),
        (msgspec.structs.replace(flow(), desired=msgspec.structs.replace(flow().desired, depends_on=())), OK),
        (make_snapshot(state="running"), OK),
    ],
    ids=["connected", "child failed", "no verdict", "does not depend", "other type"],
)
def test_nothing_is_found_when_one_of_the_rules_words_does_not_hold(
    snapshot: Snapshot, verdicts: Mapping[str, Verdict]
) -> None:
    assert find([Declared(RULE)], snapshot, verdicts) is None


def test_a_fault_that_is_over_is_forgotten() -> None:
    healed = flow(state="running", fault=f"no-output: {WHY}", fault_since=NOW - 20, output_connected=True)
    (step,) = plan(healed).steps
    assert step.status is not None
    assert (step.status.fault, step.status.fault_since) == ("", 0.0)


def test_a_fault_of_a_life_that_is_over_is_forgotten_too() -> None:
    gone = flow(
        state="starting", fault=f"no-output: {WHY}", fault_since=NOW - 20, pid=None, start_ticks=0, started_at=None
    )
    (step,) = plan(gone).steps
    assert step.status is not None
    assert (step.status.fault, step.status.fault_since) == ("", 0.0)


def test_nothing_is_restarted_that_is_to_stop() -> None:
    stopping = flow(fault=f"no-output: {WHY}", fault_since=NOW - 99)
    stopping = msgspec.structs.replace(stopping, desired=msgspec.structs.replace(stopping.desired, state="stopped"))
    assert not [step for step in plan(stopping).steps if isinstance(step.action, Restart)]


def test_a_fault_is_a_condition_that_people_see() -> None:
    snapshot = flow(fault=f"no-output: {WHY}", fault_since=NOW - 9)
    (condition,) = conditions(make_subject(snapshot), make_view().settings, NOW)
    assert (condition.type, condition.reason, condition.since) == (
        ConditionType.INCONSISTENT,
        f"rule no-output: {WHY}",
        NOW - 9,
    )


@dataclass(frozen=True)
class TooSlow:
    """A rule from Python."""

    name: str = "too-slow"
    lasts: float = 0.0

    def finds(self, snapshot: Snapshot, verdicts: Mapping[str, Verdict]) -> str:
        return f"{snapshot.id} is too slow" if 1 / len(verdicts) else ""


def test_a_rule_may_come_from_python_and_its_bug_costs_one_worker() -> None:
    subject = make_subject(flow(), lease=make_lease())
    (step,) = make_plan(make_view(subject, verdicts=OK, rules=(TooSlow(),)), NOW).steps
    assert step.reason == "rule too-slow: flow-1 is too slow for 0s"
    made = make_plan(make_view(subject, rules=(TooSlow(),)), NOW)
    skip = Skip("flow-1", SkipReason.DERIVE_FAILED, "rule: ZeroDivisionError: division by zero")
    assert (made.steps, made.skips) == ((), (skip,))


def test_what_was_not_observed_is_not_restarted() -> None:
    found = find([TooSlow()], flow(), OK)
    assert found is not None
    blind = msgspec.structs.replace(flow(), observed=None)
    assert restart(blind, blind.status, found, make_view().settings, NOW) is None
    assert isinstance(make_subject(blind), Subject)
