"""fsmctl pause: hands off a worker, a group, a node or all."""

from __future__ import annotations

from collections.abc import Callable

import click

from supervisor.cli.acts import Act, act_options, end_options
from supervisor.cli.scopes import Scope, is_scope, scope_of
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import Refused
from supervisor.operators import give_order
from supervisor.orders import Order
from workers.duration import ago

_EPILOG = """\b
Examples:
  fsmctl pause line-1-temperature --reason "new sensor"   work on it by hand
  fsmctl pause group/line-1 --for 30m                     ends by itself
  fsmctl pause node/edge-1 --until 18:00                  what is placed there
  fsmctl pause all --yes                                  every worker
  fsmctl resume line-1-temperature                        ends it
"""


@click.command("pause", epilog=_EPILOG)
@click.argument("what", metavar="ID|SCOPE")
@end_options
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, what: str, lasts: Callable[[float], float]) -> None:
    """Do nothing for workers any more, not even a stop, until they are resumed.

    SCOPE is group/NAME, node/NAME or all, which needs a yes.

    An action in progress goes on; `fsmctl cancel` ends it. What collectors see is still shown. A pause of a group, of a
    node or of all also holds for workers that come later; it is shown with each worker, by whom, why and for how long.
    """
    seconds = lasts(session.runtime.store.now())
    ends = f" for {ago(seconds)}" if seconds else ""
    if is_scope(what):
        _pause_scope(session, act, scope_of(session, what), seconds, ends)
        return
    item = item_of(what)
    supervisor, place = session.find(item)
    if item.startswith("child/"):
        raise Refused(f"{item} is a child: only workers are paused; take it out of the fleet file instead")
    if act.begins(f"pause worker/{item}{ends}"):
        session.runtime.store.set_control(supervisor, place, item, True, act.by, act.reason, seconds)
        act.done(f"worker/{item} is paused{ends}; `fsmctl resume {item}` ends that")


def _pause_scope(session: Session, act: Act, scope: Scope, seconds: float, ends: str) -> None:
    """Pause a scope; a pause of all needs a yes."""
    if act.begins(f"pause {scope.shown}{ends}", asks=scope.name == "all"):
        for supervisor in scope.workers:
            order = Order(kind="pause", scope=scope.name, by=act.by, reason=act.reason)
            give_order(session.runtime.store, supervisor, order, seconds)
        act.done(f"paused {scope.shown}{ends}; `fsmctl resume {scope.name}` ends that")
