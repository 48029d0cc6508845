"""The conditions of a worker: what lasts and people should know of, beside its state. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from supervisor.model import STUCK_AFTER, Lease, SupervisorSettings
from supervisor.plan import Subject, derived, remembered
from workers.duration import ago
from workers.model import STALE_AFTER, UNKNOWN_AFTER, Snapshot


class ConditionType(StrEnum):
    """What a condition is; the first that holds is the one that a short list shows."""

    PAUSED = "paused"
    QUARANTINED = "quarantined"
    STUCK = "stuck"
    INCONSISTENT = "inconsistent"
    UNKNOWN = "unknown"
    STALE = "stale"
    DERIVE_FAILED = "derive_failed"


class Condition(msgspec.Struct, frozen=True):
    """One condition with its reason in words. `since`: epoch seconds, None when nobody knows."""

    type: ConditionType
    reason: str
    since: float | None


def conditions(subject: Subject, settings: SupervisorSettings, now: float) -> tuple[Condition, ...]:
    """Return what holds of a worker now."""
    snapshot = remembered(subject, settings, now)
    if snapshot is None:
        return (Condition(ConditionType.DERIVE_FAILED, subject.unreadable, None),)
    return (*_paused(subject, now), *_held(snapshot, now), *stuck(subject.lease, now), *_seen(subject, snapshot, now))


def standing(subject: Subject, settings: SupervisorSettings, now: float) -> tuple[Condition, ...]:
    """Return those of the conditions that can be told without the worker's type: paused, quarantined, stuck, at fault.

    A list of ten thousand workers shows no others.
    """
    snapshot = remembered(subject, settings, now)
    if snapshot is None:
        return ()
    return (*_paused(subject, now), *_held(snapshot, now), *stuck(subject.lease, now))


def stuck(lease: Lease | None, now: float) -> Iterator[Condition]:
    """Yield that an action runs for far longer than it was given, if it does; also of a child's."""
    if lease is not None and lease.begun_at is not None and lease.is_stuck(now):
        ran = f"{lease.action} has run for {ago(now - lease.begun_at)} on {lease.executor or '?'}"
        after = STUCK_AFTER * lease.timeout
        yield Condition(ConditionType.STUCK, f"{ran}, its timeout is {lease.timeout:g}s", lease.begun_at + after)


def _paused(subject: Subject, now: float) -> Iterator[Condition]:
    """Yield that it is paused, alone or with others."""
    if (pause := subject.pause(now)) is not None:
        yield Condition(ConditionType.PAUSED, pause.words(now, age=False), pause.at)


def _held(snapshot: Snapshot, now: float) -> Iterator[Condition]:
    """Yield what keeps actions from being asked for until its time is up or somebody ends it."""
    status = snapshot.status
    if status.quarantined_for:
        left = ago(status.quarantined_until - now)
        yield Condition(ConditionType.QUARANTINED, f"{status.quarantined_for}; ends in {left}", status.quarantined_at)
    if status.fault:
        yield Condition(ConditionType.INCONSISTENT, f"rule {status.fault}", status.fault_since)


def _seen(subject: Subject, snapshot: Snapshot, now: float) -> Iterator[Condition]:
    """Yield what is wrong with the observation, or with what its type makes of it."""
    observed, age = snapshot.observed, snapshot.metadata.age_seconds
    if observed is None or age is None:
        yield Condition(ConditionType.UNKNOWN, "not observed yet", snapshot.identity.created_at)
    elif observed.error is not None:
        yield Condition(ConditionType.UNKNOWN, observed.error, observed.collected_at)
    elif age >= UNKNOWN_AFTER:
        yield Condition(ConditionType.UNKNOWN, f"last observed {ago(age)} ago", observed.collected_at + UNKNOWN_AFTER)
    elif age >= STALE_AFTER:
        yield Condition(ConditionType.STALE, f"last observed {ago(age)} ago", observed.collected_at + STALE_AFTER)
    elif isinstance(why := derived(subject, snapshot, now), str):
        yield Condition(ConditionType.DERIVE_FAILED, why, None)
