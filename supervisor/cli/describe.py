"""fsmctl describe: one worker in full."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from supervisor.cli import rows
from supervisor.cli.events import event_line, events_of
from supervisor.cli.output import output_option, print_json
from supervisor.cli.session import Session, item_of, with_session
from supervisor.plan import Subject
from supervisor.view import load_world
from workers.duration import ago

_EPILOG = """\b
Example:
  fsmctl describe worker line-1-temperature
"""
_EVENTS = 10  # the newest, at the end of the description


def _find(session: Session, worker: str) -> tuple[dict[str, Any], Subject, float, str]:
    item = item_of(worker)
    name, place = session.find(item)
    index = session.runtime.store.index(name)
    if index is None or item.startswith("child/"):
        raise click.UsageError(f"{item!r} is not a worker; see `fsmctl get children -o json`")
    world = load_world(session.runtime, name, index, session.runtime.store.now())
    subject = next(subject for subject in world.view.subjects if subject.id == item)
    row = next(row for row in rows.worker_rows(name, world) if row["id"] == item)
    return row, subject, world.now, place


def _document(session: Session, row: dict[str, Any], subject: Subject, place: str) -> dict[str, Any]:
    """Return everything as JSON: the row, the documents, the last action, the events."""
    snapshot = subject.snapshot
    return {
        **rows.public(row),
        "config": snapshot.desired.config if snapshot else None,
        "config_id": snapshot.desired.config_id if snapshot else None,
        "depends_on": list(snapshot.desired.depends_on) if snapshot else [],
        "observed": msgspec.to_builtins(snapshot.observed) if snapshot and snapshot.observed else None,
        "status": msgspec.to_builtins(snapshot.status) if snapshot else None,
        "metadata": msgspec.to_builtins(snapshot.metadata) if snapshot else None,
        "lease": msgspec.to_builtins(subject.lease) if subject.lease else None,
        "events": events_of(session, [(row["supervisor"], [place])], subject.id, _EVENTS),
    }


def _lines(document: dict[str, Any], now: float) -> list[str]:
    """Return the description for a person."""
    by = " (set by an operator)" if document["overridden"] else ""
    goes = f", moves to {document['moves_to']}" if document["moves_to"] else ""
    since = ago(now - document["since"]) if document["since"] else "-"
    return [
        f"Worker       {document['id']}, {document['type']} on {document['node']} of {document['supervisor']}{goes}",
        f"Desired      {document['desired']}{by}, configuration {document['config_id']}",
        f"State        {document['state']} for {since}, phase {document['phase']}",
        f"Reason       {document['reason']}",
        f"Observed     {_observed(document)}",
        f"Restarts     {document['restarts']}",
        f"Action       {_action(document['lease'], now)}",
        f"Held back    {document['skip']['reason'] + ': ' + document['skip']['detail'] if document['skip'] else 'no'}",
        *_conditions(document["conditions"], now),
        f"Depends on   {', '.join(document['depends_on']) or '-'}",
        "Configuration",
        *(f"  {key:<12} {value}" for key, value in (document["config"] or {}).items()),
        "Events",
        *(f"  {event_line(event, now)}" for event in document["events"]),
    ]


def _conditions(held: list[dict[str, Any]], now: float) -> list[str]:
    lines = []
    for one in held:
        lasting = "" if one["since"] is None else f" for {ago(now - one['since'])}"
        lines.append(f"{one['type']}{lasting}: {one['reason']}")
    first, *others = lines or ["none"]
    return [f"Conditions   {first}", *(f"             {line}" for line in others)]


def _observed(document: dict[str, Any]) -> str:
    seen = document["observed"]
    if seen is None:
        return "not yet"
    hidden = {"schema", "collected_at", "log", "last_exit", "started_at", "config_id", "start_ticks"}
    values = ", ".join(
        f"{key} {_short(value)}" for key, value in seen.items() if key not in hidden and value is not None
    )
    return f"{ago(document['observed_age_seconds'])} ago: {values}"


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _action(lease: dict[str, Any] | None, now: float) -> str:
    if lease is None:
        return "none yet"
    if lease["stage"] != "free":
        since = lease.get("begun_at") or lease["claimed_at"]
        return f"{lease['action']} {lease['stage']} for {ago(now - since)}, token {lease['token']}"
    return (
        f"none; last was {lease['action']}: {lease['outcome']} {ago(now - lease['ended_at'])} ago ({lease['detail']})"
    )


@click.command("describe", epilog=_EPILOG)
@click.argument("kind", type=click.Choice(["worker"]))
@click.argument("worker", metavar="ID")
@output_option
@with_session
def command(session: Session, kind: str, worker: str, output: str) -> None:
    """Show one worker in full: desired, observed, state and why, lease, last action, events."""
    row, subject, now, place = _find(session, worker)
    document = _document(session, row, subject, place)
    if output == "json":
        print_json(document)
    else:
        click.echo("\n".join(_lines(document, now)))
