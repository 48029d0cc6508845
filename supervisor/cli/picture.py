"""What `fsmctl watch` shows of one moment: the supervisors' circuits, all workers in order, actions, events. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.admission import Skip
from supervisor.cli import rows
from supervisor.model import Incident
from supervisor.plan import Subject, is_as_desired, make_plan, phase_of
from supervisor.view import World
from workers.duration import ago

Style = str  # as rich names it; bold, dim and reverse stay in black and white
STYLES = {"running": "green", "degraded": "yellow", "failed": "red", "unknown": "magenta"}


@dataclass(frozen=True)
class Worker:
    """One worker: what it is found by, and what its row is made of when it is on the screen."""

    supervisor: str
    world: World
    subject: Subject
    skip: Skip | None
    phase: str
    as_desired: bool

    @property
    def id(self) -> str:
        """Return its id."""
        return self.subject.id

    @property
    def is_paused(self) -> bool:
        """Tell whether an operator has paused it, or a scope that it is in."""
        return self.subject.pause(self.world.now) is not None

    def matches(self, text: str) -> bool:
        """Tell whether a filter lets it through: every word is in its id, node, state, phase or what holds it back."""
        snapshot = self.subject.snapshot
        said = (self.id, self.subject.place, self.phase, snapshot.status.state if snapshot else "unreadable")
        held = self.skip.reason.value if self.skip else ""
        whole = " ".join((*said, held, "" if self.as_desired else "not-as-desired")).lower()
        return all(word in whole for word in text.lower().split())

    def cells(self) -> tuple[str, ...]:
        """Return id, node, desired, state, age of the last look, and what is done or why nothing is."""
        row = rows.worker_row(self.supervisor, self.subject, self.world)
        return (
            self.id,
            str(row["node"]),
            str(row["desired"] or "-"),
            str(row["state"]),
            str(row["observed_age"]),
            self._doing(row),
        )

    def _doing(self, row: dict[str, Any]) -> str:
        action = row["action"]
        if action is not None:
            since = ago(self.world.now - action["since"])
            return f"{action['name']} {action['phase']} {since}"
        if self.skip is not None:
            return f"{self.skip.reason.value}: {self.skip.detail}"
        return str(row["reason"]) if not self.as_desired else str(row["action_or_why_not"] or "")


@dataclass(frozen=True)
class Fleet:
    """Everything at one moment (`now`, epoch seconds by Redis' clock)."""

    now: float
    heads: tuple[tuple[str, Style], ...]
    workers: tuple[Worker, ...]
    counts: str
    actions: tuple[str, ...]
    events: tuple[dict[str, Any], ...]


def fleet_of(
    worlds: Sequence[tuple[str, World]], incidents: Sequence[tuple[str, Incident]], events: Iterable[dict[str, Any]]
) -> Fleet:
    """Return the picture of what was loaded; `incidents` are the open ones, `events` the newest, oldest first."""
    found = [worker for name, world in worlds for worker in _workers(name, world)]
    now = max((world.now for _, world in worlds), default=0.0)
    heads = [line for name, world in worlds for line in _head(name, world)]
    heads += [(_incident_line(name, one, now, len(worlds) > 1), "bold reverse") for name, one in incidents]
    actions = sorted((line for name, world in worlds for line in _actions(world)), reverse=True)
    return Fleet(
        now=now,
        heads=tuple(heads),
        workers=tuple(sorted(found, key=lambda worker: (worker.as_desired, worker.id))),
        counts=_counts(found),
        actions=tuple(line for _, line in actions),
        events=tuple(events),
    )


def _workers(supervisor: str, world: World) -> Iterable[Worker]:
    skips = {skip.worker_id: skip for skip in make_plan(world.view, world.now).skips}
    for subject in world.view.subjects:
        yield Worker(
            supervisor,
            world,
            subject,
            skips.get(subject.id),
            phase_of(subject).value,
            is_as_desired(subject),
        )


def _counts(workers: Sequence[Worker]) -> str:
    """Return how many workers there are of each phase, the most first."""
    phases = Counter(worker.phase for worker in workers)
    astray = sum(not worker.as_desired for worker in workers)
    whole = ", ".join(f"{number} {phase}" for phase, number in phases.most_common())
    return f"{len(workers)} workers: {whole or 'none'}" + (f"; {astray} not as desired" if astray else "")


def _head(supervisor: str, world: World) -> list[tuple[str, Style]]:
    """Return a supervisor's circuit, and below it its children and nodes."""
    circuit = rows.circuit_row(supervisor, world)
    line, style = f"{supervisor}  circuit {circuit['shown'].upper()}", "bold"
    if circuit["state"] == "closed":
        line = f"{supervisor}  circuit {circuit['shown']}"
    else:
        style = "bold reverse"
        line += f" for {circuit['downtime']}, attempt {circuit['retry_attempt']} of {circuit['max_attempts']}"
    if circuit["reason"] and (circuit["state"] != "closed" or circuit["forced"]):
        line += f": {circuit['reason']}"
    children = [f"{child.spec.name} {child.verdict.state}" for child in world.children]
    children += [f"{item.removeprefix('child/')} unreadable" for item in world.unreadable_children]
    nodes = [f"{name} {rows.node_row(supervisor, name, world)['status']}" for name in sorted(world.nodes)]
    parts = [f"{word} {', '.join(said)}" for word, said in (("children", children), ("nodes", nodes)) if said]
    return [(line, style), ("  " + "; ".join(parts), "")] if parts else [(line, style)]


def _incident_line(supervisor: str, incident: Incident, now: float, several: bool) -> str:
    of = f" of {supervisor}" if several else ""
    told = ", ESCALATED" if incident.escalated_at is not None else ""
    return f"INCIDENT{of} for {ago(incident.duration(now))}{told}: {incident.reason}"


def _actions(world: World) -> Iterable[tuple[float, str]]:
    """Yield the actions in progress, each with for how long."""
    leases = [(subject.id, subject.place, subject.lease) for subject in world.view.subjects]
    leases += [(child.spec.id, child.place, child.lease) for child in world.children]
    for item, place, lease in leases:
        if lease is not None and lease.in_progress:
            since = world.now - (lease.begun_at if lease.begun_at is not None else lease.claimed_at)
            yield since, f"{ago(since):>6}  {lease.action:<12} {lease.stage.value:<8} {item} on {place}"


def event_cells(event: dict[str, Any], now: float) -> str:
    """Return one event in a line: age, what, whose, and its values."""
    known = ("id", "time", "supervisor", "event", "worker_id", "child_name", "token", "action_id")
    values = " ".join(f"{key}={value}" for key, value in event.items() if key not in known and value)
    whose = event.get("worker_id") or event.get("child_name") or event["supervisor"]
    return f"{ago(now - event['time']):>6}  {event['event']:<18} {whose} {values}".rstrip()
