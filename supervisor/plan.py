"""What a tick does about its workers: snapshots in, steps and skips out. Pure; time is an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from actions.model import Action, Outcome
from actions.stop import Stop
from supervisor import orders, rules
from supervisor.admission import Candidate, Limit, Skip, SkipReason, admit
from supervisor.circuit import Verdict
from supervisor.failures import count_failure, failures_of, has_nothing_new, not_before, remember
from supervisor.keys import POOL
from supervisor.model import CLOCK_STEP, QUEUED_PER_SLOT, Lease, Stage, SupervisorSettings, of_other_time
from supervisor.orders import Order, in_force
from supervisor.rules import Rule
from workers.duration import ago
from workers.model import UNKNOWN_AFTER, Phase, Signal, Snapshot, Status, Transition

Derive = Callable[[Snapshot, float], Transition]
_DEFAULTS = SupervisorSettings(name="")
DEPENDENTS_FOR = 60.0  # seconds for which a stop waits for those that depend on it; a stop is never held for ever
_HALF_OPEN = "the circuit is half open: others try first whether all is well"
_RAMP = "after the outage {most} actions may begin now"


class Subject(msgspec.Struct, frozen=True):
    """One worker as the plan sees it: its snapshot, its lease, its type's `derive` and its phases by state.

    `unreadable` is set instead of a snapshot when a stored document could not be read. `orders`: operators' standing
    orders that concern it.
    """

    id: str
    place: str
    generation: int
    lease: Lease | None
    snapshot: Snapshot | None
    derive: Derive
    phases: Mapping[str, Phase]
    unreadable: str = ""
    orders: tuple[Order, ...] = ()

    def pause(self, now: float) -> Order | None:
        """Return why nothing at all is done for it: its own pause, or that of a scope it is in."""
        if not self.orders and (self.snapshot is None or not self.snapshot.control.paused):
            return None
        own = orders.own_pause(self.snapshot.control) if self.snapshot is not None else ()
        return in_force("pause", (*own, *self.orders), now)

    @property
    def last_token(self) -> str:
        """Return the token that a claim must find."""
        return self.lease.token if self.lease else ""


class View(msgspec.Struct, frozen=True):
    """All that a plan is made from. `slots`: executor slots per place; a place that is away has none.

    `data_since`: when Redis was last seen to be another one or to have its clock set; what was observed before does not
    count. `hold_until`: nothing is claimed before, not even a stop. Both are 0 when nothing of that has happened.
    `half_open_room`: how many workers beside `probes` may act while the circuit is half open; `ramp_room`: how many
    actions may be asked for now after an outage; None: any number.
    """

    subjects: tuple[Subject, ...]
    verdicts: Mapping[str, Verdict]
    slots: Mapping[str, int]
    circuit_open: bool = False
    half_open_room: int | None = None
    probes: frozenset[str] = frozenset()
    ramp_room: int | None = None
    settings: SupervisorSettings = _DEFAULTS
    rules: tuple[Rule, ...] = ()
    data_since: float = 0.0
    hold_until: float = 0.0

    def held(self, now: float) -> bool:
        """Tell whether a hold-off is on."""
        return now < self.hold_until


class Step(msgspec.Struct, frozen=True):
    """What is written and requested for one worker: a new status, an action, or that it leaves its place.

    `leave`: it goes where it moves to, or is forgotten. `cancel`: the action in progress is asked to give up. `subject`
    is as it was stored, so that what has changed can be told.
    """

    subject: Subject
    reason: str
    status: Status | None = None
    action: Action | None = None
    leave: bool = False
    cancel: bool = False


class Plan(msgspec.Struct, frozen=True):
    """The steps of a tick in the order of their admission, and the skips."""

    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]


def make_plan(view: View, now: float) -> Plan:
    """Return what to do about every worker at `now` (epoch seconds, Redis' clock)."""
    steps: list[Step] = []
    skips: list[Skip] = []
    others = _others(view.subjects)
    for subject in view.subjects:
        outcome = _consider(subject, view, others, now)
        for part in outcome:
            if isinstance(part, Skip):
                skips.append(part)
            else:
                steps.append(part)
    if view.held(now):
        steps, skips = _hold_off(steps, skips, view.hold_until - now)
    return _admit(steps, skips, view)


def _hold_off(steps: list[Step], skips: list[Skip], left: float) -> tuple[list[Step], list[Skip]]:
    """Let statuses pass alone: Redis may have lost leases, and who holds them has `left` seconds to say so."""
    why = f"leases are being renewed since Redis came back: {left:.1f}s"
    held = [step for step in steps if step.action is not None or step.leave or step.cancel]
    told = [msgspec.structs.replace(step, action=None, cancel=False) for step in steps if step.status is not None]
    return told, [*skips, *(Skip(step.subject.id, SkipReason.HOLD_OFF, why) for step in held)]


class _Others(msgspec.Struct, frozen=True):
    """The workers by id, and those that depend on each."""

    by_id: Mapping[str, Subject]
    dependents: Mapping[str, Sequence[Subject]]


def _others(subjects: Sequence[Subject]) -> _Others:
    dependents: dict[str, list[Subject]] = {}
    for subject in subjects:
        for name in subject.snapshot.desired.depends_on if subject.snapshot is not None else ():
            dependents.setdefault(name, []).append(subject)
    return _Others({subject.id: subject for subject in subjects}, dependents)


def _consider(subject: Subject, view: View, others: _Others, now: float) -> list[Step | Skip]:
    """Return what becomes of one worker, before the limits that it shares with others."""
    snapshot = remembered(subject, view.settings, now)
    if snapshot is None:
        return [Skip(subject.id, SkipReason.DERIVE_FAILED, subject.unreadable)]
    if (blocked := _blocked(subject, snapshot, view, now)) is not None:
        return blocked
    if (blind := _blind(subject, snapshot, view, now)) is not None:
        return _written(subject, snapshot.status, _stop_blindly(subject, snapshot, blind) or blind)
    transition = derived(subject, snapshot, now)
    if isinstance(transition, str):
        failed = Skip(subject.id, SkipReason.DERIVE_FAILED, transition)
        return _written(subject, snapshot.status, _stop_blindly(subject, snapshot, failed) or failed)
    return _follow(subject, snapshot, transition, view, others, now)


def remembered(subject: Subject, settings: SupervisorSettings, now: float) -> Snapshot | None:
    """Return the snapshot with what has become known of failures since its status was written; None if unreadable."""
    stored = subject.snapshot
    if stored is None or has_nothing_new(stored.status, subject.lease, stored.control):
        return stored
    status = remember(stored.status, subject.lease, stored.control, settings, now)
    status = orders.heed_restart(status, stored.control, subject.lease, _is_down(subject, stored))
    failures = failures_of(status, subject.lease)
    if status is stored.status and failures == stored.failures:
        return stored
    return msgspec.structs.replace(stored, status=status, failures=failures)


def derived(subject: Subject, snapshot: Snapshot, now: float) -> Transition | str:
    """Return what the worker's type makes of its snapshot, or how it failed to."""
    try:
        return subject.derive(snapshot, now)
    except Exception as error:  # noqa: BLE001 - a type's own code may raise anything; it costs that worker, not the tick
        return f"{type(error).__name__}: {error}"


def _written(subject: Subject, status: Status, result: Step | Skip, reason: str = "") -> list[Step | Skip]:
    """Return a result together with the status, if that is news."""
    changed = None if subject.snapshot is None or status == subject.snapshot.status else status
    if isinstance(result, Step):
        return [msgspec.structs.replace(result, status=changed)]
    return [Step(subject, reason or result.detail, status=changed), result] if changed else [result]


def _follow(
    subject: Subject,
    snapshot: Snapshot,
    transition: Transition,
    view: View,
    others: _Others,
    now: float,
) -> list[Step | Skip]:
    """Return what a transition amounts to: a new status, an action, or an action that is held back."""
    status = next_status(snapshot, transition, now, view.settings)
    if snapshot is subject.snapshot and status is snapshot.status and _is_quiet(snapshot, transition, view):
        return []
    if _is_up(subject, snapshot):
        try:
            found = rules.find(view.rules, snapshot, view.verdicts)
        except Exception as error:  # noqa: BLE001 - a rule's own code may raise anything; it costs that worker, not the tick
            return [Skip(subject.id, SkipReason.DERIVE_FAILED, f"rule: {type(error).__name__}: {error}")]
        status = rules.note(status, found, now)
        stays = transition.action is None and transition.state == snapshot.status.state
        if found is not None and stays:
            transition, status = rules.restart(snapshot, status, found, view.settings, now) or (transition, status)
        if transition.action is None and stays:
            transition = orders.restart(snapshot) or transition
    else:
        status = rules.note(status, None, now)  # what was found of a life that is over is found no more
    if transition.action is not None:
        held = _held_back(subject, snapshot, status, transition.action, view, others, now)
        wanted = Step(subject, transition.reason, action=transition.action)
        return _written(subject, status, held or wanted, transition.reason)
    if snapshot.leaves and transition.state == snapshot.status.state and _is_down(subject, snapshot):
        return _leave(subject, snapshot, status, transition.reason)
    changed = _written(subject, status, Step(subject, transition.reason))
    return [step for step in changed if isinstance(step, Step) and step.status is not None]


def _is_quiet(snapshot: Snapshot, transition: Transition, view: View) -> bool:
    """Tell that nobody has anything to say of a worker that stays as it is: so it is with most."""
    if transition.action is not None or view.rules or snapshot.status.fault:
        return False
    return not snapshot.control.restart_at and not snapshot.leaves


def _is_up(subject: Subject, snapshot: Snapshot) -> bool:
    """Tell whether the worker is to be up and is, or is on its way there."""
    phase = subject.phases.get(snapshot.status.state)
    seen = snapshot.observed  # what has no process of its own has no pid either
    runs = seen is not None and (seen.pid is not None or seen.started_at is not None)
    on_its_way = phase is Phase.STARTING and runs
    return (on_its_way or phase in (Phase.RUNNING, Phase.DEGRADED)) and not snapshot.wants_stop


def _leave(subject: Subject, snapshot: Snapshot, status: Status, reason: str) -> list[Step | Skip]:
    """Return how a worker that is down leaves its place: after a stop that has succeeded, if it was ever acted for.

    The stop's token is what refuses an execution that was given up for lost, and wakes when the worker is elsewhere.
    """
    lease = subject.lease
    if lease is None or _has_stopped(lease):
        return [Step(subject, reason, leave=True)]
    fence = f"{reason}; its last action was {lease.action}: {lease.outcome}"
    return _written(subject, status, Step(subject, fence, action=Stop()))


def _has_stopped(lease: Lease) -> bool:
    """Tell whether the last action was a stop that has succeeded."""
    return lease.action == Stop.name and lease.outcome == Outcome.SUCCESS


def _is_down(subject: Subject, snapshot: Snapshot) -> bool:
    """Tell whether the worker's state is one in which it is down."""
    return subject.phases.get(snapshot.status.state) is Phase.STOPPED


def _blocked(subject: Subject, snapshot: Snapshot, view: View, now: float) -> list[Step | Skip] | None:
    """Return why nothing may be done for the worker now, a stop included; a stop asks a running action to cancel."""
    if (pause := subject.pause(now)) is not None:
        return [Skip(subject.id, SkipReason.PAUSED, pause.words(now))]
    if subject.lease is not None and subject.lease.in_progress:
        return _in_progress(subject, subject.lease, snapshot, now)
    if not view.slots.get(subject.place):
        why = "no live executor" if subject.place == POOL else f"node {subject.place} has no live executor"
        if snapshot.desired.moves_to:
            why += f"; it moves to {snapshot.desired.moves_to} once it is stopped here"
        return [Skip(subject.id, SkipReason.NODE_AWAY, why)]
    return None


def _in_progress(subject: Subject, lease: Lease, snapshot: Snapshot, now: float) -> list[Step | Skip]:
    """Return the skip, and what is written beside it: that a stop wants the action to end, or that it is stuck."""
    since = lease.begun_at if lease.begun_at is not None else lease.claimed_at
    detail = f"{lease.action} {lease.stage} for {ago(now - since)}"
    skip = Skip(subject.id, SkipReason.ACTION_IN_PROGRESS, detail)
    cancel = snapshot.wants_stop and lease.action != Stop.name and not lease.cancel
    stuck = lease.is_stuck(now) and snapshot.status.stuck_action != lease.action_id
    status = msgspec.structs.replace(snapshot.status, stuck_action=lease.action_id) if stuck else None
    if not cancel and not stuck:
        return [skip]
    return [Step(subject, snapshot.why_stop if cancel else detail, status=status, cancel=cancel), skip]


def _stop_blindly(subject: Subject, snapshot: Snapshot, blind: Skip) -> Step | None:
    """Return the stop that is wanted although nothing can be derived: it waits for nobody to know better.

    Once it has succeeded, an observation is waited for after all, as nothing else can be done.
    """
    stopped = subject.lease is not None and _has_stopped(subject.lease)
    if not snapshot.wants_stop or stopped or _is_down(subject, snapshot):
        return None
    return Step(subject, f"{snapshot.why_stop}; {blind.detail}", action=Stop())


def _blind(subject: Subject, snapshot: Snapshot, view: View, now: float) -> Skip | None:
    """Return why the worker's observation is none to decide on."""
    observed = snapshot.observed
    if observed is None:
        return Skip(subject.id, SkipReason.AWAITING_OBSERVATION, "not observed yet")
    if (why := of_other_time(observed.collected_at, view.data_since, now)) is not None:
        return Skip(subject.id, SkipReason.AWAITING_OBSERVATION, why)
    ended = subject.lease.ended_at if subject.lease else None
    if ended is not None and observed.collected_at <= ended <= now + CLOCK_STEP:  # later ones are of a clock set back
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
    others: _Others,
    now: float,
) -> Skip | None:
    """Return why an action that is wanted is not asked for now. A stop waits for nobody but its dependents."""
    if isinstance(action, Stop):
        return _dependents_first(subject, snapshot, view, others, now)
    if (drain := in_force("drain", subject.orders, now)) is not None:
        return Skip(subject.id, SkipReason.DRAINED, drain.words(now))
    if view.circuit_open:
        return Skip(subject.id, SkipReason.CIRCUIT_OPEN, f"{action.name} waits for the circuit to close")
    missing = _missing_dependency(snapshot, view, others.by_id)
    if missing is not None:
        return Skip(subject.id, SkipReason.DEPENDENCY, missing)
    return _failing(subject, snapshot, status, action, view, now)


