"""fsmctl drain: no more actions on a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click

from supervisor.cli.acts import Act, act_options, end_options
from supervisor.cli.duration import DurationType
from supervisor.cli.scopes import Scope, node_of
from supervisor.cli.session import Session, with_session
from supervisor.errors import TimedOut
from supervisor.model import Lease, NodeDocument
from supervisor.operators import give_order, lift_order
from supervisor.orders import Order, name_of
from supervisor.rendezvous import is_away
from supervisor.view import World
from workers.duration import Duration, ago

_POLL = 0.3  # seconds between two looks
_EPILOG = """\b
Examples:
  fsmctl drain node/edge-1 --reason "new kernel"  wait until no action runs
  fsmctl drain node/edge-1 --for 2h --no-wait
  fsmctl drain node/edge-1 --undo
"""


@click.command("drain", epilog=_EPILOG)
@click.argument("node", metavar="node/NAME")
@click.option("--undo", is_flag=True, help="The node takes actions again.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until no action runs there.")
@click.option("--timeout", type=DurationType(), default="10m", show_default=True, help="How long to wait at most.")
@end_options
@act_options(asks=True)
@with_session
def command(
    session: Session,
    act: Act,
    node: str,
    undo: bool,
    wait: bool,
    timeout: Duration,
    lasts: Callable[[float], float],
) -> None:
    """Begin no action on a node but stops, and let those that run end; floating work goes to other nodes.

    What runs there is left running and observed, and not restarted when it dies: move it (`fsmctl apply`) or stop it
    (`fsmctl set ID stopped`) if the host is to go. The drain lasts, over restarts of everything, until --undo or its
    end. Exit code 6 when actions run still after --timeout.
    """
    if undo:
        _undo(session, act, node)
        return
    scope = node_of(session, node)
    seconds = lasts(session.runtime.store.now())
    ends = f" for {ago(seconds)}" if seconds else ""
    if not act.begins(f"drain {scope.shown}{ends}", asks=True):
        return
    for supervisor in scope.workers:
        order = Order(kind="drain", scope=scope.name, by=act.by, reason=act.reason)
        give_order(session.runtime.store, supervisor, order, seconds)
    act.done(f"{scope.name} takes no new actions{ends}; `fsmctl drain {scope.name} --undo` ends that")
    if wait:
        _wait(session, act, scope, timeout)


def _undo(session: Session, act: Act, node: str) -> None:
    """End the drain of a node; also of one that no fleet has any more."""
    name = name_of("drain", node)
    drained = [supervisor for supervisor, index in session.indexes() if name in index.orders]
    if not drained:
        act.done(f"{node_of(session, node).name} is not drained")
    elif act.begins(f"let {node} take actions again"):
        for supervisor in drained:
            lift_order(session.runtime.store, supervisor, "drain", node, act.by, act.reason)
        act.done(f"{node} takes actions again")


def _wait(session: Session, act: Act, scope: Scope, timeout: Duration) -> None:
    """Wait until no action runs on the node, and say what is waited for when that changes. Raises `TimedOut`."""
    clock = session.runtime.clock
    start, told = clock.monotonic(), None
    while True:
        left = _left(session, scope)
        if not left:
            act.done(f"{scope.name} is drained after {ago(clock.monotonic() - start)}: no action runs there")
            return
        if (names := [name for name, _ in left]) != told:
            told = names
            act.done("waiting for " + ", ".join(f"{name}{since}" for name, since in left))
        if clock.monotonic() - start >= timeout:
            raise TimedOut(
                f"{scope.name} is not drained within {timeout}, it goes on with {', '.join(names)}; "
                "see `fsmctl get actions`"
            )
        clock.sleep(_POLL)


def _left(session: Session, scope: Scope) -> list[tuple[str, str]]:
    """Return what is still done on the node, each with since when, in words."""
    node = scope.name.removeprefix("node/")
    found: list[tuple[str, str]] = []
    for supervisor, world in session.worlds():
        if supervisor in scope.workers:
            document, _ = world.nodes.get(node, (None, None))
            found += _acting(world, node, document)
            if document is not None and not is_away(document, world.now) and not document.drained:
                found.append((f"the executor of {node} to take no more floating work", ""))
    return list(dict.fromkeys(found))


def _acting(world: World, node: str, document: NodeDocument | None) -> Iterator[tuple[str, str]]:
    """Yield the actions in progress on the node: of what is placed there, and floating ones that its executor runs."""
    held: list[tuple[str, str, Lease | None]] = [(one.id, one.place, one.lease) for one in world.view.subjects]
    held += [(child.spec.id, child.place, child.lease) for child in world.children]
    for item, place, lease in held:
        if lease is None or not lease.in_progress:
            continue
        if place == node or (document is not None and lease.executor == document.executor):
            yield f"{lease.action} of {item}", f" ({ago(world.now - (lease.begun_at or lease.claimed_at))})"
