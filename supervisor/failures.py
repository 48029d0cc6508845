"""What ticks remember of a worker's failures: how long it backs off, when it is quarantined, what is forgiven. Pure.

A failure is an action that ended in error, timeout or loss, or an incarnation that ended before its `min_uptime`; each
is counted once. An action that was lost before it began has tried nothing: it backs off, but quarantines nobody.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from actions.model import Outcome
from supervisor.backoff import jittered
from supervisor.model import CLOCK_STEP, POISON_KILLS, QUARANTINE_CAP, Lease, SupervisorSettings
from workers.duration import ago
from workers.model import Control, Status

FAILED = frozenset({Outcome.ERROR, Outcome.TIMEOUT, Outcome.LOST})
_DETAIL = 120  # characters of an action's detail that a quarantine's reason repeats


class Notice(StrEnum):
    """What a new status is told as: one event and one log line each."""

    QUARANTINED = "worker.quarantined"
    QUARANTINE_ENDED = "worker.quarantine_ended"
    STUCK = "action.stuck"


class Said(msgspec.Struct, frozen=True):
    """A notice, with the values that go with it."""

    notice: Notice
    values: dict[str, str | int | float]


def has_nothing_new(status: Status, lease: Lease | None, control: Control) -> bool:
    """Tell that `remember` could find nothing, and no operator has asked for anything: so it is with most workers."""
    ended_well = lease is None or lease.in_progress or lease.outcome not in FAILED
    return (
        ended_well
        and not status.quarantined_for
        and not status.forgiven_action
        and control.resumed_at == control.restart_at == 0.0
    )


def remember(status: Status, lease: Lease | None, control: Control, settings: SupervisorSettings, now: float) -> Status:
    """Return the status with what has become known since: a resume, the end of a quarantine, a failed action."""
    return _count_action(_end_quarantine(_resume(status, lease, control), settings, now), lease, settings, now)


def failures_of(status: Status, lease: Lease | None) -> int:
    """Return the actions in a row that failed, since the last resume."""
    return lease.failures if lease is not None and lease.action_id != status.forgiven_action else 0


def kills_of(status: Status, lease: Lease | None) -> int:
    """Return the actions in a row that killed their pool process, since the last resume."""
    return lease.kills if lease is not None and lease.action_id != status.forgiven_action else 0


def not_before(worker_id: str, status: Status, lease: Lease | None, jitter: float, now: float) -> float:
    """Return the earliest time of the next action: backoff from the last failed one or the last early exit.

    A time from before the clock was set back says nothing of how long ago it was; nobody waits for it.
    """
    failures = failures_of(status, lease)
    over = lease.deadline if lease is not None else 0.0
    after_failure = _due(over, failures, jitter, worker_id, now)
    return max(after_failure, _due(status.died_at, status.early_exits, jitter, worker_id, now))


def _due(at: float, failures: int, jitter: float, worker_id: str, now: float) -> float:
    return at + jittered(failures, jitter, worker_id) if failures and at <= now + CLOCK_STEP else 0.0


def count_failure(status: Status, at: float, what: str, settings: SupervisorSettings, now: float) -> Status:
    """Return the status after a failure at `at`; as many as the settings say within their window quarantine."""
    if status.quarantined_for:
        return status
    kept = tuple(moment for moment in status.failed_at if now - settings.quarantine_window < moment <= now)
    kept = (*kept, min(at, now))[-settings.quarantine_after :]
    after = msgspec.structs.replace(status, failed_at=kept)
    if len(kept) < settings.quarantine_after:
        return after
    return _quarantine(after, f"failures: {len(kept)} in {ago(now - kept[0])}, last: {what}", settings, now)


def quarantine_length(settings: SupervisorSettings, number: int) -> float:
    """Return the seconds of the quarantine with that number in its row: doubling, capped."""
    most = max(QUARANTINE_CAP, settings.quarantine_for)
    return min(most, settings.quarantine_for * 2.0 ** min(number - 1, 32))


def _quarantine(status: Status, why: str, settings: SupervisorSettings, now: float) -> Status:
    """Begin a quarantine. It is in a row with the last one unless two windows have passed since that ended."""
    in_a_row = now - status.quarantined_until < 2 * settings.quarantine_window
    number = status.quarantines + 1 if in_a_row else 1
    return msgspec.structs.replace(
        status,
        failed_at=(),
        quarantined_at=now,
        quarantined_until=now + quarantine_length(settings, number),
        quarantined_for=why,
        quarantines=number,
    )


def _end_quarantine(status: Status, settings: SupervisorSettings, now: float) -> Status:
    """End a quarantine whose time is up; none lasts longer from now than its length, wherever the clock was set."""
    if not status.quarantined_for:
        return status
    if now >= status.quarantined_until:
        return msgspec.structs.replace(status, quarantined_for="")
    longest = now + quarantine_length(settings, status.quarantines)
    if status.quarantined_until <= longest:
        return status
    return msgspec.structs.replace(status, quarantined_until=longest)


def _resume(status: Status, lease: Lease | None, control: Control) -> Status:
    """Forgive everything, once for each resume, whatever the clock said at it."""
    if control.resumed_at in (0.0, status.resumed_at):
        return status
    return msgspec.structs.replace(
        status,
        early_exits=0,
        failed_at=(),
        quarantined_until=0.0,
        quarantined_for="",
        quarantines=0,
        resumed_at=control.resumed_at,
        forgiven_action=lease.action_id if lease is not None else "",
    )


def _count_action(status: Status, lease: Lease | None, settings: SupervisorSettings, now: float) -> Status:
    """Count the last action if it has failed and was not counted yet."""
    if lease is None or lease.in_progress or lease.outcome not in FAILED or lease.begun_at is None:
        return status
    if lease.action_id in (status.counted_action, status.forgiven_action):
        return status
    counted = msgspec.structs.replace(status, counted_action=lease.action_id)
    if lease.kills >= POISON_KILLS and not status.quarantined_for:
        why = f"poison: {lease.kills} actions in a row killed their pool process, last: {lease.action}"
        return _quarantine(counted, why, settings, now)
    what = f"{lease.action}: {lease.outcome}" + (f" ({lease.detail[:_DETAIL]})" if lease.detail else "")
    return count_failure(counted, lease.ended_at or now, what, settings, now)


def told(before: Status, after: Status, lease: Lease | None) -> list[Said]:
    """Return what is to be told of the step from one status to the next."""
    said = []
    begins = bool(after.quarantined_for) and after.quarantined_at != before.quarantined_at
    if before.quarantined_for and (begins or not after.quarantined_for):
        why = "resumed" if after.resumed_at != before.resumed_at else "its time is up"
        said.append(Said(Notice.QUARANTINE_ENDED, {"reason": why, "was": before.quarantined_for}))
    if begins:
        length = round(after.quarantined_until - after.quarantined_at, 3)
        values: dict[str, str | int | float] = {"reason": after.quarantined_for, "duration": length}
        said.append(Said(Notice.QUARANTINED, {**values, "in_a_row": after.quarantines}))
    if after.stuck_action != before.stuck_action and lease is not None:
        said.append(Said(Notice.STUCK, {"action": lease.action, "timeout": lease.timeout, "executor": lease.executor}))
    return said


def kind_of(said: Said) -> str:
    """Return the kind of a quarantine, as its counter is labelled: failures or poison."""
    return str(said.values["reason"]).partition(":")[0]
