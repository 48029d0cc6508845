"""fsmctl set: the operator's wish."""

from __future__ import annotations

from typing import cast

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import BadDocument, Refused
from workers.model import Desired, DesiredState

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

    The wish survives `apply` and restarts. To stop one needs a yes, and so does `default` where the file says stopped.
    """
    item = item_of(worker)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: its desired state is always running; take it out of the fleet file instead")
    wanted = None if state == "default" else cast("DesiredState", state)
    stops = state == "stopped" or (wanted is None and _stops_by_file(session, supervisor, place, item))
    what = f"set what is desired of worker/{item} to {state}"
    if stops:
        what = f"stop worker/{item}" + (", as the fleet file says" if wanted is None else "")
    if act.begins(what, asks=stops):
        session.runtime.store.set_override(supervisor, place, item, wanted, act.by, act.reason)
        act.done(f"worker/{item} desired is {state}")


def _stops_by_file(session: Session, supervisor: str, place: str, item: str) -> bool:
    """Tell whether the fleet file wants a worker stopped; nothing is done by a layer that cannot be read."""
    store = session.runtime.store
    try:
        layer = store.read(Desired, store.keys(supervisor).desired(place, item))
    except BadDocument:
        return False
    return layer is not None and layer.state == "stopped"
