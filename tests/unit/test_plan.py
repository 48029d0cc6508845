"""What a tick does about its workers: every reason not to act, what a stop passes, who goes first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from supervisor.admission import Skip, SkipReason
from supervisor.circuit import Verdict
from supervisor.keys import POOL
from supervisor.model import Lease, Stage, SupervisorSettings
from supervisor.orders import Order
from supervisor.plan import (
    Plan,
    Step,
    Subject,
    View,
    make_plan,
    next_status,
    phase_of,
)
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view
from workers.model import Control, Desired, Exit, Metadata, Observed, Phase, Signal, Snapshot, Status, Transition

NOTHING_RUNS = "desired is running and nothing runs: nothing has been started since the host booted"
UNWANTED = "desired is stopped and pid 42 runs"
OK = Verdict("ok", "passes its check")


def up(age: float = 1.0, **changes: object) -> Observed:
    seen = Observed(collected_at=NOW - age, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
    return msgspec.structs.replace(seen, **changes)


def wants_start(worker_id: str = "flow-1", since: float = NOW - 50, **changes: object) -> Subject:
    """Return a worker whose next step is a start."""
    status = Status(state="starting", since=since)
    return make_subject(make_snapshot(worker_id=worker_id, status=status), **changes)


def wants_stop(worker_id: str = "flow-1", *, age: float = 1.0, **changes: object) -> Subject:
    """Return a worker whose next step is a stop."""
    snapshot = make_snapshot(worker_id=worker_id, desired="stopped", state="stopping", observed=up(age))
    return make_subject(snapshot, **changes)


def depending(*names: str, observed: Observed | None = None) -> Subject:
    """Return a worker that wants to start and depends on `names`."""
    snapshot = make_snapshot(state="starting", observed=observed)
    desired = msgspec.structs.replace(snapshot.desired, depends_on=names)
    return make_subject(msgspec.structs.replace(snapshot, desired=desired))


def running(worker_id: str, **changes: object) -> Subject:
    """Return a worker that is as it should be."""
    return make_subject(make_snapshot(worker_id=worker_id, observed=up(), state="running"), **changes)


def queued(worker_id: str) -> Subject:
    """Return a worker whose start waits in the queue of edge-1."""
    return wants_start(worker_id, lease=make_lease(stage=Stage.QUEUED, worker_id=worker_id))


def raising(snapshot: Snapshot, now: float) -> Transition:
    raise LookupError("no such thing")


def failed(failures: int, at: float = NOW - 1.5) -> Lease:
    """Return the lease of an action that failed before the last look."""
    return make_lease(outcome="error", failures=failures, ended_at=at)


def changed(subject: Subject, **changes: object) -> Subject:
    """Return the subject with another snapshot."""
    assert subject.snapshot is not None
    return msgspec.structs.replace(subject, snapshot=msgspec.structs.replace(subject.snapshot, **changes))


def paused(subject: Subject) -> Subject:
    return changed(subject, control=Control(paused=True, by="me@h1", at=NOW - 65))


def of_group(subject: Subject, group: str = "line") -> Subject:
    assert subject.snapshot is not None
    return changed(subject, desired=msgspec.structs.replace(subject.snapshot.desired, group=group))


def quarantined(subject: Subject, until: float = NOW + 90, **changes: object) -> Subject:
    assert subject.snapshot is not None
    fields = {"quarantined_at": NOW - 510, "quarantined_until": until, "quarantined_for": "failures: 5 in 31s"}
    return changed(subject, status=msgspec.structs.replace(subject.snapshot.status, quarantines=1, **fields, **changes))


RUNNING = make_lease(stage=Stage.RUNNING, begun_at=NOW - 7)
ONE_AT_A_TIME = SupervisorSettings(name="plant-1", groups={"line": 1})
SKIPS = {
    "no live executor on the node": (
        make_view(wants_start(), slots={}),
        Skip("flow-1", SkipReason.NODE_AWAY, "node edge-1 has no live executor"),
    ),
    "an executor without slots": (
        make_view(wants_start(), slots={"edge-1": 0}),
        Skip("flow-1", SkipReason.NODE_AWAY, "node edge-1 has no live executor"),
    ),
    "an action runs": (
        make_view(wants_start(lease=RUNNING)),
        Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "start running for 7s"),
    ),
    "an action is queued": (
        make_view(wants_start(lease=make_lease(stage=Stage.QUEUED, claimed_at=NOW - 3))),
        Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "start queued for 3s"),
    ),
    "an action runs on a node that is away": (
        make_view(wants_start(lease=RUNNING), slots={}),
        Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "start running for 7s"),
    ),
    "the circuit is open": (
        make_view(wants_start(), circuit_open=True),
        Skip("flow-1", SkipReason.CIRCUIT_OPEN, "start waits for the circuit to close"),
    ),
    "a child it depends on is not ok": (
        make_view(depending("broker"), verdicts={"broker": Verdict("unknown", "node edge-2 is away")}),
        Skip("flow-1", SkipReason.DEPENDENCY, "child broker is unknown: node edge-2 is away"),
    ),
    "a child it depends on lacks what it is to be given": (
        make_view(depending("broker"), verdicts={"broker": Verdict("ok", "", "topics a")}),
        Skip("flow-1", SkipReason.DEPENDENCY, "child broker lacks topics a"),
    ),
    "not observed yet": (
        make_view(make_subject(msgspec.structs.replace(make_snapshot(), observed=None))),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "not observed yet"),
    ),
    "not observed since its last action": (
        make_view(wants_start(lease=make_lease(ended_at=NOW - 0.5))),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "not observed since its last action ended 0s ago"),
    ),
    "observed at the very moment its last action ended": (
        make_view(wants_start(lease=make_lease(ended_at=NOW - 1))),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "not observed since its last action ended 1s ago"),
    ),
    "not observed since Redis came back": (
        make_view(wants_start(), data_since=NOW - 1),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "not observed since Redis came back"),
    ),
    "observed ahead of time": (
        make_view(make_subject(make_snapshot(state="starting", age=-1.5))),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "observed by a clock of Redis that was set back since"),
    ),
    "a hold-off": (
        make_view(wants_start(), hold_until=NOW + 2.5),
        Skip("flow-1", SkipReason.HOLD_OFF, "leases are being renewed since Redis came back: 2.5s"),
    ),
    "an old observation": (
        make_view(make_subject(make_snapshot(state="starting", age=10.0))),
        Skip("flow-1", SkipReason.STALE_OBSERVATION, "last observed 10s ago"),
    ),
    "a look that knows nothing": (
        make_view(make_subject(make_snapshot(observed=Observed(collected_at=NOW, error="probe timed out")))),
        Skip("flow-1", SkipReason.STALE_OBSERVATION, "unknown: probe timed out"),
    ),
    "the last action failed": (
        make_view(make_subject(make_snapshot(state="starting", failures=2), failed(2))),
        Skip("flow-1", SkipReason.BACKING_OFF, "start after 2 failures: next in 0.5s"),
    ),
    "it is paused": (
        make_view(paused(wants_start(lease=RUNNING)), slots={}),
        Skip("flow-1", SkipReason.PAUSED, "by me@h1 1m05s ago"),
    ),
    "all is paused": (
        make_view(wants_start(orders=(Order(kind="pause", scope="all", by="me@h1", at=NOW - 5, reason="storm"),))),
        Skip("flow-1", SkipReason.PAUSED, "all by me@h1 5s ago: storm"),
    ),
    "its node is drained": (
        make_view(wants_start(orders=(Order(kind="drain", scope="node/edge-1", by="me@h1", at=NOW - 5),))),
        Skip("flow-1", SkipReason.DRAINED, "node/edge-1 by me@h1 5s ago"),
    ),
    "it is quarantined": (
        make_view(quarantined(wants_start(lease=failed(2, NOW - 2)))),
        Skip("flow-1", SkipReason.QUARANTINED, "failures: 5 in 31s; ends in 1m30s"),
    ),
    "its group is at its limit": (
        make_view(of_group(wants_start("a", lease=RUNNING)), of_group(wants_start("b")), settings=ONE_AT_A_TIME),
        Skip("b", SkipReason.BUDGET, "1 of 1 in action in group line"),
    ),
    "others try first": (
        make_view(wants_start(), half_open_room=0),
        Skip("flow-1", SkipReason.HALF_OPEN, "the circuit is half open: others try first whether all is well"),
    ),
    "the fleet is ramped up": (
        make_view(wants_start(), ramp_room=0),
        Skip("flow-1", SkipReason.RAMP, "after the outage 0 actions may begin now"),
    ),
    "its queue is full": (
        make_view(queued("a"), queued("b"), wants_start("c"), slots={"edge-1": 1}),
        Skip("c", SkipReason.QUEUE_FULL, "2 of 2 queued at edge-1"),
    ),
    "derive raises": (
        make_view(wants_start(derive=raising)),
        Skip("flow-1", SkipReason.DERIVE_FAILED, "LookupError: no such thing"),
    ),
    "a document cannot be read": (
        make_view(Subject("flow-9", "edge-1", 1, None, None, raising, {}, "not JSON")),
        Skip("flow-9", SkipReason.DERIVE_FAILED, "not JSON"),
    ),
}


@pytest.mark.parametrize(("view", "skip"), SKIPS.values(), ids=SKIPS.keys())
def test_a_worker_is_skipped_with_the_reason_and_its_values(view: object, skip: Skip) -> None:
    plan = make_plan(view, NOW)  # type: ignore[arg-type]
    assert [step for step in plan.steps if step.action is not None] == []
    assert plan.skips[-1] == skip


def test_half_open_as_many_may_act_as_there_is_room_and_those_that_did_before() -> None:
    subjects = [wants_start(name, since=NOW - 50 + number) for number, name in enumerate("abcd")]
    plan = make_plan(make_view(*subjects, half_open_room=1, probes=frozenset({"d"})), NOW)
    assert [step.subject.id for step in plan.steps if step.action is not None] == ["a", "d"]
    assert {(skip.worker_id, skip.reason) for skip in plan.skips} == {
        ("b", SkipReason.HALF_OPEN),
        ("c", SkipReason.HALF_OPEN),
    }


def test_every_skip_reason_that_exists_is_tested_here() -> None:
    assert {skip.reason for _, skip in SKIPS.values()} == set(SkipReason)


def test_s4_closed_and_healthy_a_worker_as_it_should_be_costs_nothing() -> None:
    assert make_plan(make_view(running("a"), running("b")), NOW) == Plan((), ())


def test_no_workers_are_a_plan_of_nothing() -> None:
    assert make_plan(make_view(), NOW) == Plan((), ())


def test_a_state_is_written_and_then_an_action_is_requested_never_both_at_once() -> None:
    stopped = make_subject(make_snapshot(state="stopped"))
    starting = Status(state="starting", since=NOW, reason=NOTHING_RUNS)
    assert make_plan(make_view(stopped), NOW) == Plan((Step(stopped, NOTHING_RUNS, status=starting),), ())
    asking = wants_start()
    assert make_plan(make_view(asking), NOW) == Plan((Step(asking, NOTHING_RUNS, action=Start()),), ())


def test_s9_a_worker_whose_action_is_in_progress_is_skipped_and_the_others_go_on() -> None:
    busy, idle, other = wants_start("busy", lease=RUNNING), wants_start("idle"), wants_start("other")
    assert make_plan(make_view(busy, idle, other), NOW) == Plan(
        (Step(idle, NOTHING_RUNS, action=Start()), Step(other, NOTHING_RUNS, action=Start())),
        (Skip("busy", SkipReason.ACTION_IN_PROGRESS, "start running for 7s"),),
    )


def test_s11_an_open_circuit_holds_back_all_starts_beside_an_action_in_progress() -> None:
    busy, idle = wants_start("busy", lease=RUNNING), wants_start("idle")
    plan = make_plan(make_view(busy, idle, circuit_open=True), NOW)
    assert [(skip.worker_id, skip.reason) for skip in plan.skips] == [
        ("busy", SkipReason.ACTION_IN_PROGRESS),
        ("idle", SkipReason.CIRCUIT_OPEN),
    ]
    assert plan.steps == ()


def test_a_derive_that_raises_costs_that_worker_only() -> None:
    broken, fine = wants_start("broken", derive=raising), wants_start("fine")
    assert make_plan(make_view(broken, fine), NOW) == Plan(
        (Step(fine, NOTHING_RUNS, action=Start()),),
        (Skip("broken", SkipReason.DERIVE_FAILED, "LookupError: no such thing"),),
    )


def _stop_dependency() -> Subject:
    subject = wants_stop()
    assert subject.snapshot is not None
    desired = msgspec.structs.replace(subject.snapshot.desired, depends_on=("broker",))
    return msgspec.structs.replace(subject, snapshot=msgspec.structs.replace(subject.snapshot, desired=desired))


STOPS_THAT_PASS = {
    "circuit_open": make_view(wants_stop(), circuit_open=True),
    "dependency": make_view(_stop_dependency(), verdicts={"broker": Verdict("failed", "no answer")}),
    "backing_off": make_view(wants_stop(lease=failed(9))),
    "queue_full": make_view(wants_stop(), queued("a"), queued("b"), slots={"edge-1": 1}),
    "quarantined": make_view(quarantined(wants_stop())),
    "budget": make_view(of_group(wants_stop()), of_group(wants_start("a", lease=RUNNING)), settings=ONE_AT_A_TIME),
}


@pytest.mark.parametrize("view", STOPS_THAT_PASS.values(), ids=STOPS_THAT_PASS.keys())
def test_a_stop_passes(view: object) -> None:
    plan = make_plan(view, NOW)  # type: ignore[arg-type]
    assert [(step.subject.id, step.action, step.reason) for step in plan.steps] == [("flow-1", Stop(), UNWANTED)]
    assert "flow-1" not in {skip.worker_id for skip in plan.skips}


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (make_view(wants_stop(), slots={}), SkipReason.NODE_AWAY),
        (make_view(wants_stop(lease=msgspec.structs.replace(RUNNING, action="stop"))), SkipReason.ACTION_IN_PROGRESS),
        (make_view(wants_stop(lease=make_lease(stage=Stage.QUEUED, action="stop"))), SkipReason.ACTION_IN_PROGRESS),
        (make_view(paused(wants_stop())), SkipReason.PAUSED),
    ],
)
def test_a_stop_does_not_pass(view: object, reason: SkipReason) -> None:
    plan = make_plan(view, NOW)  # type: ignore[arg-type]
    assert (plan.steps, [skip.reason for skip in plan.skips]) == ((), [reason])


BLIND_STOPS = {
    "stale_observation": (wants_stop(age=3600.0), "desired is stopped; last observed 1h00m ago"),
    "an observation that knows nothing": (
        make_subject(
            make_snapshot(desired="stopped", state="running", observed=up(error="probe timed out")),
        ),
        "desired is stopped; unknown: probe timed out",
    ),
    "awaiting_observation after a start": (
        wants_stop(lease=make_lease(ended_at=NOW - 0.5)),
        "desired is stopped; not observed since its last action ended 0s ago",
    ),
    "awaiting_observation after a stop that failed": (
        wants_stop(lease=make_lease(action="stop", outcome="error", failures=1, ended_at=NOW - 0.5)),
        "desired is stopped; not observed since its last action ended 0s ago",
    ),
}


@pytest.mark.parametrize(("subject", "reason"), BLIND_STOPS.values(), ids=BLIND_STOPS.keys())
def test_a_stop_waits_for_no_observation_and_passes(subject: Subject, reason: str) -> None:
    plan = make_plan(make_view(subject), NOW)
    assert ([(step.action, step.reason) for step in plan.steps], plan.skips) == ([(Stop(), reason)], ())


@pytest.mark.parametrize(
    "subject",
    [
        wants_stop(lease=make_lease(action="stop", ended_at=NOW - 0.5)),
        make_subject(make_snapshot(desired="stopped", state="stopped", age=3600.0)),
    ],
    ids=["it was stopped just now", "it was stopped long ago"],
)
def test_what_is_stopped_already_is_not_stopped_again_without_an_observation(subject: Subject) -> None:
    plan = make_plan(make_view(subject), NOW)
    assert (plan.steps, len(plan.skips)) == ((), 1)
    assert plan.skips[0].reason in {SkipReason.AWAITING_OBSERVATION, SkipReason.STALE_OBSERVATION}


def test_stops_are_not_counted_against_the_queue() -> None:
    plan = make_plan(make_view(wants_stop("a"), wants_stop("b"), wants_start("c"), slots={"edge-1": 1}), NOW)
    assert {step.subject.id: step.action for step in plan.steps} == {"a": Stop(), "b": Stop(), "c": Start()}


def test_the_longest_waiting_go_first_and_the_rest_find_the_queue_full() -> None:
    subjects = [
        wants_start(name, since=NOW - waiting) for name, waiting in (("a", 10), ("b", 40), ("c", 20), ("d", 30))
    ]
    plan = make_plan(make_view(*subjects, slots={"edge-1": 1}), NOW)
    assert [step.subject.id for step in plan.steps] == ["b", "d"]
    assert plan.skips == (
        Skip("c", SkipReason.QUEUE_FULL, "2 of 2 queued at edge-1"),
        Skip("a", SkipReason.QUEUE_FULL, "2 of 2 queued at edge-1"),
    )


def test_a_full_queue_of_one_node_holds_back_no_other_node() -> None:
    elsewhere = wants_start("d", place="edge-2")
    plan = make_plan(
        make_view(queued("a"), queued("b"), wants_start("c"), elsewhere, slots={"edge-1": 1, "edge-2": 1}), NOW
    )
    assert [step.subject.id for step in plan.steps] == ["d"]


def test_running_actions_are_not_counted_as_queued() -> None:
    busy = [wants_start(name, lease=RUNNING) for name in "ab"]
    plan = make_plan(make_view(*busy, wants_start("c"), slots={"edge-1": 1}), NOW)
    assert [step.subject.id for step in plan.steps] == ["c"]


EARLY = Exit(41, 6, started_at=NOW - 4, ended_at=NOW - 2, code=1)


def died_early(worker_id: str = "flow-1") -> Subject:
    """Return a starting worker whose early exit is news: it has a status to be written and a start to be asked."""
    observed = Observed(collected_at=NOW - 1, last_exit=EARLY)
    return make_subject(make_snapshot(worker_id=worker_id, state="starting", observed=observed))


def test_what_became_known_is_written_though_the_action_is_held_back() -> None:
    subject = died_early()
    assert subject.snapshot is not None
    counted = msgspec.structs.replace(
        subject.snapshot.status, restarts=1, early_exits=1, counted_exit="41-6", died_at=NOW - 2, failed_at=(NOW - 2,)
    )
    reason = "desired is running and nothing runs: pid 41 ended with exit code 1 after 2.0s"
    held = Skip("flow-1", SkipReason.CIRCUIT_OPEN, "start waits for the circuit to close")
    assert make_plan(make_view(subject, circuit_open=True), NOW) == Plan(
        (Step(subject, reason, status=counted),), (held,)
    )
    asked = Step(subject, reason, status=counted, action=Start())
    assert make_plan(make_view(subject), NOW) == Plan((asked,), ())
    full = make_plan(make_view(queued("a"), queued("b"), subject, slots={"edge-1": 1}), NOW)
    assert full.steps == (Step(subject, reason, status=counted),)
    assert full.skips[-1] == Skip("flow-1", SkipReason.QUEUE_FULL, "2 of 2 queued at edge-1")


def test_an_early_exit_backs_off_from_the_moment_it_died() -> None:
    observed = Observed(collected_at=NOW - 1, last_exit=EARLY)
    status = Status(state="failed", since=NOW - 50, early_exits=3, counted_exit="41-6", died_at=NOW - 2)
    view = make_view(make_subject(make_snapshot(observed=observed, status=status)))
    assert make_plan(view, NOW) == Plan(
        (), (Skip("flow-1", SkipReason.BACKING_OFF, "start after 3 failures: next in 2.0s"),)
    )
    assert [step.action for step in make_plan(view, NOW + 2).steps] == [Start()]


@pytest.mark.parametrize(
    ("other", "detail"),
    [
        (make_subject(make_snapshot(worker_id="plc")), "worker plc is stopped"),
        (make_subject(make_snapshot(worker_id="plc", state="running", observed=up(age=25.0))), "worker plc is unknown"),
        (make_subject(make_snapshot(worker_id="plc", state="failed", observed=up())), "worker plc is failed"),
    ],
)
def test_a_worker_waits_for_the_worker_it_depends_on(other: Subject, detail: str) -> None:
    plan = make_plan(make_view(depending("plc"), other), NOW)
    assert Skip("flow-1", SkipReason.DEPENDENCY, detail) in plan.skips


@pytest.mark.parametrize("state", ["running", "degraded"])
def test_a_worker_goes_on_when_what_it_depends_on_is_up(state: str) -> None:
    other = make_subject(make_snapshot(worker_id="plc", kind="dfc_read", state=state, observed=up()))
    plan = make_plan(make_view(depending("broker", "plc"), other, verdicts={"broker": OK}), NOW)
    assert Start() in [step.action for step in plan.steps if step.subject.id == "flow-1"]


REMOVED = Desired(state="running", config={"min_uptime": 10.0}, config_id="c1", removed=True)


MOVING = msgspec.structs.replace(REMOVED, removed=False, moves_to="edge-2")


def leaving(desired: Desired = MOVING, lease: Lease | None = None, **changes: Any) -> Subject:
    """Return a worker that is to leave its place, and by default is down there."""
    return make_subject(msgspec.structs.replace(make_snapshot(**changes), desired=desired), lease)


@pytest.mark.parametrize("desired", [REMOVED, MOVING], ids=["removed", "moving"])
def test_a_worker_that_leaves_its_place_is_stopped_and_then_leaves(desired: Desired) -> None:
    runs = leaving(desired, state="stopping", observed=up())
    subjects = [runs, leaving(desired, state="stopping"), leaving(desired)]
    steps = [make_plan(make_view(subject), NOW).steps[0] for subject in subjects]
    assert [(step.action, step.status.state if step.status else None, step.leave) for step in steps] == [
        (Stop(), None, False),
        (None, "stopped", False),
        (None, None, True),
    ]
    why = "it moves to edge-2" if desired.moves_to else "removed from the fleet file"
    assert steps[2] == Step(subjects[2], f"desired is stopped ({why}) and nothing runs", leave=True)


@pytest.mark.parametrize(("action", "outcome"), [("start", "lost"), ("start", "success"), ("stop", "error")])
def test_the_last_word_where_a_worker_leaves_is_a_stop_whose_token_fences_what_wakes_later(
    action: str, outcome: str
) -> None:
    subject = leaving(lease=make_lease(action=action, outcome=outcome))
    why = f"desired is stopped (it moves to edge-2) and nothing runs; its last action was {action}: {outcome}"
    plan = make_plan(make_view(subject), NOW)
    assert [(step.action, step.reason, step.leave) for step in plan.steps] == [(Stop(), why, False)]
    stopped = leaving(lease=make_lease(action="stop"))
    assert [step.leave for step in make_plan(make_view(stopped), NOW).steps] == [True]


STAYING = {
    "paused": (make_view(paused(leaving())), Skip("flow-1", SkipReason.PAUSED, "by me@h1 1m05s ago")),
    "its node is away": (
        make_view(leaving(), slots={"edge-2": 5}),
        Skip(
            "flow-1",
            SkipReason.NODE_AWAY,
            "node edge-1 has no live executor; it moves to edge-2 once it is stopped here",
        ),
    ),
    "a stop runs": (
        make_view(leaving(lease=msgspec.structs.replace(RUNNING, action="stop"))),
        Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "stop running for 7s"),
    ),
    "not observed since its stop": (
        make_view(leaving(lease=make_lease(action="stop", ended_at=NOW - 0.5))),
        Skip("flow-1", SkipReason.AWAITING_OBSERVATION, "not observed since its last action ended 0s ago"),
    ),
    "observed too long ago": (
        make_view(leaving(age=10.0)),
        Skip("flow-1", SkipReason.STALE_OBSERVATION, "last observed 10s ago"),
    ),
}


@pytest.mark.parametrize(("view", "skip"), STAYING.values(), ids=STAYING.keys())
def test_a_worker_stays_until_it_is_known_to_be_down(view: View, skip: Skip) -> None:
    assert make_plan(view, NOW) == Plan((), (skip,))


def test_a_worker_leaves_its_place_whatever_holds_back_starts() -> None:
    for view in (make_view(leaving(), circuit_open=True), make_view(quarantined(leaving()))):
        assert [step.leave for step in make_plan(view, NOW).steps] == [True]


def test_a_stopped_worker_that_is_still_in_the_file_is_not_forgotten() -> None:
    assert make_plan(make_view(make_subject(make_snapshot(desired="stopped"))), NOW) == Plan((), ())


def test_an_outdated_worker_is_reconfigured() -> None:
    subject = make_subject(make_snapshot(state="running", observed=up(config_id="c0")))
    reason = "pid 42 runs configuration c0, wanted is c1"
    assert make_plan(make_view(subject), NOW) == Plan((Step(subject, reason, action=Reconfigure()),), ())


def test_a_floating_worker_needs_any_live_executor() -> None:
    subject = make_subject(make_snapshot(state="stopped"), place=POOL)
    some = make_plan(make_view(subject, slots={"edge-1": 5, POOL: 5}), NOW)
    assert [step.status.state for step in some.steps if step.status] == ["starting"]
    none = make_plan(make_view(subject, slots={POOL: 0}), NOW)
    assert none == Plan((), (Skip("flow-1", SkipReason.NODE_AWAY, "no live executor"),))


def test_a_claim_must_find_the_token_of_the_last_lease() -> None:
    assert (wants_start().last_token, wants_start(lease=make_lease(token="17")).last_token) == ("", "17")


def test_a_status_changes_only_with_a_state_or_a_signal() -> None:
    snapshot = make_snapshot(state="running", observed=up())
    same = Transition(reason="pid 42 still runs", state="running")
    assert next_status(snapshot, same, NOW) == snapshot.status
    assert next_status(snapshot, Transition(reason="x", action=Start()), NOW) == snapshot.status
    moved = Transition(reason="pid 42 has gone", state="starting")
    after = msgspec.structs.replace(snapshot.status, state="starting", since=NOW, reason="pid 42 has gone")
    assert next_status(snapshot, moved, NOW) == after


def test_an_exit_that_was_not_early_ends_the_row_of_early_ones() -> None:
    late = Exit(41, 6, started_at=NOW - 90, ended_at=NOW - 2, signal=9)
    before = Status(state="running", since=NOW - 80, restarts=4, early_exits=2, counted_exit="40-1")
    snapshot = make_snapshot(observed=Observed(collected_at=NOW, last_exit=late), status=before)
    transition = Transition(reason="gone", state="running", signal=Signal.EXITED)
    assert next_status(snapshot, transition, NOW) == Status(
        state="running", since=NOW - 80, restarts=5, early_exits=0, counted_exit="41-6", died_at=NOW - 2
    )


def test_a_signal_without_an_observation_counts_nothing() -> None:
    snapshot = msgspec.structs.replace(make_snapshot(), observed=None)
    transition = Transition(reason="gone", state="stopped", signal=Signal.EXITED)
    assert next_status(snapshot, transition, NOW) == snapshot.status


def aged(age: float | None) -> Subject:
    snapshot = make_snapshot(state="running", observed=up())
    return make_subject(msgspec.structs.replace(snapshot, metadata=Metadata(NOW, NOW, None, age)))


@pytest.mark.parametrize(
    ("subject", "phase"),
    [
        (aged(0.0), Phase.RUNNING),
        (aged(19.999), Phase.RUNNING),
        (aged(20.0), Phase.UNKNOWN),
        (aged(None), Phase.UNKNOWN),
        (make_subject(msgspec.structs.replace(make_snapshot(), observed=None)), Phase.UNKNOWN),
        (make_subject(make_snapshot(observed=Observed(collected_at=NOW, error="probe timed out"))), Phase.UNKNOWN),
        (make_subject(make_snapshot(state="running", observed=Observed(collected_at=NOW + 1.0))), Phase.RUNNING),
        (make_subject(make_snapshot(state="running", observed=Observed(collected_at=NOW + 1.1))), Phase.UNKNOWN),
        (make_subject(make_snapshot(state="of another version")), Phase.UNKNOWN),
        (Subject("flow-9", "edge-1", 1, None, None, raising, {}, "not JSON"), Phase.UNKNOWN),
        (make_subject(make_snapshot(kind="dfc_read", state="degraded")), Phase.DEGRADED),
    ],
)
def test_the_phase_that_people_are_shown(subject: Subject, phase: Phase) -> None:
    assert phase_of(subject) is phase


def test_a_stop_that_is_wanted_does_not_wait_for_a_derive_that_works() -> None:
    def broken(snapshot: Snapshot, now: float) -> Transition:
        raise RuntimeError("a bug in a type")

    seen = Observed(collected_at=NOW - 1, pid=42)
    subject = make_subject(make_snapshot(desired="stopped", state="running", observed=seen), derive=broken)
    plan = make_plan(make_view(subject), NOW)
    assert [(step.action, step.reason) for step in plan.steps] == [
        (Stop(), "desired is stopped; RuntimeError: a bug in a type")
    ]


def test_in_a_hold_off_statuses_go_on_but_nobody_is_stopped_or_leaves() -> None:
    stopping = make_subject(make_snapshot(worker_id="a", desired="stopped", state="running", observed=up()))
    gone, moving = leaving(REMOVED, worker_id="b"), leaving(MOVING, worker_id="c")
    view = make_view(stopping, gone, moving, make_subject(make_snapshot(worker_id="d", state="stopped")))
    free = make_plan(view, NOW)
    held = make_plan(msgspec.structs.replace(view, hold_until=NOW + 1), NOW)
    assert [(step.subject.id, step.action is not None, step.leave) for step in held.steps] == [
        (step.subject.id, False, False) for step in free.steps if step.status is not None
    ]
    acting = [step.subject.id for step in free.steps if step.action is not None or step.leave]
    assert [(skip.worker_id, skip.reason) for skip in held.skips] == [(one, SkipReason.HOLD_OFF) for one in acting]
    assert make_plan(msgspec.structs.replace(view, hold_until=NOW), NOW) == free


def test_a_stop_waits_for_nothing_but_the_hold_off_when_nothing_was_observed_since_redis_came_back() -> None:
    view = make_view(wants_stop(), data_since=NOW)
    assert [step.action for step in make_plan(view, NOW).steps] == [Stop()]


def test_a_stop_asks_the_action_that_stands_in_its_way_to_cancel_once() -> None:
    subject = wants_stop(lease=RUNNING)
    held = Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "start running for 7s")
    asked = Step(subject, "desired is stopped", cancel=True)
    assert make_plan(make_view(subject), NOW) == Plan((asked,), (held,))
    again = wants_stop(lease=msgspec.structs.replace(RUNNING, cancel="desired is stopped"))
    assert make_plan(make_view(again), NOW) == Plan((), (held,))


@pytest.mark.parametrize(
    "subject",
    [
        wants_stop(lease=make_lease(stage=Stage.QUEUED), age=3600.0),
        changed(wants_start(lease=RUNNING), desired=REMOVED),
        changed(wants_start(lease=RUNNING), desired=MOVING),
    ],
    ids=["a queued one, without a fresh look", "removed from the file", "moved to another node"],
)
def test_whatever_wants_the_worker_down_asks_the_action_to_cancel(subject: Subject) -> None:
    assert [(step.cancel, step.action) for step in make_plan(make_view(subject), NOW).steps] == [(True, None)]


def test_nobody_is_asked_to_cancel_what_is_wanted_or_is_the_stop_itself_or_is_paused() -> None:
    stopping = wants_stop("b", lease=msgspec.structs.replace(RUNNING, action="stop"))
    subjects = [wants_start("a", lease=RUNNING), stopping, paused(wants_stop("c", lease=RUNNING))]
    assert make_plan(make_view(*subjects), NOW).steps == ()


def test_an_action_that_runs_for_twice_its_timeout_is_told_once() -> None:
    lease = make_lease(stage=Stage.RUNNING, claimed_at=NOW - 200, begun_at=NOW - 60, timeout=30.0)
    subject = wants_start(lease=lease)
    assert subject.snapshot is not None
    noted = msgspec.structs.replace(subject.snapshot.status, stuck_action="a1")
    held = Skip("flow-1", SkipReason.ACTION_IN_PROGRESS, "start running for 1m00s")
    assert make_plan(make_view(subject), NOW) == Plan((Step(subject, held.detail, status=noted),), (held,))
    assert make_plan(make_view(changed(subject, status=noted)), NOW) == Plan((), (held,))
    assert make_plan(make_view(subject), NOW - 0.1).steps == ()


def test_a_wait_in_the_queue_is_not_being_stuck() -> None:
    waiting = wants_start(lease=make_lease(stage=Stage.QUEUED, claimed_at=NOW - 3600))
    assert make_plan(make_view(waiting), NOW).steps == ()


def test_a_budget_is_shared_by_a_group_longest_waiting_first_and_no_other_group_waits() -> None:
    settings = SupervisorSettings(name="plant-1", groups={"line": 2})
    subjects = [
        of_group(wants_start("a", since=NOW - 10)),
        of_group(wants_start("b", since=NOW - 30)),
        of_group(wants_start("c", since=NOW - 20)),
        of_group(wants_start("d", since=NOW - 5), "unlimited"),
        wants_start("e", since=NOW - 1),
    ]
    plan = make_plan(make_view(*subjects, settings=settings), NOW)
    assert [step.subject.id for step in plan.steps] == ["b", "c", "d", "e"]
    assert plan.skips == (Skip("a", SkipReason.BUDGET, "2 of 2 in action in group line"),)


def test_of_a_budget_queued_and_running_actions_take_up_a_place_each_and_a_stop_none() -> None:
    def busy(worker_id: str, lease: Lease) -> Subject:
        return of_group(wants_start(worker_id, lease=msgspec.structs.replace(lease, worker_id=worker_id)))

    view = make_view(
        busy("a", make_lease(stage=Stage.QUEUED)),
        busy("b", RUNNING),
        busy("c", msgspec.structs.replace(RUNNING, action="stop")),
        busy("d", make_lease()),
        Subject("e", "edge-1", 1, RUNNING, None, raising, {}, "not JSON"),
        of_group(wants_start("f")),
        settings=SupervisorSettings(name="plant-1", groups={"line": 3}),
    )
    plan = make_plan(view, NOW)
    assert [step.subject.id for step in plan.steps] == ["d"]
    assert plan.skips[-1] == Skip("f", SkipReason.BUDGET, "3 of 3 in action in group line")


def test_a_resume_ends_the_quarantine_the_backoff_and_what_the_type_makes_of_failures() -> None:
    held = quarantined(wants_start(lease=failed(9, NOW - 2)), early_exits=4, died_at=NOW - 3)
    resumed = changed(held, control=Control(resumed_at=NOW - 1, by="me", at=NOW - 1))
    assert make_plan(make_view(held), NOW).steps[0].action is None
    (step,) = make_plan(make_view(resumed), NOW).steps
    assert step.action == Start()
    assert step.status is not None
    assert (step.status.quarantined_for, step.status.early_exits, step.status.forgiven_action) == ("", 0, "a1")


def test_what_is_remembered_is_written_though_nothing_can_be_derived() -> None:
    blind = make_subject(make_snapshot(state="starting", age=30.0), failed(1))
    broken = wants_start("b", lease=failed(1), derive=raising)
    plan = make_plan(make_view(blind, broken), NOW)
    assert [(step.subject.id, step.action) for step in plan.steps] == [("flow-1", None), ("b", None)]
    assert [step.status.failed_at for step in plan.steps if step.status] == [(NOW - 1.5,)] * 2
    assert [skip.reason for skip in plan.skips] == [SkipReason.AWAITING_OBSERVATION, SkipReason.DERIVE_FAILED]


def test_the_fifth_early_exit_quarantines_and_the_next_start_waits_for_its_end() -> None:
    before = Status(state="failed", since=NOW - 50, early_exits=4, counted_exit="40-1", failed_at=(NOW - 9,) * 4)
    observed = Observed(collected_at=NOW - 1, last_exit=EARLY)
    plan = make_plan(make_view(make_subject(make_snapshot(observed=observed, status=before))), NOW)
    why = "failures: 5 in 9s, last: pid 41 ended with exit code 1 after 2.0s"
    assert plan.skips == (Skip("flow-1", SkipReason.QUARANTINED, f"{why}; ends in 10m00s"),)
    assert [step.status.quarantined_until for step in plan.steps if step.status] == [NOW + 600]


@pytest.mark.parametrize(
    ("collected_at", "ended", "waits"),
    [
        (NOW - 1, NOW - 2, False),
        (NOW - 2, NOW - 1, True),
        (NOW - 1, NOW + 3600, False),
        (NOW + 3599, NOW + 3600, True),
        (NOW + 3601, NOW + 3600, True),
        (NOW - 1, NOW + 0.5, True),
    ],
)
def test_a_look_counts_if_it_began_after_the_last_actions_end_also_when_the_clock_was_set_back_between(
    collected_at: float, ended: float, waits: bool
) -> None:
    snapshot = make_snapshot(state="starting", observed=Observed(collected_at=collected_at))
    plan = make_plan(make_view(make_subject(snapshot, make_lease(ended_at=ended))), NOW)
    assert [skip.reason for skip in plan.skips] == [SkipReason.AWAITING_OBSERVATION] * waits


# -- the order of stops -----------------------------------------------------------------------------------------------


def dependent(state: str = "running", *, wanted: str = "stopped", age: float = 1.0, **changes: Any) -> Subject:
    """Return a worker that depends on worker `base`."""
    snapshot = make_snapshot(worker_id="top", desired=wanted, state=state, observed=up(age))
    desired = msgspec.structs.replace(snapshot.desired, depends_on=("base",))
    return make_subject(msgspec.structs.replace(snapshot, desired=desired, **changes))


def stops(other: Subject, now: float = NOW, **view: Any) -> list[str]:
    """Return who is stopped in a plan for `base`, which is to stop, and another."""
    plan = make_plan(make_view(wants_stop("base"), other, **view), now)
    return [step.subject.id for step in plan.steps if isinstance(step.action, Stop)]


def test_what_depends_on_a_worker_stops_before_it() -> None:
    assert stops(dependent("stopping")) == ["top"]
    plan = make_plan(make_view(wants_stop("base"), dependent("stopping")), NOW)
    assert plan.skips == (Skip("base", SkipReason.DEPENDENCY, "worker top depends on it and stops first"),)
    assert stops(dependent("stopped")) == ["base"]


@pytest.mark.parametrize(
    "other",
    [
        dependent(wanted="running"),
        dependent("stopping", age=30.0),
        dependent("stopping", control=Control(paused=True, by="me", at=NOW)),
        running("top"),
    ],
    ids=["is to go on", "nobody knows how it is", "is paused", "does not depend on it"],
)
def test_a_stop_does_not_wait_for_one_that(other: Subject) -> None:
    assert "base" in stops(other)


def test_a_stop_does_not_wait_for_one_whose_node_is_away() -> None:
    other = msgspec.structs.replace(dependent("stopping"), place="edge-2")
    assert stops(other, slots={"edge-1": 5}) == ["base"]


def test_no_stop_waits_for_ever() -> None:
    waited = wants_stop("base")
    assert waited.snapshot is not None
    status = msgspec.structs.replace(waited.snapshot.status, since=NOW - 60)
    late = make_subject(msgspec.structs.replace(waited.snapshot, status=status))
    plan = make_plan(make_view(late, dependent("stopping")), NOW)
    assert sorted(step.subject.id for step in plan.steps if isinstance(step.action, Stop)) == ["base", "top"]
