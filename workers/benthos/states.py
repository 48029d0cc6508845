"""The Benthos machine: the process table with what Benthos says of itself laid over it. Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from workers.benthos.config import MAX_ERROR_RATE
from workers.benthos.window import Sample, Window
from workers.machine import Machine
from workers.model import Observed, Phase, Snapshot, Transition
from workers.process import states as process


class BenthosObserved(Observed, frozen=True, kw_only=True):
    """What a Benthos says of itself.

    `http_error` is set when the process runs and its HTTP interface did not answer as expected. `lost` names the
    connections that are not up, with Benthos' own words. Counters are since its start; `write_ms` is what 99 of 100
    writes took at most, None when that is not told. `window` is what passed lately, `samples` are the earlier looks
    from which later ones count.
    """

    http_error: str | None = None
    version: str = ""
    ready: bool = False
    input_connected: bool = False
    output_connected: bool = False
    lost: str = ""
    messages_in: int = 0
    messages_out: int = 0
    errors: int = 0
    write_ms: float | None = None
    window: Window = Window()
    samples: tuple[Sample, ...] = ()


class Flow(StrEnum):
    """What a Benthos amounts to that is wanted and runs as it should."""

    SILENT = "silent"  # it does not answer
    UNCONNECTED = "unconnected"  # a connection is not up
    ERRING = "erring"  # too much of what it tried has failed
    QUIET = "quiet"  # nothing has passed for the window
    FLOWING = "flowing"


_C = process.Condition
_WHEN_UP: dict[str, tuple[str, str, str, str, str]] = {  # state: silent, unconnected, erring, quiet, flowing
    "stopped": ("starting", "starting", "starting", "starting", "starting"),
    "starting": ("starting", "waiting", "degraded", "idle", "active"),
    "waiting": ("degraded", "waiting", "degraded", "idle", "active"),
    "idle": ("degraded", "degraded", "degraded", "idle", "active"),
    "active": ("degraded", "degraded", "degraded", "idle", "active"),
    "degraded": ("degraded", "degraded", "degraded", "idle", "active"),
    "stopping": ("degraded", "waiting", "degraded", "idle", "active"),
    "failed": ("starting", "waiting", "degraded", "idle", "active"),
}


MACHINE = Machine(
    initial="stopped",
    phases={
        "stopped": Phase.STOPPED,
        "starting": Phase.STARTING,
        "waiting": Phase.STARTING,
        "idle": Phase.RUNNING,
        "active": Phase.RUNNING,
        "degraded": Phase.DEGRADED,
        "stopping": Phase.STOPPING,
        "failed": Phase.FAILED,
    },
    table={**process.split_up(Flow, _WHEN_UP), ("stopping", _C.OUTDATED): "starting"},
)


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what a Benthos needs next, from one fresh snapshot."""
    observed = process.require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    return MACHINE.step(snapshot.status.state, condition, reason, process.signal_of(snapshot, observed, now))


def classify(snapshot: Snapshot, observed: Observed) -> tuple[str, str]:
    """Return the condition of a snapshot and the reason in words."""
    condition, reason = process.classify(snapshot, observed)
    if condition != _C.UP:
        return condition, reason
    seen = msgspec.convert(observed, BenthosObserved, from_attributes=True)
    config = snapshot.desired.config
    streams = bool(config.get("streams", False))
    flow, words = _flow(seen, streams, float(config.get("max_error_rate", MAX_ERROR_RATE)))
    return flow, f"pid {seen.pid} {words}"


def flow_of(seen: BenthosObserved, streams: bool, max_error_rate: float) -> Flow:
    """Return what a running Benthos amounts to, by what was seen of it alone."""
    return _flow(seen, streams, max_error_rate)[0]


def _flow(seen: BenthosObserved, streams: bool, max_error_rate: float) -> tuple[Flow, str]:
    """Return what a running Benthos amounts to."""
    if seen.http_error is not None:
        return Flow.SILENT, f"runs and does not answer: {seen.http_error}"
    if not streams and not (seen.ready and seen.input_connected and seen.output_connected):
        ends = f"input {_up(seen.input_connected)}, output {_up(seen.output_connected)}"
        return Flow.UNCONNECTED, f"runs, {ends}" + (f" ({seen.lost})" if seen.lost else "")
    flow, words = _passing(seen, max_error_rate)
    return flow, f"{'runs streams' if streams else 'is connected'}, {words}"


def _passing(seen: BenthosObserved, max_error_rate: float) -> tuple[Flow, str]:
    """Return what passes through it, and how much of that fails."""
    window = seen.window
    if window.error_rate > max_error_rate:
        share = f"{window.errors} of {window.tried} writes failed in {window.seconds:.0f}s"
        return Flow.ERRING, f"{share} ({window.error_rate:.1%}, at most {max_error_rate:.1%} may)"
    if not window.seconds:  # the first look at this life
        passed = Flow.FLOWING if seen.messages_in or seen.messages_out else Flow.QUIET
        return passed, f"{seen.messages_in} in, {seen.messages_out} out"
    if not window.passes:
        return Flow.QUIET, f"no message for {window.seconds:.0f}s"
    took = "" if seen.write_ms is None else f", a write takes {seen.write_ms:.1f} ms"
    rates = f"in {window.received / window.seconds:.1f}/s, out {window.sent / window.seconds:.1f}/s"
    return Flow.FLOWING, f"{rates}{took}"


def _up(connected: bool) -> str:
    return "connected" if connected else "not connected"
