"""What a process needs next: conditions, reasons with values in them, and exits counted once."""

from __future__ import annotations

import msgspec
import pytest

from actions.model import Action
from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from supervisor.plan import next_status
from tests.factories import NOW, make_snapshot
from workers.model import Desired, Exit, Observed, Signal, Snapshot, Status, Transition
from workers.process.config import ProcessConfig
from workers.process.states import Condition, classify, derive, require_observed, signal_of

UP = Observed(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
OUTDATED = msgspec.structs.replace(UP, config_id="c0")
KILLED = Exit(41, 6, started_at=NOW - 60, ended_at=NOW - 2, signal=9)
EARLY = Exit(41, 6, started_at=NOW - 12, ended_at=NOW - 2.5, code=1)
SHORT = msgspec.structs.replace(EARLY, ended_at=NOW - 2.1)
STOPPED = msgspec.structs.replace(KILLED, requested=True)
REMOVED = Desired(state="running", config_id="c1", removed=True)
MOVING = Desired(state="running", config_id="c1", moves_to="edge-2")


def down(ended: Exit | None = None) -> Observed:
    """Return a look at a process that is not there."""
    return Observed(collected_at=NOW - 1, last_exit=ended)


def status(state: str = "running", **changes: object) -> Status:
    return msgspec.structs.replace(Status(state=state, since=NOW - 50), **changes)


CASES = {
    "wanted and never started": (
        make_snapshot(),
        (Condition.MISSING, "desired is running and nothing runs: nothing has been started since the host booted"),
    ),
    "wanted and killed": (
        make_snapshot(observed=down(KILLED)),
        (Condition.MISSING, "desired is running and nothing runs: pid 41 was ended by signal 9 after 58.0s"),
    ),
    "two failed starts are still missing": (
        make_snapshot(observed=down(EARLY), failures=2),
        (Condition.MISSING, "desired is running and nothing runs: pid 41 ended with exit code 1 after 9.5s"),
    ),
    "failed actions and early exits add up": (
        make_snapshot(observed=down(EARLY), failures=2, status=status(early_exits=1)),
        (Condition.FAILING, "3 starts in a row failed; pid 41 ended with exit code 1 after 9.5s"),
    ),
    "another configuration": (
        make_snapshot(observed=OUTDATED),
        (Condition.OUTDATED, "pid 42 runs configuration c0, wanted is c1"),
    ),
    "wanted and there": (make_snapshot(observed=UP), (Condition.UP, "pid 42 runs")),
    "not wanted and there": (
        make_snapshot(observed=UP, desired="stopped"),
        (Condition.UNWANTED, "desired is stopped and pid 42 runs"),
    ),
    "not wanted and there with another configuration": (
        make_snapshot(observed=OUTDATED, desired="stopped"),
        (Condition.UNWANTED, "desired is stopped and pid 42 runs"),
    ),
    "not wanted and down": (
        make_snapshot(desired="stopped"),
        (Condition.DOWN, "desired is stopped and nothing runs"),
    ),
    "removed and there": (
        msgspec.structs.replace(make_snapshot(observed=UP), desired=REMOVED),
        (Condition.UNWANTED, "desired is stopped (removed from the fleet file) and pid 42 runs"),
    ),
    "removed and down": (
        msgspec.structs.replace(make_snapshot(), desired=REMOVED),
        (Condition.DOWN, "desired is stopped (removed from the fleet file) and nothing runs"),
    ),
    "moving and there": (
        msgspec.structs.replace(make_snapshot(observed=UP), desired=MOVING),
        (Condition.UNWANTED, "desired is stopped (it moves to edge-2) and pid 42 runs"),
    ),
}


@pytest.mark.parametrize(("snapshot", "expected"), CASES.values(), ids=CASES.keys())
def test_a_snapshot_is_classified_with_the_values_that_decided(
    snapshot: Snapshot, expected: tuple[Condition, str]
) -> None:
    assert snapshot.observed is not None
    assert classify(snapshot, snapshot.observed) == expected


@pytest.mark.parametrize(
    ("state", "snapshot", "next_state", "action"),
    [
        ("stopped", make_snapshot(), "starting", None),
        ("starting", make_snapshot(), None, Start()),
        ("starting", make_snapshot(observed=UP), "running", None),
        ("running", make_snapshot(observed=UP), "running", None),
        ("running", make_snapshot(observed=down(KILLED)), "starting", None),
        ("running", make_snapshot(observed=OUTDATED), None, Reconfigure()),
        ("running", make_snapshot(observed=UP, desired="stopped"), "stopping", None),
        ("stopping", make_snapshot(observed=UP, desired="stopped"), None, Stop()),
        ("stopping", make_snapshot(desired="stopped"), "stopped", None),
        ("starting", make_snapshot(failures=3), "failed", None),
        ("failed", make_snapshot(failures=3), None, Start()),
        ("failed", make_snapshot(observed=UP, failures=3), "running", None),
    ],
)
def test_derive_takes_the_step_that_the_table_has_for_the_condition(
    state: str, snapshot: Snapshot, next_state: str | None, action: Action | None
) -> None:
    asked = msgspec.structs.replace(snapshot, status=status(state, counted_exit=KILLED.id))
    assert asked.observed is not None
    reason = classify(asked, asked.observed)[1]
    assert derive(asked, NOW) == Transition(reason=reason, state=next_state, action=action)


def test_derive_gives_state_action_reason_and_signal_in_one() -> None:
    snapshot = make_snapshot(observed=down(KILLED), state="running")
    assert derive(snapshot, NOW) == Transition(
        reason="desired is running and nothing runs: pid 41 was ended by signal 9 after 58.0s",
        state="starting",
        signal=Signal.EXITED,
    )


@pytest.mark.parametrize("observed", [None, Observed(collected_at=NOW, error="probe timed out")])
def test_there_is_nothing_to_derive_from_an_observation_that_knows_nothing(observed: Observed | None) -> None:
    snapshot = msgspec.structs.replace(make_snapshot(), observed=observed)
    with pytest.raises(ValueError, match="worker 'flow-1' has no observation to derive from"):
        require_observed(snapshot)


@pytest.mark.parametrize(
    ("observed", "before", "signal"),
    [
        (down(KILLED), status(), Signal.EXITED),
        (down(SHORT), status(), Signal.EXITED_EARLY),
        (down(STOPPED), status(), Signal.NONE),
        (down(KILLED), status(counted_exit="41-6"), Signal.NONE),
        (down(KILLED), status(counted_exit="41-5"), Signal.EXITED),
        (down(), status(), Signal.NONE),
        (UP, status(early_exits=2), Signal.SETTLED),
        (msgspec.structs.replace(UP, started_at=NOW - 10), status(early_exits=2), Signal.SETTLED),
        (msgspec.structs.replace(UP, started_at=NOW - 9.9), status(early_exits=2), Signal.NONE),
        (UP, status(early_exits=0), Signal.NONE),
        (down(), status(early_exits=2), Signal.NONE),
        (msgspec.structs.replace(UP, last_exit=KILLED), status(early_exits=2), Signal.EXITED),
    ],
)
def test_a_signal_tells_what_became_known_of_incarnations(observed: Observed, before: Status, signal: Signal) -> None:
    snapshot = make_snapshot(observed=observed, status=before)
    assert signal_of(snapshot, observed, NOW) is signal


@pytest.mark.parametrize(("min_uptime", "signal"), [(9.5, Signal.EXITED), (9.6, Signal.EXITED_EARLY)])
def test_min_uptime_of_the_configuration_decides_whether_an_exit_was_early(min_uptime: float, signal: Signal) -> None:
    desired = Desired(state="running", config={"min_uptime": min_uptime})
    snapshot = msgspec.structs.replace(make_snapshot(observed=down(EARLY)), desired=desired)
    assert signal_of(snapshot, down(EARLY), NOW) is signal


def test_min_uptime_is_ten_seconds_when_the_configuration_has_none() -> None:
    snapshot = msgspec.structs.replace(make_snapshot(observed=down(EARLY)), desired=Desired(state="running"))
    assert signal_of(snapshot, down(EARLY), NOW) is Signal.EXITED_EARLY


def test_an_exit_is_counted_once_however_often_it_is_seen() -> None:
    snapshot = make_snapshot(observed=down(EARLY), state="running")
    for _ in range(5):
        after = next_status(snapshot, derive(snapshot, NOW), NOW)
        snapshot = msgspec.structs.replace(snapshot, status=after)
    assert (snapshot.status.restarts, snapshot.status.early_exits, snapshot.status.counted_exit) == (1, 1, "41-6")
    assert snapshot.status.died_at == EARLY.ended_at


@pytest.mark.parametrize("signal", ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"])
def test_a_process_may_be_stopped_with_the_usual_signals(signal: str) -> None:
    assert ProcessConfig(command=("x",), stop_signal=signal).stop_signal == signal


def test_a_signal_that_stops_nothing_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"Invalid enum value 'STOP' - at `\$.stop_signal`"):
        msgspec.convert({"command": ["x"], "stop_signal": "STOP"}, ProcessConfig)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 20.1])
def test_a_stop_that_could_not_end_within_its_action_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"stop_timeout is {seconds:g}s: expected more than 0s and at most 20s"):
        ProcessConfig(command=("x",), stop_timeout=seconds)  # type: ignore[arg-type]
