"""What people and scripts are shown of workers, children, nodes, actions and circuits. The JSON keys are stable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from supervisor.breaker import recovery_status
from supervisor.conditions import Condition, ConditionType, conditions, standing, stuck
from supervisor.model import CLOCK_SKEW, Incident, Lease, NodeDocument, Stage, SupervisorSettings
from supervisor.plan import Subject, derived, make_plan, phase_of, remembered
from supervisor.rendezvous import is_away
from supervisor.runbooks import runbook_of
from supervisor.view import Child, World
from workers.duration import ago
from workers.model import Phase

_SHOWN = (ConditionType.PAUSED, ConditionType.QUARANTINED)  # the rest can be seen in other columns


def rounded(seconds: float | None) -> float | None:
    """Return seconds to a tenth."""
    return None if seconds is None else round(seconds, 1)


def worker_rows(supervisor: str, world: World) -> list[dict[str, Any]]:
    """Return all workers; `skip` is the planner's own reason why nothing is done now, if there is one."""
    plan = make_plan(world.view, world.now)
    skips = {skip.worker_id: skip for skip in plan.skips}
    rows = []
    for subject in world.view.subjects:
        skip = skips.get(subject.id)
        row = worker_row(supervisor, subject, world)
        row["skip"] = None if skip is None else {"reason": skip.reason.value, "detail": skip.detail}
        rows.append(row)
    return rows


def worker_lines(supervisor: str, world: World) -> list[dict[str, Any]]:
    """Return what a plain list shows of all workers, for which nothing has to be derived or planned."""
    now, settings = world.now, world.index.settings
    lines = [_worker(supervisor, subject, now) for subject in world.view.subjects]
    for line, subject in zip(lines, world.view.subjects, strict=True):
        line.update(_action_or_why_not(subject, standing(subject, settings, now)))
    return lines


def worker_row(supervisor: str, subject: Subject, world: World) -> dict[str, Any]:
    """Return one worker; a worker whose documents cannot be read is shown with that as its reason."""
    reason, next_state = judged(subject, world.index.settings, world.now)
    held = conditions(subject, world.index.settings, world.now)
    return {
        **_worker(supervisor, subject, world.now),
        "reason": reason,
        "next_state": next_state,
        "conditions": [condition_of(one) for one in held],
        "condition": ",".join(one.type for one in held),
        **_action_or_why_not(subject, held),
    }


def _worker(supervisor: str, subject: Subject, now: float) -> dict[str, Any]:
    """Return what is stored of a worker."""
    snapshot = subject.snapshot
    if snapshot is None:
        return {**_UNREADABLE, "id": subject.id, "node": subject.place, "supervisor": supervisor}
    desired, status, observed, age = snapshot.desired, snapshot.status, snapshot.observed, snapshot.metadata.age_seconds
    return {
        "id": subject.id,
        "type": snapshot.identity.type,
        "node": subject.place,
        "group": desired.group or None,
        "labels": desired.labels,
        "desired": desired.state,
        "state": status.state,
        "phase": phase_of(subject).value,
        "observed_age_seconds": rounded(age),
        "pid": observed.pid if observed else None,
        "restarts": status.restarts,
        "overridden": snapshot.overridden,
        "removed": desired.removed,
        "moves_to": desired.moves_to or None,
        "since": rounded(status.since),
        "supervisor": supervisor,
        "observed_age": ago(age),
        "state_age": ago(now - status.since),
    }


_UNREADABLE: dict[str, Any] = {
    **dict.fromkeys(("id", "type", "node", "group")),
    "labels": {},
    "desired": None,
    "state": "unreadable",
    "phase": Phase.UNKNOWN.value,
    **dict.fromkeys(("observed_age_seconds", "pid")),
    "restarts": 0,
    "overridden": False,
    "removed": False,
    **dict.fromkeys(("moves_to", "since", "supervisor")),
    "observed_age": "-",
    "state_age": "-",
}


def condition_of(condition: Condition) -> dict[str, Any]:
    """Return a condition as JSON has it."""
    return {"type": condition.type.value, "reason": condition.reason, "since": rounded(condition.since)}


