"""Whom a tick has to look at: what was marked, who is not settled, a slice of the others. Pure.

A worker is *settled* when the last look at it found nothing to do, nothing that holds it back, and nothing that time
alone is about to change. It stays so until somebody marks it (its observation, or what is wished for it, has changed),
until its node comes, goes or falls silent, or until something changes that concerns all. Each tick also looks at a part
of the settled ones in turn: a mark that was lost costs the seconds of a round, never correctness.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from supervisor.circuit import Breaker
from supervisor.keys import ANY, CHILD_PREFIX, POOL
from supervisor.model import ScopeDocument
from supervisor.plan import Plan, Subject, View
from supervisor.rendezvous import Heartbeats
from workers.model import STALE_AFTER

SETTLING = 30.0  # seconds after a change for which each tick looks: what time alone does is mostly done by then
ROUND = 60.0  # seconds in which the slices come round, as long as LARGEST is enough for that
LARGEST = 250  # workers looked at in turn in a second, which take some milliseconds; above 15,000 a round takes longer
FEW = 200  # workers that are all looked at by each tick
VALID_FOR = 30.0  # seconds for which a scope counts: marks live for 60

Items = Sequence[tuple[str, str]]


class Facts(NamedTuple):
    """What a scope is held against: what concerns every worker, and the nodes on which all is looked at in time."""

    of_all: str
    seen: tuple[str, ...]


class Look(NamedTuple):
    """The workers to look at, as (id, place), and the id with which the next slice begins."""

    items: Items
    turn: str


def facts(breaker: Breaker, view: View, nodes: Heartbeats, drained: Collection[str], now: float) -> Facts:
    """Return what concerns more than one worker at `now` (epoch seconds, Redis' clock)."""
    verdicts = sorted((name, verdict.state, verdict.lacks) for name, verdict in view.verdicts.items())
    shared = (breaker.effective, breaker.opened_at, verdicts, sorted(drained), view.data_since, view.held(now))
    seen = [place for place, slots in view.slots.items() if slots and place != POOL and _is_seen(nodes, place, now)]
    return Facts(repr(shared), tuple(sorted(seen)))


def _is_seen(nodes: Heartbeats, node: str, now: float) -> bool:
    """Tell whether even the oldest look is fresh there: one watermark for a node instead of a timer for each worker."""
    _, collector = nodes[node]
    return collector is not None and now - (collector.oldest or collector.at) < STALE_AFTER


def look(
    scope: ScopeDocument | None,
    marks: Collection[str],
    found: Facts,
    items: Items,
    places: Mapping[str, str],
    now: float,
) -> Look:
    """Return whom the tick at `now` looks at, of all workers: `items`, in order of their ids; `places` by id.

    All of them when there is no scope that counts, or when something has changed that concerns all.
    """
    if scope is None or not 0 <= now - scope.at < VALID_FOR or ANY in marks or scope.of_all != found.of_all:
        return Look(items, "")
    if len(items) <= FEW:
        return Look(items, "")
    slice_, turn = _slice(items, scope.turn, now - scope.at)
    turned = set(scope.seen) ^ set(found.seen)
    wanted = {item for item in (*scope.unsettled, *marks) if item in places and not item.startswith(CHILD_PREFIX)}
    wanted |= {item for item, _ in slice_}
    if turned:  # a floating worker is looked at from any node
        wanted |= {item for item, place in items if place in turned or place == POOL}
    return Look([(item, places[item]) for item in sorted(wanted)], turn)


def _slice(items: Items, turn: str, elapsed: float) -> tuple[Items, str]:
    """Return the workers whose turn it is, by the seconds since the last tick, and whose turn is next."""
    number = min(math.ceil(LARGEST * elapsed), math.ceil(len(items) * elapsed / ROUND))
    first = bisect_left(items, (turn, ""))
    last = first + number
    return items[first:last], items[last][0] if last < len(items) else ""


def next_scope(
    tick_id: str,
    found: Facts,
    looked: Look,
    subjects: Sequence[Subject],
    plan: Plan,
    mismatches: Collection[str],
    now: float,
) -> ScopeDocument:
    """Return whom the tick after this one has to look at."""
    return ScopeDocument(
        tick_id=tick_id,
        at=now,
        of_all=found.of_all,
        seen=found.seen,
        unsettled=unsettled(found, subjects, plan, mismatches, now),
        turn=looked.turn,
    )


def unsettled(
    found: Facts, subjects: Sequence[Subject], plan: Plan, mismatches: Collection[str], now: float
) -> tuple[str, ...]:
    """Return those, of the workers that were looked at, that the next tick has to look at again.

    A node on which not all is looked at in time has no watermark: its workers are asked one by one for their age.
    """
    busy = {step.subject.id for step in plan.steps} | {skip.worker_id for skip in plan.skips} | set(mismatches)
    seen = {*found.seen, POOL}
    return tuple(
        subject.id
        for subject in subjects
        if subject.id in busy or subject.place not in seen or not _is_settled(subject, now)
    )


def _is_settled(subject: Subject, now: float) -> bool:
    """Tell whether nothing about a worker is under way or counted; it is as desired and nothing was planned for it."""
    if subject.snapshot is None or (subject.lease is not None and subject.lease.in_progress):
        return False
    status = subject.snapshot.status
    counted = status.early_exits or status.fault or status.quarantined_for
    return not counted and now - status.since >= SETTLING
