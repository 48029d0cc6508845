"""The circuit breaker: verdicts in, circuit, restarts and notices out. Pure; time is an argument.

Closed: every check passes, workers act. Open: a check failed; nothing is derived but stops, and the failed children are
restarted, each attempt after the end of the one before, its grace and its backoff (SPEC 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal

import msgspec

from supervisor.backoff import delay
from supervisor.model import FLAP_WINDOW, Lease
from workers.model import Document

PERSISTENT_FROM = 3  # attempts; SPEC 4.2
ESCALATION_FROM = 5


class Verdict(msgspec.Struct, frozen=True):
    """What the checks say of one child.

    `failed` opens the circuit. `absent` (a child of ours that nobody has started), `starting` and `unknown` open
    nothing and hold back only the workers that depend on the child.
    """

    state: Literal["ok", "failed", "absent", "starting", "unknown"]
    detail: str


class Recovery(msgspec.Struct, frozen=True):
    """What is being done for one failed child."""

    attempts: int = 0
    failed_at: float = 0.0


class Breaker(Document, frozen=True, kw_only=True):
    """The circuit of a supervisor. `opened_at`: start of the current or last open period, None if there was none.

    `generation` grows with every change of `state`, so that what was decided under another circuit can be told.
    `failed_at`: when a check was last seen failed. `flapping`: it opened within the flap window after it had closed.
    """

    state: Literal["closed", "open"] = "closed"
    generation: int = 0
    opened_at: float | None = None
    closed_at: float | None = None
    failed_at: float = 0.0
    flapping: bool = False
    reason: str = ""
    children: dict[str, Recovery] = {}
    escalated: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether actions are held back."""
        return self.state == "open"

    @property
    def attempts(self) -> int:
        """Return the restarts started for the child that needed most of them; 0 when closed."""
        return max((recovery.attempts for recovery in self.children.values()), default=0)

    def downtime(self, now: float) -> float:
        """Return the seconds since the circuit opened; 0 when closed."""
        return max(0.0, now - self.opened_at) if self.is_open and self.opened_at is not None else 0.0


class Notice(StrEnum):
    """What a step of the breaker is told as: one log message, one event, one counter each."""

    CHECK_FAILED = "check_failed"
    OPENED = "opened"
    RESTART = "restart"
    HEARTBEAT = "heartbeat"
    ONE_LEFT = "one_left"
    ESCALATED = "escalated"
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


def next_attempt_at(recovery: Recovery, last: Lease | None, start_grace: float) -> float:
    """Return when the next restart may start: after the end of the last, its grace and its backoff.

    Infinity while one is in progress: its end decides.
    """
    if _in_progress(last):
        return float("inf")
    if recovery.attempts == 0:
        return 0.0
    ended = last.ended_at if last is not None and last.ended_at is not None else recovery.failed_at
    return ended + start_grace + delay(recovery.attempts)


def _in_progress(last: Lease | None) -> bool:
    return last is not None and last.in_progress


def step(
    breaker: Breaker,
    verdicts: Mapping[str, Verdict],
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    max_attempts: int,
    now: float,
    not_before: float = 0.0,
    flap_window: float = FLAP_WINDOW,
) -> Decision:
    """Return what the circuit does about this tick's verdicts.

    `restarts` holds each child's last restart, `graces` its start_grace in seconds. None starts before `not_before`.
    A check that swings from failed to passed and back closes nothing for `flap_window` seconds, see `_may_swing_back`.
    """
    failed = {name: verdict.detail for name, verdict in verdicts.items() if verdict.state == "failed"}
    said = [Said(Notice.CHECK_FAILED, name, {"error": detail}) for name, detail in failed.items()]
    waits = _pending(breaker, verdicts) or _may_swing_back(breaker, restarts, flap_window, now)
    if not failed and (not breaker.is_open or waits):
        if breaker.is_open:
            said += _heartbeat(breaker, restarts, graces, max_attempts, now)
        return Decision(breaker, (), tuple(said))
    if not failed:
        return _close(breaker, now)
    if not breaker.is_open:
        breaker = _open(breaker, failed, flap_window, now)
        values: Values = {"error": breaker.reason, "retry_attempt": 0, "backoff_delay": delay(1)}
        said.append(Said(Notice.OPENED, next(iter(failed)), values))
    else:
        breaker = msgspec.structs.replace(breaker, failed_at=now)
        said += _heartbeat(breaker, restarts, graces, max_attempts, now)
    if now < not_before:
        return Decision(breaker, (), tuple(said))
    return _restart(breaker, failed, restarts, graces, max_attempts, now, said)


