"""What comes next of a worker and when, for each reason why nothing is done for it now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from supervisor.admission import Skip, SkipReason
from supervisor.decide import Decided, next_attempt_at
from supervisor.failures import not_before
from supervisor.keys import POOL
from supervisor.model import Lease, Stage
from supervisor.orders import in_force
from supervisor.plan import DEPENDENTS_FOR, Step, Subject, is_as_desired, phase_of, remembered
from supervisor.view import World
from workers.model import Phase, Snapshot


class Next(msgspec.Struct, frozen=True):
    """What happens next, in words; `at` is when (epoch seconds), None if nobody can tell; `see` says who knows more."""

    what: str
    at: float | None = None
    see: str = ""


@dataclass(frozen=True)
class Case:
    """One worker in its world, with what a tick would do about it."""

    supervisor: str
    world: World
    decided: Decided
    subject: Subject
    step: Step | None
    skip: Skip | None

    @property
    def snapshot(self) -> Snapshot:
        """Return the snapshot as the planner sees it, for a worker that can be read."""
        return cast("Snapshot", remembered(self.subject, self.world.index.settings, self.world.now))

    @property
    def lease(self) -> Lease:
        """Return the lease, for a worker whose action is in progress."""
        return cast("Lease", self.subject.lease)

    @property
    def next_look(self) -> float | None:
        """Return when the next observation is due; None when none was ever made."""
        seen = self.subject.snapshot.observed if self.subject.snapshot else None
        return None if seen is None else seen.collected_at + self.world.index.settings.observation_interval


def nexts(case: Case) -> list[Next]:
    """Return what comes next of a worker."""
    found = list(_of_step(case))
    if case.skip is not None:
        found += _AFTER[case.skip.reason](case)
    opened = case.decided.decision.breaker
    if opened.is_open and not case.world.breaker.is_open:
        return [Next(f"the next tick opens the circuit: {opened.reason}", case.world.now, f"circuit/{case.supervisor}")]
    return found or [_settled(case)]


def _of_step(case: Case) -> Iterator[Next]:
    """Yield what the next tick does for the worker."""
    step, before = case.step, case.subject.snapshot
    if step is None:
        return
    if step.action is not None:
        yield Next(f"the next tick asks for {step.action.name}", case.world.now)
    if step.cancel:
        yield Next(f"the next tick asks the {case.lease.action} to give up", case.world.now)
    if step.leave:
        to = before.desired.moves_to if before is not None else ""
        yield Next(f"the next tick lets it {f'go to {to}' if to else 'be forgotten'}", case.world.now)
    if step.status is not None and before is not None and step.status.state != before.status.state:
        yield Next(f"the next tick makes it {step.status.state}", case.world.now)


def _settled(case: Case) -> Next:
    """Return what comes next of a worker that needs nothing now."""
    if is_as_desired(case.subject):
        return Next("nothing, as it is as desired; its next observation is looked at", case.next_look)
    return Next("its next observation decides", case.next_look)


def _paused(case: Case) -> list[Next]:
    order = case.subject.pause(case.world.now)
    scope = (order.scope if order is not None else "") or case.subject.id
    ends_at = order.ends_at if order is not None else 0.0
    return [Next(f"nothing until `fsmctl resume {scope}`" + (", at the latest" if ends_at else ""), ends_at or None)]


def _drained(case: Case) -> list[Next]:
    order = in_force("drain", case.subject.orders, case.world.now)
    ends_at = order.ends_at if order is not None else 0.0
    return [
        Next(
            f"nothing but stops until `fsmctl drain node/{case.subject.place} --undo`", ends_at or None, _observer(case)
        )
    ]


def _node_away(case: Case) -> list[Next]:
    if case.subject.place == POOL:
        return [Next("it goes on when any node's executor beats again")]
    place = case.subject.place
    return [Next(f"it goes on when the executor of {place} beats again", see=f"node/{place}")]


def _action_in_progress(case: Case) -> list[Next]:
    lease = case.lease
    if lease.is_over(case.world.now, case.world.view.data_since):
        return [Next(f"the {lease.action} counts as lost, and is asked for again", case.world.view.hold_until or None)]
    if lease.stage is Stage.QUEUED:
        where = "any node" if case.subject.place == POOL else case.subject.place
        see = "" if case.subject.place == POOL else f"node/{where}"
        return [Next(f"an executor of {where} begins the {lease.action}, else it counts as lost", lease.deadline, see)]
    found = [Next(f"the {lease.action} ends by itself, else it is over its time", _begun(lease) + lease.timeout)]
    if lease.cancel:
        found.append(Next(f"the {lease.action} gives up, as it was asked to: {lease.cancel}"))
    return found


def _begun(lease: Lease) -> float:
    return lease.begun_at if lease.begun_at is not None else lease.claimed_at


def _circuit_open(case: Case) -> list[Next]:
    breaker, see = case.world.breaker, f"circuit/{case.supervisor}"
    if breaker.forced is not None:
        return [Next(f"it goes on after `fsmctl circuit reset {case.supervisor}`", see=see)]
    tries = [
        Next(f"the restart of {child.spec.id} is tried", next_attempt_at(child, case.world), child.spec.id)
        for child in case.world.children
        if child.verdict.state == "failed" and not (child.lease is not None and child.lease.in_progress)
    ]
    return [*tries, Next("it goes on when the circuit closes", see=see)]


def _half_open(case: Case) -> list[Next]:
    eased = case.decided.decision.breaker.eased_at or case.world.now
    latest = eased + case.world.index.settings.half_open_for
    return [Next("the circuit closes, at the latest unless a check fails", latest, f"circuit/{case.supervisor}")]


def _ramp(case: Case) -> list[Next]:
    rate = case.world.index.settings.recovery_rate
    waiting = [skip.worker_id for skip in case.decided.plan.skips if skip.reason is SkipReason.RAMP]
    place = waiting.index(case.subject.id) + 1
    what = f"its turn comes: {place} of {len(waiting)} that wait, {rate:g} a second"
    return [Next(what, case.world.now + place / rate, f"circuit/{case.supervisor}")]


def _dependency(case: Case) -> list[Next]:
    snapshot = case.snapshot
    if snapshot.wants_stop:
        return [Next("it is stopped once those are, and at the latest", snapshot.status.since + DEPENDENTS_FOR)]
    return [Next(f"it goes on when {see} is well", see=see) for see in _missing(case, snapshot)]


def _missing(case: Case, snapshot: Snapshot) -> Iterator[str]:
    """Yield which of the worker's dependencies are not well."""
    others = {subject.id: subject for subject in case.world.view.subjects}
    for name in snapshot.desired.depends_on:
        verdict = case.world.view.verdicts.get(name)
        if verdict is not None and (verdict.state != "ok" or verdict.lacks):
            yield f"child/{name}"
        elif name in others and phase_of(others[name]) not in (Phase.RUNNING, Phase.DEGRADED):
            yield f"worker/{name}"


