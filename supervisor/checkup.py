"""Judges whether the parts of an installation do their work, by what they have stored. Pure over a loaded world."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from supervisor.keys import POOL, queue_of
from supervisor.model import Lease, Stage, SupervisorSettings, TickDocument
from supervisor.rendezvous import is_away
from supervisor.view import World
from workers.duration import ago
from workers.model import STALE_AFTER

LATE_TICKS = 5  # intervals without a tick
OLD_IN_QUEUE = 10.0  # seconds; a claim lives for 30


class Examined(StrEnum):
    """The stages of a check, in their order."""

    STORE = "store"
    TICK = "tick"
    EXECUTORS = "executors"
    COLLECTORS = "collectors"
    QUEUES = "queues"
    ACTION = "action"


HINTS = {
    Examined.STORE: "Start Redis, or make room in it (docs/runbooks.md)",
    Examined.TICK: "See that a beat and an executor of queue `supervisor` run",
    Examined.EXECUTORS: "Start the node's executor again, or kill one that hangs",
    Examined.COLLECTORS: "See what it prints on its node; its executor replaces one that hangs",
    Examined.QUEUES: "See `fsmctl actions`: executors of that queue are busy, hang, or are not there",
    Examined.ACTION: "See `fsmctl actions`, and what the executor prints on its node",
}


@dataclass(frozen=True)
class Finding:
    """What was seen of one thing (a supervisor, a node, a queue)."""

    subject: str
    ok: bool
    seen: str


def tick_of(name: str, settings: SupervisorSettings, tick: TickDocument | None, now: float) -> Finding:
    """Judge a supervisor by its last tick."""
    if tick is None or not tick.started_at:
        return Finding(name, False, "has never ticked")
    age = max(0.0, now - tick.started_at)
    ok = age <= LATE_TICKS * settings.tick_interval
    return Finding(name, ok, f"ticked {_short(age)} ago")


def executors_of(world: World, nodes: Iterable[str]) -> Iterator[Finding]:
    """Judge the nodes' executors by their heartbeats."""
    for name in nodes:
        node, _ = world.nodes[name]
        if node is None:
            yield Finding(name, False, "was never heard of")
        elif node.left:
            yield Finding(name, False, f"has left {ago(world.now - node.at)} ago")
        else:
            yield Finding(name, not is_away(node, world.now), f"heard {_short(world.now - node.at)} ago")


def collectors_of(world: World, nodes: Iterable[str]) -> Iterator[Finding]:
    """Judge the nodes' collectors by theirs: beyond the age of a stale observation they see too little."""
    for name in nodes:
        _, collector = world.nodes[name]
        if collector is None:
            yield Finding(name, False, "was never heard of")
        else:
            age = abs(world.now - collector.at)
            yield Finding(name, age < STALE_AFTER, f"heard {_short(age)} ago")


def queues_of(world: World, places: Iterable[str]) -> Iterator[Finding]:
    """Judge the places' queues by how long the oldest claim waits."""
    leases = [(subject.place, subject.lease) for subject in world.view.subjects]
    leases += [(child.place, child.lease) for child in world.children]
    for place in places:
        ages = [world.now - lease.claimed_at for at, lease in leases if at == place and lease and _waits(lease)]
        if ages:
            oldest = max(ages)
            yield Finding(queue_of(place), oldest < OLD_IN_QUEUE, f"{len(ages)} wait, the oldest for {_short(oldest)}")
        else:
            yield Finding(queue_of(place), True, "nothing waits")


def _waits(lease: Lease) -> bool:
    return lease.stage is Stage.QUEUED


def places_of(world: World, nodes: Sequence[str], only: bool) -> list[str]:
    """Return the places whose queues count: the nodes', and the pool's if the fleet has floating workers."""
    return [*nodes, *([POOL] if world.index.floats and not only else [])]


def action_of(node: str, lease: Lease | None, limit: float, busy: int, slots: int) -> Finding:
    """Judge a node by what became of its no-op within `limit` seconds; `busy` of its `slots` run other actions."""
    if lease is None:
        return Finding(node, False, "its no-op is gone from Redis")
    if lease.outcome == "success" and lease.ended_at is not None and lease.begun_at is not None:
        took = lease.ended_at - lease.claimed_at
        return Finding(node, True, f"ended {_short(took)} after its claim, {_short(_wait_of(lease))} in the queue")
    if lease.stage is Stage.FREE and lease.begun_at is not None:
        return Finding(node, False, f"ended with {lease.outcome}: {lease.detail}")
    if lease.begun_at is not None:
        return Finding(node, False, f"begun, and not ended within {limit:g}s")
    why = f": {busy} of {slots} slots are busy" if slots and busy >= slots else ""
    return Finding(node, False, f"not begun within {limit:g}s{why}")


def _wait_of(lease: Lease) -> float:
    return (lease.begun_at or lease.claimed_at) - lease.claimed_at


def _short(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}s" if seconds < 1 else f"{seconds:.1f}s" if seconds < 60 else ago(seconds)


def summary(findings: Collection[Finding]) -> str:
    """Return what was seen in a sentence: what failed, else all if few, else how many."""
    failed = [finding for finding in findings if not finding.ok]
    shown = failed or (list(findings) if len(findings) <= 3 else [])
    words = "; ".join(f"{finding.subject} {finding.seen}" for finding in shown)
    if failed and len(failed) < len(findings):
        words += f" ({len(findings) - len(failed)} of {len(findings)} are well)"
    return words or f"all {len(findings)} are well"
