"""fsmctl get: lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from supervisor.cli import rows
from supervisor.cli.output import output_option, print_rows
from supervisor.cli.session import Session, with_session

_COLUMNS = {
    "workers": (
        "ID id",
        "TYPE type",
        "NODE node",
        "DESIRED desired",
        "STATE state",
        "SEEN observed_age",
        "PID pid",
        "ACTION action_or_why_not",
    ),
    "children": (
        "NAME name",
        "TYPE type",
        "NODE node",
        "VERDICT verdict",
        "SEEN observed_age",
        "PID pid",
        "DETAIL detail",
    ),
    "nodes": (
        "NAME name",
        "STATUS status",
        "HOST host",
        "SLOTS slots",
        "BEAT heartbeat_age",
        "COLLECTOR collector_age",
        "WATCHES observed",
        "SKEW clock_skew",
    ),
    "actions": (
        "WORKER worker_id",
        "ACTION action",
        "STATUS status",
        "AGE age",
        "TOOK took",
        "NODE node",
        "EXECUTOR executor",
    ),
    "circuit": ("SUPERVISOR supervisor", "STATE shown", "ATTEMPT retry_attempt", "OPEN downtime", "REASON reason"),
}
_WIDE = {
    "workers": (
        "MOVES_TO moves_to",
        "PHASE phase",
        "FOR state_age",
        "RESTARTS restarts",
        "CONDITION condition",
        "REASON reason",
    ),
    "children": (),
    "nodes": ("EXECUTOR executor",),
    "actions": ("ID id", "DETAIL detail"),
    "circuit": ("RECOVERY recovery_status",),
}
_EPILOG = """\b
Examples:
  fsmctl get workers
  fsmctl get workers -o json
  fsmctl get actions -o wide
"""


def _rows(kind: str, session: Session) -> Iterable[dict[str, Any]]:
    for name, world in session.worlds():
        if kind == "workers":
            yield from rows.worker_rows(name, world)
        elif kind == "children":
            yield from (rows.child_row(name, child, world) for child in world.children)
            yield from (
                rows.unreadable_child_row(name, item, why, world) for item, why in world.unreadable_children.items()
            )
        elif kind == "nodes":
            yield from (rows.node_row(name, place, world) for place in sorted(world.nodes))
        elif kind == "circuit":
            yield rows.circuit_row(name, world)
        else:
            leases = [(subject.id, subject.place, subject.lease) for subject in world.view.subjects]
            leases += [(child.spec.id, child.place, child.lease) for child in world.children]
            yield from (rows.action_row(name, item, place, lease, world.now) for item, place, lease in leases if lease)


def _columns(kind: str, wide: bool) -> list[tuple[str, str]]:
    texts = _COLUMNS[kind] + (_WIDE[kind] if wide else ())
    return [(heading, key) for heading, key in (text.split() for text in texts)]


@click.command("get", epilog=_EPILOG)
@click.argument("kind", type=click.Choice(tuple(_COLUMNS)))
@output_option
@with_session
def command(session: Session, kind: str, output: str) -> None:
    """List workers, children, nodes, actions or the circuit.

    Actions are those in progress, and each worker's last one.
    """
    found = list(_rows(kind, session))
    if output == "json":
        found = [rows.public(row) for row in found]
    print_rows(output, found, _columns(kind, output == "wide"), f"no {kind}")
