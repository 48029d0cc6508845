"""What a tick decides on a loaded world: circuit, plan, and what the plan tells the circuit. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor import breaker as breaking
from supervisor.admission import HELD_BACK, SkipReason
from supervisor.breaker import Decision
from supervisor.circuit import Recovery
from supervisor.model import Lease
from supervisor.plan import Plan, is_limited, make_plan
from supervisor.view import Child, World, under


@dataclass(frozen=True)
class Decided:
    """All that a tick does: it frees what is `overdue` (id, place, lease), restarts children, carries out the plan.

    `creations`: the children whose topics it has created.
    """

    decision: Decision
    plan: Plan
    restarts: tuple[Child, ...]
    overdue: tuple[tuple[str, str, Lease], ...]
    creations: tuple[Child, ...] = ()


def decide(world: World) -> Decided:
    """Return what a tick does about a world. One that opens the circuit ends there: it plans nothing."""
    decision = _break(world)
    opened = decision.breaker.is_open and not world.breaker.is_open
    plan = Plan((), ()) if opened else make_plan(under(world.view, decision.breaker, world.now), world.now)
    decision = _settle(world, decision, plan)
    return Decided(decision, plan, _restarts(world, decision), _overdue(world), _creations(world))


def next_attempt_at(child: Child, world: World) -> float:
    """Return when the next restart of a child that failed may start; infinity while one is in progress."""
    recovery = world.breaker.children.get(child.spec.name, Recovery())
    jitter = world.index.settings.backoff_jitter
    due = breaking.next_attempt_at(recovery, child.lease, child.spec.start_grace, jitter, child.spec.name)
    return max(due, world.view.hold_until)


def _overdue(world: World) -> tuple[tuple[str, str, Lease], ...]:
    """Return the leases past their deadline, but in a hold-off; their workers are planned for by the next tick."""
    if world.view.held(world.now):
        return ()
    leases = [(subject.id, subject.place, subject.lease) for subject in world.view.subjects]
    leases += [(child.spec.id, child.place, child.lease) for child in world.children]
    since = world.view.data_since
    return tuple((item, place, lease) for item, place, lease in leases if lease and lease.is_over(world.now, since))


def _break(world: World) -> Decision:
    return breaking.step(
        world.breaker,
        world.view.verdicts,
        {child.spec.name: child.lease for child in world.children},
        {child.spec.name: child.spec.start_grace for child in world.children},
        world.index.settings,
        world.now,
        world.view.hold_until,
        [child.spec.name for child in world.children if not is_ours_to_restart(child, world)],
    )


def _settle(world: World, decision: Decision, plan: Plan) -> Decision:
    """Return the decision with what the plan tells of workers that try, or are held back, after an outage."""
    if decision.breaker.is_open or world.view.held(world.now):
        return decision
    acted = [step.subject.id for step in plan.steps if is_limited(step)]
    reasons = {skip.reason for skip in plan.skips}
    breaker, said = breaking.settle(
        decision.breaker,
        acted,
        {*acted, *(skip.worker_id for skip in plan.skips)},
        SkipReason.HALF_OPEN in reasons,
        not HELD_BACK.isdisjoint(reasons),
        world.index.settings,
        world.now,
    )
    return Decision(breaker, decision.restarts, (*decision.said, *said))


def _restarts(world: World, decision: Decision) -> tuple[Child, ...]:
    """Return the children to restart: those that failed, those asked for, and those that nobody has started yet."""
    if _nothing_may_begin(world):
        return ()
    ours = (child for child in world.children if is_ours_to_restart(child, world))
    return tuple(child for child in ours if child.spec.name in decision.restarts or _may_start(child, world))


def _creations(world: World) -> tuple[Child, ...]:
    """Return the children that are well but for topics that are not there; what was refused is tried again later."""
    if _nothing_may_begin(world):
        return ()
    lacking = [child for child in world.children if child.verdict.lacks and not child.wants_restart]
    return tuple(child for child in lacking if is_ours_to_restart(child, world) and world.now >= retry_at(child))


def _nothing_may_begin(world: World) -> bool:
    """Tell whether not even what mends a child may begin: in a hold-off, and while an operator holds the circuit."""
    forced = world.breaker.forced
    return world.view.held(world.now) or (forced is not None and forced.state == "open")


def retry_at(child: Child) -> float:
    """Return when a child's action may be tried again, whose last ones failed; infinity while one is in progress."""
    return breaking.next_attempt_at(Recovery(attempts=child.lease.failures if child.lease else 0), child.lease, 0.0)


def is_ours_to_restart(child: Child, world: World) -> bool:
    """Tell whether the tick restarts a child: not another supervisor, and none on a node that is drained."""
    return child.spec.type != "supervisor" and child.place not in world.drained


def _may_start(child: Child, world: World) -> bool:
    """Tell whether a restart that was asked for, or the first start, is due; starts that fail back off."""
    if child.lease is not None and child.lease.in_progress:
        return False
    if child.wants_restart or child.verdict.state != "absent":
        return child.wants_restart
    return child.spec.process is not None and world.now >= retry_at(child)
