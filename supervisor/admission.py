"""The one admission: which of the actions that are wanted are asked for now, under all limits. Pure.

A limit is a value, so that another one is another value: at most so many at once under each of its names. What is
wanted says under which name of which limit it falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec


class SkipReason(StrEnum):
    """Why nothing is done for a worker now; seen in fsmctl and counted."""

    PAUSED = "paused"
    NODE_AWAY = "node_away"
    ACTION_IN_PROGRESS = "action_in_progress"
    CIRCUIT_OPEN = "circuit_open"
    DEPENDENCY = "dependency"
    AWAITING_OBSERVATION = "awaiting_observation"
    STALE_OBSERVATION = "stale_observation"
    QUARANTINED = "quarantined"
    BACKING_OFF = "backing_off"
    QUEUE_FULL = "queue_full"
    BUDGET = "budget"
    HALF_OPEN = "half_open"
    RAMP = "ramp"
    DERIVE_FAILED = "derive_failed"
    HOLD_OFF = "hold_off"
    DRAINED = "drained"


HELD_BACK = frozenset({SkipReason.RAMP, SkipReason.QUEUE_FULL, SkipReason.BUDGET})  # by limits that workers share


class Skip(msgspec.Struct, frozen=True):
    """A worker for which nothing was done, and why."""

    worker_id: str
    reason: SkipReason
    detail: str


class Limit(msgspec.Struct, frozen=True):
    """At most `most[name]` at once, of which `used[name]` are taken; a name that `most` does not hold is not limited.

    `reason` says why what exceeds it is skipped, `words` how: a text with {used}, {most} and {name}.
    """

    reason: SkipReason
    most: Mapping[str, int]
    used: Mapping[str, int]
    words: str


class Candidate(msgspec.Struct, frozen=True):
    """An action that is wanted for a worker, since when (epoch seconds), and its name under each limit it falls under.

    A stop is no candidate: it passes all limits.
    """

    worker_id: str
    since: float
    names: Mapping[SkipReason, str]


class Admission(msgspec.Struct, frozen=True):
    """The ids of the workers whose actions are asked for, and the skips of the others."""

    admitted: frozenset[str]
    skips: tuple[Skip, ...]


def admit(candidates: Iterable[Candidate], limits: Iterable[Limit]) -> Admission:
    """Return who may act: longest waiting first, each under all limits or not at all."""
    checked = tuple(limit for limit in limits if limit.most)  # mostly one: without groups, after no outage
    used = {limit.reason: dict(limit.used) for limit in checked}
    admitted: set[str] = set()
    skips: list[Skip] = []
    for candidate in sorted(candidates, key=lambda one: one.since):
        held = next((skip for limit in checked if (skip := _exceeds(candidate, limit, used[limit.reason]))), None)
        if held is not None:
            skips.append(held)
            continue
        admitted.add(candidate.worker_id)
        for limit in checked:
            name = candidate.names.get(limit.reason)
            if name is not None:
                used[limit.reason][name] = used[limit.reason].get(name, 0) + 1
    return Admission(frozenset(admitted), tuple(skips))


def _exceeds(candidate: Candidate, limit: Limit, used: Mapping[str, int]) -> Skip | None:
    """Return why a candidate may not act under one limit, or None."""
    name = candidate.names.get(limit.reason)
    most = None if name is None else limit.most.get(name)
    if name is None or most is None or used.get(name, 0) < most:
        return None
    return Skip(candidate.worker_id, limit.reason, limit.words.format(used=used.get(name, 0), most=most, name=name))