def _observation(case: Case) -> list[Next]:
    return [Next("its next observation decides", case.next_look, _observer(case))]


def _observer(case: Case) -> str:
    return "" if case.subject.place == POOL else f"node/{case.subject.place}"


def _backing_off(case: Case) -> list[Next]:
    status, jitter = case.snapshot.status, case.world.index.settings.backoff_jitter
    due = not_before(case.subject.id, status, case.subject.lease, jitter, case.world.now)
    return [Next("its backoff ends and it is tried again", due)]


def _quarantined(case: Case) -> list[Next]:
    until = case.snapshot.status.quarantined_until
    return [Next(f"its quarantine ends, or before by `fsmctl resume {case.subject.id}`", until)]


def _queue_full(case: Case) -> list[Next]:
    return [Next("it is asked for when an executor takes what is queued before it", see=_observer(case))]


def _budget(case: Case) -> list[Next]:
    group = case.snapshot.desired.group
    acting = [
        other.id
        for other in case.world.view.subjects
        if other.lease is not None and other.lease.in_progress and other.snapshot is not None
        if other.snapshot.desired.group == group
    ]
    admitted = [
        step.subject.id for step in case.decided.plan.steps if step.action is not None and _group(step) == group
    ]
    return [Next(f"it is asked for when an action of its group ends: {', '.join([*acting, *admitted])}")]


def _group(step: Step) -> str:
    return step.subject.snapshot.desired.group if step.subject.snapshot is not None else ""


def _derive_failed(case: Case) -> list[Next]:
    if case.subject.snapshot is None:
        return [Next("it goes on when that document is mended: apply its fleet file, or upgrade this supervisor")]
    return [Next("it goes on when the code of its type or its rule is mended; every tick tries again")]


def _hold_off(case: Case) -> list[Next]:
    return [Next("leases have been renewed, and actions are asked for again", case.world.view.hold_until)]


_AFTER: Mapping[SkipReason, Callable[[Case], list[Next]]] = {
    SkipReason.PAUSED: _paused,
    SkipReason.NODE_AWAY: _node_away,
    SkipReason.DRAINED: _drained,
    SkipReason.ACTION_IN_PROGRESS: _action_in_progress,
    SkipReason.CIRCUIT_OPEN: _circuit_open,
    SkipReason.HALF_OPEN: _half_open,
    SkipReason.RAMP: _ramp,
    SkipReason.DEPENDENCY: _dependency,
    SkipReason.AWAITING_OBSERVATION: _observation,
    SkipReason.STALE_OBSERVATION: _observation,
    SkipReason.BACKING_OFF: _backing_off,
    SkipReason.QUARANTINED: _quarantined,
    SkipReason.QUEUE_FULL: _queue_full,
    SkipReason.BUDGET: _budget,
    SkipReason.DERIVE_FAILED: _derive_failed,
    SkipReason.HOLD_OFF: _hold_off,
}
