"""One worker's history on one time axis: its states, its actions, the circuit above it. Pure; drawn elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from supervisor.history import Event, Run, is_of, runs_of

_CIRCUIT = {"circuit.opened": "open", "circuit.half_opened": "half_open", "circuit.closed": "closed"}
_BEFORE = {"open": "closed", "half_open": "open", "closed": "open"}  # what a circuit was, when its change is the first
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # seconds


@dataclass(frozen=True)
class Span:
    """Something that lasted. `kind` is what it is drawn by: a phase, an outcome, or a circuit's state."""

    name: str
    kind: str
    start: float
    end: float
    detail: str = ""
    waited_until: float | None = None  # of an action: when its wait in the queue was over


@dataclass(frozen=True)
class Mark:
    """Something that happened at once, as an escalation or an operator's act."""

    at: float
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the picture."""

    label: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Timeline:
    """What is drawn: rows and marks from `start` to `end`, seen at `now`; epoch seconds by Redis' clock."""

    title: str
    start: float
    end: float
    now: float
    rows: tuple[Row, ...]
    marks: tuple[Mark, ...] = field(default=())


@dataclass(frozen=True)
class Now:
    """How things are at `at`, at the end or later: they tell of what no event does.

    `phases`: those of the worker's type, by state. `circuit` is what the checks say; `forced` what an operator says
    instead, "" for nothing.
    """

    worker: str
    state: str
    state_since: float
    phases: Mapping[str, str]
    circuit: str
    at: float
    forced: str = ""


def make_timeline(title: str, events: Sequence[Event], now: Now, start: float, end: float) -> Timeline:
    """Put events, oldest first, of a worker, of its children and of its circuit on one axis.

    Events after `end` are not drawn, but tell what was until then.
    """
    mine = [event for event in events if is_of(event, now.worker)]
    first = mine[0]["time"] if mine and _is_new(mine, now) else start
    begins = first if start < first <= end else start
    others = sorted({event["worker_id"] for event in events if event.get("worker_id", "").startswith("child/")})
    rows = [
        Row("state", tuple(_states(mine, now, begins))),
        Row("action", tuple(_actions(mine, now.at))),
        *(Row(child, tuple(_actions([one for one in events if is_of(one, child)], now.at))) for child in others),
        Row("circuit", tuple(_circuit(events, now, begins))),
    ]
    rows = [replace(row, spans=tuple(_clipped(row.spans, begins, end))) for row in rows]
    marks = tuple(mark for mark in _marks(events, now.worker) if begins <= mark.at <= end)
    return Timeline(title, begins, end, now.at, tuple(row for row in rows if row.spans or "/" not in row.label), marks)


def _is_new(mine: Sequence[Event], now: Now) -> bool:
    """Tell whether the worker has had no history before its first event: it was new then."""
    first = next((event for event in mine if event["event"] == "worker.transition"), None)
    return first is not None and now.phases.get(first.get("from", "")) == "stopped" and first is mine[0]


def _states(mine: Sequence[Event], now: Now, start: float) -> Iterator[Span]:
    moves = [event for event in mine if event["event"] == "worker.transition"]
    changes = [(event["time"], event["to"], event.get("reason", "")) for event in moves]
    if not changes:
        changes = [(min(start, now.state_since), now.state, "")]
    elif changes[0][0] > start:
        changes.insert(0, (start, moves[0].get("from", "unknown"), ""))
    for number, (since, state, reason) in enumerate(changes):
        until = changes[number + 1][0] if number + 1 < len(changes) else now.at
        yield Span(state, now.phases.get(state, "unknown"), since, until, reason)


def _actions(events: Iterable[Event], end: float) -> Iterator[Span]:
    for run in sorted(runs_of(events), key=lambda run: run.started):
        begun = run.begun_at if run.begun_at is not None else run.ended_at
        until = run.ended_at if run.ended_at is not None else end
        since = run.started if run.claimed_at is not None or run.took is None else until - run.took
        yield Span(run.action, run.outcome or "running", since, until, _detail(run), begun)


def _detail(run: Run) -> str:
    return "; ".join(part for part in (run.detail, run.reason) if part)


def _circuit(events: Sequence[Event], now: Now, start: float) -> Iterator[Span]:
    """Yield what the circuit was: what an operator forced it to, else what the checks made of it."""
    told = [event for event in events if event["event"] in _CIRCUIT or event["event"] == "operator.circuit"]
    of_checks = [event for event in told if event["event"] in _CIRCUIT]
    checks = _BEFORE[_CIRCUIT[of_checks[0]["event"]]] if of_checks else now.circuit
    forced = now.forced if len(told) == len(of_checks) else ""
    changes = [(min([start, *(event["time"] for event in told)]), forced or checks, "")]
    for event in told:
        if event["event"] in _CIRCUIT:
            checks, reason = _CIRCUIT[event["event"]], str(event.get("error") or event.get("reason") or "")
        else:
            forced = event.get("forced", "")
            reason = f"{'forced' if forced else 'reset'} by {event['by']}: {event.get('reason', '')}"
        if (forced or checks) != changes[-1][1]:
            changes.append((event["time"], forced or checks, reason))
    for number, (since, name, reason) in enumerate(changes):
        until = changes[number + 1][0] if number + 1 < len(changes) else now.at
        if until > since:
            yield Span(name, name, since, until, reason)


def _marks(events: Iterable[Event], worker: str) -> Iterator[Mark]:
    """Tell what operators did and what people had to know, of the worker or of all."""
    for event in events:
        name = event["event"]
        told = name.startswith("operator.") or name in _MARKED
        if told and (is_of(event, worker) or not event.get("worker_id")):
            by = f"by {event['by']}" if event.get("by") else ""
            yield Mark(event["time"], _MARKED.get(name, name.partition(".")[2]), by or str(event.get("reason", "")))


_MARKED = {
    "circuit.escalated": "escalated",
    "worker.quarantined": "quarantined",
    "worker.quarantine_ended": "quarantine ended",
    "store.hold_off": "Redis came back",
}


def _clipped(spans: Iterable[Span], start: float, end: float) -> Iterator[Span]:
    for span in spans:
        if span.end >= start and span.start <= end and (span.end > start or span.start == span.end):
            yield replace(span, start=max(start, span.start), end=min(end, max(span.start, span.end)))


def ticks_of(start: float, end: float, most: int) -> tuple[float, float]:
    """Return the first round time at or after `start` and the step of an axis with at most `most` ticks."""
    least = (end - start) / max(1, most)
    step = next((float(step) for step in _STEPS if step >= least), math.ceil(least / 86400) * 86400.0)
    return math.ceil(start / step) * step, step
