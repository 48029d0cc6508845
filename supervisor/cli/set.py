"""fsmctl set: the operator's wish."""

from __future__ import annotations

from typing import cast

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import Refused
from workers.model import DesiredState

_EPILOG = """\b
Examples:
  fsmctl set line-1-temperature stopped --reason "no raw material"
  fsmctl set line-1-temperature running
  fsmctl set line-1-temperature default    the fleet file counts again
"""


@click.command("set", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@click.argument("state", type=click.Choice(["running", "stopped", "default"]))
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, worker: str, state: str) -> None:
    """Want a worker running or stopped, whatever the fleet file says; `default` lifts that.

    The wish survives `apply` and restarts. To stop one needs a yes.
    """
    item = item_of(worker)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: its desired state is always running; take it out of the fleet file instead")
    wanted = None if state == "default" else cast("DesiredState", state)
    what = f"stop worker/{item}" if state == "stopped" else f"set what is desired of worker/{item} to {state}"
    if act.begins(what, asks=state == "stopped"):
        session.runtime.store.set_override(supervisor, place, item, wanted, act.by, act.reason)
        act.done(f"worker/{item} desired is {state}")