def _failing(
    subject: Subject, snapshot: Snapshot, status: Status, action: Action, view: View, now: float
) -> Skip | None:
    """Return why the worker's own failures hold back an action."""
    if status.quarantined_for:
        left = ago(status.quarantined_until - now)
        return Skip(subject.id, SkipReason.QUARANTINED, f"{status.quarantined_for}; ends in {left}")
    due = not_before(subject.id, status, subject.lease, view.settings.backoff_jitter, now)
    if now < due:
        tries = snapshot.failures + status.early_exits
        return Skip(
            subject.id, SkipReason.BACKING_OFF, f"{action.name} after {tries} failures: next in {due - now:.1f}s"
        )
    return None


def _dependents_first(subject: Subject, snapshot: Snapshot, view: View, others: _Others, now: float) -> Skip | None:
    """Return that a stop waits for a worker that depends on this one and is about to stop too; for a while.

    One that cannot be stopped now (paused, its node away, nobody knows how it is) is not waited for.
    """
    if now - snapshot.status.since >= DEPENDENTS_FOR:
        return None
    for other in others.dependents.get(subject.id, ()):
        about_to = other.snapshot is not None and other.snapshot.wants_stop
        if (
            about_to
            and other.pause(now) is None
            and view.slots.get(other.place)
            and phase_of(other) not in (Phase.STOPPED, Phase.UNKNOWN)
        ):
            return Skip(subject.id, SkipReason.DEPENDENCY, f"worker {other.id} depends on it and stops first")
    return None


