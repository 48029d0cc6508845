"""What installed packages add by entry points: worker types, actions, checks of children, consistency rules.

Each entry point is called what it brings is called. One that cannot be loaded, is something else, or takes a name that
is taken is an error that names its distribution: a fleet must not run with half of what it was written for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import get_args

import actions.registry
import workers.registry
from actions.model import Action
from actions.registry import ActionRegistry
from supervisor.errors import SupervisorError
from supervisor.model import CheckKind, ChildSpec
from supervisor.rules import Rule
from workers.registry import WorkerRegistry
from workers.target import WorkerType

PREFIX = "fsm_supervisor."
Select = Callable[..., EntryPoints]
OwnCheck = Callable[[ChildSpec], Awaitable[None]]


@dataclass(frozen=True)
class Extensions:
    """All types there are, built in and installed, and the checks and rules that are installed."""

    workers: WorkerRegistry
    actions: ActionRegistry
    checks: Mapping[str, OwnCheck]
    rules: tuple[Rule, ...]


def load_extensions() -> Extensions:
    """Load what installed packages add. Raises `SupervisorError`."""
    select = entry_points().select  # once: it reads the metadata of every installed package
    return Extensions(_workers(select), _actions(select), _checks(select), _rules(select))


def _workers(select: Select) -> WorkerRegistry:
    registry = workers.registry.built_in()
    for point, found in _loaded(select, "workers", registry.names()):
        if not isinstance(found, WorkerType):
            raise _error(point, f"is a {type(found).__name__}; expected a workers.target.WorkerType")
        _named(point, found.name)
        registry.register(found)
    return registry


def _actions(select: Select) -> ActionRegistry:
    registry = actions.registry.built_in()
    for point, found in _loaded(select, "actions", registry.names()):
        if not (isinstance(found, type) and issubclass(found, Action)):
            raise _error(point, f"is {found!r}; expected a class of actions.model.Action")
        _named(point, getattr(found, "name", ""))
        registry.register(found)
    return registry


def _checks(select: Select) -> Mapping[str, OwnCheck]:
    checks: dict[str, OwnCheck] = {}
    for point, found in _loaded(select, "checks", get_args(CheckKind)):
        if not callable(found):
            raise _error(point, f"is {found!r}; expected an async function of a child's spec")
        checks[point.name] = found
    return checks


def _rules(select: Select) -> tuple[Rule, ...]:
    rules: list[Rule] = []
    for point, found in _loaded(select, "rules", ()):
        rule: Rule = found  # type: ignore[assignment]  # a protocol's properties are looked for in the next line
        if not all(hasattr(rule, name) for name in ("name", "lasts", "finds")):
            raise _error(point, f"is {found!r}; expected something with name, lasts and finds")
        rules.append(rule)
    return tuple(rules)


def _loaded(select: Select, group: str, built_in: tuple[str, ...]) -> Iterator[tuple[EntryPoint, object]]:
    """Yield a group's entry points with what they bring; none may have a name that is taken."""
    owners = dict.fromkeys(built_in, "built in")
    for point in sorted(select(group=PREFIX + group), key=lambda point: (_distribution(point), point.name)):
        if point.name in owners:
            raise _error(point, f"has a name that is taken ({owners[point.name]}); expected another name")
        owners[point.name] = f"by {_distribution(point)}"
        try:
            found = point.load()
        except Exception as error:
            raise _error(point, f"cannot be loaded: {type(error).__name__}: {error}") from error
        yield point, found


def _named(point: EntryPoint, name: str) -> None:
    if name != point.name:
        raise _error(point, f"calls itself {name!r}; expected the entry point's name")


def _error(point: EntryPoint, what: str) -> SupervisorError:
    place = f"distribution {_distribution(point)}: entry point {point.name!r} of {point.group} ({point.value})"
    return SupervisorError(f"{place} {what}; mend that package, or uninstall it")


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
