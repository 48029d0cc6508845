"""Look at a Benthos: its process, then what its HTTP interface says. Read-only."""

from __future__ import annotations

import asyncio

import msgspec

from workers.benthos import replies
from workers.benthos.config import BenthosConfig
from workers.benthos.states import BenthosObserved, Flow, flow_of
from workers.benthos.window import Sample, between, keep
from workers.http import NoReply, get, text
from workers.model import Observed
from workers.process import observe as process
from workers.target import Target

_TIMEOUT = 3.0  # seconds for all requests of a look at a Benthos on the same host


class Answers(msgspec.Struct, frozen=True):
    """What it answered to the requests of one look; `version` is the version itself."""

    ready: bool
    connections: tuple[replies.Connection, ...]
    version: str
    meters: replies.Meters


async def observe(target: Target, previous: Observed | None, collected_at: float) -> BenthosObserved:
    """Return what the process and its HTTP interface say. Raises OSError or ValueError for the process part."""
    seen = await process.observe(target, previous, collected_at)
    base = BenthosObserved(**msgspec.structs.asdict(seen))
    if seen.pid is None or not isinstance(target.config, BenthosConfig):
        return base
    if isinstance(previous, BenthosObserved) and (previous.pid, previous.start_ticks) == (base.pid, base.start_ticks):
        base = msgspec.structs.replace(base, version=previous.version, samples=previous.samples)
    try:
        async with asyncio.timeout(_TIMEOUT):
            answers = await ask(target.config.http, base.version)
    except TimeoutError:
        return msgspec.structs.replace(base, http_error=f"no answer from {target.config.http} within {_TIMEOUT:g}s")
    except (NoReply, ValueError) as error:
        words = f"{target.config.http}: {error}"
        return msgspec.structs.replace(base, http_error=words[: replies.MAX_WORDS])
    return described(base, answers, target.config.window)


def matters(observed: Observed, target: Target) -> Flow | None:
    """Return what passes through it, which `derive` goes by: counters alone are no news, that they stand still is."""
    if not isinstance(observed, BenthosObserved) or not isinstance(target.config, BenthosConfig):
        return None
    return flow_of(observed, target.config.streams, target.config.max_error_rate)


async def ask(address: str, version: str = "") -> Answers:
    """Ask a Benthos how it is; for its version only when that is not known. Raises NoReply or ValueError."""
    await text(address, "/ping")
    ready = await get(address, "/ready")
    if ready.status not in (200, 503):
        raise ValueError(f"/ready answered {ready.status}, expected 200 or 503")
    known = version or replies.version(await text(address, "/version"))
    meters = replies.meters(await text(address, "/metrics"))
    return Answers(ready.status == 200, replies.connections(ready.text), known, meters)


def described(base: BenthosObserved, answers: Answers, window: float) -> BenthosObserved:
    """Lay what it answered over the observation of its process, whose `samples` are of earlier looks."""
    meters = answers.meters
    sample = Sample(base.collected_at, meters.received, meters.sent, meters.errors)
    samples = keep(base.samples, sample, window)
    lost = [one.words for one in answers.connections if not one.connected]
    return msgspec.structs.replace(
        base,
        version=answers.version,
        ready=answers.ready,
        input_connected=_end(answers.connections, "input", meters.input_connected),
        output_connected=_end(answers.connections, "output", meters.output_connected),
        lost="; ".join(lost)[: replies.MAX_WORDS],
        messages_in=meters.received,
        messages_out=meters.sent,
        errors=meters.errors,
        write_ms=meters.write_ms,
        window=between(samples[0], sample),
        samples=samples,
    )


def _end(connections: tuple[replies.Connection, ...], end: str, told_by_metrics: bool) -> bool:
    """Tell whether all connections of an end are up; by the metrics where `/ready` does not say."""
    of_end = [one.connected for one in connections if end in one.path.split(".")[:2]]
    return all(of_end) if of_end else told_by_metrics
