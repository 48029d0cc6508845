"""What event streams tell, put together: actions from claim to end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

Event = Mapping[str, Any]


class Standing(StrEnum):
    """Where an action stands that has no end yet. `unknown`: its lease is another's now, and no end was told."""

    QUEUED = "queued"
    RUNNING = "running"
    UNKNOWN = "unknown"


@dataclass
class Run:
    """One action from claim to end, as far as events tell. Times are epoch seconds; None for what was not told."""

    supervisor: str
    place: str
    worker_id: str
    action: str
    action_id: str
    token: str = ""
    reason: str = ""
    claimed_at: float | None = None
    begun_at: float | None = None
    ended_at: float | None = None
    queue_wait: float | None = None
    took: float | None = None
    executor: str = ""
    outcome: str = ""
    detail: str = ""

    @property
    def last_told(self) -> float:
        """Return when it was heard of last."""
        return self.ended_at or self.begun_at or self.claimed_at or 0.0

    @property
    def started(self) -> float:
        """Return the earliest time at which it is known to have been under way."""
        times = (self.claimed_at, self.begun_at, self.ended_at)
        return next((time for time in times if time is not None), 0.0)


def runs_of(events: Iterable[Event]) -> list[Run]:
    """Return the actions that events, oldest first, tell of; the one that was heard of last at the end.

    An event that lacks what every such event says is skipped: a node can write what it likes into its own stream.
    """
    runs: dict[str, Run] = {}
    for event in events:
        tell = _TELLS.get(event["event"])
        if tell is not None and _is_whole(event):
            run = runs.setdefault(event["action_id"], _run(event))
            tell(run, event)
    return sorted(runs.values(), key=lambda run: run.last_told)


def _is_whole(event: Event) -> bool:
    fields = (*_ALWAYS, *_BESIDES[event["event"]])
    return all(field in event for field in fields) and all(
        _is_number(event[field]) for field in fields if field in _NUMBERS
    )


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False


def _run(event: Event) -> Run:
    return Run(event["supervisor"], event["place"], event["worker_id"], event["action"], event["action_id"])


def _claimed(run: Run, event: Event) -> None:
    run.claimed_at, run.token, run.reason = event["time"], event["token"], event["reason"]


def _begun(run: Run, event: Event) -> None:
    run.begun_at, run.token, run.executor = event["time"], event["token"], event["executor"]
    run.queue_wait = float(event["queue_wait"])


def _ended(run: Run, event: Event) -> None:
    run.ended_at, run.token = event["time"], event["token"]
    run.outcome, run.detail = event["outcome"], event["detail"]
    if run.begun_at is not None or run.claimed_at is None:  # what was claimed and never begun has only waited
        run.took = float(event["duration"])


_ALWAYS = ("worker_id", "action", "action_id", "token")
_BESIDES = {
    "action.claimed": ("reason",),
    "action.begun": ("executor", "queue_wait"),
    "action.ended": ("outcome", "detail", "duration"),
}
_NUMBERS = ("queue_wait", "duration")
_TELLS = {"action.claimed": _claimed, "action.begun": _begun, "action.ended": _ended}


def standing(run: Run, in_progress: bool) -> str:
    """Return the outcome, or where the action stands; `in_progress` tells whether it has its worker's lease."""
    if run.outcome:
        return run.outcome
    if not in_progress:
        return Standing.UNKNOWN.value
    return (Standing.QUEUED if run.begun_at is None else Standing.RUNNING).value


def is_of(event: Event, item: str) -> bool:
    """Tell whether an event is about a worker or `child/NAME`."""
    child = event.get("child_name")
    return event.get("worker_id") == item or (bool(child) and f"child/{child}" == item)


def is_kind(name: str, kinds: Iterable[str]) -> bool:
    """Tell whether an event's name is one of those wanted: a name, a pattern with `*`, or the part before a dot."""
    return any(fnmatchcase(name, kind) or name.partition(".")[0] == kind for kind in kinds)
