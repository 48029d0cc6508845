"""What an apply has to ask for: what it removes, and what it stops."""

from __future__ import annotations

from supervisor.cli.apply import destruction
from supervisor.diff import Change, Changed, Difference

STOP = (Change("config.cwd", "/", "/srv"), Change("state", "running", "stopped"))


def different(
    *changed: Changed, moving: tuple[Changed, ...] = (), removed: tuple[tuple[str, str], ...] = ()
) -> Difference:
    return Difference("plant-1", False, (), (), changed, moving, removed, 0)


def test_what_only_changes_or_starts_is_not_asked_for() -> None:
    started = Changed("a", "edge-1", (Change("state", "stopped", "running"),))
    assert destruction([different(started, Changed("b", "edge-1", STOP[:1]))]) == ""


def test_workers_that_are_stopped_are_asked_for_whether_they_move_or_not() -> None:
    found = different(Changed("a", "edge-1", STOP), moving=(Changed("b", "edge-1", STOP, "edge-2"),))
    assert destruction([found]) == "stop worker/a, worker/b"


def test_what_is_removed_and_what_is_stopped_are_told_apart_and_shortened() -> None:
    removed = tuple((f"w{number}", "edge-1") for number in range(6))
    found = different(Changed("a", "edge-1", STOP), removed=(*removed, ("child/broker", "edge-1")))
    assert destruction([found]) == (
        "remove worker/w0, worker/w1, worker/w2, worker/w3, worker/w4 and 2 more and stop worker/a"
    )
