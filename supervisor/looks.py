"""Looks at children: by the collector of their node, or, of those without a node, by the tick."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from actions.model import ActionError, Incarnation
from supervisor import probes
from supervisor.errors import BadDocument
from supervisor.extensions import OwnCheck
from supervisor.keys import POOL, SUPERVISOR
from supervisor.model import ChildObserved, ChildSpec, CollectorDocument, Lease
from supervisor.runtime import Runtime
from supervisor.store import Index, decode
from supervisor.targets import folder_of, managed
from workers.asking import CannotLook
from workers.drivers.process import settled_look


def look_at_nodeless(runtime: Runtime, supervisor: str, index: Index) -> bool:
    """Look at the children without a node that are due, all at once, and store what was seen; tell if any was.

    It takes as long as the slowest check's timeout, which the fleet file keeps well below the tick's lease. A document
    that cannot be read is told by the tick, which reads it next.
    """
    items = [(item, place) for item, place in index.children if place == POOL]
    if not items:
        return False
    now = runtime.store.now()
    due: dict[str, tuple[ChildSpec, ChildObserved | None]] = {}
    for item, _, texts in runtime.store.read_worker(supervisor, items):
        try:
            spec = decode(texts["desired"] or "null", ChildSpec, item)
            seen = decode(texts["observed"], ChildObserved, item) if texts["observed"] else None
            lease = decode(texts["lease"], Lease, item) if texts["lease"] else None
        except BadDocument:
            continue
        if spec.type != "supervisor" and is_due(seen, lease, index.settings.observation_interval, now):
            due[item] = (spec, seen)
    if not due:
        return False
    looks = asyncio.run(_all(runtime, supervisor, due, now))
    heartbeat = CollectorDocument(node=SUPERVISOR, pid=os.getpid(), at=now, observed=len(due), clock_skew=0.0)
    runtime.store.save_observations(supervisor, POOL, looks, heartbeat)
    return True


def is_due(seen: ChildObserved | None, lease: Lease | None, interval: float, now: float) -> bool:
    """Tell whether a child has to be looked at: the last look is `interval` seconds old, or from before its restart."""
    if seen is None or not 0 <= now - seen.collected_at < interval:
        return True
    return lease is not None and lease.ended_at is not None and seen.collected_at <= lease.ended_at < now


async def _all(
    runtime: Runtime, supervisor: str, due: dict[str, tuple[ChildSpec, ChildObserved | None]], now: float
) -> dict[str, ChildObserved]:
    """Look at all at once."""
    data_dir = runtime.settings.data_dir
    looks = [
        _see_or_not(spec, folder_of(data_dir, supervisor, POOL, spec.id), seen, now) for spec, seen in due.values()
    ]
    return dict(zip(due, await asyncio.gather(*looks), strict=True))


async def _see_or_not(spec: ChildSpec, folder: Path, seen: ChildObserved | None, now: float) -> ChildObserved:
    """Look at a child; one that cannot be looked at from here costs the tick nothing, and is unknown."""
    try:
        return await see_child(spec, folder, seen, now)
    except CannotLook as error:
        failures = seen.failures if seen is not None else 0
        return ChildObserved(collected_at=now, failures=failures, unknown=True, error=f"unknown: {error}")


async def see_child(
    spec: ChildSpec,
    folder: Path,
    previous: object,
    collected_at: float,
    own: Mapping[str, OwnCheck] = MappingProxyType({}),
) -> ChildObserved:
    """Look at a child: its process if known, then its check, which may be one of the installed packages' `own`.

    Raises OSError or ValueError for a bad state.json, `CannotLook`, or what an own check raises; `ActionError` when
    its manager cannot tell whether it runs, and nothing else is asked.
    """
    before = previous if isinstance(previous, ChildObserved) else None
    seen = await settled_look(folder) if spec.process is not None else None
    ended = seen.last_exit(collected_at) if seen is not None else None
    other = await _managed(spec, folder)
    base = ChildObserved(
        collected_at=collected_at,
        started=seen is None or seen.pid is not None or (ended is not None and not ended.requested),
        pid=seen.pid if seen else (other.pid if other else None),
        start_ticks=seen.start_ticks if seen else (other.start_ticks if other else 0),
        started_at=collected_at - seen.age if seen and seen.age is not None else None,
        log=str(folder / "output.log") if seen else "",
    )
    failures = before.failures if before else 0
    if seen is not None and seen.pid is None:
        return msgspec.structs.replace(base, failures=failures + 1, error=ended.words() if ended else "not started")
    if spec.check.kind == "process" and spec.has_manager and other is None:
        return msgspec.structs.replace(base, failures=failures + 1, error="its manager says that nothing of it runs")
    try:
        found = await probes.probe(spec, own)
    except probes.CheckFailed as error:
        return msgspec.structs.replace(base, failures=failures + 1, error=str(error))
    passes = (before.passes if before else 0) + 1
    return msgspec.structs.replace(base, passes=passes, detail=found.detail, missing=found.missing)


async def _managed(spec: ChildSpec, folder: Path) -> Incarnation | None:
    """Return what runs of a child by its manager's word; a check that asks the child itself can do without that."""
    try:
        return await asyncio.to_thread(managed, spec, folder)
    except ActionError:
        if spec.check.kind == "process":
            raise
        return None
