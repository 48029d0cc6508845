"""The circuit breaker: verdicts in, circuit, restarts and notices out. Pure; time is an argument.

Closed: every check passes, workers act. Open: a check failed; nothing is derived but stops, and the failed children are
restarted, each attempt after the end of the one before, its grace and its backoff. Half open: the checks pass, and a
few workers try whether that is true (SPEC 4.2). Which leads to which is `TABLE`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import msgspec

from actions.restart_child import RestartChild
from supervisor.backoff import jittered
from supervisor.circuit import Breaker, Recovery, State, Verdict
from supervisor.model import Incident, Lease, SupervisorSettings

PERSISTENT_FROM = 3  # attempts; SPEC 4.2
ESCALATION_FROM = 5
_CLAIMED_WITHIN = 0.1  # seconds: a claim's time is rounded, the last restart's is at least a second back


class Condition(StrEnum):
    """What the checks, or the workers that try, amount to."""

    FAILED = "a check failed"
    UNSURE = "not known to be well"
    WELL = "all checks pass"
    SETTLED = "the workers that try have settled"


C = Condition
TABLE: Mapping[tuple[State, Condition], State] = {
    ("closed", C.FAILED): "open",
    ("closed", C.UNSURE): "closed",
    ("closed", C.WELL): "closed",
    ("open", C.FAILED): "open",
    ("open", C.UNSURE): "open",
    ("open", C.WELL): "half_open",
    ("half_open", C.FAILED): "open",
    ("half_open", C.UNSURE): "half_open",
    ("half_open", C.WELL): "half_open",
    ("half_open", C.SETTLED): "closed",
}


class Notice(StrEnum):
    """What a step of the breaker is told as: one log message, one event, one counter each."""

    CHECK_FAILED = "check_failed"
    OPENED = "opened"
    RESTART = "restart"
    HEARTBEAT = "heartbeat"
    ONE_LEFT = "one_left"
    ESCALATED = "escalated"
    HALF_OPENED = "half_opened"
    CLOSED = "closed"


Values = dict[str, str | int | float | None]


class Said(msgspec.Struct, frozen=True):
    """A notice about a child, with the values that go with it."""

    notice: Notice
    child: str
    values: Values


class Decision(msgspec.Struct, frozen=True):
    """The next circuit, the children to restart now, and what to tell."""

    breaker: Breaker
    restarts: tuple[str, ...]
    said: tuple[Said, ...]


def recovery_status(attempts: int) -> str:
    """Return the plan's word for how far recovery has got (plan, task 3.1)."""
    if attempts < PERSISTENT_FROM:
        return "attempting_recovery"
    return "persistent_failure" if attempts < ESCALATION_FROM else "escalation_imminent"


def next_attempt_at(
    recovery: Recovery, last: Lease | None, start_grace: float, jitter: float = 0.0, name: str = ""
) -> float:
    """Return when the next restart may start: after the end of the last, its grace and its backoff.

    Infinity while one is in progress: its end decides.
    """
    if _in_progress(last):
        return float("inf")
    if recovery.attempts == 0:
        return 0.0
    ended = last.ended_at if last is not None and last.ended_at is not None else recovery.failed_at
    return ended + start_grace + jittered(recovery.attempts, jitter, name)


def _in_progress(last: Lease | None) -> bool:
    return last is not None and last.in_progress


def step(
    breaker: Breaker,
    verdicts: Mapping[str, Verdict],
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    settings: SupervisorSettings,
    now: float,
    not_before: float = 0.0,
    watched: Collection[str] = (),
) -> Decision:
    """Return what the circuit does about this tick's verdicts.

    `restarts` holds each child's last restart, `graces` its start_grace in seconds. None starts before `not_before`,
    and none of those that are only `watched`, as they look after themselves.
    """
    if breaker.forced is not None and breaker.forced.state == "open":
        return Decision(breaker, (), ())
    failed = {name: verdict.detail for name, verdict in verdicts.items() if verdict.state == "failed"}
    said = [Said(Notice.CHECK_FAILED, name, {"error": detail}) for name, detail in failed.items()]
    condition = _condition(breaker, verdicts, restarts, settings.flap_window, now)
    before, after = breaker.state, TABLE[breaker.state, condition]
    if condition is C.FAILED:
        breaker = msgspec.structs.replace(breaker, failed_at=now)
    if after == "open" and before == "open":
        said += _heartbeat(breaker, restarts, graces, settings, now)
    elif after == "open":
        breaker = _open(breaker, failed, settings.flap_window, now)
        values: Values = {"error": breaker.reason, "retry_attempt": breaker.attempts}
        backoff = jittered(breaker.attempts + 1, settings.backoff_jitter, next(iter(failed)))
        said.append(Said(Notice.OPENED, next(iter(failed)), {**values, "backoff_delay": backoff}))
    elif before == "open" and settings.half_open_workers:
        breaker, told = _half_open(breaker, settings, now)
        said.append(told)
    elif before == "open":
        breaker, told = _close(breaker, settings, now, now - settings.tick_interval)
        said.append(told)
    if condition is not C.FAILED or now < not_before:
        return Decision(breaker, (), tuple(said))
    ours = {name: why for name, why in failed.items() if name not in watched}
    theirs = {name: breaker.children.get(name, Recovery(failed_at=now)) for name in failed if name in watched}
    breaker = msgspec.structs.replace(breaker, children={**breaker.children, **theirs})
    return _restart(breaker, ours, restarts, graces, settings, now, said)


