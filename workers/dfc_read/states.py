"""The data-flow machine: the process table with what the flow itself says laid over it. Pure.

The same for a flow that is a stream of a Benthos: that runs when its Benthos says so.
"""

from __future__ import annotations

import msgspec

from workers.command import states as command
from workers.machine import Machine
from workers.model import Observed, Phase, Signal, Snapshot, Transition
from workers.process import states as process


class FlowObserved(Observed, frozen=True, kw_only=True):
    """What a data flow says of itself.

    Counters are since its start; `*_per_second` since the previous look, None without one at the same incarnation.
    `http_error` is set when the process runs and its HTTP interface did not answer as expected.
    Of a stream, `benthos` is where it was looked for, and it has no pid: `running` tells whether it runs; `away` says
    why no Benthos is there. A process has none of them.
    """

    benthos: str | None = None
    running: bool | None = None
    away: str | None = None
    http_error: str | None = None
    ready: bool = False
    input_connected: bool = False
    output_connected: bool = False
    messages_in: int = 0
    messages_out: int = 0
    errors: int = 0
    messages_in_per_second: float | None = None
    messages_out_per_second: float | None = None


LOST = "Benthos has it no more"  # how a stream ended that went with its Benthos, or was removed there
CONNECTED = "connected"  # wanted, there, both ends connected
UNCONNECTED = "unconnected"  # wanted, there, an end is not connected or it does not answer
AWAY = "away"  # wanted, a stream, and its Benthos is not there: nothing can be done until that is back

_C = process.Condition


_WHEN_UP = {  # state: connected, unconnected, away
    "stopped": ("starting", "starting", "starting"),
    "starting": ("running", "starting", "starting"),
    "running": ("running", "degraded", "starting"),
    "degraded": ("running", "degraded", "starting"),
    "stopping": ("running", "degraded", "starting"),
    "failed": ("running", "starting", "starting"),
}

MACHINE = Machine(
    initial="stopped",
    phases={**process.MACHINE.phases, "degraded": Phase.DEGRADED},
    table=process.split_up((CONNECTED, UNCONNECTED, AWAY), _WHEN_UP),
)


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what a data flow needs next, from one fresh snapshot."""
    observed = process.require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    is_stream = isinstance(observed, FlowObserved) and bool(observed.benthos)
    signal_of = _signal_of_stream if is_stream else process.signal_of
    return MACHINE.step(snapshot.status.state, condition, reason, signal_of(snapshot, observed, now))


def _signal_of_stream(snapshot: Snapshot, observed: Observed, now: float) -> Signal:
    """Return what became known about lives of a stream; what its Benthos lost, however early, has not failed."""
    signal, ended = command.signal_of(snapshot, observed, now), observed.last_exit
    lost = ended is not None and ended.reason == LOST
    return Signal.EXITED if lost and signal is Signal.EXITED_EARLY else signal


def classify(snapshot: Snapshot, observed: Observed) -> tuple[str, str]:
    """Return the condition of a snapshot and the reason in words."""
    if isinstance(observed, FlowObserved) and observed.benthos:
        return _classify_stream(snapshot, observed)
    condition, reason = process.classify(snapshot, observed)
    if condition != _C.UP:
        return condition, reason
    flow = msgspec.convert(observed, FlowObserved, from_attributes=True)
    if flow.http_error is not None:
        return UNCONNECTED, f"pid {flow.pid} runs and does not answer: {flow.http_error}"
    if not (flow.ready and flow.input_connected and flow.output_connected):
        return (
            UNCONNECTED,
            f"pid {flow.pid} runs, input {_up(flow.input_connected)}, output {_up(flow.output_connected)}",
        )
    return CONNECTED, _passing(flow)


def _classify_stream(snapshot: Snapshot, flow: FlowObserved) -> tuple[str, str]:
    """Return the condition of a flow that is a stream, and the reason in words."""
    if flow.away and not snapshot.wants_stop:
        return AWAY, f"its Benthos is away: {flow.away}"
    ended = flow.last_exit
    why = f"Benthos at {flow.benthos} has no such stream"
    if ended is not None:
        why += f"; the last ran for {ended.ended_at - ended.started_at:.1f}s"
    runs = f"its stream in Benthos at {flow.benthos}" if flow.running else None
    condition, reason = process.condition_of(snapshot, runs, flow.config_id, why)
    if condition != _C.UP:
        return condition, reason
    if not (flow.input_connected and flow.output_connected):
        ends = f"input {_up(flow.input_connected)}, output {_up(flow.output_connected)}"
        return UNCONNECTED, f"its stream runs, {ends}, {flow.messages_in} in, {flow.messages_out} out"
    return CONNECTED, _passing(flow)


def _passing(flow: FlowObserved) -> str:
    """Say what passes through a flow that is connected."""
    if flow.messages_in_per_second is None or flow.messages_out_per_second is None:
        return f"connected, {flow.messages_in} in, {flow.messages_out} out"
    return f"connected, in {flow.messages_in_per_second:.1f}/s, out {flow.messages_out_per_second:.1f}/s"


def _up(connected: bool) -> str:
    return "connected" if connected else "not connected"
