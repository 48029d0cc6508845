"""Look at a data flow: its process, then its own `/ready` and `/metrics`; or its stream in a Benthos. Read-only."""

from __future__ import annotations

import asyncio

import msgspec

from actions.model import ActionError, Component
from workers.benthos.replies import MAX_WORDS, Meters, meters
from workers.dfc_read.config import ACTIVE_WITHIN, DfcReadConfig
from workers.dfc_read.states import LOST, FlowObserved
from workers.drivers.streams import Running, StreamComponent, body_of, running
from workers.http import NoConnection, NoReply, get, text
from workers.model import Exit, Observed
from workers.process import observe as process
from workers.target import Target

_TIMEOUT = 2.0  # seconds for all HTTP requests of a look at a flow on the same host
_SAME_LIFE = 1.0  # seconds by which the start of one life may seem to differ between looks


async def observe(target: Target, previous: Observed | None, collected_at: float) -> FlowObserved:
    """Return what the process and the flow's HTTP interface say. Raises OSError or ValueError for the process part."""
    if isinstance(target.config, DfcReadConfig) and target.config.is_stream:
        return await _observe_stream(_stream(target, target.config), previous, collected_at)
    seen = await process.observe(target, previous, collected_at)
    base = FlowObserved(**msgspec.structs.asdict(seen))
    if seen.pid is None or not isinstance(target.config, DfcReadConfig):
        return base
    address = str(target.config.http)  # which a flow with a process of its own has
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
    flow = _metered(base, ready, values)
    if not isinstance(previous, FlowObserved) or (previous.pid, previous.start_ticks) != (flow.pid, flow.start_ticks):
        return flow
    return flow if previous.http_error is not None else _with_rates(flow, previous)


def _metered(base: FlowObserved, ready: bool, values: Meters) -> FlowObserved:
    return msgspec.structs.replace(
        base,
        ready=ready,
        input_connected=values.input_connected,
        output_connected=values.output_connected,
        messages_in=values.received,
        messages_out=values.sent,
        errors=values.errors,
    )


def _with_rates(flow: FlowObserved, previous: FlowObserved) -> FlowObserved:
    """Lay the rates since an earlier look at the same life over it."""
    elapsed = flow.collected_at - previous.collected_at
    if elapsed <= 0:
        return flow
    return msgspec.structs.replace(
        flow,
        messages_in_per_second=max(0, flow.messages_in - previous.messages_in) / elapsed,
        messages_out_per_second=max(0, flow.messages_out - previous.messages_out) / elapsed,
    )


def component(target: Target) -> Component:
    """Return what actions start and stop: a stream, or a process."""
    if isinstance(target.config, DfcReadConfig) and target.config.is_stream:
        return _stream(target, target.config)
    return process.component(target)


def _stream(target: Target, config: DfcReadConfig) -> StreamComponent:
    body = body_of(config.stream or "")
    within = float(config.active_within or ACTIVE_WITHIN)
    return StreamComponent(target.id, target.folder, config.benthos or "", body, target.config_id, within)


async def _observe_stream(stream: StreamComponent, previous: Observed | None, collected_at: float) -> FlowObserved:
    """Return what the Benthos says of a stream; where none listens, the stream has ended."""
    before = previous if isinstance(previous, FlowObserved) and previous.benthos == stream.benthos else None
    base = FlowObserved(collected_at=collected_at, benthos=stream.benthos, running=False)
    try:
        async with asyncio.timeout(_TIMEOUT):
            seen, values = await _ask_stream(stream)
    except NoConnection as error:
        away = f"nothing listens at {stream.benthos} ({error})"
        return msgspec.structs.replace(base, away=away, last_exit=_exit(before, collected_at, lost=True))
    except (ActionError, NoReply, ValueError, TimeoutError) as error:
        why = f"Benthos at {stream.benthos}: {error or type(error).__name__}"[:200]
        started_at, last_exit = (before.started_at, before.last_exit) if before else (None, None)
        return msgspec.structs.replace(base, error=why, started_at=started_at, last_exit=last_exit)
    if seen is None or not seen.active:
        return msgspec.structs.replace(base, last_exit=_exit(before, collected_at, lost=seen is None))
    flow = _metered(base, values.input_connected and values.output_connected, values)
    return _living(flow, stream.identify(seen), collected_at - seen.uptime, before)


def _living(flow: FlowObserved, config_id: str, started_at: float, before: FlowObserved | None) -> FlowObserved:
    """Return the look at a stream that runs; its start is that of the look before, if it still is the same life."""
    same = before is not None and before.started_at is not None and abs(started_at - before.started_at) < _SAME_LIFE
    flow = msgspec.structs.replace(
        flow,
        running=True,
        config_id=config_id,
        started_at=before.started_at if before is not None and same else started_at,
        last_exit=before.last_exit if before is not None else None,
    )
    return _with_rates(flow, before) if before is not None and same and before.running else flow


def _exit(before: FlowObserved | None, ended_at: float, lost: bool) -> Exit | None:
    """Name the life that has ended by the millisecond of its start.

    One that ended by itself Benthos still has, and does not run; `lost` is what it has no more.
    """
    if before is None or before.started_at is None:
        return before.last_exit if before is not None else None
    started_at, why = before.started_at, LOST if lost else msgspec.UNSET
    return Exit(pid=0, start_ticks=round(started_at * 1000), started_at=started_at, ended_at=ended_at, reason=why)


async def _ask_stream(stream: StreamComponent) -> tuple[Running | None, Meters]:
    """Ask a Benthos for a stream and its counters. Raises NoReply, ValueError or ActionError."""
    seen = running(await get(stream.benthos, f"/streams/{stream.id}"), stream.benthos)
    if seen is None:
        return None, Meters()
    stats = await get(stream.benthos, f"/streams/{stream.id}/stats")
    return seen, meters(stats.text, stream.id) if stats.status == 200 else Meters()