def _missing_dependency(snapshot: Snapshot, view: View, by_id: Mapping[str, Subject]) -> str | None:
    for name in snapshot.desired.depends_on:
        verdict = view.verdicts.get(name)
        if verdict is not None and verdict.state != "ok":
            return f"child {name} is {verdict.state}: {verdict.detail}"
        if verdict is not None and verdict.lacks:
            return f"child {name} lacks {verdict.lacks}"
        other = by_id.get(name)
        if other is not None and (phase := phase_of(other)) not in (Phase.RUNNING, Phase.DEGRADED):
            return f"worker {name} is {phase}"
    return None


def next_status(
    snapshot: Snapshot, transition: Transition, now: float, settings: SupervisorSettings = _DEFAULTS
) -> Status:
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
    after = msgspec.structs.replace(
        after,
        restarts=before.restarts + 1,
        counted_exit=ended.id,
        early_exits=before.early_exits + 1 if early else 0,
        died_at=ended.ended_at,
    )
    return count_failure(after, ended.ended_at, ended.words(), settings, now) if early else after


def phase_of(subject: Subject) -> Phase:
    """Return the phase that people are shown: unknown if the observation is too old, of the future or knows nothing."""
    snapshot = subject.snapshot
    if snapshot is None or snapshot.observed is None or snapshot.observed.error is not None:
        return Phase.UNKNOWN
    age = snapshot.metadata.age_seconds
    if age is None or age >= UNKNOWN_AFTER or snapshot.observed.collected_at > snapshot.metadata.loaded_at + CLOCK_STEP:
        return Phase.UNKNOWN
    return subject.phases.get(snapshot.status.state, Phase.UNKNOWN)


