"""The data-flow machine: the process table with what the flow itself says laid over it. Pure."""

from __future__ import annotations

import msgspec

from actions.reconfigure import Reconfigure
from workers.machine import Entry, Machine
from workers.model import Observed, Phase, Snapshot, Transition
from workers.process import states as process


class FlowObserved(Observed, frozen=True, kw_only=True):
    """What a data flow says of itself.

    Counters are since its start; `*_per_second` since the previous look, None without one at the same incarnation.
    `http_error` is set when the process runs and its HTTP interface did not answer as expected.
    """

    http_error: str | None = None
    ready: bool = False
    input_connected: bool = False
    output_connected: bool = False
    messages_in: int = 0
    messages_out: int = 0
    errors: int = 0
    messages_in_per_second: float | None = None
    messages_out_per_second: float | None = None


CONNECTED = "connected"  # wanted, there, both ends connected
UNCONNECTED = "unconnected"  # wanted, there, an end is not connected or it does not answer

_C = process.Condition


def _table() -> dict[tuple[str, str], Entry]:
    """Return the process table with `up` split into connected and unconnected, and a degraded state."""
    table: dict[tuple[str, str], Entry] = {at: entry for at, entry in process.MACHINE.table.items() if at[1] != _C.UP}
    for condition in (_C.MISSING, _C.FAILING, _C.UNWANTED, _C.DOWN):
        table["degraded", condition] = process.MACHINE.table["running", condition]
    table["degraded", _C.OUTDATED] = Reconfigure()
    for state, when_connected, when_unconnected in (
        ("stopped", "starting", "starting"),
        ("starting", "running", "starting"),
        ("running", "running", "degraded"),
        ("degraded", "running", "degraded"),
        ("stopping", "running", "degraded"),
        ("failed", "running", "starting"),
    ):
        table[state, CONNECTED] = when_connected
        table[state, UNCONNECTED] = when_unconnected
    return table


MACHINE = Machine(
    initial="stopped",
    phases={**process.MACHINE.phases, "degraded": Phase.DEGRADED},
    table=_table(),
)


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what a data flow needs next, from one fresh snapshot."""
    observed = process.require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    return MACHINE.step(snapshot.status.state, condition, reason, process.signal_of(snapshot, observed, now))


def classify(snapshot: Snapshot, observed: Observed) -> tuple[str, str]:
    """Return the condition of a snapshot and the reason in words."""
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
    if flow.messages_in_per_second is None or flow.messages_out_per_second is None:
        return CONNECTED, f"connected, {flow.messages_in} in, {flow.messages_out} out"
    return CONNECTED, f"connected, in {flow.messages_in_per_second:.1f}/s, out {flow.messages_out_per_second:.1f}/s"


def _up(connected: bool) -> str:
    return "connected" if connected else "not connected"
