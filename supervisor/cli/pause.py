"""fsmctl pause: hands off a worker."""

from __future__ import annotations

import click

from supervisor.cli.session import Session, item_of, operator, with_session
from supervisor.errors import Refused

_EPILOG = """\b
Example:
  fsmctl pause line-1-temperature     then work on it by hand
  fsmctl resume line-1-temperature    the supervisor takes over again
"""


@click.command("pause", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@with_session
def command(session: Session, worker: str) -> None:
    """Do nothing for a worker any more, not even a stop, until it is resumed.

    An action in progress goes on; `fsmctl cancel` ends it. What the worker's collector sees is still shown.
    """
    item = item_of(worker)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: only workers are paused; take it out of the fleet file instead")
    session.runtime.store.set_control(supervisor, place, item, paused=True, by=operator())
    click.echo(f"worker/{item} is paused; `fsmctl resume {item}` ends that", err=True)
