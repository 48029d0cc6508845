"""Checks of children: probes that collectors run (async, read-only, bounded), and the verdict on them (pure)."""

from __future__ import annotations

import asyncio

import httpx

from supervisor.breaker import Verdict
from supervisor.model import Check, ChildObserved, ChildSpec, Lease
from workers.duration import ago
from workers.model import STALE_AFTER

_HTTP_PATHS = {"redpanda": "/v1/status/ready", "benthos": "/ping"}  # where these types answer; "http" says its own path


class CheckFailed(Exception):
    """A child did not answer as it should; the message says how."""


async def probe(spec: ChildSpec) -> None:
    """Ask a child whether it works. Raises `CheckFailed`; never takes longer than the check's timeout (seconds)."""
    if spec.type == "process":
        return
    try:
        async with asyncio.timeout(spec.check.timeout):
            await _ask(spec.type, spec.check)
    except TimeoutError:
        raise CheckFailed(f"no answer from {spec.check.address} within {spec.check.timeout:g}s") from None
    except (OSError, ValueError, OverflowError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise CheckFailed(f"{spec.check.address}: {error or type(error).__name__}") from None


async def _ask(kind: str, check: Check) -> None:
    if kind in ("tcp", "redis"):
        await _ask_socket(check.address, b"PING\r\n" if kind == "redis" else None)
        return
    url = f"http://{check.address}{_HTTP_PATHS.get(kind, check.path)}"
    # verify=False: the address is plain http, and making an SSL context costs more than the whole look
    async with httpx.AsyncClient(timeout=check.timeout, trust_env=False, verify=False) as client:  # noqa: S501
        answer = await client.get(url)
    if answer.status_code != 200:
        raise CheckFailed(f"{url} answered {answer.status_code}, expected 200")


async def _ask_socket(address: str, question: bytes | None) -> None:
    """Connect; with a question, expect Redis' PONG. A server that wants a password is alive too."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        if question is None:
            return
        writer.write(question)
        answer = await reader.readline()
        if not answer.startswith((b"+PONG", b"-NOAUTH")):
            raise CheckFailed(f"{address} answered {answer[:60]!r} to PING, expected +PONG")
    finally:
        writer.close()


def judge(spec: ChildSpec, seen: ChildObserved | None, node_away: bool, last: Lease | None, now: float) -> Verdict:
    """Return the verdict on one child at `now` (epoch seconds). Pure."""
    if node_away:
        return Verdict("unknown", f"node {spec.node} is away")
    if seen is None:
        return Verdict("unknown", "not observed yet")
    age = now - seen.collected_at
    if age >= STALE_AFTER:
        return Verdict("unknown", f"last observed {ago(age)} ago")
    if last is not None and last.ended_at is not None and seen.collected_at <= last.ended_at:
        return Verdict("starting", f"not observed since its {last.action} ended")
    return _judge_seen(spec, seen, now)


def _judge_seen(spec: ChildSpec, seen: ChildObserved, now: float) -> Verdict:
    """Judge by a fresh look."""
    if seen.unknown:
        return Verdict("unknown", seen.error or "the look failed")
    if not seen.started:
        return Verdict("absent", "not started yet")
    return _judge_started(spec, seen, now)


def _judge_started(spec: ChildSpec, seen: ChildObserved, now: float) -> Verdict:
    if spec.process is not None and seen.pid is None:
        return Verdict("failed", seen.error or "its process is gone")
    if seen.failures == 0:
        return Verdict("ok", f"pid {seen.pid} passes its check" if seen.pid else "passes its check")
    why = seen.error or "check failed"
    if seen.started_at is not None and now - seen.started_at < spec.start_grace:
        return Verdict("starting", why)
    if seen.failures < spec.check.failures:
        return Verdict("unknown", f"{seen.failures} of {spec.check.failures} looks failed: {why}")
    return Verdict("failed", why)
