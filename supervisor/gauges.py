"""What gauges tell of one supervisor, read off its world. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, get_args

from supervisor.circuit import Breaker, State
from supervisor.conditions import ConditionType, conditions
from supervisor.keys import queue_of
from supervisor.model import Lease, Stage, TickDocument
from supervisor.plan import Subject, is_as_desired, phase_of
from supervisor.rendezvous import is_away
from supervisor.view import Child, World
from workers.model import Phase

UNREADABLE = "unreadable"  # type and state of a worker whose documents cannot be read
_FORCED = ("open", "closed")


class Sample(NamedTuple):
    """A value of the gauge `name`, with its labels in their order, without `supervisor`."""

    name: str
    labels: tuple[str, ...]
    value: float


def of_world(world: World, tick: TickDocument | None, mismatches: Mapping[str, float]) -> Iterator[Sample]:
    """Yield all gauges. `tick` is the last one, `mismatches` since when ticks find which worker not as desired."""
    yield from _fleet(world)
    yield from _mismatches(world, mismatches)
    yield from _observations(world)
    yield Sample("supervisor_last_tick_timestamp_seconds", (), tick.started_at if tick is not None else 0.0)
    yield from _actions(world)
    yield from _circuit(world.breaker)
    yield from _nodes(world)


def _each(name: str, labels: Iterable[str], numbers: Mapping[str, float]) -> Iterator[Sample]:
    """Yield one sample for each value of a gauge's only label, 0 included."""
    for label in labels:
        yield Sample(name, (label,), numbers.get(label, 0))


def _type(subject: Subject) -> str:
    return subject.snapshot.identity.type if subject.snapshot is not None else UNREADABLE


def _fleet(world: World) -> Iterator[Sample]:
    """Yield the workers by phase, by state and by condition; of each type that the fleet has, all of them."""
    subjects = world.view.subjects
    phases = Counter((_type(subject), phase_of(subject).value) for subject in subjects)
    states = Counter((_type(subject), _state(subject)) for subject in subjects)
    known = {_type(subject): tuple(subject.phases) or (UNREADABLE,) for subject in subjects}
    for kind in sorted(known):
        for phase in Phase:
            yield Sample("supervisor_workers", (kind, phase.value), phases[kind, phase.value])
        for state in known[kind]:
            yield Sample("supervisor_fleet_workers", (kind, state), states[kind, state])
    held: Counter[str] = Counter(
        condition.type.value
        for subject in subjects
        for condition in conditions(subject, world.index.settings, world.now)
    )
    yield from _each("supervisor_worker_conditions", (one.value for one in ConditionType), held)
    yield Sample("supervisor_quarantined_workers", (), held[ConditionType.QUARANTINED])


def _state(subject: Subject) -> str:
    return subject.snapshot.status.state if subject.snapshot is not None else UNREADABLE


def _mismatches(world: World, since: Mapping[str, float]) -> Iterator[Sample]:
    """Yield how many are not as desired, and since when the longest of them, as far as ticks have found it out."""
    off = [subject for subject in world.view.subjects if not is_as_desired(subject)]
    numbers = Counter(_type(subject) for subject in off)
    kinds = sorted({_type(subject) for subject in world.view.subjects})
    yield from _each("supervisor_desired_mismatch", kinds, numbers)
    oldest = min((since[subject.id] for subject in off if subject.id in since), default=0.0)
    yield Sample("supervisor_oldest_mismatch_timestamp_seconds", (), oldest)


def _observations(world: World) -> Iterator[Sample]:
    """Yield the age of each place's oldest observation; one that was never made is as old as its worker."""
    ages: dict[str, float] = {}
    for subject in world.view.subjects:
        if (snapshot := subject.snapshot) is None:
            continue
        age = snapshot.metadata.age_seconds
        if age is None:
            age = max(0.0, world.now - snapshot.identity.created_at)
        ages[subject.place] = max(ages.get(subject.place, 0.0), age)
    for place, age in sorted(ages.items()):
        yield Sample("supervisor_observation_age_seconds", (place,), age)


def _actions(world: World) -> Iterator[Sample]:
    """Yield what is in progress, of workers and children."""
    holders: tuple[Subject | Child, ...] = (*world.view.subjects, *world.children)
    held = [(one.place, one.lease) for one in holders if one.lease is not None]
    yield from _each(
        "supervisor_leases", (Stage.QUEUED, Stage.RUNNING), Counter(lease.stage.value for _, lease in held)
    )
    yield Sample("supervisor_actions_stuck", (), sum(lease.is_stuck(world.now) for _, lease in held))
    waits: dict[str, list[float]] = {queue_of(place): [] for place in world.index.places_used}
    for place, lease in held:
        if lease.stage is Stage.QUEUED:
            waits.setdefault(queue_of(place), []).append(_waited(lease, world.now))
    for queue, ages in sorted(waits.items()):
        yield Sample("supervisor_queue_depth", (queue,), len(ages))
        yield Sample("supervisor_queue_oldest_age_seconds", (queue,), max(ages, default=0.0))


def _waited(lease: Lease, now: float) -> float:
    return max(0.0, now - lease.claimed_at)


def _circuit(breaker: Breaker) -> Iterator[Sample]:
    yield Sample("supervisor_circuit_breaker_open", (), int(breaker.is_open))
    yield from _each("supervisor_circuit_state", get_args(State), {breaker.effective: 1})
    forced: dict[str, float] = {breaker.forced.state: 1} if breaker.forced is not None else {}
    yield from _each("supervisor_circuit_forced", _FORCED, forced)
    yield Sample("supervisor_escalations_active", (), int(breaker.escalated))


def _nodes(world: World) -> Iterator[Sample]:
    away = {place: is_away(node, world.now) for place, (node, _) in sorted(world.nodes.items())}
    gone = sum(away.values())
    yield from _each("supervisor_nodes", ("here", "away"), {"here": len(away) - gone, "away": gone})
    for place, is_gone in away.items():
        yield Sample("supervisor_node_away", (place,), int(is_gone))
        skew = world.clock_skew(place)
        if skew is not None and not is_gone:
            yield Sample("supervisor_node_clock_skew_seconds", (place,), skew)
