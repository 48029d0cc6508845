"""Turns the stored wish for a worker or child into what an observer looks at and an action works on, on its node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from actions.create_topics import CreateTopics
from actions.model import ActionError, Component, Incarnation
from supervisor.errors import BadDocument
from supervisor.keys import CHECK_PREFIX, CHILD_PREFIX, POOL, Keys
from supervisor.model import BY_HAND, ChildSpec
from supervisor.redpanda import brokers_of
from supervisor.runtime import Runtime
from supervisor.store import decode
from workers.drivers.docker import DockerComponent
from workers.drivers.kafka import Topics
from workers.drivers.process import ProcessComponent
from workers.drivers.service import HookComponent, S6Component
from workers.drivers.systemd import SystemdComponent
from workers.model import Desired, Identity
from workers.target import Target, WorkerType


def folder_of(data_dir: Path, supervisor: str, node: str, item: str) -> Path:
    """Return where a node keeps the holder, output and fence of a worker or child."""
    kind, name = ("children", item.removeprefix(CHILD_PREFIX)) if item.startswith(CHILD_PREFIX) else ("workers", item)
    return data_dir / "nodes" / node / supervisor / kind / name


def target_of(runtime: Runtime, identity: Identity, desired: Desired) -> tuple[WorkerType, Target]:
    """Return a worker's type and target. Raises `BadDocument` when its stored configuration does not fit the type."""
    kind = runtime.workers.get(identity.type)
    folder = folder_of(runtime.settings.data_dir, identity.supervisor, identity.node or POOL, identity.id)
    try:
        config = msgspec.convert(desired.config, kind.config_type, dec_hook=lambda to, value: to(value))
    except msgspec.ValidationError as error:
        raise BadDocument(
            f"configuration of worker {identity.id!r} does not fit type {identity.type}: {error}"
        ) from None
    return kind, Target(identity.id, folder, config, desired.config_id)


class _Nothing:
    """What a node is checked by: there is nothing to start or stop, so only a no-op succeeds."""

    config_id = ""

    def current(self) -> Incarnation | None:
        """Nothing runs."""
        return None

    def start(self, token: int) -> Incarnation:
        """Refuse. Raises `ActionError`."""
        raise ActionError(f"a check starts nothing (token {token})")

    def stop(self, token: int) -> None:
        """Refuse. Raises `ActionError`."""
        raise ActionError(f"a check stops nothing (token {token})")


class _Topics(_Nothing):
    """The topics of a child, for the one action that works on them and not on the child itself."""

    def __init__(self, topics: Topics) -> None:
        """Work on these."""
        self.missing = topics.missing
        self.create = topics.create


def wished_at(keys: Keys, place: str, item: str) -> list[str]:
    """Return the keys of the documents that say what an action works on."""
    if item.startswith(CHECK_PREFIX):
        return []
    return keys.of_worker(place, item, ("desired",) if item.startswith(CHILD_PREFIX) else ("identity", "desired"))


def component_of(
    runtime: Runtime, supervisor: str, place: str, item: str, documents: Sequence[str | None], action: str = ""
) -> Component:
    """Return what the action of that name works on, by the `documents` at `wished_at`.

    Raises `ActionError` when nothing is stored, or a child is not ours to start, and `BadDocument`.
    """
    if item.startswith(CHECK_PREFIX):
        return _Nothing()
    where = wished_at(runtime.store.keys(supervisor), place, item)
    found = [text for text in documents if text is not None]
    if len(found) < len(where):
        raise ActionError(f"{'' if item.startswith(CHILD_PREFIX) else 'worker '}{item} is not in the fleet any more")
    if item.startswith(CHILD_PREFIX):
        spec = decode(found[0], ChildSpec, where[0])
        if action == CreateTopics.name:
            return _Topics(Topics(brokers_of(spec.check), spec.topics))
        return child_component(runtime.settings.data_dir, supervisor, spec)
    identity, desired = decode(found[0], Identity, where[0]), decode(found[1], Desired, where[1])
    kind, target = target_of(runtime, identity, desired)
    return kind.component(target)


def child_component(data_dir: Path, supervisor: str, spec: ChildSpec) -> Component:
    """Return what restarts a child. Raises `ActionError` for a child that nothing of ours restarts."""
    folder = folder_of(data_dir, supervisor, spec.node or POOL, spec.id)
    if spec.process is not None:
        return ProcessComponent(folder, spec.process, spec.config_id)
    component = _elsewhere(spec, folder)
    if component is None:
        raise ActionError(f"child {spec.name} {BY_HAND}")
    return component


def managed(spec: ChildSpec, folder: Path) -> Incarnation | None:
    """Return what runs of a child that another manager keeps; None: nothing, or it is not kept so.

    Raises `ActionError` when its manager cannot tell.
    """
    component = _elsewhere(spec, folder)
    return component.current() if component is not None else None


def _elsewhere(spec: ChildSpec, folder: Path) -> Component | None:
    if spec.service:
        return S6Component(spec.name, folder, spec.service)
    if spec.container:
        return DockerComponent(spec.name, folder, spec.container, spec.engine)
    if spec.unit:
        return SystemdComponent(spec.name, folder, spec.unit)
    if spec.restart:
        return HookComponent(spec.name, folder, spec.restart, spec.cwd, spec.env, spec.pid_file)
    return None
