"""What a worker that is run by commands needs next, judged by what its status command said."""

from __future__ import annotations

import msgspec
import pytest

from actions.model import Action
from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from tests.factories import NOW, make_snapshot
from workers.command.config import CommandConfig
from workers.command.states import CommandObserved, classify, derive
from workers.model import Desired, Exit, Observed, Signal, Snapshot, Status, Transition
from workers.process.states import Condition

UP = CommandObserved(collected_at=NOW - 1, running=True, started_at=NOW - 100, config_id="c1")
DOWN = CommandObserved(collected_at=NOW - 1)
ENDED = Exit(0, 1, started_at=NOW - 40, ended_at=NOW - 2)
GONE = msgspec.structs.replace(DOWN, last_exit=ENDED)
BRIEF = msgspec.structs.replace(DOWN, last_exit=msgspec.structs.replace(ENDED, started_at=NOW - 11.5))


def seen(observed: Observed, state: str = "running", desired: str = "running", **changes: object) -> Snapshot:
    status = msgspec.structs.replace(Status(state=state, since=NOW - 50), **changes)
    return make_snapshot(kind="command", observed=observed, desired=desired, status=status)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (seen(DOWN), (Condition.MISSING, "desired is running and nothing runs: it has not been seen to run yet")),
        (
            seen(GONE),
            (
                Condition.MISSING,
                "desired is running and nothing runs: it was seen to run for 38.0s and then not any more",
            ),
        ),
        (seen(UP), (Condition.UP, "it runs")),
        (
            seen(msgspec.structs.replace(UP, config_id="c0")),
            (Condition.OUTDATED, "it runs configuration c0, wanted is c1"),
        ),
        (seen(UP, desired="stopped"), (Condition.UNWANTED, "desired is stopped and it runs")),
        (seen(DOWN, desired="stopped"), (Condition.DOWN, "desired is stopped and nothing runs")),
        (
            seen(Observed(collected_at=NOW)),
            (Condition.MISSING, "desired is running and nothing runs: it has not been seen to run yet"),
        ),
    ],
)
def test_a_snapshot_is_classified_with_what_decided(snapshot: Snapshot, expected: tuple[Condition, str]) -> None:
    assert snapshot.observed is not None
    assert classify(snapshot, snapshot.observed) == expected


def test_what_moves_is_stopped_where_it_is() -> None:
    snapshot = msgspec.structs.replace(seen(UP), desired=Desired(state="running", config_id="c1", moves_to="edge-2"))
    assert classify(snapshot, UP) == (Condition.UNWANTED, "desired is stopped (it moves to edge-2) and it runs")


@pytest.mark.parametrize(
    ("snapshot", "state", "action"),
    [
        (seen(DOWN, "stopped"), "starting", None),
        (seen(DOWN, "starting"), None, Start()),
        (seen(UP, "starting"), "running", None),
        (seen(msgspec.structs.replace(UP, config_id="c0")), None, Reconfigure()),
        (seen(UP, "stopping", "stopped"), None, Stop()),
        (seen(DOWN, "stopping", "stopped"), "stopped", None),
    ],
)
def test_derive_takes_the_step_of_the_process_table(
    snapshot: Snapshot, state: str | None, action: Action | None
) -> None:
    assert snapshot.observed is not None
    reason = classify(snapshot, snapshot.observed)[1]
    assert derive(snapshot, NOW) == Transition(reason=reason, state=state, action=action)


@pytest.mark.parametrize(
    ("snapshot", "signal"),
    [
        (seen(GONE), Signal.EXITED),
        (seen(BRIEF), Signal.EXITED_EARLY),
        (seen(BRIEF, "starting"), Signal.EXITED_EARLY),
        (seen(GONE, counted_exit=ENDED.id), Signal.NONE),
        (seen(GONE, "stopped", since=NOW - 1), Signal.NONE),
        (seen(GONE, "stopping"), Signal.NONE),
        (seen(GONE, "stopping", "stopped"), Signal.NONE),
        (seen(GONE, desired="stopped"), Signal.NONE),
        (seen(UP, early_exits=2), Signal.SETTLED),
        (seen(UP), Signal.NONE),
    ],
)
def test_an_end_counts_unless_it_may_have_been_asked_for(snapshot: Snapshot, signal: Signal) -> None:
    assert derive(snapshot, NOW).signal is signal


@pytest.mark.parametrize("key", ["start", "stop", "status"])
def test_a_command_without_a_program_is_refused(key: str) -> None:
    words = {"start": ("a",), "stop": ("a",), "status": ("a",), key: (" ",)}
    with pytest.raises(ValueError, match=f"{key} begins with an empty word: expected the program to run"):
        CommandConfig(**words)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 5.1])
def test_a_look_that_would_be_cut_off_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"status_timeout is {seconds:g}s: expected more than 0s and at most 5s"):
        CommandConfig(start=("a",), stop=("a",), status=("a",), status_timeout=seconds)  # type: ignore[arg-type]