def settle(
    breaker: Breaker,
    acted: Collection[str],
    unsettled: Collection[str],
    waiting: bool,
    held_back: bool,
    settings: SupervisorSettings,
    now: float,
) -> tuple[Breaker, tuple[Said, ...]]:
    """Return the circuit after a plan has been made under it, and what to tell.

    `acted` are the workers that the plan lets act, `unsettled` those that act, want to or cannot; `waiting` tells
    whether any waits because the circuit is half open, `held_back` whether any does because of a limit that is shared:
    the ramp goes on while a full queue, say, holds them back instead of it.
    """
    if breaker.state == "half_open":
        probes = {**breaker.probes, **dict.fromkeys(acted, True)}
        tried = bool(probes) and not any(name in unsettled for name in probes)
        too_long = now - (breaker.eased_at or 0.0) >= settings.half_open_for
        if waiting and not tried and not too_long:
            return msgspec.structs.replace(breaker, probes=probes), ()
        closed, told = _close(breaker, settings, now, now)
        return closed, (told,)
    if breaker.ramp_at and not held_back:
        return msgspec.structs.replace(breaker, ramp_at=0.0), ()
    if breaker.ramp_at and settings.recovery_rate:
        used = breaker.ramp_at + len(acted) / settings.recovery_rate
        kept = max(1.0, 1.0 / settings.recovery_rate)  # seconds: what was not used for longer is forfeited
        return msgspec.structs.replace(breaker, ramp_at=max(used, now - kept)), ()
    return breaker, ()


def incident_of(before: Breaker, after: Breaker) -> Incident | None:
    """Return the incident to keep when a circuit has changed from `before` to `after`; None when it is no news."""
    if not after.incident:
        return None
    record = _record(after, before if before.incident == after.incident else after)
    return record if before.incident != after.incident or record != _record(before, before) else None


def _record(breaker: Breaker, before: Breaker) -> Incident:
    """Return a circuit's incident; what closing forgets is taken from the circuit `before`."""
    names = breaker.children or before.children
    opened = breaker.opened_at or 0.0
    return Incident(
        id=breaker.incident,
        opened_at=opened,
        reason=breaker.reason if breaker.state == "open" else before.reason,
        children=tuple(sorted(names)),
        attempts=max(breaker.attempts, before.attempts),
        escalated_at=breaker.escalated_at,
        closed_at=breaker.closed_at if breaker.state == "closed" else None,
    )


def _condition(
    breaker: Breaker,
    verdicts: Mapping[str, Verdict],
    restarts: Mapping[str, Lease | None],
    flap_window: float,
    now: float,
) -> Condition:
    if any(verdict.state == "failed" for verdict in verdicts.values()):
        return C.FAILED
    if breaker.state == "open" and (
        _pending(breaker, verdicts) or _may_swing_back(breaker, restarts, flap_window, now)
    ):
        return C.UNSURE
    return C.WELL


def _pending(breaker: Breaker, verdicts: Mapping[str, Verdict]) -> bool:
    """Tell whether a child that failed is not known to be well yet: no verdict is no recovery."""
    return any(name in verdicts and verdicts[name].state != "ok" for name in breaker.children)


def _may_swing_back(breaker: Breaker, restarts: Mapping[str, Lease | None], flap_window: float, now: float) -> bool:
    """Tell whether checks that pass may be one swing of a check that flaps.

    Not so once they have passed for all of the flap window; nor when every child that failed has been restarted since,
    unless a circuit that was eased on such grounds opened again at once.
    """
    if not 0 <= now - breaker.failed_at < flap_window:
        return False
    return breaker.flapping or not all(_was_restarted(restarts.get(name), breaker) for name in breaker.children)


def _was_restarted(last: Lease | None, breaker: Breaker) -> bool:
    if last is None or last.in_progress or last.outcome != "success" or last.action != RestartChild.name:
        return False
    return (last.ended_at or 0.0) >= (breaker.opened_at or 0.0)


