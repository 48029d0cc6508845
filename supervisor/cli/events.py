"""fsmctl events: what happened, from the capped streams."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from supervisor.cli.output import output_option, print_json
from supervisor.cli.session import Session, item_of, with_session
from supervisor.store import event_order
from workers.duration import ago

_POLL = 0.5  # seconds between two looks of --follow
_SCANNED = 10_000  # newest events read per place when only one worker's are wanted
_EPILOG = """\b
Examples:
  fsmctl events -n 20
  fsmctl events --worker line-1-temperature -o json
  fsmctl events -f
"""


def _plain(supervisor: str, entry_id: str, fields: dict[str, str]) -> dict[str, Any]:
    return {"id": entry_id, "time": event_order(entry_id)[0] / 1000, "supervisor": supervisor, **fields}


def events_of(
    session: Session, places: Iterable[tuple[str, Iterable[str]]], worker: str | None, most: int, after: str = "-"
) -> list[dict[str, Any]]:
    """Return the newest `most` events, oldest first; of one worker or child if given."""
    found: list[dict[str, Any]] = []
    for supervisor, nodes in places:
        wanted = _SCANNED if worker else most
        for entry_id, fields in session.runtime.store.events(supervisor, nodes, wanted, after):
            if worker is None or fields.get("worker_id") == worker:
                found.append(_plain(supervisor, entry_id, fields))
    return sorted(found, key=lambda event: event_order(event["id"]))[-most:]


def event_line(event: dict[str, Any], now: float) -> str:
    """Return one event for a person: age, what, whose, and its values."""
    shown = ("id", "time", "supervisor", "event", "worker_id", "child_name", "token", "action_id")
    values = " ".join(f"{key}={value}" for key, value in event.items() if key not in shown and value)
    whose = event.get("worker_id") or event.get("child_name") or event["supervisor"]
    return f"{ago(now - event['time']):>7}  {event['event']:<18} {whose:<22} {values}".rstrip()


@click.command("events", epilog=_EPILOG)
@click.option("--worker", metavar="ID", help="Only of this worker, or of child/NAME.")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens; with -o json one object a line.")
@output_option
@with_session
def command(session: Session, worker: str | None, lines: int, follow: bool, output: str) -> None:
    """Show what happened: state changes, actions from claim to outcome, circuits, operators' acts."""
    item = item_of(worker) if worker else None
    if item is not None:
        session.find(item)
    places = [(name, index.places_used) for name, index in session.indexes()]
    found = events_of(session, places, item, lines)
    if output == "json" and not follow:
        print_json(found)
        return
    last = "-"
    while True:
        now = session.runtime.store.now()
        for event in found:
            click.echo(json.dumps(event) if output == "json" else event_line(event, now))
            last = event["id"]
        if not follow:
            return
        session.runtime.clock.sleep(_POLL)
        found = events_of(session, places, item, 1000, last)
