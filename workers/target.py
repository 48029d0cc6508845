"""What observers and drivers are pointed at, and what a worker type consists of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from actions.model import Component
from workers.machine import Machine
from workers.model import Observed, Snapshot, Transition


@dataclass(frozen=True)
class Target:
    """One worker or child on its node: its folder there, its typed configuration, and that configuration's id."""

    id: str
    folder: Path
    config: msgspec.Struct
    config_id: str


def _nothing_else(_observed: Observed, _target: Target) -> object:
    """Say that a type goes by no such numbers."""
    return None


@dataclass(frozen=True)
class WorkerType:
    """A worker type: the machine with its pure `derive`, and the I/O that serves it.

    `observe(target, previous, collected_at)` looks, changes nothing, and returns what it saw as `observed_type`.
    `floats`: a worker of this type may be without a node; any live node looks at it and acts for it.
    `matters(observed, target)` tells what `derive` makes of numbers that change with every look, such as messages per
    second: the next tick looks at a worker when that has changed. Any change of another field is news by itself.
    """

    name: str
    config_type: type[msgspec.Struct]
    observed_type: type[Observed]
    machine: Machine
    derive: Callable[[Snapshot, float], Transition]
    observe: Callable[[Target, Observed | None, float], Awaitable[Observed]]
    component: Callable[[Target], Component]
    floats: bool = False
    matters: Callable[[Observed, Target], object] = _nothing_else
