"""fsmctl resume: ends a pause or a quarantine."""

from __future__ import annotations

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.scopes import is_scope, scope_of
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import Refused
from supervisor.operators import lift_order
from supervisor.orders import concerning, in_force, name_of
from workers.model import Desired

_EPILOG = """\b
Examples:
  fsmctl resume line-1-temperature
  fsmctl resume node/edge-1         ends the pause of the node alone
"""


@click.command("resume", epilog=_EPILOG)
@click.argument("what", metavar="ID|SCOPE")
@act_options()
@with_session
def command(session: Session, act: Act, what: str) -> None:
    """End a pause: of a worker, a group, a node or all; for a worker, its quarantine too.

    SCOPE is group/NAME, node/NAME or all.

    A worker's failures are forgiven: the next action comes without backoff, and everything that is counted of failures
    counts from 0. A scope's pause is ended alone: a worker that was paused by itself, or by another scope, stays so.
    """
    if is_scope(what):
        _resume_scope(session, act, what)
        return
    item = item_of(what)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: it is never paused nor quarantined; see `fsmctl get children`")
    if act.begins(f"resume worker/{item} and forgive its failures"):
        session.runtime.store.set_control(supervisor, place, item, False, act.by, act.reason)
        act.done(f"worker/{item} is resumed, its failures are forgiven")
        _tell_other(session, act, supervisor, place, item)


def _tell_other(session: Session, act: Act, supervisor: str, place: str, item: str) -> None:
    """Say that a worker stays paused with others, if it does."""
    store = session.runtime.store
    index = store.index(supervisor)
    desired = store.read(Desired, store.keys(supervisor).desired(place, item))
    orders = concerning(index.orders if index is not None else {}, place, desired.group if desired is not None else "")
    other = in_force("pause", orders, now := store.now())
    if other is not None:
        act.done(f"worker/{item} is paused still: {other.words(now)}; `fsmctl resume {other.scope}` ends that")


def _resume_scope(session: Session, act: Act, scope: str) -> None:
    """End a scope's pause where there is one; also of a group or node that the fleet does not have any more."""
    store = session.runtime.store
    name, now = name_of("pause", scope), store.now()
    orders = [(supervisor, index.orders.get(name)) for supervisor, index in session.indexes()]
    paused = [supervisor for supervisor, order in orders if order is not None and not order.is_over(now)]
    if not paused:
        act.done(f"{scope_of(session, scope).name} is not paused")
    elif act.begins(f"resume {scope}"):
        for supervisor in paused:
            lift_order(store, supervisor, "pause", scope, act.by, act.reason)
        act.done(f"{scope} is resumed")
