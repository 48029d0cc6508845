"""fsmctl diff: what an apply of a fleet file would change."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from supervisor.diff import Change, Changed, Difference, Stored, difference, whose
from supervisor.errors import BadDocument
from supervisor.fleet import Fleet, read_fleets
from supervisor.keys import CHILD_PREFIX
from supervisor.model import ChildSpec
from supervisor.runtime import Runtime
from supervisor.store import Store, decode
from workers.model import Desired

_WIDTH = 80
_EPILOG = """\b
Examples:
  fsmctl diff -f compose/demo/fleet.toml
  fsmctl diff -f fleet.toml; fsmctl apply -f fleet.toml --dry-run
  fsmctl diff -f fleet.toml -o json
"""
fleet_option = click.option(
    "-f", "--fleet", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Fleet file (TOML)."
)


def fleets_of(runtime: Runtime, path: Path) -> tuple[Fleet, ...]:
    """Read and check a fleet file. One without a list of nodes may name those that have ever reported here.

    Raises `FleetError`.
    """
    return read_fleets(path, runtime.workers, runtime.store.known_nodes(), runtime.checks)


def differences(runtime: Runtime, fleets: Sequence[Fleet]) -> list[Difference]:
    """Return what an apply of a file's fleets would change, by supervisor. Raises `Refused`, as the apply would."""
    stored = {fleet.settings.name: stored_layers(runtime.store, fleet.settings.name) for fleet in fleets}
    applied = runtime.store.apply_fleets(fleets, dry_run=True)
    return [difference(fleet, applied[fleet.settings.name], stored[fleet.settings.name]) for fleet in fleets]


def stored_layers(store: Store, supervisor: str) -> Stored:
    """Return what the last applied file says of a supervisor, as far as it can be read."""
    index, keys = store.index(supervisor, even_damaged=True), store.keys(supervisor)
    if index is None:
        return Stored(None, {}, {})
    layers: dict[str, Desired | ChildSpec] = {}
    for item, place, texts in store.read_worker(supervisor, [*index.workers, *index.children]):
        key, text = keys.desired(place, item), texts["desired"]
        kind: type[Desired | ChildSpec] = ChildSpec if item.startswith(CHILD_PREFIX) else Desired
        with contextlib.suppress(BadDocument):  # an apply writes it anew
            layers[item] = decode(text or "", kind, key)
    return Stored(index.settings, layers, index.places, index.damage)


def documents(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return differences as JSON has them."""
    return [
        {
            "supervisor": one.supervisor,
            "differs": one.differs,
            "new": one.is_new,
            "settings": msgspec.to_builtins(one.settings),
            "added": [{"id": item, "node": place} for item, place in one.added],
            "changed": [_document(changed) for changed in one.changed],
            "moving": [{**_document(changed), "to": changed.to} for changed in one.moving],
            "removed": [{"id": item, "node": place} for item, place in one.removed],
            "unchanged": one.unchanged,
        }
        for one in found
    ]


def _document(changed: Changed) -> dict[str, Any]:
    return {"id": changed.id, "node": changed.place, "changes": msgspec.to_builtins(changed.changes)}


def lines(found: Sequence[Difference]) -> list[str]:
    """Return differences for a person; nothing of supervisors that stay as they are."""
    return [line for one in found if one.differs for line in _of_one(one)]


def _of_one(one: Difference) -> Iterator[str]:
    yield f"{one.supervisor}{' (new)' if one.is_new else ''}"
    yield from _told("~", "settings", one.settings)
    yield from (f"  + {whose(item)} on {place}" for item, place in one.added)
    for changed in one.changed:
        yield from _told("~", whose(changed.id), changed.changes)
    for changed in one.moving:
        yield f"  > {whose(changed.id)} is stopped on {changed.place}, then moves to {changed.to}"
        yield from (f"      {line}" for change in changed.changes for line in _change(change))
    for item, place in one.removed:
        end = "is no longer watched, and left running" if item == whose(item) else "is stopped, then forgotten"
        yield f"  - {whose(item)} on {place} {end}"
    numbers = {"added": one.added, "changed": one.changed, "moving": one.moving, "removed": one.removed}
    yield "  " + ", ".join([f"{len(items)} {word}" for word, items in numbers.items()] + [f"{one.unchanged} unchanged"])


def _told(sign: str, name: str, changes: Sequence[Change]) -> Iterator[str]:
    if changes:
        yield f"  {sign} {name}"
        yield from (f"      {line}" for change in changes for line in _change(change))


def _change(change: Change) -> list[str]:
    """Return a change in one line, or in two when it is long."""
    old, new = _value(change.old), _value(change.new)
    room = _WIDTH - 6
    if len(line := f"{change.key}  {old} -> {new}") <= room:
        return [line]
    return [_clipped(f"{change.key}  {old}", room), _clipped(f"{' ' * len(change.key)}  -> {new}", room)]


def _value(value: object) -> str:
    return "(not set)" if value is None else json.dumps(value, ensure_ascii=False)


def _clipped(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def show(found: Sequence[Difference], output: str) -> None:
    """Print differences; that there are none is said on stderr."""
    if output != "text":
        print_data(output, documents(found))
    elif told := lines(found):
        click.echo("\n".join(told))
    else:
        click.echo(f"no difference in {', '.join(one.supervisor for one in found)}", err=True)


@click.command("diff", epilog=_EPILOG)
@fleet_option
@document_option
@with_session
def command(session: Session, path: Path, output: str) -> None:
    """Show what `fsmctl apply -f FILE` would change, key by key, and change nothing.

    Workers and children that are added (+), changed (~), moved (>) or removed (-), and the settings. What an operator
    has set is no part of it: it stands above the file, and stays. What is called a password or secret is shown as ***.

    Exit code 0: there is no difference; 1: there is. A bad file is refused with 2, an impossible change with 7.
    """
    found = differences(session.runtime, fleets_of(session.runtime, path))
    show(found, output)
    sys.exit(int(any(one.differs for one in found)))