def is_as_desired(subject: Subject) -> bool:
    """Tell whether a worker is seen to be what is wanted: down, or up, for which degraded is enough."""
    if subject.snapshot is not None and subject.snapshot.wants_stop:
        return phase_of(subject) is Phase.STOPPED
    return phase_of(subject) in (Phase.RUNNING, Phase.DEGRADED)


def _admit(steps: Sequence[Step], skips: Sequence[Skip], view: View) -> Plan:
    """Return the plan with the actions that all limits let pass; what became known is written all the same."""
    ordered = sorted(steps, key=_waiting_since)
    admission = admit([_candidate(step, view) for step in ordered if is_limited(step)], _limits(view))
    kept = []
    for step in ordered:
        if not is_limited(step) or step.subject.id in admission.admitted:
            kept.append(step)
        elif step.status is not None:
            kept.append(msgspec.structs.replace(step, action=None))
    return Plan(tuple(kept), (*skips, *admission.skips))


def is_limited(step: Step) -> bool:
    """Tell whether a step asks for an action that limits hold back. A stop passes all of them."""
    return step.action is not None and not isinstance(step.action, Stop)


def _candidate(step: Step, view: View) -> Candidate:
    subject = step.subject
    names = {SkipReason.QUEUE_FULL: subject.place, SkipReason.RAMP: ""}
    if subject.id not in view.probes:
        names[SkipReason.HALF_OPEN] = ""
    if subject.snapshot is not None and subject.snapshot.desired.group:
        names[SkipReason.BUDGET] = subject.snapshot.desired.group
    return Candidate(subject.id, _waiting_since(step), names)


