"""The checks of children, a probe for each kind: async, read-only, bounded. Their nodes' collectors run them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import aiohttp  # noqa: F401 - for workers/http.py, which imports it when it asks: that takes longer than a look may
import msgspec

from supervisor import redpanda
from supervisor.clock import SystemClock
from supervisor.extensions import OwnCheck
from supervisor.model import Check, ChildSpec
from workers.asking import MAX_REPLY, CannotLook, Unexpected, get, in_thread, trust
from workers.asking import connect as _connect
from workers.drivers import kafka
from workers.drivers.minding import ask_async, complaint, request
from workers.drivers.process import environment
from workers.duration import ago
from workers.http import NoReply, get_anew

T = TypeVar("T")
_API_VERSIONS, _CORRELATION = 18, 0x66736D31  # Kafka protocol: api key of ApiVersions; a number of ours to know it by


class CheckFailed(Exception):
    """A child did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Found:
    """What a check that passed has seen: in words, and the topics that are not there."""

    detail: str = ""
    missing: tuple[str, ...] = ()


async def probe(spec: ChildSpec, own: Mapping[str, OwnCheck] = MappingProxyType({})) -> Found:
    """Ask a child whether it works, by a built-in check or one of the installed packages' `own`; return what was seen.

    Raises `CheckFailed`, `CannotLook`, or what an own check raises; never takes longer than the check's timeout
    (seconds).
    """
    check = spec.check
    if check.kind not in _PROBES and check.kind not in own:
        raise CannotLook(f"no installed package has a check of kind {check.kind!r} (fsm_supervisor.checks)")
    if check.brokers or check.sasl:
        await in_thread(kafka.load)
    try:
        async with asyncio.timeout(check.timeout):
            found = await (_PROBES[check.kind](spec, check) if check.kind in _PROBES else own[check.kind](spec))
    except TimeoutError:
        raise CheckFailed(f"no answer from {check.target} within {check.timeout:g}s") from None
    except Unexpected as error:
        raise CheckFailed(str(error)) from None
    except (OSError, ValueError, OverflowError, NoReply) as error:
        raise CheckFailed(f"{check.target}: {error or type(error).__name__}") from None
    return found if isinstance(found, Found) else Found()


async def _process(_spec: ChildSpec, _check: Check) -> None:
    """Pass: that the process runs is seen by itself."""


async def _tcp(_spec: ChildSpec, check: Check) -> None:
    _, writer = await _connect(check.address)
    writer.close()


async def _redis(_spec: ChildSpec, check: Check) -> None:
    """Expect PONG. A server that wants a password is alive too."""
    reader, writer = await _connect(check.address)
    try:
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        if not answer.startswith((b"+PONG", b"-NOAUTH")):
            raise CheckFailed(f"{check.address} answered {answer[:60]!r} to PING, expected +PONG")
    finally:
        writer.close()


async def _http(_spec: ChildSpec, check: Check) -> None:
    """Expect one of the statuses, and the pattern somewhere in the body."""
    url = f"{'https' if check.tls else 'http'}://{check.address}{check.path}"
    await get(url, check.status, check.body, check.ca)


async def _kafka(spec: ChildSpec, check: Check) -> None:
    """Log in, if the check says as whom; else shake hands, as anybody may."""
    if check.sasl:
        await _metadata(spec, check)
    else:
        await _handshake(check)


async def _handshake(check: Check) -> None:
    """Shake hands as a Kafka client does: ApiVersions version 0, which every broker since 0.10 answers to anybody.

    https://kafka.apache.org/protocol.html: size, then api key, api version, correlation id, client id; the answer has
    size, correlation id, error code, and an array of (api key, least version, most version). Twenty bytes by hand are
    less than a client library, which would want threads and a whole cluster.
    """
    name = b"fsm-supervisor"
    question = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION, len(name)) + name
    reader, writer = await _connect(check.address, trust(check.tls, check.ca))
    try:
        writer.write(struct.pack(">i", len(question)) + question)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        if not 10 <= size <= MAX_REPLY:
            raise CheckFailed(f"{check.address} answered {size} bytes to ApiVersions: that is no Kafka broker")
        reply = await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise CheckFailed(f"{check.address} hung up after {len(error.partial)} bytes of its answer") from None
    finally:
        writer.close()
    correlation, code, apis = struct.unpack_from(">ihi", reply)
    if correlation != _CORRELATION or (code == 0 and size < 10 + 6 * apis):
        raise CheckFailed(f"{check.address} answered {reply[:12].hex()} to ApiVersions: that is no Kafka broker")
    if code != 0 or apis < 1:
        raise CheckFailed(f"{check.address} answered error {code} and {apis} APIs to ApiVersions, expected error 0")


