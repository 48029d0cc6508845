"""fsmctl delete: forget what will not come back."""

from __future__ import annotations

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.duration import DurationType
from supervisor.cli.session import Session, with_session
from supervisor.errors import NotFound, Refused, TimedOut
from supervisor.operators import forget_node, tell_deleted
from supervisor.plan import Subject, make_plan
from supervisor.rendezvous import is_away
from supervisor.view import World
from workers.duration import Duration, ago

_POLL = 0.3  # seconds between two looks
_EPILOG = """\b
Examples:
  fsmctl delete worker/line-9-old      left the file, and its node is gone
  fsmctl delete node/edge-7            a host that was scrapped
"""


@click.command("delete", epilog=_EPILOG)
@click.argument("what", metavar="worker/ID|node/NAME")
@click.option("--timeout", type=DurationType(), default="60s", show_default=True, help="How long to wait at most.")
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, what: str, timeout: Duration) -> None:
    """Forget a worker that left the fleet file, or a node that will not come back; this needs a yes.

    A worker that left the file is stopped, then forgotten, by itself. This waits for that, and forgets one whose node
    is away without the stop: if that node ever comes back, what runs on it is nobody's any more. It is refused for a
    worker that the applied file names: take it out of the file, and apply that.

    A node is forgotten with its events and counters. It is refused while its executor lives or a fleet uses it.
    """
    kind, _, name = what.partition("/")
    if kind == "worker" and name:
        _delete_worker(session, act, name, timeout)
    elif kind == "node" and name:
        _delete_node(session, act, name)
    else:
        raise click.UsageError(f"{what!r} is nothing to delete: expected worker/ID or node/NAME")


def _delete_worker(session: Session, act: Act, item: str, timeout: Duration) -> None:
    supervisor, _ = session.find(item)
    found = _look(session, supervisor, item)
    if found is None:
        raise NotFound(f"worker/{item} was forgotten meanwhile")
    subject, world = found
    if subject.snapshot is None:
        raise Refused(f"worker/{item} cannot be read: {subject.unreadable}; apply its fleet file again")
    if not subject.snapshot.desired.removed:
        source = world.index.settings.source or "the fleet file"
        raise Refused(f"worker/{item} is in {source} as it was applied: take it out there, then `fsmctl apply` that")
    how = "forget" if _is_gone(subject, world) else "stop, then forget"
    if act.begins(f"{how} worker/{item} on {subject.place}", asks=True):
        tell_deleted(session.runtime.store, supervisor, f"worker/{item}", act.by, act.reason)
        _wait(session, act, supervisor, item, timeout)
        act.done(f"worker/{item} is forgotten")


def _wait(session: Session, act: Act, supervisor: str, item: str, timeout: Duration) -> None:
    """Wait until ticks have forgotten a worker; forget it here if its node is away. Raises `TimedOut`."""
    clock, told = session.runtime.clock, None
    start = clock.monotonic()
    while (found := _look(session, supervisor, item)) is not None:
        subject, world = found
        if _is_gone(subject, world) and session.runtime.store.leave(
            supervisor, subject.place, item, subject.generation
        ):
            return
        why = _why_not(subject, world)
        if why != told:
            act.done(f"waiting: {why}")
            told = why
        if clock.monotonic() - start >= timeout:
            raise TimedOut(f"worker/{item} is not forgotten within {timeout}: {why}")
        clock.sleep(_POLL)


def _look(session: Session, supervisor: str, item: str) -> tuple[Subject, World] | None:
    world = session.world(supervisor)
    subject = next((one for one in world.view.subjects if one.id == item), None)
    return None if subject is None else (subject, world)


def _is_gone(subject: Subject, world: World) -> bool:
    """Tell whether nobody is there who could stop the worker."""
    return not world.view.slots.get(subject.place)


def _why_not(subject: Subject, world: World) -> str:
    """Return what a tick would say of a worker that is not forgotten yet, without what changes by the second."""
    plan = make_plan(world.view, world.now)
    skip = next((skip for skip in plan.skips if skip.worker_id == subject.id), None)
    if skip is not None:
        return skip.reason.value
    return subject.snapshot.why_stop if subject.snapshot is not None else "an action is in progress"


def _delete_node(session: Session, act: Act, name: str) -> None:
    store = session.runtime.store
    supervisors = [supervisor for supervisor, _ in session.indexes()]
    now, known = store.now(), store.known_nodes()
    for supervisor, index in session.indexes():
        if name in index.nodes:
            raise Refused(f"node/{name} is in the fleet of {supervisor}: take it out of the file, then apply that")
        node, _ = store.nodes(supervisor, [name])[name]
        if node is not None and not is_away(node, now):
            raise Refused(
                f"node/{name} lives: {node.executor} was heard of {ago(now - node.at)} ago; stop its executor first"
            )
    if name not in known:
        raise NotFound(f"no node {name!r} has ever reported here; there are {', '.join(sorted(known)) or 'none'}")
    if act.begins(f"forget node/{name}, its events and its counters", asks=True):
        forget_node(store, supervisors, name, act.by, act.reason)
        act.done(f"node/{name} is forgotten")
