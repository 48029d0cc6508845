"""What was decided of a worker, with all that it was decided on, so that it can be decided again. Pure.

A frame holds the worker's snapshot and lease, and of what is around it only what its own decision reads. Limits that it
shares with others (queues, budgets, ramp, half open) are not in it: what they held back was wanted; that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from supervisor.admission import SkipReason
from supervisor.circuit import Verdict
from supervisor.model import Lease, SupervisorSettings
from supervisor.orders import Order
from supervisor.plan import Plan, Step, Subject, View, make_plan, phase_of
from supervisor.rules import Rule
from workers.model import Control, Desired, Document, Identity, Metadata, Observed, Phase, Snapshot, Status
from workers.target import WorkerType

_SHARED = frozenset({SkipReason.HALF_OPEN, SkipReason.RAMP, SkipReason.QUEUE_FULL, SkipReason.BUDGET})
_UP = (Phase.RUNNING, Phase.DEGRADED)
_NUMBERS = (int, float, int | None, float | None)
_IDENTIFIES = ("pid", "start_ticks")


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tick does about one worker: a new state, an action, or why none; all empty: nothing. `reason` in words."""

    state: str = ""
    action: str = ""
    skip: str = ""
    cancel: bool = False
    leave: bool = False
    reason: str = ""

    @property
    def key(self) -> tuple[str, str, str, bool, bool]:
        """Return what counts when two are compared: all but the words."""
        return self.state, self.action, self.skip, self.cancel, self.leave


NOTHING = Outcome()
Mark = tuple[object, ...]


class Frame(Document, frozen=True, kw_only=True, omit_defaults=True):
    """One decision about one worker. Times are epoch seconds by Redis' clock.

    `verdicts`: of the children and workers it depends on, by name; a worker counts as ok or unknown. `slots`: of its
    place. `observed` is of the worker's type, which knows how to read it; null: not yet.
    """

    at: float
    place: str
    generation: int
    identity: Identity
    desired: Desired
    status: Status
    outcome: Outcome
    observed: msgspec.Raw
    overridden: bool = False
    control: Control = Control()
    orders: tuple[Order, ...] = ()
    lease: Lease | None = None
    circuit_opened_at: float | None = None
    verdicts: dict[str, str] = {}
    slots: int = 0
    circuit_open: bool = False
    data_since: float = 0.0
    hold_until: float = 0.0


def outcomes(plan: Plan) -> dict[str, Outcome]:
    """Return what a plan does by worker; nothing of those for whom it does nothing."""
    found = {step.subject.id: _of_step(step) for step in plan.steps}
    for skip in plan.skips:
        before = found.get(skip.worker_id, NOTHING)
        found[skip.worker_id] = msgspec.structs.replace(before, skip=skip.reason.value, reason=skip.detail)
    return found


def _of_step(step: Step) -> Outcome:
    before = step.subject.snapshot.status.state if step.subject.snapshot is not None else ""
    after = step.status.state if step.status is not None else before
    return Outcome(
        state=after if after != before else "",
        action=step.action.name if step.action is not None else "",
        cancel=step.cancel,
        leave=step.leave,
        reason=step.reason,
    )


def mark_of(subject: Subject, snapshot: Snapshot, outcome: Outcome) -> Mark:
    """Return what is equal at two moments between which nothing has changed but times, and numbers that were seen."""
    lease, observed = subject.lease, snapshot.observed
    return (
        subject.generation,
        subject.place,
        (lease.token, lease.stage, lease.cancel) if lease is not None else None,
        snapshot.control,
        subject.orders,
        snapshot.status,
        None if observed is None else _essence(type(observed))(observed),
        outcome.key,
    )


@cache
def _essence(kind: type[Observed]) -> Callable[[Observed], Any]:
    """Return what reads of an observation all that is no number, and which incarnation it is of."""
    fields = msgspec.structs.fields(kind)
    return attrgetter(*(field.name for field in fields if field.type not in _NUMBERS or field.name in _IDENTIFIES))


def frame_of(
    subject: Subject, snapshot: Snapshot, view: View, others: Mapping[str, Subject], outcome: Outcome
) -> Frame:
    """Return the frame of what was decided about a subject, whose snapshot is given, in a view."""
    observed = snapshot.observed
    return Frame(
        at=snapshot.metadata.loaded_at,
        place=subject.place,
        generation=subject.generation,
        identity=snapshot.identity,
        desired=snapshot.desired,
        overridden=snapshot.overridden,
        observed=msgspec.Raw(msgspec.json.encode(observed)),
        status=snapshot.status,
        control=snapshot.control,
        orders=subject.orders,
        lease=subject.lease,
        circuit_opened_at=snapshot.metadata.circuit_opened_at,
        verdicts=_verdicts(snapshot.desired.depends_on, view, others),
        slots=view.slots.get(subject.place, 0),
        circuit_open=view.circuit_open,
        data_since=view.data_since,
        hold_until=view.hold_until,
        outcome=outcome,
    )


def _verdicts(names: Iterable[str], view: View, others: Mapping[str, Subject]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if (verdict := view.verdicts.get(name)) is not None:
            found[name] = "starting" if verdict.lacks else verdict.state  # as one that is not ready to be worked with
        elif name in others:
            found[name] = "ok" if phase_of(others[name]) in _UP else "unknown"
    return found


def subject_of(frame: Frame, kind: WorkerType) -> Subject:
    """Return the subject of a frame, as loaded then. Raises `MsgspecError` if its type cannot read it any more."""
    observed: Observed | None = msgspec.json.decode(frame.observed, type=kind.observed_type | None)
    seen = None if observed is None else observed.collected_at
    snapshot = Snapshot(
        identity=frame.identity,
        desired=frame.desired,
        overridden=frame.overridden,
        observed=observed,
        status=frame.status,
        metadata=Metadata(seen, frame.at, frame.circuit_opened_at, None if seen is None else max(0.0, frame.at - seen)),
        failures=frame.lease.failures if frame.lease is not None else 0,
        control=frame.control,
    )
    return Subject(
        snapshot.id,
        frame.place,
        frame.generation,
        frame.lease,
        snapshot,
        kind.derive,
        kind.machine.phases,
        orders=frame.orders,
    )


def decide_again(frame: Frame, subject: Subject, settings: SupervisorSettings, rules: Sequence[Rule]) -> Outcome:
    """Return what the code as it is now does about a frame's subject, under the settings and rules as they are now."""
    view = View(
        subjects=(subject,),
        verdicts={name: Verdict(state, "as recorded") for name, state in frame.verdicts.items()},  # type: ignore[arg-type]  # a verdict's state once
        slots={frame.place: frame.slots},
        circuit_open=frame.circuit_open,
        settings=settings,
        rules=tuple(rules),
        data_since=frame.data_since,
        hold_until=frame.hold_until,
    )
    return outcomes(make_plan(view, frame.at)).get(subject.id, NOTHING)


def is_same(then: Outcome, now: Outcome) -> bool:
    """Tell whether two outcomes agree, as far as one worker alone can tell.

    What a limit shared with others held back then is the same if an action is wanted now; and so is a stop that waited
    for the workers that depend on it.
    """
    if then.skip in _SHARED:
        return then.state == now.state and bool(now.action)
    if then.skip == SkipReason.DEPENDENCY and now.action == "stop":
        return then.state == now.state
    return then.key == now.key
