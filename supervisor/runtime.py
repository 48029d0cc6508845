"""What every shell needs, made once per process: settings, store, leases, registries, clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import entry_points

import actions.registry
import workers.registry
from actions.registry import ActionRegistry
from supervisor.clock import Clock, StepWatch, SystemClock
from supervisor.connection import connect
from supervisor.errors import SupervisorError
from supervisor.hooks import Hooks
from supervisor.leases import Leases
from supervisor.logs import Troubles, logger
from supervisor.mirror import Mirror
from supervisor.recorder import Recorder
from supervisor.rules import Rule
from supervisor.settings import Settings
from supervisor.store import Store
from supervisor.traces import OFF, Traces
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
    hooks: Hooks = field(default_factory=Hooks)
    recorder: Recorder = field(default_factory=Recorder)
    traces: Traces = OFF


def make_runtime(settings: Settings, store: Store | None = None, clock: Clock | None = None) -> Runtime:
    """Return the runtime of an installation; tests pass a store and a clock of their own."""
    used = store or Store(connect(settings), settings.namespace)
    time = clock or SystemClock()
    return Runtime(
        settings=settings,
        store=used,
        leases=Leases(settings.namespace, used.scripts),
        workers=workers.registry.built_in(),
        actions=actions.registry.built_in(),
        clock=time,
        mirror=Mirror(used, settings.data_dir),
        steps=StepWatch(),
        troubles=Troubles(logger("supervisor.troubles"), time.monotonic),
        rules=_rules_from_python(),
    )


def _rules_from_python() -> tuple[Rule, ...]:
    """Return the consistency rules that installed packages bring. Raises `SupervisorError` for one that is none."""
    found = []
    for point in entry_points(group="fsm_supervisor.rules"):
        try:
            rule: Rule = point.load()
            found.append(rule)
        except Exception as error:
            raise SupervisorError(f"rule {point.name} ({point.value}) cannot be loaded: {error}") from error
    return tuple(found)
