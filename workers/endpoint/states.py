"""The machine of what answers on a network: the process table with what it answers laid over it. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from workers.endpoint.config import MAX_LATENCY
from workers.machine import Machine
from workers.model import Observed, Phase, Snapshot, Transition
from workers.process import states as process


class EndpointObserved(Observed, frozen=True, kw_only=True):
    """How it answered.

    `answered`: as it should. `trouble` says what was wrong with its answer; None also when it was not asked, as it does
    not run. `latency_ms` is how long the whole conversation took; `answer` says in words what came back.
    """

    answered: bool = False
    trouble: str | None = None
    latency_ms: float = 0.0
    answer: str = ""


class Answer(StrEnum):
    """What an endpoint amounts to that is wanted."""

    SILENT = "silent"  # no answer, or a wrong one
    SLOW = "slow"  # the right answer, too late
    ANSWERS = "answers"


_C = process.Condition
_WHEN_UP: dict[str, tuple[str, str, str]] = {  # state: silent, slow, answers
    "stopped": ("starting", "starting", "starting"),
    "starting": ("starting", "degraded", "running"),
    "running": ("degraded", "degraded", "running"),
    "degraded": ("degraded", "degraded", "running"),
    "stopping": ("degraded", "degraded", "running"),
    "failed": ("starting", "degraded", "running"),
}


MACHINE = Machine(
    initial="stopped",
    phases={**process.MACHINE.phases, "degraded": Phase.DEGRADED},
    table=process.split_up(Answer, _WHEN_UP),
)


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what an endpoint needs next, from one fresh snapshot."""
    observed = process.require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    return MACHINE.step(snapshot.status.state, condition, reason, process.signal_of(snapshot, observed, now))


def classify(snapshot: Snapshot, observed: Observed) -> tuple[str, str]:
    """Return the condition of a snapshot and the reason in words."""
    config = snapshot.desired.config
    max_latency = float(config.get("max_latency", MAX_LATENCY))
    if not config.get("command"):
        return _watched(snapshot, observed, max_latency)
    condition, reason = process.classify(snapshot, observed)
    if condition != _C.UP:
        return condition, reason
    answer, words = _judged(observed, max_latency)
    return answer, f"pid {observed.pid} runs and {words}"


def _watched(snapshot: Snapshot, observed: Observed, max_latency: float) -> tuple[str, str]:
    """Return the condition of what is no process of ours; one that runs is of a command that it had before."""
    if observed.pid is not None:
        return _C.UNWANTED, f"it is watched only, and pid {observed.pid} of an earlier command runs"
    if snapshot.wants_stop:
        return _C.DOWN, f"{snapshot.why_stop}, it is watched only and nothing of ours runs"
    answer, words = _judged(observed, max_latency)
    return answer, f"it is watched only and {words}"


def answer_of(seen: Observed, max_latency: float) -> Answer:
    """Return how an endpoint answers, by what was seen of it alone; `max_latency` in seconds."""
    return _judged(seen, max_latency)[0]


def _judged(observed: Observed, max_latency: float) -> tuple[Answer, str]:
    seen = msgspec.convert(observed, EndpointObserved, from_attributes=True)
    if seen.trouble is not None:
        return Answer.SILENT, f"does not answer as it should: {seen.trouble}"
    if not seen.answered:
        return Answer.SILENT, "has not been asked yet"
    took = f"{seen.answer} in {seen.latency_ms:.0f} ms"
    if seen.latency_ms > max_latency * 1000:
        return Answer.SLOW, f"is slow: {took}, at most {max_latency * 1000:.0f} ms may pass"
    return Answer.ANSWERS, f"answers: {took}"