def _action_or_why_not(subject: Subject, held: Sequence[Condition]) -> dict[str, Any]:
    """Return the action in progress, and in a word what an operator must know when there is none."""
    lease, snapshot = subject.lease, subject.snapshot
    if lease is not None and lease.in_progress:
        is_stuck = ConditionType.STUCK in {one.type for one in held}
        shown: str | None = f"{lease.action}, stuck" if is_stuck else lease.action
    else:
        moving = "moving" if snapshot is not None and snapshot.desired.moves_to else None
        shown = next((one.type.value for one in held if one.type in _SHOWN), moving) if held else moving
    return {"action": action_of(lease, subject.place), "action_or_why_not": shown}


def judged(subject: Subject, settings: SupervisorSettings, now: float) -> tuple[str, str | None]:
    """Return why the worker is as it is, from what is known now, and the state that the next tick will give it.

    None: it keeps its state, or nothing can be said of it.
    """
    snapshot = remembered(subject, settings, now)
    if snapshot is None:
        return subject.unreadable, None
    if phase_of(subject) is Phase.UNKNOWN:
        if snapshot.observed is None:
            return "not observed yet", None
        return snapshot.observed.error or f"last observed {ago(snapshot.metadata.age_seconds)} ago", None
    transition = derived(subject, snapshot, now)
    if isinstance(transition, str):
        return transition, None
    return transition.reason, transition.state if transition.state != snapshot.status.state else None


def action_of(lease: Lease | None, place: str) -> dict[str, Any] | None:
    """Return the action in progress, or None."""
    if lease is None or not lease.in_progress:
        return None
    since = lease.begun_at if lease.begun_at is not None else lease.claimed_at
    return {
        "id": lease.action_id,
        "name": lease.action,
        "phase": lease.stage.value,
        "node": place,
        "since": rounded(since),
    }


def child_row(supervisor: str, child: Child, world: World) -> dict[str, Any]:
    """Return one child with its verdict."""
    seen = child.observed
    age = world.now - seen.collected_at if seen else None
    book = runbook_of(child.spec)
    return {
        "name": child.spec.name,
        "type": child.spec.type,
        "node": child.spec.node or None,
        "verdict": child.verdict.state,
        "detail": child.verdict.detail,
        "pid": seen.pid if seen else None,
        "observed_age_seconds": rounded(age),
        "action": action_of(child.lease, child.place),
        "runbook_url": book.url,
        "manual_steps": list(book.steps),
        "conditions": [condition_of(one) for one in stuck(child.lease, world.now)],
        "supervisor": supervisor,
        "observed_age": ago(age),
    }


def unreadable_child_row(supervisor: str, item: str, why: str, world: World) -> dict[str, Any]:
    """Return a child whose documents cannot be read, with that as its detail."""
    known = {"name": item.removeprefix("child/"), "node": world.index.places[item], "supervisor": supervisor}
    empty = dict.fromkeys(("type", "pid", "observed_age_seconds", "action", "runbook_url"))
    return {
        **known,
        **empty,
        "manual_steps": [],
        "conditions": [],
        "verdict": "unknown",
        "detail": why,
        "observed_age": None,
    }


def node_row(supervisor: str, place: str, world: World) -> dict[str, Any]:
    """Return one node with the ages of its two heartbeats."""
    node, collector = world.nodes[place]
    away = is_away(node, world.now)
    collector_age = world.now - collector.at if collector else None
    return {
        "name": place,
        "status": "away" if away else _drained(place, node, world) or "ready",
        "host": node.host if node else None,
        "executor": node.executor if node else None,
        "slots": node.slots if node else None,
        "heartbeat_age_seconds": rounded(world.now - node.at) if node else None,
        "collector_age_seconds": rounded(collector_age),
        "observed": collector.observed if collector else None,
        "clock_skew_seconds": world.clock_skew(place),
        "supervisor": supervisor,
        "heartbeat_age": ago(world.now - node.at) if node else "-",
        "collector_age": ago(collector_age),
        "clock_skew": _shown_skew(world.clock_skew(place)),
    }


