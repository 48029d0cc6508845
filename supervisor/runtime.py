"""What every shell needs, made once per process: settings, store, leases, registries, clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actions.registry import ActionRegistry
from supervisor.clock import Clock, StepWatch, SystemClock
from supervisor.connection import connect
from supervisor.extensions import OwnCheck, load_extensions
from supervisor.hooks import Hooks
from supervisor.leases import Leases
from supervisor.logs import Troubles, logger
from supervisor.mirror import Mirror
from supervisor.recorder import Recorder
from supervisor.rules import Rule
from supervisor.settings import Settings
from supervisor.store import Store
from supervisor.traces import OFF, Traces
from supervisor.wishes import Wishes
from workers.registry import WorkerRegistry


@dataclass(frozen=True)
class Runtime:
    """The parts that the shells share. No logic."""

    settings: Settings
    store: Store
    leases: Leases
    workers: WorkerRegistry
    actions: ActionRegistry
    clock: Clock
    mirror: Mirror
    steps: StepWatch
    troubles: Troubles
    rules: tuple[Rule, ...] = ()
    checks: Mapping[str, OwnCheck] = field(default_factory=dict)
    hooks: Hooks = field(default_factory=Hooks)
    recorder: Recorder = field(default_factory=Recorder)
    wishes: Wishes = field(default_factory=Wishes)
    traces: Traces = OFF


def make_runtime(settings: Settings, store: Store | None = None, clock: Clock | None = None) -> Runtime:
    """Return the runtime of an installation; tests pass a store and a clock of their own."""
    used = store or Store(connect(settings), settings.namespace)
    time = clock or SystemClock()
    extensions = load_extensions()
    return Runtime(
        settings=settings,
        store=used,
        leases=Leases(settings.namespace, used.scripts),
        workers=extensions.workers,
        actions=extensions.actions,
        clock=time,
        mirror=Mirror(used, settings.data_dir),
        steps=StepWatch(),
        troubles=Troubles(logger("supervisor.troubles"), time.monotonic),
        rules=extensions.rules,
        checks=extensions.checks,
    )
