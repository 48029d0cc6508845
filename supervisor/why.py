"""Why a worker, child, node or circuit is as it is, why nothing is done for it, and what comes next and when. Pure.

Nothing is guessed: reasons are the planner's own, on the documents that a tick would load. The JSON keys are stable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.admission import Skip, SkipReason
from supervisor.breaker import recovery_status
from supervisor.conditions import conditions, stuck
from supervisor.decide import Decided, next_attempt_at, retry_at
from supervisor.model import NODE_AWAY_AFTER, Lease, Stage
from supervisor.nextup import Case, Next, nexts
from supervisor.plan import Step, Subject, derived, phase_of, remembered
from supervisor.rendezvous import is_away
from supervisor.runbooks import runbook_of
from supervisor.view import Child, World
from workers.duration import ago
from workers.model import STALE_AFTER

_OF_CIRCUIT = (SkipReason.CIRCUIT_OPEN, SkipReason.HALF_OPEN, SkipReason.RAMP)
_NO_ATTEMPT = float("inf")  # a restart is in progress: its end decides


@dataclass(frozen=True)
class Moment:
    """One supervisor at one moment, and what a tick would decide then."""

    supervisor: str
    world: World
    decided: Decided

    @property
    def now(self) -> float:
        """Return the moment (epoch seconds, Redis' clock)."""
        return self.world.now

    @property
    def opens(self) -> bool:
        """Tell whether the tick opens the circuit, and ends there."""
        return self.decided.decision.breaker.is_open and not self.world.breaker.is_open

    def skips(self) -> Mapping[str, Skip]:
        """Return the skips by worker."""
        return {skip.worker_id: skip for skip in self.decided.plan.skips}

    def upcoming(self, found: Iterable[Next]) -> list[dict[str, Any]]:
        """Return what comes next as JSON has it, the soonest first; what nobody can time last."""
        ordered = sorted(found, key=lambda one: _NO_ATTEMPT if one.at is None else one.at)
        return [{"what": one.what, **self._time("", one.at), "see": one.see or None} for one in ordered]

    def _time(self, name: str, at: float | None) -> dict[str, float | None]:
        """Return a time and how far ahead it is, under `NAME_at` and `NAME_in_seconds`."""
        known = None if at is None or at == _NO_ATTEMPT else at
        before = f"{name}_" if name else ""
        ahead = None if known is None else round(known - self.now, 1)
        return {f"{before}at": None if known is None else round(known, 1), f"{before}in_seconds": ahead}

    def observation(self, collected_at: float | None, error: str | None) -> dict[str, Any]:
        """Return how old an observation is, and when the next look is due."""
        age = None if collected_at is None else self.now - collected_at
        due = None if collected_at is None else collected_at + self.world.index.settings.observation_interval
        return {
            "age_seconds": None if age is None else round(age, 1),
            "stale": age is None or age >= STALE_AFTER,
            "error": error,
            **self._time("due", due),
        }

    def lease(self, lease: Lease | None) -> dict[str, Any] | None:
        """Return who holds the lease and until when, or what its last action was."""
        if lease is None:
            return None
        since = lease.ended_at if lease.stage is Stage.FREE else lease.begun_at or lease.claimed_at
        return {
            "action": lease.action,
            "stage": lease.stage.value,
            "holder": (lease.executor or None) if lease.in_progress else None,
            "token": lease.token,
            "since_seconds": None if since is None else round(self.now - since, 1),
            **self._time("until", lease.deadline if lease.in_progress else None),
            "cancel": lease.cancel or None,
            "outcome": lease.outcome or None,
            "detail": lease.detail or lease.reason or None,
            "executor": lease.executor or None,
        }


def explain_worker(moment: Moment, subject: Subject) -> dict[str, Any]:
    """Return why a worker is in its state, why no action runs, and what comes next."""
    snapshot, skip = subject.snapshot, moment.skips().get(subject.id)
    observed = snapshot.observed if snapshot else None
    held = conditions(subject, moment.world.index.settings, moment.now)
    step = next((step for step in moment.decided.plan.steps if step.subject.id == subject.id), None)
    case = Case(moment.supervisor, moment.world, moment.decided, subject, step, skip)
    return {
        "id": f"worker/{subject.id}",
        "supervisor": moment.supervisor,
        "node": subject.place,
        "state": snapshot.status.state if snapshot else "unreadable",
        "phase": phase_of(subject).value,
        "for_seconds": round(moment.now - snapshot.status.since, 1) if snapshot else None,
        "desired": snapshot.desired.state if snapshot else None,
        "overridden": snapshot.overridden if snapshot else False,
        "reason": reason_of(moment, subject),
        "skip": None if skip is None else {"reason": skip.reason.value, "detail": skip.detail},
        "would": _would(step),
        "next": moment.upcoming(nexts(case)),
        "lease": moment.lease(subject.lease),
        "observation": moment.observation(
            observed.collected_at if observed else None, observed.error if observed else None
        ),
        "conditions": [{"type": one.type.value, "reason": one.reason} for one in held],
    }


def reason_of(moment: Moment, subject: Subject) -> str:
    """Return why the worker is in its state, from what is known of it now; else why it was brought there."""
    snapshot = remembered(subject, moment.world.index.settings, moment.now)
    if snapshot is None:
        return subject.unreadable
    if snapshot.observed is None or snapshot.observed.error is not None or snapshot.is_stale:
        return snapshot.status.reason
    transition = derived(subject, snapshot, moment.now)
    return transition if isinstance(transition, str) else transition.reason


def _would(step: Step | None) -> dict[str, Any] | None:
    """Return what the next tick does for a worker, or None."""
    if step is None:
        return None
    before = step.subject.snapshot.status.state if step.subject.snapshot else None
    after = step.status.state if step.status else before
    return {
        "action": step.action.name if step.action else None,
        "state": after if after != before else None,
        "cancel": step.cancel,
        "leave": step.leave,
        "reason": step.reason,
    }


def explain_child(moment: Moment, child: Child) -> dict[str, Any]:
    """Return why a child is judged as it is, when it is restarted next, and who depends on it."""
    seen, name = child.observed, child.spec.name
    recovery = moment.world.breaker.children.get(name)
    book = runbook_of(child.spec)
    return {
        "id": child.spec.id,
        "supervisor": moment.supervisor,
        "node": child.place,
        "verdict": child.verdict.state,
        "reason": child.verdict.detail,
        "check": f"{child.spec.check.kind} {child.spec.check.target}",
        "failed_looks": seen.failures if seen else 0,
        "failures_allowed": child.spec.check.failures,
        "attempts": recovery.attempts if recovery else 0,
        "max_attempts": moment.world.index.settings.max_attempts,
        "next": moment.upcoming(_of_child(moment, child)),
        "lease": moment.lease(child.lease),
        "observation": moment.observation(seen.collected_at if seen else None, seen.error if seen else None),
        "conditions": [{"type": one.type.value, "reason": one.reason} for one in stuck(child.lease, moment.now)],
        "dependents": sorted(
            subject.id
            for subject in moment.world.view.subjects
            if subject.snapshot is not None and name in subject.snapshot.desired.depends_on
        ),
        "runbook_url": book.url,
        "manual_steps": list(book.steps),
    }


def _of_child(moment: Moment, child: Child) -> list[Next]:
    """Return what comes next of a child."""
    lease = child.lease
    if child.verdict.state == "ok" and not child.verdict.lacks:
        return []
    if lease is not None and lease.in_progress:
        return [Next(f"its {lease.action} ends, or is over its time", (lease.begun_at or moment.now) + lease.timeout)]
    if child in moment.decided.restarts:
        return [Next("the next tick restarts it", moment.now)]
    if child.verdict.lacks:
        return [_of_lacking(moment, child)]
    if child.verdict.state == "failed":
        return [_of_failed(moment, child)]
    see = f"node/{child.spec.node}" if child.spec.node else ""
    due = None if child.observed is None else child.observed.collected_at
    interval = moment.world.index.settings.observation_interval
    return [Next("its next look decides", None if due is None else due + interval, see)]


def _of_lacking(moment: Moment, child: Child) -> Next:
    """Return what comes next of a child whose topics are not all there."""
    if child in moment.decided.creations:
        return Next("the next tick has its topics created", moment.now)
    held = _held(moment, child, "created")
    failed = f" again: {child.lease.detail}" if child.lease is not None and child.lease.failures else ""
    return held or Next(f"its topics are created{failed}", retry_at(child))


def _held(moment: Moment, child: Child, what: str) -> Next | None:
    """Return what has to end before anything is done for a child that mends it, if something has."""
    forced = moment.world.breaker.forced
    if forced is not None and forced.state == "open":
        return Next(f"nothing is {what} until `fsmctl circuit reset {moment.supervisor}`")
    if child.place in moment.world.drained:
        return Next(f"nothing is {what} until the drain of {child.place} ends", see=f"node/{child.place}")
    return None


def _of_failed(moment: Moment, child: Child) -> Next:
    """Return what comes next of a child that failed and is not restarted by the next tick."""
    breaker = moment.world.breaker
    if (held := _held(moment, child, "restarted")) is not None:
        return held
    if child.spec.type == "supervisor":
        return Next("it looks after itself: see its own circuit", see=f"circuit/{child.spec.name}")
    attempts = breaker.children[child.spec.name].attempts if child.spec.name in breaker.children else 0
    return Next(f"attempt {attempts + 1} to restart it", next_attempt_at(child, moment.world))


def explain_circuit(moment: Moment) -> dict[str, Any]:
    """Return why a circuit is open, half open or closed, whom it holds back, and what changes that."""
    breaker, world = moment.world.breaker, moment.world
    down = breaker.state != "closed"
    ill = [child for child in world.children if child.verdict.state != "ok"]
    held = Counter(skip.reason.value for skip in moment.decided.plan.skips if skip.reason in _OF_CIRCUIT)
    forced = breaker.forced
    return {
        "id": f"circuit/{moment.supervisor}",
        "supervisor": moment.supervisor,
        "state": breaker.effective,
        "reason": breaker.reason or "no check has failed yet",
        "forced": None if forced is None else {"state": forced.state, "by": forced.by, "reason": forced.reason or None},
        "downtime_seconds": round(breaker.downtime(moment.now), 1) if down else None,
        "attempts": breaker.attempts,
        "max_attempts": world.index.settings.max_attempts,
        "recovery_status": recovery_status(breaker.attempts) if down else None,
        "escalated": breaker.escalated,
        "incident": breaker.incident or None,
        "children": [
            {"name": one.spec.name, "verdict": one.verdict.state, "reason": one.verdict.detail} for one in ill
        ],
        "held_back": dict(sorted(held.items())),
        "next": moment.upcoming(_of_circuit(moment, ill)),
    }


def _of_circuit(moment: Moment, ill: Iterable[Child]) -> list[Next]:
    """Return what comes next of a circuit."""
    breaker, settings = moment.world.breaker, moment.world.index.settings
    if breaker.forced is not None:
        return [Next(f"it stays {breaker.forced.state} until `fsmctl circuit reset {moment.supervisor}`")]
    if moment.opens:
        return [Next(f"the next tick opens it: {moment.decided.decision.breaker.reason}", moment.now)]
    if breaker.state == "half_open":
        closes = (breaker.eased_at or moment.now) + settings.half_open_for
        who = f"{len(breaker.probes)} of {settings.half_open_workers} workers try; it closes once they have settled"
        return [Next(f"{who}, at the latest", closes)]
    if breaker.state == "open":
        return [*_of_open(moment, ill)]
    if breaker.ramp_at and settings.recovery_rate:
        return [Next(f"actions ramp at {settings.recovery_rate:g} a second until none is held back")]
    return [Next("it opens when a check fails")]


def _of_open(moment: Moment, ill: Iterable[Child]) -> Iterable[Next]:
    """Yield what an open circuit waits for: restarts, looks that say more, checks that pass for long enough."""
    waits = False
    for child in ill:
        waits = waits or child.spec.name in moment.world.breaker.children
        for one in _of_child(moment, child):
            yield Next(f"{child.spec.id}: {one.what}", one.at, child.spec.id)
    if waits:
        yield Next("it eases when their checks pass")
        return
    until = moment.world.breaker.failed_at + moment.world.index.settings.flap_window
    yield Next("all checks pass; it eases unless one fails again before", until)


def explain_node(moment: Moment, place: str) -> dict[str, Any]:
    """Return whether a node can act and observe, what it does, and why nothing is done for its workers."""
    world = moment.world
    node, collector = world.nodes[place]
    away = is_away(node, moment.now)
    subjects = [subject for subject in world.view.subjects if subject.place == place]
    ids = {subject.id for subject in subjects}
    leases = [(subject.id, subject.lease) for subject in subjects]
    leases += [(child.spec.id, child.lease) for child in world.children if child.place == place]
    acting = [(item, lease) for item, lease in leases if lease is not None and lease.in_progress]
    skipped = Counter(skip.reason.value for skip in moment.decided.plan.skips if skip.worker_id in ids)
    return {
        "id": f"node/{place}",
        "supervisor": moment.supervisor,
        "status": "away" if away else "ready",
        "reason": _why_node(moment, place),
        "host": node.host if node else None,
        "executor": node.executor if node else None,
        "slots": node.slots if node else None,
        "heartbeat_age_seconds": round(moment.now - node.at, 1) if node else None,
        "collector_age_seconds": round(moment.now - collector.at, 1) if collector else None,
        "clock_skew_seconds": world.clock_skew(place),
        "workers": len(subjects),
        "stale_workers": sorted(one.id for one in subjects if one.snapshot is not None and one.snapshot.is_stale),
        "running": [f"{lease.action} {item}" for item, lease in acting if lease.stage is Stage.RUNNING],
        "queued": [f"{lease.action} {item}" for item, lease in acting if lease.stage is Stage.QUEUED],
        "skips_by_reason": dict(sorted(skipped.items())),
        "next": moment.upcoming(_of_node(moment, place)),
    }


def _why_node(moment: Moment, place: str) -> str:
    """Return what makes a node ready or away, in words."""
    node, _ = moment.world.nodes[place]
    if node is None:
        return "no executor has ever said that it serves this node"
    age = ago(moment.now - node.at)
    if node.left:
        return f"its executor {node.executor} left in order {age} ago"
    if is_away(node, moment.now):
        return f"its executor {node.executor} was last heard {age} ago; {NODE_AWAY_AFTER:g}s make it away"
    return f"its executor {node.executor} was heard {age} ago"


def _of_node(moment: Moment, place: str) -> list[Next]:
    """Return what comes next of a node."""
    node, collector = moment.world.nodes[place]
    found = []
    if node is None or is_away(node, moment.now):
        found.append(Next("its workers are acted for again once its executor beats"))
    else:
        found.append(Next("it counts as away, if it is not heard before", node.at + NODE_AWAY_AFTER))
    if collector is None:
        found.append(Next("nothing is observed here until a collector runs"))
    elif moment.now - collector.at >= STALE_AFTER:
        found.append(
            Next(f"its collector has been silent for {ago(moment.now - collector.at)}; its executor replaces it")
        )
    return found