def _drained(place: str, node: NodeDocument | None, world: World) -> str:
    """Return how far the drain of a node that lives has got: it takes no floating work; "" for none."""
    if place not in world.drained:
        return ""
    return "drained" if node is not None and node.drained else "draining"


def _shown_skew(seconds: float | None) -> str:
    """Return a clock's skew with its sign, as "+2h00m" when it is ahead; "-" when it is not worth a word."""
    if seconds is None or abs(seconds) <= CLOCK_SKEW:
        return "-"
    return f"{'+' if seconds > 0 else '-'}{ago(round(abs(seconds)))}"


def circuit_row(supervisor: str, world: World) -> dict[str, Any]:
    """Return a supervisor's circuit."""
    breaker, forced = world.breaker, world.breaker.forced
    down, downtime = breaker.state != "closed", breaker.downtime(world.now)
    return {
        "supervisor": supervisor,
        "state": breaker.effective,
        "reason": breaker.reason if forced is None else f"forced by {forced.by}: {forced.reason or 'no reason given'}",
        "forced": None if forced is None else msgspec.structs.asdict(forced),
        "retry_attempt": breaker.attempts,
        "max_attempts": world.index.settings.max_attempts,
        "recovery_status": recovery_status(breaker.attempts) if down else None,
        "opened_at": rounded(breaker.opened_at),
        "closed_at": rounded(breaker.closed_at),
        "downtime_seconds": rounded(downtime) if down else None,
        "incident": breaker.incident or None,
        "escalated": breaker.escalated,
        "generation": breaker.generation,
        "downtime": ago(downtime) if down else "-",
        "shown": breaker.effective if forced is None else f"{breaker.effective}, forced",
    }


def incident_row(supervisor: str, incident: Incident, now: float) -> dict[str, Any]:
    """Return an incident, open or over."""
    duration = incident.duration(now)
    return {
        "id": incident.id,
        "supervisor": supervisor,
        "state": "open" if incident.closed_at is None else "closed",
        "reason": incident.reason,
        "children": list(incident.children),
        "attempts": incident.attempts,
        "opened_at": rounded(incident.opened_at),
        "escalated_at": rounded(incident.escalated_at),
        "closed_at": rounded(incident.closed_at),
        "duration_seconds": rounded(duration),
        "opened": ago(now - incident.opened_at),
        "escalated_shown": "yes" if incident.escalated_at is not None else "no",
        "duration": ago(duration),
    }


def action_row(supervisor: str, worker_id: str, place: str, lease: Lease, now: float) -> dict[str, Any]:
    """Return the action in progress, or the last one, of a worker or child."""
    begun, ended = lease.begun_at, lease.ended_at
    running = now - begun if begun is not None else None
    took = ended - begun if begun is not None and ended is not None else running
    return {
        "worker_id": worker_id,
        "action": lease.action,
        "id": lease.action_id,
        "stage": lease.stage.value,
        "outcome": lease.outcome or None,
        "detail": lease.detail or lease.reason,
        "token": lease.token,
        "node": place,
        "executor": lease.executor or None,
        "claimed_at": rounded(lease.claimed_at),
        "ended_at": rounded(ended),
        "duration_seconds": None if took is None else round(took, 3),
        "supervisor": supervisor,
        "age": ago(now - (ended if ended is not None else lease.claimed_at)),
        "status": lease.outcome if lease.stage is Stage.FREE else lease.stage.value,
        "took": None if took is None else f"{took:.1f}s",
    }


def public(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what only the table needs."""
    keep_status = "heartbeat_age" in row  # a node's status is data
    return {key: value for key, value in row.items() if key not in _HIDDEN or (key == "status" and keep_status)}


_HIDDEN = frozenset(
    (
        "observed_age",
        "state_age",
        "action_or_why_not",
        "condition",
        "heartbeat_age",
        "clock_skew",
        "collector_age",
        "downtime",
        "opened",
        "duration",
        "shown",
        "escalated_shown",
        "age",
        "status",
        "took",
        "until",
        "oldest",
    )
)
