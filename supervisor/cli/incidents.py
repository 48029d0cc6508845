"""fsmctl incidents: outages, from a circuit's opening until it is closed."""

from __future__ import annotations

import click

from supervisor.cli import rows
from supervisor.cli.output import output_option, print_rows
from supervisor.cli.session import Session, with_session

_EPILOG = """\b
Examples:
  fsmctl incidents
  fsmctl incidents --last 1 -o json
"""
_COLUMNS = (
    ("ID", "id"),
    ("SUPERVISOR", "supervisor"),
    ("STATE", "state"),
    ("OPENED", "opened"),
    ("LASTED", "duration"),
    ("ATTEMPTS", "attempts"),
    ("ESCALATED", "escalated_shown"),
    ("REASON", "reason"),
)


@click.command("incidents", epilog=_EPILOG)
@click.option(
    *("-n", "--last", "--lines", "lines"),
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="How many at most, the newest.",
)
@output_option
@with_session
def command(session: Session, lines: int, output: str) -> None:
    """List incidents, the newest first: what failed, for how long, after how many restarts, and if it escalated."""
    now, store = session.runtime.store.now(), session.runtime.store
    found = [
        (incident.opened_at, rows.incident_row(name, incident, now))
        for name, _ in session.indexes()
        for incident in store.incidents(name)
    ]
    newest = [row for _, row in sorted(found, key=lambda one: one[0], reverse=True)][:lines]
    if output in ("json", "yaml"):
        newest = [rows.public(row) for row in newest]
    print_rows(output, newest, _COLUMNS, "no incidents", "incident")
