"""fsmctl resume: ends a pause or a quarantine."""

from __future__ import annotations

import click

from supervisor.cli.session import Session, item_of, operator, with_session
from supervisor.errors import Refused

_EPILOG = """\b
Example:
  fsmctl resume line-1-temperature
"""


@click.command("resume", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@with_session
def command(session: Session, worker: str) -> None:
    """End a worker's pause or quarantine, and forgive its failures.

    The next action comes without backoff, and everything that is counted of failures counts from 0.
    """
    item = item_of(worker)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: it is never paused nor quarantined; see `fsmctl get children`")
    session.runtime.store.set_control(supervisor, place, item, paused=False, by=operator())
    click.echo(f"worker/{item} is resumed, its failures are forgiven", err=True)
