"""What pauses and drains are for: all workers, a group, a node. One word names the same in every command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import click

from supervisor.cli.matching import not_found
from supervisor.cli.session import Session
from supervisor.orders import ALL
from supervisor.plan import Subject
from supervisor.view import World


@dataclass(frozen=True)
class Scope:
    """A scope by its name, and the ids of the workers that it concerns, by supervisor."""

    name: str
    workers: Mapping[str, tuple[str, ...]]

    @property
    def shown(self) -> str:
        """Return the name with how many workers that is."""
        number = sum(map(len, self.workers.values()))
        return f"{self.name} ({number} worker{'' if number == 1 else 's'})"


def is_scope(text: str) -> bool:
    """Tell whether a word names a scope, and not one worker."""
    return text == ALL or text.partition("/")[0] in ("group", "node")


def scope_of(session: Session, text: str) -> Scope:
    """Return the scope that a word names, for every supervisor that has it. Raises `NotFound`."""
    kind, _, name = text.partition("/")
    if text == ALL:
        return _scope(session, text, lambda _: True, lambda _: True)
    if kind == "group":
        return _scope(session, text, lambda world: name in world.index.settings.groups, _is_in_group(name))
    return _scope(session, text, lambda world: name in world.index.nodes, lambda subject: subject.place == name)


def node_of(session: Session, text: str) -> Scope:
    """Return the node that `node/NAME` names, for every supervisor that has it or floating workers that go anywhere.

    Raises `UsageError` or `NotFound`.
    """
    kind, _, name = text.partition("/")
    if kind != "node" or not name:
        raise click.UsageError(f"{text!r} is no node: expected node/NAME; see `fsmctl get nodes`")
    return _scope(
        session,
        text,
        lambda world: name in world.index.nodes or (world.index.floats and name in world.nodes),
        lambda subject: subject.place == name,
    )


def _is_in_group(name: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.snapshot is not None and subject.snapshot.desired.group == name


def _scope(session: Session, text: str, has: Callable[[World], bool], concerns: Callable[[Subject], bool]) -> Scope:
    found: dict[str, tuple[str, ...]] = {}
    known: list[str] = []
    for supervisor, world in session.worlds():
        known += _known(text, world)
        if has(world):
            found[supervisor] = tuple(subject.id for subject in world.view.subjects if concerns(subject))
    if not found:
        raise not_found("scope", text, set(known))
    return Scope(text, found)


def _known(text: str, world: World) -> Iterable[str]:
    """Return the names of the scopes of the same kind."""
    kind = text.partition("/")[0]
    names = world.nodes if kind == "node" else world.index.settings.groups
    return [f"{kind}/{name}" for name in names]