def _limits(view: View) -> tuple[Limit, ...]:
    """Return the limits that a supervisor's workers share, with what is taken up now.

    Whatever waits in a queue takes up its place there; of a budget a stop takes up nothing.
    """
    leases = [(subject, subject.lease) for subject in view.subjects if subject.lease is not None]
    queued = Counter(subject.place for subject, lease in leases if lease.stage is Stage.QUEUED)
    acting = Counter(
        subject.snapshot.desired.group
        for subject, lease in leases
        if lease.in_progress and lease.action != Stop.name and subject.snapshot is not None
    )
    room = {subject.place: QUEUED_PER_SLOT * view.slots.get(subject.place, 0) for subject in view.subjects}
    return (
        Limit(SkipReason.QUEUE_FULL, room, queued, "{used} of {most} queued at {name}"),
        Limit(SkipReason.BUDGET, view.settings.groups, acting, "{used} of {most} in action in group {name}"),
        Limit(SkipReason.HALF_OPEN, _room(view.half_open_room), {}, _HALF_OPEN),
        Limit(SkipReason.RAMP, _room(view.ramp_room), {}, _RAMP),
    )


def _room(most: int | None) -> Mapping[str, int]:
    return {} if most is None else {"": most}


def _waiting_since(step: Step) -> float:
    return step.subject.snapshot.status.since if step.subject.snapshot else 0.0
