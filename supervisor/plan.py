"""What a tick does about its workers: snapshots in, steps and skips out. Pure; time is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from actions.model import Action, Outcome
from actions.stop import Stop
from supervisor.backoff import delay
from supervisor.breaker import Verdict
from supervisor.keys import POOL
from supervisor.model import QUEUED_PER_SLOT, Lease, Stage
from workers.duration import ago
from workers.model import UNKNOWN_AFTER, Phase, Signal, Snapshot, Status, Transition

Derive = Callable[[Snapshot, float], Transition]


class SkipReason(StrEnum):
    """Why nothing is done for a worker now; seen in fsmctl and counted."""

    NODE_AWAY = "node_away"
    ACTION_IN_PROGRESS = "action_in_progress"
    CIRCUIT_OPEN = "circuit_open"
    DEPENDENCY = "dependency"
    AWAITING_OBSERVATION = "awaiting_observation"
    STALE_OBSERVATION = "stale_observation"
    BACKING_OFF = "backing_off"
    QUEUE_FULL = "queue_full"
    DERIVE_FAILED = "derive_failed"


class Subject(msgspec.Struct, frozen=True):
    """One worker as the plan sees it: its snapshot, its lease, its type's `derive` and its phases by state.

    `unreadable` is set instead of a snapshot when a stored document could not be read.
    """

    id: str
    place: str
    generation: int
    lease: Lease | None
    snapshot: Snapshot | None
    derive: Derive
    phases: Mapping[str, Phase]
    unreadable: str = ""

    @property
    def last_token(self) -> str:
        """Return the token that a claim must find."""
        return self.lease.token if self.lease else ""


class View(msgspec.Struct, frozen=True):
    """All that a plan is made from. `slots`: executor slots per place; a place that is away has none."""

    subjects: tuple[Subject, ...]
    verdicts: Mapping[str, Verdict]
    slots: Mapping[str, int]
    circuit_open: bool


class Step(msgspec.Struct, frozen=True):
    """What is written and requested for one worker: a new status, an action, or that it is forgotten."""

    subject: Subject
    reason: str
    status: Status | None = None
    action: Action | None = None
    forget: bool = False


class Skip(msgspec.Struct, frozen=True):
    """A worker for which nothing was done, and why."""

    worker_id: str
    reason: SkipReason
    detail: str


class Plan(msgspec.Struct, frozen=True):
    """The steps of a tick in the order of their admission, and the skips."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]


def make_plan(view: View, now: float) -> Plan:
    """Return what to do about every worker at `now` (epoch seconds, Redis' clock)."""
    steps: list[Step] = []
    skips: list[Skip] = []
    by_id = {subject.id: subject for subject in view.subjects}
    for subject in view.subjects:
        outcome = _consider(subject, view, by_id, now)
        for part in outcome:
            if isinstance(part, Skip):
                skips.append(part)
            else:
                steps.append(part)
    return _admit(steps, skips, view)


def _consider(subject: Subject, view: View, by_id: Mapping[str, Subject], now: float) -> list[Step | Skip]:
    """Return what becomes of one worker, before the limits that it shares with others."""
    snapshot = subject.snapshot
    if snapshot is None:
        return [Skip(subject.id, SkipReason.DERIVE_FAILED, subject.unreadable)]
    if (blocked := _blocked(subject, view, now)) is not None:
        return [blocked]
    if (blind := _blind(subject, snapshot, now)) is not None:
        return [_stop_blindly(subject, snapshot, blind) or blind]
    try:
        transition = subject.derive(snapshot, now)
    except Exception as error:  # noqa: BLE001 - a type's own code may raise anything; it costs that worker, not the tick
        failed = Skip(subject.id, SkipReason.DERIVE_FAILED, f"{type(error).__name__}: {error}")
        return [_stop_blindly(subject, snapshot, failed) or failed]
    return _follow(subject, snapshot, transition, view, by_id, now)


def _follow(
    subject: Subject,
    snapshot: Snapshot,
    transition: Transition,
    view: View,
    by_id: Mapping[str, Subject],
    now: float,
) -> list[Step | Skip]:
    """Return what a transition amounts to: a new status, an action, or an action that is held back."""
    status = next_status(snapshot, transition, now)
    changed = status if status != snapshot.status else None
    if transition.action is None:
        if snapshot.desired.removed and transition.state == snapshot.status.state == "stopped":
            return [Step(subject, "stopped and no longer in the fleet file", forget=True)]
        return [Step(subject, transition.reason, status=changed)] if changed else []
    held = _held_back(subject, snapshot, status, transition.action, view, by_id, now)
    if held is None:
        return [Step(subject, transition.reason, status=changed, action=transition.action)]
    return [Step(subject, transition.reason, status=changed), held] if changed else [held]


def _blocked(subject: Subject, view: View, now: float) -> Skip | None:
    """Return why nothing may be done for the worker now, a stop included."""
    if subject.lease is not None and subject.lease.in_progress:
        lease = subject.lease
        since = lease.begun_at if lease.begun_at is not None else lease.claimed_at
        return Skip(subject.id, SkipReason.ACTION_IN_PROGRESS, f"{lease.action} {lease.stage} for {ago(now - since)}")
    if not view.slots.get(subject.place) and subject.place != POOL:
        return Skip(subject.id, SkipReason.NODE_AWAY, f"node {subject.place} has no live executor")
    return None


