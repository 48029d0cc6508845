"""Loads what a tick decides on and fsmctl shows: a supervisor's workers, children, nodes, circuit at one moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from supervisor.circuit import Breaker, Verdict
from supervisor.errors import BadDocument, SnapshotMissing
from supervisor.health import judge
from supervisor.keys import CHILD_PREFIX, POOL, Keys
from supervisor.model import (
    CLOCK_STEP,
    ChildObserved,
    ChildSpec,
    Lease,
    SupervisorSettings,
    of_other_time,
)
from supervisor.orders import concerning, drained
from supervisor.plan import Subject, View
from supervisor.rendezvous import Heartbeats, is_away
from supervisor.rules import Declared
from supervisor.runtime import Runtime
from supervisor.scope import Items
from supervisor.store import Index, Store, decode, decoder
from supervisor.wishes import Wished
from workers.duration import ago
from workers.model import (
    STALE_AFTER,
    Control,
    Desired,
    Document,
    Identity,
    Metadata,
    Observed,
    Override,
    Snapshot,
    Status,
    Transition,
)
from workers.registry import UnknownWorkerType


@dataclass(frozen=True)
class Child:
    """A child as it is: specification, last look, lease of its last restart, verdict."""

    spec: ChildSpec
    place: str
    generation: int
    observed: ChildObserved | None
    lease: Lease | None
    verdict: Verdict
    control: Control = field(default_factory=Control)

    @property
    def wants_restart(self) -> bool:
        """Tell whether an operator asked for a restart that was not begun since."""
        return self.control.restart_at > (self.lease.claimed_at if self.lease is not None else 0.0)


@dataclass(frozen=True)
class World:
    """Everything about one supervisor at `now` (epoch seconds, Redis' clock)."""

    index: Index
    now: float
    breaker: Breaker
    children: tuple[Child, ...]
    nodes: Heartbeats
    view: View
    unreadable_children: Mapping[str, str]

    @property
    def drained(self) -> frozenset[str]:
        """Return the nodes that an operator drains."""
        return drained(self.index.orders, self.now)

    def clock_skew(self, place: str) -> float | None:
        """Return the seconds by which a node's clock is ahead of Redis', as measured last; None if never."""
        node, collector = self.nodes[place]
        if node is not None and node.clock_skew is not None:
            return node.clock_skew
        return collector.clock_skew if collector is not None else None


@dataclass(frozen=True)
class Times:
    """Redis' clock: what it says now, and since when it has been this Redis and this clock (0: always).

    Times that lie ahead were written before the clock was set back; what waits for them would wait for long.
    """

    now: float
    data_since: float

    def past(self, time: float) -> float:
        """Return a time that is not ahead of now."""
        return min(self.data_since, self.now) if time > self.now + CLOCK_STEP else time

    def of_lease(self, lease: Lease) -> Lease:
        """Return a lease that did not end ahead of now."""
        if lease.ended_at is None or lease.ended_at <= self.now:
            return lease
        return msgspec.structs.replace(lease, ended_at=self.past(lease.ended_at))

    def of_control(self, control: Control) -> Control:
        """Return an operator's word without a restart that was asked for before: whether it was made may be lost."""
        if not control.restart_at or self.data_since < control.restart_at <= self.now + CLOCK_STEP:
            return control
        return msgspec.structs.replace(control, restart_at=0.0)

    def of_status(self, status: Status) -> Status:
        """Return a status whose times are not ahead of now."""
        if status.since <= self.now and status.died_at <= self.now and max(status.failed_at, default=0.0) <= self.now:
            return status
        failed = tuple(time for time in status.failed_at if time <= self.now + CLOCK_STEP)
        since, died = self.past(status.since), self.past(status.died_at)
        return msgspec.structs.replace(status, since=since, died_at=died, failed_at=failed)

    def of_breaker(self, breaker: Breaker) -> Breaker:
        """Return a circuit whose times are not ahead of now."""
        opened = None if breaker.opened_at is None else self.past(breaker.opened_at)
        closed = None if breaker.closed_at is None else self.past(breaker.closed_at)
        children = {
            name: msgspec.structs.replace(
                recovery, failed_at=self.past(recovery.failed_at), asked_at=self.past(recovery.asked_at)
            )
            for name, recovery in breaker.children.items()
        }
        return msgspec.structs.replace(
            breaker,
            opened_at=opened,
            closed_at=closed,
            eased_at=None if breaker.eased_at is None else self.past(breaker.eased_at),
            ramp_at=self.past(breaker.ramp_at),
            children=children,
        )


def load_world(runtime: Runtime, supervisor: str, index: Index, now: float, workers: bool = True) -> World:
    """Load all of a supervisor, or all but its workers. A document that cannot be read costs no other."""
    store = runtime.store
    tick = store.last_tick(supervisor)
    times = Times(now, tick.data_since if tick else 0.0)
    breaker = times.of_breaker(store.breaker(supervisor))
    nodes = _nodes(store, supervisor, index, now)
    away = {place for place, (node, _) in nodes.items() if is_away(node, now)}
    children, unreadable = _load_children(runtime, supervisor, index, away, times)
    view = View(
        subjects=tuple(_load_subjects(runtime, supervisor, index, index.workers, breaker, times)) if workers else (),
        verdicts={
            **{item.removeprefix(CHILD_PREFIX): Verdict("unknown", why) for item, why in unreadable.items()},
            **{child.spec.name: child.verdict for child in children},
        },
        slots=_slots(nodes, index.settings, drained(index.orders, now), now),
        settings=index.settings,
        rules=(*(Declared(rule) for rule in index.settings.rules), *runtime.rules),
        data_since=times.data_since,
        hold_until=tick.hold_until if tick else 0.0,
    )
    return World(index, now, breaker, tuple(children), nodes, under(view, breaker, now), unreadable)


def with_workers(runtime: Runtime, supervisor: str, world: World, items: Items) -> World:
    """Return a world that was loaded without its workers with these, and with those that they depend on."""
    index, times = world.index, Times(world.now, world.view.data_since)
    subjects = _load_subjects(runtime, supervisor, index, items, world.breaker, times)
    there = {item for item, _ in items}
    needed = {name for one in subjects if one.snapshot is not None for name in one.snapshot.desired.depends_on}
    others = [(item, index.places[item]) for item in sorted(needed - there) if item in index.places]
    subjects += _load_subjects(runtime, supervisor, index, others, world.breaker, times)
    return replace(world, view=msgspec.structs.replace(world.view, subjects=tuple(subjects)))


def under(view: View, breaker: Breaker, now: float) -> View:
    """Return the view under a circuit."""
    return msgspec.structs.replace(
        view,
        circuit_open=breaker.is_open,
        half_open_room=breaker.half_open_room(view.settings),
        probes=frozenset(breaker.probes),
        ramp_room=breaker.ramp_room(view.settings, now),
    )


def _nodes(store: Store, supervisor: str, index: Index, now: float) -> Heartbeats:
    """Return the heartbeats of the fleet's nodes, and of all others that live, if they may act for floating workers."""
    own = store.nodes(supervisor, index.nodes)
    if not index.floats:
        return own
    others = store.nodes(supervisor, store.known_nodes() - set(own))
    return {**own, **{name: beats for name, beats in others.items() if not is_away(beats[0], now)}}


def _slots(
    nodes: Heartbeats, settings: SupervisorSettings, drained_nodes: Collection[str], now: float
) -> dict[str, int]:
    """Return the executor slots of each place that is not away; the pool has those of all its nodes but the drained."""
    slots = {name: node.slots for name, (node, _) in nodes.items() if node is not None and not is_away(node, now)}
    pool = sum(number for name, number in slots.items() if settings.in_pool(name) and name not in drained_nodes)
    return {**slots, POOL: pool}


def _load_children(
    runtime: Runtime, supervisor: str, index: Index, away: set[str], times: Times
) -> tuple[list[Child], dict[str, str]]:
    keys = runtime.store.keys(supervisor)
    children: list[Child] = []
    unreadable: dict[str, str] = {}
    for item, place, texts in runtime.store.read_worker(supervisor, index.children):
        try:
            spec = decode(texts["desired"] or "null", ChildSpec, keys.desired(place, item))
            seen = decode(texts["observed"], ChildObserved, keys.observed(place, item)) if texts["observed"] else None
            lease = decode(texts["lease"], Lease, keys.lease(place, item)) if texts["lease"] else None
            control = decode(texts["control"], Control, keys.control(place, item)) if texts["control"] else Control()
        except BadDocument as error:
            unreadable[item] = str(error)
            continue
        if spec.type == "supervisor":
            verdict = _verdict_on(runtime.store, spec.name, times.now)
        else:
            verdict = _verdict(spec, seen, place in away, lease and times.of_lease(lease), times)
        generation = index.generations.get(item, 0)
        children.append(Child(spec, place, generation, seen, lease, verdict, times.of_control(control)))
    return children, unreadable


def _verdict_on(store: Store, supervisor: str, now: float) -> Verdict:
    """Judge another supervisor by its circuit, if it ticks."""
    tick = store.last_tick(supervisor)
    if tick is None:
        return Verdict("unknown", "no such supervisor, or it has never ticked")
    if now - tick.started_at >= STALE_AFTER:
        return Verdict("unknown", f"has not ticked for {ago(now - tick.started_at)}")
    try:
        breaker = store.breaker(supervisor)
    except BadDocument as error:
        return Verdict("unknown", str(error))
    if breaker.is_open:
        return Verdict("failed", f"its circuit is open: {breaker.reason or 'by an operator'}")
    return Verdict("ok", f"its circuit is {breaker.effective}")


def _verdict(spec: ChildSpec, seen: ChildObserved | None, node_away: bool, last: Lease | None, times: Times) -> Verdict:
    """Judge a child by what was seen since Redis is the one that it is."""
    why = of_other_time(seen.collected_at, times.data_since, times.now) if seen is not None else None
    return Verdict("unknown", why) if why is not None else judge(spec, seen, node_away, last, times.now)


_WISHED = ("identity", "desired", "override", "control")
_SEEN = ("lease", "observed", "status")


def _load_subjects(
    runtime: Runtime, supervisor: str, index: Index, items: Items, breaker: Breaker, times: Times
) -> list[Subject]:
    wished, unreadable = _wished(runtime, supervisor, index, items)
    loader = _Loader(runtime.store.keys(supervisor), index, breaker, times)
    found = []
    for item, place, texts in runtime.store.read_kinds(supervisor, items, _SEEN):
        if (known := wished.get(item)) is None:
            found.append(loader.unreadable(item, place, texts[0], unreadable[item]))
            continue
        try:
            found.append(loader.subject(item, place, known, texts))
        except BadDocument as error:
            found.append(loader.unreadable(item, place, texts[0], str(error)))
    return found if not index.orders else [_ordered(subject, index) for subject in found]


def _wished(
    runtime: Runtime, supervisor: str, index: Index, items: Items
) -> tuple[Mapping[str, Wished], Mapping[str, str]]:
    """Return what is wished for workers, of which this process may know some, and why for others it cannot be read."""
    known = runtime.wishes.at(supervisor, index.revision, len(index.places))
    unreadable: dict[str, str] = {}
    keys, missing = runtime.store.keys(supervisor), [one for one in items if one[0] not in known]
    for item, place, texts in runtime.store.read_kinds(supervisor, missing, _WISHED):
        try:
            known[item] = _wishes_of(runtime, keys, item, place, dict(zip(_WISHED, texts, strict=True)))
        except (BadDocument, SnapshotMissing, UnknownWorkerType) as error:
            unreadable[item] = str(error)
    return known, unreadable


def _wishes_of(runtime: Runtime, keys: Keys, item: str, place: str, texts: Mapping[str, str | None]) -> Wished:
    identity = decode(_required(texts, "identity", item), Identity, keys.identity, place, item)
    kind = runtime.workers.get(identity.type)
    desired, overridden = _desired(texts, keys, place, item)
    text = texts["control"]
    control = decode(text, Control, keys.control, place, item) if text else _NO_CONTROL
    return Wished(identity, desired, overridden, control, kind)


_lease = decoder(Lease).decode
_status = decoder(Status).decode


@dataclass(frozen=True)
class _Loader:
    """Makes subjects of what was read, ten thousand at a time: what they share is asked for once."""

    keys: Keys
    index: Index
    breaker: Breaker
    times: Times

    def subject(self, item: str, place: str, wished: Wished, texts: Sequence[str | None]) -> Subject:
        """Return a worker as the plan sees it. Raises `BadDocument`."""
        kind, times = wished.kind, self.times
        try:
            lease, observed, status = _decoded(kind.observed_type, texts)
        except (msgspec.ValidationError, msgspec.DecodeError, RecursionError):
            lease, observed, status = self._explained(item, place, kind.observed_type, texts)
        if status is None:
            status = Status(state=kind.machine.initial, since=wished.identity.created_at, reason="new")
        if lease is not None:
            lease = times.of_lease(lease)
        snapshot = Snapshot(
            identity=wished.identity,
            desired=wished.desired,
            overridden=wished.overridden,
            observed=observed,
            status=times.of_status(status),
            metadata=metadata(None if observed is None else observed.collected_at, times.now, self.breaker),
            failures=0 if lease is None else lease.failures,
            control=times.of_control(wished.control),
        )
        generation = self.index.generations.get(item, 0)
        return Subject(item, place, generation, lease, snapshot, kind.derive, kind.machine.phases)

    def _explained(
        self, item: str, place: str, observed: type[Observed], texts: Sequence[str | None]
    ) -> tuple[Lease | None, Observed | None, Status | None]:
        """Decode once more what cannot be: `decode` says which document it is, and why."""
        kinds: tuple[tuple[type[Document], Callable[[str, str], str]], ...] = (
            (Lease, self.keys.lease),
            (observed, self.keys.observed),
            (Status, self.keys.status),
        )
        found: list[Any] = [
            None if text is None else decode(text, kind, key, place, item)
            for text, (kind, key) in zip(texts, kinds, strict=True)
        ]
        return found[0], found[1], found[2]

    def unreadable(self, item: str, place: str, lease: str | None, why: str) -> Subject:
        """Return a worker of which something cannot be read; its lease counts, if that can."""
        held: Lease | None = None
        with suppress(BadDocument):
            held = decode(lease, Lease, self.keys.lease, place, item) if lease else None
        generation = self.index.generations.get(item, 0)
        return Subject(item, place, generation, held and self.times.of_lease(held), None, _no_derive, {}, why)


def _decoded(
    observed: type[Observed], texts: Sequence[str | None]
) -> tuple[Lease | None, Observed | None, Status | None]:
    lease, seen, status = texts
    return (
        None if lease is None else _lease(lease),
        None if seen is None else decoder(observed).decode(seen),
        None if status is None else _status(status),
    )


def _ordered(subject: Subject, index: Index) -> Subject:
    """Return the subject with the standing orders that concern it."""
    group = subject.snapshot.desired.group if subject.snapshot is not None else ""
    return msgspec.structs.replace(subject, orders=concerning(index.orders, subject.place, group))


def metadata(collected_at: float | None, now: float, breaker: Breaker) -> Metadata:
    """Return when things were seen (plan, task 3.3)."""
    age = None if collected_at is None else max(0.0, now - collected_at)
    return Metadata(collected_at=collected_at, loaded_at=now, circuit_opened_at=breaker.opened_at, age_seconds=age)


def _required(texts: Mapping[str, str | None], kind: str, item: str) -> str:
    text = texts[kind]
    if text is None:
        raise SnapshotMissing(f"worker {item!r} has no {kind} document; apply its fleet file again")
    return text


def _desired(texts: Mapping[str, str | None], keys: Keys, place: str, item: str) -> tuple[Desired, bool]:
    """Lay the operator's override over the file's layer."""
    desired = decode(_required(texts, "desired", item), Desired, keys.desired, place, item)
    text = texts["override"]
    if text is None:
        return desired, False
    override = decode(text, Override, keys.override, place, item)
    return msgspec.structs.replace(desired, state=override.state), True


_NO_CONTROL = Control()


def _no_derive(snapshot: Snapshot, now: float) -> Transition:
    """Stand in for the `derive` of a worker whose documents cannot be read; the plan never calls it."""
    raise SnapshotMissing(f"worker {snapshot.id!r} cannot be derived at {now}")
