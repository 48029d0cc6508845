"""Look at a data flow: its process, then its own `/ready` and `/metrics`. Read-only."""

from __future__ import annotations

import asyncio

import msgspec

from workers.benthos.replies import MAX_WORDS, Meters, meters
from workers.dfc_read.config import DfcReadConfig
from workers.dfc_read.states import FlowObserved
from workers.http import NoReply, get, text
from workers.model import Observed
from workers.process import observe as process
from workers.target import Target

_TIMEOUT = 2.0  # seconds for both HTTP requests to a flow on the same host


async def observe(target: Target, previous: Observed | None, collected_at: float) -> FlowObserved:
    """Return what the process and the flow's HTTP interface say. Raises OSError or ValueError for the process part."""
    seen = await process.observe(target, previous, collected_at)
    base = FlowObserved(**msgspec.structs.asdict(seen))
    if seen.pid is None or not isinstance(target.config, DfcReadConfig):
        return base
    address = target.config.http
    try:
        async with asyncio.timeout(_TIMEOUT):
            ready = await get(address, "/ready")
            values = meters(await text(address, "/metrics"))
    except TimeoutError:
        return msgspec.structs.replace(base, http_error=f"no answer from {address} within {_TIMEOUT:g}s")
    except (NoReply, ValueError) as error:
        return msgspec.structs.replace(base, http_error=f"{address}: {error}"[:MAX_WORDS])
    return _with_metrics(base, ready.status == 200, values, previous)


def _with_metrics(base: FlowObserved, ready: bool, values: Meters, previous: Observed | None) -> FlowObserved:
    """Lay what the metrics say over the observation; rates need an earlier look at the same incarnation."""
    flow = msgspec.structs.replace(
        base,
        ready=ready,
        input_connected=values.input_connected,
        output_connected=values.output_connected,
        messages_in=values.received,
        messages_out=values.sent,
        errors=values.errors,
    )
    if not isinstance(previous, FlowObserved) or (previous.pid, previous.start_ticks) != (flow.pid, flow.start_ticks):
        return flow
    elapsed = flow.collected_at - previous.collected_at
    if elapsed <= 0 or previous.http_error is not None:
        return flow
    return msgspec.structs.replace(
        flow,
        messages_in_per_second=max(0, flow.messages_in - previous.messages_in) / elapsed,
        messages_out_per_second=max(0, flow.messages_out - previous.messages_out) / elapsed,
    )
