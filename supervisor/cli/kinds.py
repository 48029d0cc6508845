"""The kinds of things that fsmctl lists and describes: how each is said, which rows it has, and which columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from supervisor.cli import leaserows, rows
from supervisor.cli.matching import split
from supervisor.cli.session import Session
from supervisor.errors import UsageError
from supervisor.keys import CHILD_PREFIX

Row = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind. Columns are written "HEADING key"; `wide` come after them with `-o wide`.

    `names` are the keys by which one is named, `state` is the key that `--state` compares, `shown` the states that are
    listed where neither says more. `load` yields all rows; if it is not told that they must be whole, it may leave out
    what a plain table does not show.
    """

    plural: str
    columns: tuple[str, ...]
    load: Callable[[Session, bool], Iterator[Row]]
    wide: tuple[str, ...] = ()
    state: str = "state"
    shown: frozenset[str] | None = None
    names: tuple[str, ...] = ("id",)

    @property
    def name(self) -> str:
        """Return what one of them is called."""
        return _SINGULAR.get(self.plural, self.plural.removesuffix("s"))

    def pairs(self, wide: bool) -> list[tuple[str, str]]:
        """Return the columns as (heading, key)."""
        texts = self.columns + (self.wide if wide else ())
        return [(heading, key) for heading, key in (text.split() for text in texts)]


def _workers(session: Session, whole: bool) -> Iterator[Row]:
    load = rows.worker_rows if whole else rows.worker_lines
    for name, world in session.worlds():
        yield from load(name, world)


def _children(session: Session, whole: bool) -> Iterator[Row]:
    for name, world in session.worlds(workers=False):
        yield from (rows.child_row(name, child, world) for child in world.children)
        for item, why in world.unreadable_children.items():
            yield rows.unreadable_child_row(name, item, why, world)


def _nodes(session: Session, whole: bool) -> Iterator[Row]:
    for name, world in session.worlds(workers=False):
        yield from (rows.node_row(name, place, world) for place in sorted(world.nodes))


def _circuits(session: Session, whole: bool) -> Iterator[Row]:
    yield from (rows.circuit_row(name, world) for name, world in session.worlds(workers=False))


def _actions(session: Session, whole: bool) -> Iterator[Row]:
    for name, world in session.worlds():
        for item, place, lease in leaserows.leases_of(world):
            yield rows.action_row(name, item, place, lease, world.now)


def _leases(session: Session, whole: bool) -> Iterator[Row]:
    for name, world in session.worlds():
        tick = session.runtime.store.last_tick(name)
        if tick is not None:
            yield leaserows.tick_row(name, tick, world.now)
        yield from (leaserows.lease_row(name, held, world.now) for held in leaserows.leases_of(world))


def _incidents(session: Session, whole: bool) -> Iterator[Row]:
    store = session.runtime.store
    now = store.now()
    found = [
        (incident.opened_at, rows.incident_row(name, incident, now))
        for name, _ in session.indexes()
        for incident in store.incidents(name)
    ]
    yield from (row for _, row in sorted(found, key=lambda one: one[0], reverse=True))


def _queues(session: Session, whole: bool) -> Iterator[Row]:
    store = session.runtime.store
    queues = leaserows.queues_of(session.worlds(), store.known_nodes())
    lengths = store.queue_lengths(list(queues))
    yield from (leaserows.queue_row(name, queue, lengths[name]) for name, queue in queues.items())


_SINGULAR = {"children": "child", "circuit": "circuit"}
KINDS = {
    kind.plural: kind
    for kind in (
        Kind(
            "workers",
            (
                "ID id",
                "NODE node",
                "DESIRED desired",
                "STATE state",
                "FOR state_age",
                "SEEN observed_age",
                "ACTION action_or_why_not",
            ),
            _workers,
            (
                "TYPE type",
                "PHASE phase",
                "PID pid",
                "RESTARTS restarts",
                "MOVES_TO moves_to",
                "CONDITION condition",
                "REASON reason",
            ),
        ),
        Kind(
            "children",
            ("NAME name", "TYPE type", "NODE node", "VERDICT verdict", "SEEN observed_age", "PID pid", "DETAIL detail"),
            _children,
            state="verdict",
            names=("name",),
        ),
        Kind(
            "nodes",
            (
                "NAME name",
                "STATUS status",
                "HOST host",
                "SLOTS slots",
                "BEAT heartbeat_age",
                "COLLECTOR collector_age",
                "WATCHES observed",
                "SKEW clock_skew",
            ),
            _nodes,
            ("EXECUTOR executor", "SUPERVISOR supervisor"),
            state="status",
            names=("name",),
        ),
        Kind(
            "actions",
            (
                "WORKER worker_id",
                "ACTION action",
                "STATUS status",
                "AGE age",
                "TOOK took",
                "NODE node",
                "EXECUTOR executor",
            ),
            _actions,
            ("ID id", "DETAIL detail"),
            state="status",
            names=("id", "worker_id"),
        ),
        Kind(
            "circuit",
            ("SUPERVISOR supervisor", "STATE shown", "ATTEMPT retry_attempt", "OPEN downtime", "REASON reason"),
            _circuits,
            ("RECOVERY recovery_status", "INCIDENT incident"),
            names=("supervisor",),
        ),
        Kind(
            "incidents",
            (
                "ID id",
                "STATE state",
                "OPENED opened",
                "LASTED duration",
                "TRIES attempts",
                "ESCALATED escalated_shown",
                "REASON reason",
            ),
            _incidents,
            ("SUPERVISOR supervisor",),
        ),
        Kind(
            "leases",
            ("ID id", "STAGE stage", "ACTION action", "HELD age", "UNTIL until", "BY executor"),
            _leases,
            ("NODE node", "RUNNER runner", "TOKEN token", "ACTION_ID action_id"),
            state="stage",
            shown=frozenset(("queued", "running")),
        ),
        Kind(
            "queues",
            ("NAME name", "NODE node", "MESSAGES messages", "QUEUED queued", "OLDEST oldest", "SLOTS slots"),
            _queues,
            names=("name",),
        ),
    )
}
WAYS = {
    **{way: kind.plural for kind in KINDS.values() for way in (kind.plural, kind.name)},
    "circuits": "circuit",
}  # "worker" and "workers" say the same


def asked(words: Sequence[str]) -> tuple[Kind, list[str]]:
    """Return the kind and the names that a command's arguments say, `kind NAME…` or `kind/NAME…`; else `UsageError`."""
    try:
        plural, names = split(words, WAYS)
    except UsageError as error:
        raise click.UsageError(str(error), click.get_current_context()) from None
    return KINDS[plural], names


_LIVE = {"workers": "ID", "children": "ID", "nodes": "NODE", "circuit": "SUPERVISOR", "incidents": "INCIDENT"}


def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return what a shell may go on with: a kind, then names of that kind that live in the store."""
    from supervisor.cli.completion import live_names

    said: Sequence[str] = ctx.params.get(param.name or "") or ()
    word, slash, _ = incomplete.partition("/")
    if not said and not slash:
        return [way for way in WAYS if way.startswith(incomplete)]
    plural = WAYS.get(said[0].partition("/")[0] if said else word, "")
    names = live_names(ctx, _LIVE[plural]) if plural in _LIVE else []
    if plural in ("workers", "children"):
        child = plural == "children"
        names = [name.removeprefix(CHILD_PREFIX) for name in names if name.startswith(CHILD_PREFIX) is child]
    names = [f"{word}/{name}" if slash else name for name in names]
    return [name for name in names if name.startswith(incomplete)]