async def _command(spec: ChildSpec, check: Check) -> None:
    """Expect exit code 0. Nothing of the command outlives the look."""
    told = request(check.command, spec.cwd or "/", environment({**spec.env, "FSM_CHILD": spec.name}), check.timeout)
    answer = await ask_async(told)
    if answer.get("code") != 0:
        raise CheckFailed(complaint(check.command[0], answer))


async def _freshness(_spec: ChildSpec, check: Check) -> None:
    """Expect a file that the child itself writes to have been written lately, by this host's clock."""
    age = SystemClock().now() - Path(check.file).stat().st_mtime
    if age > check.max_age:
        raise CheckFailed(f"{check.file} was written {ago(age)} ago, expected {check.max_age:g}s at most")


async def _redpanda(spec: ChildSpec, check: Check) -> Found:
    """Expect the admin API and Kafka to answer, and a cluster within the check's tolerances; tell which topics miss."""
    admin, seen = await asyncio.gather(
        _admin(check) if check.admin else _nothing(), _metadata(spec, check) if check.brokers else _nothing()
    )
    cluster = redpanda.Cluster(admin, seen)
    if wrong := redpanda.fault(check, cluster):
        raise CheckFailed(f"{check.target}: {wrong}; {redpanda.words(cluster)}")
    there = seen.partitions if seen is not None else {}
    missing = tuple(topic.name for topic in spec.topics if topic.name not in there)
    fewer = [
        f"topic {topic.name} has {there[topic.name]} partitions, wished for {topic.partitions}"
        for topic in spec.topics
        if there.get(topic.name, topic.partitions) < topic.partitions
    ]
    return Found("; ".join([redpanda.words(cluster), *fewer]), missing)


async def _nothing() -> None:
    """Ask nobody."""


async def _admin(check: Check) -> redpanda.Admin:
    """Ask the admin API of a Redpanda, all at once."""
    ready, brokers, health = await asyncio.gather(
        _reply(check, redpanda.READY, redpanda.Ready),
        _reply(check, redpanda.BROKERS, tuple[redpanda.Broker, ...]),
        _reply(check, redpanda.HEALTH, redpanda.Health),
    )
    return redpanda.Admin(ready, brokers, health)


async def _reply(check: Check, path: str, kind: type[T]) -> T:
    """Return what the admin API answers at a path. A Redpanda that is booting says so with status 503."""
    url = check.admin + path
    reply = await get_anew(url, trust(url.startswith("https:"), check.ca))
    if reply.status not in ((200, 503) if path == redpanda.READY else (200,)):
        raise CheckFailed(f"{url} answered {reply.status}, expected 200")
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.MsgspecError as error:
        raise CheckFailed(f"{url} answered {reply.body[:60]!r}, expected Redpanda's admin API: {error}") from None


async def _metadata(spec: ChildSpec, check: Check) -> kafka.Seen:
    """Ask Kafka for its brokers and the child's topics."""
    brokers = redpanda.brokers_of(check)
    try:
        return await in_thread(lambda: kafka.ask(brokers, [topic.name for topic in spec.topics]))
    except kafka.KafkaFailed as error:
        raise CheckFailed(str(error)) from None


Probe = Callable[[ChildSpec, Check], Awaitable[Found | None]]
_PROBES: dict[str, Probe] = {
    "process": _process,
    "tcp": _tcp,
    "redis": _redis,
    "http": _http,
    "kafka": _kafka,
    "command": _command,
    "freshness": _freshness,
    "redpanda": _redpanda,
}
