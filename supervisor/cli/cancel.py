"""fsmctl cancel: ends the action in progress."""

from __future__ import annotations

import click

from supervisor.cli.session import Session, item_of, operator, with_session
from supervisor.errors import Refused
from supervisor.model import Lease
from workers.duration import ago

_EPILOG = """\b
Examples:
  fsmctl cancel line-1-temperature
  fsmctl cancel child/broker            a restart of a child
  fsmctl cancel line-1-pressure --force frees a worker whose action is stuck
"""


@click.command("cancel", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@click.option("--force", is_flag=True, help="Free the worker at once, whatever its executor still does.")
@with_session
def command(session: Session, worker: str, force: bool) -> None:
    """Cancel the action in progress of a worker or of child/NAME.

    One that waits in the queue is taken back at once; one that runs is asked to give up, and its executor ends it. With
    --force the worker is free at once: the fence still refuses what the old action does on its node, but effects
    elsewhere (of floating workers) may overlap.

    What is desired stays as it is, so the same action may be wanted again; see `fsmctl pause` and `fsmctl set`.
    """
    item = item_of(worker)
    supervisor, place = session.find(item)
    store = session.runtime.store
    lease = store.read(Lease, store.keys(supervisor).lease(place, item))
    if lease is None or not lease.in_progress:
        last = f"; the last was {lease.action}: {lease.outcome}" if lease else ""
        raise Refused(f"{item} has no action in progress{last}")
    answer = session.runtime.leases.cancel(
        supervisor, place, item, lease.token, f"cancelled by {operator()}" + (" (forced)" if force else ""), force
    )
    if answer == "nothing":
        raise Refused(f"the {lease.action} of {item} has just ended; see `fsmctl get actions`")
    since = ago(store.now() - (lease.begun_at or lease.claimed_at))
    done = "is cancelled" if answer == "cancelled" else "has been asked to give up"
    click.echo(f"{lease.action} of {item}, {lease.stage} for {since}, {done}", err=True)
