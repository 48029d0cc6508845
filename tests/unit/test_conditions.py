"""The conditions of a worker: what lasts and people should know of."""

from __future__ import annotations

import msgspec
import pytest

from supervisor.conditions import Condition, ConditionType, conditions, stuck
from supervisor.model import Lease, Stage, SupervisorSettings
from supervisor.plan import Subject
from tests.factories import NOW, make_lease, make_snapshot, make_subject
from workers.model import Control, Metadata, Observed, Snapshot, Status, Transition

SETTINGS = SupervisorSettings(name="plant-1")
STUCK = make_lease(stage=Stage.RUNNING, begun_at=NOW - 70, timeout=30.0, executor="edge-1@h1")
QUARANTINED = Status(
    state="failed",
    since=NOW - 50,
    quarantined_at=NOW - 510,
    quarantined_until=NOW + 90,
    quarantined_for="poison: 3 actions in a row killed their pool process, last: start",
    quarantines=1,
)


def raising(snapshot: Snapshot, now: float) -> Transition:
    raise LookupError("no such thing")


def unseen() -> Subject:
    return make_subject(
        msgspec.structs.replace(make_snapshot(), observed=None, metadata=Metadata(None, NOW, None, None))
    )


HELD = {
    "nothing": (make_subject(), []),
    "paused": (
        make_subject(make_snapshot(control=Control(paused=True, by="me@h1", at=NOW - 65))),
        [Condition(ConditionType.PAUSED, "by me@h1", NOW - 65)],
    ),
    "quarantined": (
        make_subject(make_snapshot(status=QUARANTINED)),
        [Condition(ConditionType.QUARANTINED, f"{QUARANTINED.quarantined_for}; ends in 1m30s", NOW - 510)],
    ),
    "quarantined and resumed a moment ago": (
        make_subject(make_snapshot(status=QUARANTINED, control=Control(resumed_at=NOW))),
        [],
    ),
    "stuck": (
        make_subject(lease=STUCK),
        [Condition(ConditionType.STUCK, "start has run for 1m10s on edge-1@h1, its timeout is 30s", NOW - 10)],
    ),
    "inconsistent": (
        make_subject(
            make_snapshot(status=Status(state="running", since=NOW - 50, fault="r: why", fault_since=NOW - 9))
        ),
        [Condition(ConditionType.INCONSISTENT, "rule r: why", NOW - 9)],
    ),
    "not observed yet": (unseen(), [Condition(ConditionType.UNKNOWN, "not observed yet", NOW - 100)]),
    "a look that knows nothing": (
        make_subject(make_snapshot(observed=Observed(collected_at=NOW - 3, error="probe timed out"))),
        [Condition(ConditionType.UNKNOWN, "probe timed out", NOW - 3)],
    ),
    "observed too long ago to act on": (
        make_subject(make_snapshot(age=12.0)),
        [Condition(ConditionType.STALE, "last observed 12s ago", NOW - 2)],
    ),
    "observed too long ago to know": (
        make_subject(make_snapshot(age=25.0)),
        [Condition(ConditionType.UNKNOWN, "last observed 25s ago", NOW - 5)],
    ),
    "derive raises": (
        make_subject(derive=raising),
        [Condition(ConditionType.DERIVE_FAILED, "LookupError: no such thing", None)],
    ),
    "unreadable": (
        Subject("flow-9", "edge-1", 1, None, None, raising, {}, "not JSON"),
        [Condition(ConditionType.DERIVE_FAILED, "not JSON", None)],
    ),
}


@pytest.mark.parametrize(("subject", "held"), HELD.values(), ids=HELD.keys())
def test_a_condition_says_what_holds_why_and_since_when(subject: Subject, held: list[Condition]) -> None:
    assert list(conditions(subject, SETTINGS, NOW)) == held


def test_every_condition_that_exists_is_tested_here() -> None:
    assert {one.type for _, held in HELD.values() for one in held} == set(ConditionType)


def test_several_conditions_are_told_in_the_order_of_their_weight() -> None:
    control = Control(paused=True, by="me", at=NOW)
    subject = make_subject(make_snapshot(age=25.0, status=QUARANTINED, control=control), STUCK)
    assert [one.type for one in conditions(subject, SETTINGS, NOW)] == ["paused", "quarantined", "stuck", "unknown"]


@pytest.mark.parametrize(
    ("lease", "holds"),
    [
        (None, False),
        (msgspec.structs.replace(STUCK, begun_at=NOW - 59.9), False),
        (msgspec.structs.replace(STUCK, begun_at=NOW - 60), True),
        (msgspec.structs.replace(STUCK, executor=""), True),
        (msgspec.structs.replace(STUCK, timeout=60.0), False),
        (msgspec.structs.replace(STUCK, begun_at=NOW + 3600), False),
        (msgspec.structs.replace(STUCK, stage=Stage.FREE), False),
        (make_lease(stage=Stage.QUEUED, claimed_at=NOW - 3600), False),
    ],
)
def test_stuck_is_twice_the_timeout_since_it_began(lease: Lease | None, holds: bool) -> None:
    assert [one.type for one in stuck(lease, NOW)] == [ConditionType.STUCK] * holds