def _stop_blindly(subject: Subject, snapshot: Snapshot, blind: Skip) -> Step | None:
    """Return the stop that is wanted although nothing can be derived: it waits for nobody to know better.

    Once it has succeeded, an observation is waited for after all, as nothing else can be done.
    """
    lease = subject.lease
    stopped = lease is not None and lease.action == Stop.name and lease.outcome == Outcome.SUCCESS
    down = subject.phases.get(snapshot.status.state) is Phase.STOPPED
    if not snapshot.wants_stop or down or stopped:
        return None
    return Step(subject, f"desired is stopped; {blind.detail}", action=Stop())


def _blind(subject: Subject, snapshot: Snapshot, now: float) -> Skip | None:
    """Return why the worker's observation is none to decide on."""
    observed = snapshot.observed
    if observed is None:
        return Skip(subject.id, SkipReason.AWAITING_OBSERVATION, "not observed yet")
    ended = subject.lease.ended_at if subject.lease else None
    if ended is not None and observed.collected_at <= ended:
        return Skip(
            subject.id,
            SkipReason.AWAITING_OBSERVATION,
            f"not observed since its last action ended {ago(now - ended)} ago",
        )
    if snapshot.is_stale:
        return Skip(subject.id, SkipReason.STALE_OBSERVATION, f"last observed {ago(snapshot.metadata.age_seconds)} ago")
    if observed.error is not None:
        return Skip(subject.id, SkipReason.STALE_OBSERVATION, f"unknown: {observed.error}")
    return None


def _held_back(
    subject: Subject,
    snapshot: Snapshot,
    status: Status,
    action: Action,
    view: View,
    by_id: Mapping[str, Subject],
    now: float,
) -> Skip | None:
    """Return why an action that is wanted is not asked for now. A stop passes all of these."""
    if isinstance(action, Stop):
        return None
    if view.circuit_open:
        return Skip(subject.id, SkipReason.CIRCUIT_OPEN, f"{action.name} waits for the circuit to close")
    missing = _missing_dependency(snapshot, view, by_id)
    if missing is not None:
        return Skip(subject.id, SkipReason.DEPENDENCY, missing)
    due = not_before(status, subject.lease)
    if now < due:
        tries = snapshot.failures + status.early_exits
        return Skip(
            subject.id, SkipReason.BACKING_OFF, f"{action.name} after {tries} failures: next in {due - now:.1f}s"
        )
    return None


def _missing_dependency(snapshot: Snapshot, view: View, by_id: Mapping[str, Subject]) -> str | None:
    for name in snapshot.desired.depends_on:
        verdict = view.verdicts.get(name)
        if verdict is not None and verdict.state != "ok":
            return f"child {name} is {verdict.state}: {verdict.detail}"
        other = by_id.get(name)
        if other is not None and (phase := phase_of(other)) not in (Phase.RUNNING, Phase.DEGRADED):
            return f"worker {name} is {phase}"
    return None


def not_before(status: Status, lease: Lease | None) -> float:
    """Return the earliest time of the next action: backoff from the last failed one or the last early exit."""
    failures = lease.failures if lease else 0
    after_failure = (lease.ended_at or 0.0) + delay(failures) if lease and failures else 0.0
    after_exit = status.died_at + delay(status.early_exits) if status.early_exits else 0.0
    return max(after_failure, after_exit)


def next_status(snapshot: Snapshot, transition: Transition, now: float) -> Status:
    """Return the status after a transition; equal to the one before when nothing but time has passed."""
    before = snapshot.status
    after = before
    if transition.state is not None and transition.state != before.state:
        after = msgspec.structs.replace(after, state=transition.state, since=now, reason=transition.reason)
    if transition.signal is Signal.SETTLED:
        return msgspec.structs.replace(after, early_exits=0)
    ended = snapshot.observed.last_exit if snapshot.observed else None
    if transition.signal is Signal.NONE or ended is None:
        return after
    early = transition.signal is Signal.EXITED_EARLY
    return msgspec.structs.replace(
        after,
        restarts=before.restarts + 1,
        counted_exit=ended.id,
        early_exits=before.early_exits + 1 if early else 0,
        died_at=ended.ended_at,
    )


def phase_of(subject: Subject) -> Phase:
    """Return the phase that people are shown: unknown when the observation is too old or knows nothing."""
    snapshot = subject.snapshot
    if snapshot is None or snapshot.observed is None or snapshot.observed.error is not None:
        return Phase.UNKNOWN
    age = snapshot.metadata.age_seconds
    if age is None or age >= UNKNOWN_AFTER:
        return Phase.UNKNOWN
    return subject.phases.get(snapshot.status.state, Phase.UNKNOWN)


def _admit(steps: list[Step], skips: list[Skip], view: View) -> Plan:
    """Admit candidates under the limits they share, longest waiting first; stops are not counted against them."""
    queued = Counter(
        subject.place for subject in view.subjects if subject.lease is not None and subject.lease.stage is Stage.QUEUED
    )
    admitted: list[Step] = []
    for step in sorted(steps, key=_waiting_since):
        if step.action is None or isinstance(step.action, Stop):
            admitted.append(step)
            continue
        place = step.subject.place
        limit = QUEUED_PER_SLOT * view.slots.get(place, 0)
        if queued[place] >= limit:
            skips.append(Skip(step.subject.id, SkipReason.QUEUE_FULL, f"{queued[place]} of {limit} queued at {place}"))
            if step.status is not None:
                admitted.append(msgspec.structs.replace(step, action=None))
            continue
        queued[place] += 1
        admitted.append(step)
    return Plan(tuple(admitted), tuple(skips))


def _waiting_since(step: Step) -> float:
    return step.subject.snapshot.status.since if step.subject.snapshot else 0.0
