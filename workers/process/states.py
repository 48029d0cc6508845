"""The process machine: one table, and `derive`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from workers.machine import Entry, Machine
from workers.model import Observed, Phase, Signal, Snapshot, Transition

FAILED_AFTER = 3  # failed starts in a row after which the worker is shown as failed; it is still tried, with backoff


class Condition(StrEnum):
    """What a snapshot of a process amounts to."""

    MISSING = "missing"  # wanted, not there
    FAILING = "failing"  # wanted, not there, and its last starts failed
    OUTDATED = "outdated"  # wanted, there with another configuration
    UP = "up"  # wanted and there
    UNWANTED = "unwanted"  # there, not wanted
    DOWN = "down"  # neither


C = Condition

MACHINE = Machine(
    initial="stopped",
    phases={
        "stopped": Phase.STOPPED,
        "starting": Phase.STARTING,
        "running": Phase.RUNNING,
        "stopping": Phase.STOPPING,
        "failed": Phase.FAILED,
    },
    table={
        ("stopped", C.MISSING): "starting",
        ("stopped", C.FAILING): "failed",
        ("stopped", C.OUTDATED): "starting",
        ("stopped", C.UP): "starting",
        ("stopped", C.UNWANTED): "stopping",
        ("stopped", C.DOWN): "stopped",
        ("starting", C.MISSING): Start(),
        ("starting", C.FAILING): "failed",
        ("starting", C.OUTDATED): Reconfigure(),
        ("starting", C.UP): "running",
        ("starting", C.UNWANTED): "stopping",
        ("starting", C.DOWN): "stopped",
        ("running", C.MISSING): "starting",
        ("running", C.FAILING): "failed",
        ("running", C.OUTDATED): Reconfigure(),
        ("running", C.UP): "running",
        ("running", C.UNWANTED): "stopping",
        ("running", C.DOWN): "stopped",
        ("stopping", C.MISSING): "starting",
        ("stopping", C.FAILING): "failed",
        ("stopping", C.OUTDATED): "running",
        ("stopping", C.UP): "running",
        ("stopping", C.UNWANTED): Stop(),
        ("stopping", C.DOWN): "stopped",
        ("failed", C.MISSING): "starting",
        ("failed", C.FAILING): Start(),
        ("failed", C.OUTDATED): Reconfigure(),
        ("failed", C.UP): "running",
        ("failed", C.UNWANTED): "stopping",
        ("failed", C.DOWN): "stopped",
    },
)


def split_up(into: Iterable[str], after: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Entry]:
    """Return the table with `up` split `into` finer conditions.

    `after` has the states of the finer machine, each with what follows on those conditions; on all others a state that
    no process has follows what a running one does.
    """
    others = [condition for condition in C if condition is not C.UP]
    table: dict[tuple[str, str], Entry] = {}
    for state, entries in after.items():
        like = state if (state, C.DOWN) in MACHINE.table else "running"
        table.update({(state, condition): MACHINE.table[like, condition] for condition in others})
        table.update({(state, condition): entry for condition, entry in zip(into, entries, strict=True)})
    return table


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what a process needs next, from one fresh snapshot."""
    observed = require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    return MACHINE.step(snapshot.status.state, condition, reason, signal_of(snapshot, observed, now))


def require_observed(snapshot: Snapshot) -> Observed:
    """Return the observation; the planner never calls `derive` without one that knows something."""
    if snapshot.observed is None or snapshot.observed.error is not None:
        raise ValueError(f"worker {snapshot.id!r} has no observation to derive from")
    return snapshot.observed


def classify(snapshot: Snapshot, observed: Observed) -> tuple[Condition, str]:
    """Return the condition of a snapshot and the reason in words."""
    runs = None if observed.pid is None else f"pid {observed.pid}" if observed.pid else "it"
    why = observed.last_exit.words() if observed.last_exit else "nothing has been started since the host booted"
    return condition_of(snapshot, runs, observed.config_id, why)


def condition_of(snapshot: Snapshot, runs: str | None, config_id: str, why: str) -> tuple[Condition, str]:
    """Return the condition and the reason in words, given what `runs` (None: nothing), and `why` if nothing does."""
    if snapshot.wants_stop:
        if runs is not None:
            return C.UNWANTED, f"{snapshot.why_stop} and {runs} runs"
        return C.DOWN, f"{snapshot.why_stop} and nothing runs"
    if runs is None:
        return _missing(snapshot, why)
    if config_id != snapshot.desired.config_id:
        return C.OUTDATED, f"{runs} runs configuration {config_id}, wanted is {snapshot.desired.config_id}"
    return C.UP, f"{runs} runs"


def _missing(snapshot: Snapshot, why: str) -> tuple[Condition, str]:
    failures = snapshot.failures + snapshot.status.early_exits
    if failures >= FAILED_AFTER:
        return C.FAILING, f"{failures} starts in a row failed; {why}"
    return C.MISSING, f"desired is running and nothing runs: {why}"


def signal_of(snapshot: Snapshot, observed: Observed, now: float) -> Signal:
    """Return what became known about incarnations: an exit nobody asked for, once each, or that one has settled."""
    ended = observed.last_exit
    min_uptime = float(snapshot.desired.config.get("min_uptime", 10.0))
    if ended is not None and not ended.requested and ended.id != snapshot.status.counted_exit:
        early = ended.ended_at - ended.started_at < min_uptime
        return Signal.EXITED_EARLY if early else Signal.EXITED
    if snapshot.status.early_exits and observed.started_at is not None and now - observed.started_at >= min_uptime:
        return Signal.SETTLED
    return Signal.NONE