def _pending(breaker: Breaker, verdicts: Mapping[str, Verdict]) -> bool:
    """Tell whether a child that failed is not known to be well yet: no verdict is no recovery."""
    return any(name in verdicts and verdicts[name].state != "ok" for name in breaker.children)


def _may_swing_back(breaker: Breaker, restarts: Mapping[str, Lease | None], flap_window: float, now: float) -> bool:
    """Tell whether checks that pass may be one swing of a check that flaps.

    Not so once they have passed for all of the flap window; nor when every child that failed has been restarted since,
    unless a circuit that was closed on such grounds opened again at once.
    """
    if not 0 <= now - breaker.failed_at < flap_window:
        return False
    return breaker.flapping or not all(_was_restarted(restarts.get(name), breaker) for name in breaker.children)


def _was_restarted(last: Lease | None, breaker: Breaker) -> bool:
    if last is None or last.in_progress or last.outcome != "success":
        return False
    return (last.ended_at or 0.0) >= (breaker.opened_at or 0.0)


def _open(breaker: Breaker, failed: Mapping[str, str], flap_window: float, now: float) -> Breaker:
    return Breaker(
        state="open",
        generation=breaker.generation + 1,
        opened_at=now,
        failed_at=now,
        flapping=breaker.closed_at is not None and 0 <= now - breaker.closed_at < flap_window,
        reason="; ".join(f"{name}: {detail}" for name, detail in failed.items()),
    )


def _close(breaker: Breaker, now: float) -> Decision:
    closed = msgspec.structs.replace(
        breaker,
        state="closed",
        generation=breaker.generation + 1,
        closed_at=now,
        flapping=False,
        reason="all checks pass",
        children={},
        escalated=False,
    )
    values: Values = {"total_downtime": breaker.downtime(now), "retry_attempt": breaker.attempts}
    child = next(iter(breaker.children), "")
    return Decision(closed, (), (Said(Notice.CLOSED, child, values),))


def _restart(
    breaker: Breaker,
    failed: Mapping[str, str],
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    max_attempts: int,
    now: float,
    said: list[Said],
) -> Decision:
    """Start the restarts that are due, and tell when they are about to run out or have."""
    children = {**breaker.children}
    due: list[str] = []
    escalated = breaker.escalated
    for name in failed:
        recovery = children.get(name, Recovery(failed_at=now))
        exhausted = recovery.attempts >= max_attempts and not _in_progress(restarts.get(name))
        if exhausted and not escalated:
            values: Values = {"max_attempts": max_attempts, "total_downtime": breaker.downtime(now)}
            said.append(Said(Notice.ESCALATED, name, values))
            escalated = True
        if now >= next_attempt_at(recovery, restarts.get(name), graces.get(name, 0.0)):
            due.append(name)
            recovery = Recovery(attempts=recovery.attempts + 1, failed_at=recovery.failed_at)
            said += _attempt_notices(name, recovery.attempts, max_attempts, breaker, now)
        children[name] = recovery
    after = msgspec.structs.replace(breaker, children=children, escalated=escalated)
    return Decision(after, tuple(due), tuple(said))


def _attempt_notices(name: str, attempts: int, max_attempts: int, breaker: Breaker, now: float) -> list[Said]:
    notices = [Said(Notice.RESTART, name, {"retry_attempt": attempts, "backoff_delay": delay(attempts)})]
    if attempts == max_attempts - 1:
        values: Values = {"attempts_remaining": 1, "total_downtime": breaker.downtime(now)}
        notices.append(Said(Notice.ONE_LEFT, name, values))
    return notices


def _heartbeat(
    breaker: Breaker,
    restarts: Mapping[str, Lease | None],
    graces: Mapping[str, float],
    max_attempts: int,
    now: float,
) -> list[Said]:
    """Say once per tick how far each failed child's recovery has got (plan, task 3.1)."""
    said = []
    for name, recovery in breaker.children.items():
        wait = next_attempt_at(recovery, restarts.get(name), graces.get(name, 0.0)) - now
        values: Values = {
            "retry_attempt": recovery.attempts,
            "max_attempts": max_attempts,
            "elapsed_downtime": breaker.downtime(now),
            "next_retry_in": max(0.0, wait) if wait != float("inf") else None,
            "recovery_status": recovery_status(recovery.attempts),
        }
        said.append(Said(Notice.HEARTBEAT, name, values))
    return said