def _open(breaker: Breaker, failed: Mapping[str, str], flap_window: float, now: float) -> Breaker:
    """Open; from half open it is the same incident still, with its attempts and its downtime."""
    fresh = msgspec.structs.replace(
        breaker, opened_at=now, incident=str(int(now)), children={}, escalated=False, escalated_at=None, ramp_at=0.0
    )
    return msgspec.structs.replace(
        fresh if breaker.state == "closed" else breaker,
        state="open",
        generation=breaker.generation + 1,
        failed_at=now,
        flapping=breaker.eased_at is not None and 0 <= now - breaker.eased_at < flap_window,
        reason="; ".join(f"{name}: {detail}" for name, detail in failed.items()),
        probes={},
    )


def _half_open(breaker: Breaker, settings: SupervisorSettings, now: float) -> tuple[Breaker, Said]:
    half = msgspec.structs.replace(
        breaker, state="half_open", generation=breaker.generation + 1, eased_at=now, flapping=False, probes={}
    )
    values: Values = {
        "elapsed_downtime": breaker.downtime(now),
        "retry_attempt": breaker.attempts,
        "half_open_workers": settings.half_open_workers,
    }
    return half, Said(Notice.HALF_OPENED, next(iter(breaker.children), ""), values)


def _close(breaker: Breaker, settings: SupervisorSettings, now: float, ramp_at: float) -> tuple[Breaker, Said]:
    closed = msgspec.structs.replace(
        breaker,
        state="closed",
        generation=breaker.generation + 1,
        eased_at=breaker.eased_at if breaker.state == "half_open" else now,
        closed_at=now,
        flapping=False,
        reason="all checks pass",
        children={},
        escalated=False,
        probes={},
        ramp_at=ramp_at if settings.recovery_rate else 0.0,
    )
    values: Values = {"total_downtime": breaker.downtime(now), "retry_attempt": breaker.attempts}
    return closed, Said(Notice.CLOSED, next(iter(breaker.children), ""), values)


def _restart(
    breaker: Breaker,
    failed: Mapping[str, str],
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    settings: SupervisorSettings,
    now: float,
    said: list[Said],
) -> Decision:
    """Start the restarts that are due, and tell when they are about to run out or have."""
    children = {**breaker.children}
    due: list[str] = []
    for name in failed:
        last = restarts.get(name)
        recovery, was_refused = _counted(children.get(name, Recovery(failed_at=now)), last)
        if recovery.attempts >= settings.max_attempts and not _in_progress(last) and not breaker.escalated:
            values: Values = {"max_attempts": settings.max_attempts, "total_downtime": breaker.downtime(now)}
            said.append(Said(Notice.ESCALATED, name, values))
            breaker = msgspec.structs.replace(breaker, escalated=True, escalated_at=now)
        if now >= next_attempt_at(recovery, last, graces.get(name, 0.0), settings.backoff_jitter, name):
            due.append(name)
            recovery = Recovery(recovery.attempts + 1, recovery.failed_at, now)
            if not was_refused:
                said += _attempt_notices(name, recovery.attempts, settings, breaker, now)
        children[name] = recovery
    return Decision(msgspec.structs.replace(breaker, children=children), tuple(due), tuple(said))


def _counted(recovery: Recovery, last: Lease | None) -> tuple[Recovery, bool]:
    """Return the recovery without an attempt that was asked for and refused, and whether there was one.

    An attempt is a restart that was started, and a full Redis, for one, grants no claim (SPEC 4.2).
    """
    claimed_at = last.claimed_at if last is not None else 0.0
    refused = recovery.asked_at > claimed_at + _CLAIMED_WITHIN
    return (msgspec.structs.replace(recovery, attempts=recovery.attempts - 1), True) if refused else (recovery, False)


def _attempt_notices(
    name: str, attempts: int, settings: SupervisorSettings, breaker: Breaker, now: float
) -> list[Said]:
    backoff = jittered(attempts, settings.backoff_jitter, name)
    notices = [Said(Notice.RESTART, name, {"retry_attempt": attempts, "backoff_delay": backoff})]
    if attempts == settings.max_attempts - 1:
        values: Values = {"attempts_remaining": 1, "total_downtime": breaker.downtime(now)}
        notices.append(Said(Notice.ONE_LEFT, name, values))
    return notices


def _heartbeat(
    breaker: Breaker,
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    settings: SupervisorSettings,
    now: float,
) -> list[Said]:
    """Say once per tick how far each failed child's recovery has got (plan, task 3.1)."""
    said = []
    for name, recovery in breaker.children.items():
        due = next_attempt_at(recovery, restarts.get(name), graces.get(name, 0.0), settings.backoff_jitter, name)
        values: Values = {
            "retry_attempt": recovery.attempts,
            "max_attempts": settings.max_attempts,
            "elapsed_downtime": breaker.downtime(now),
            "next_retry_in": max(0.0, due - now) if due != float("inf") else None,
            "recovery_status": recovery_status(recovery.attempts),
        }
        said.append(Said(Notice.HEARTBEAT, name, values))
    return said
