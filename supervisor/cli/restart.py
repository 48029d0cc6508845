"""fsmctl restart: a new life for workers and children."""

from __future__ import annotations

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import Refused
from supervisor.model import BY_HAND
from supervisor.plan import Subject, phase_of
from supervisor.view import Child, World
from workers.model import Phase

_EPILOG = """\b
Examples:
  fsmctl restart line-1-temperature --reason "leaks memory"
  fsmctl restart line-1-temperature line-1-pressure --yes
  fsmctl restart child/broker
"""


@click.command("restart", epilog=_EPILOG)
@click.argument("items", metavar="ID...", nargs=-1, required=True)
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, items: tuple[str, ...]) -> None:
    """Give workers that run, or child/NAME, a new life; this needs a yes.

    The next tick does it, by an action as any other: it waits for a pause, the circuit and the limits, and what is
    desired stays. What does not run is not restarted: `fsmctl set ID running` starts it. None is, if one of them cannot
    be.
    """
    found = [(item_of(item), *session.find(item_of(item))) for item in dict.fromkeys(items)]
    worlds = dict(session.worlds())
    for item, supervisor, _ in found:
        _check(item, supervisor, worlds[supervisor])
    names = ", ".join(_name(item) for item, _, _ in found)
    if act.begins(f"restart {names}", asks=True):
        for item, supervisor, place in found:
            session.runtime.store.ask_for_restart(supervisor, place, item, act.by, act.reason)
            act.done(f"{_name(item)} is to be restarted by the next tick that may; see `fsmctl events`")


def _name(item: str) -> str:
    return item if item.startswith("child/") else f"worker/{item}"


def _check(item: str, supervisor: str, world: World) -> None:
    """See that there is something to restart. Raises `Refused`."""
    if item.startswith("child/"):
        _check_child(next((child for child in world.children if child.spec.id == item), None), item, supervisor, world)
        return
    subject = next(subject for subject in world.view.subjects if subject.id == item)
    _check_worker(subject)


def _check_worker(subject: Subject) -> None:
    phase = phase_of(subject)
    if subject.snapshot is None:
        raise Refused(f"worker/{subject.id} cannot be read: {subject.unreadable}")
    if subject.snapshot.wants_stop or phase is Phase.STOPPED:
        raise Refused(
            f"worker/{subject.id} does not run, {subject.snapshot.desired.state} is desired: nothing to restart; "
            f"`fsmctl set {subject.id} running` starts it"
        )


def _check_child(child: Child | None, item: str, supervisor: str, world: World) -> None:
    if child is None:
        raise Refused(f"{item} cannot be read: {world.unreadable_children[item]}")
    if not child.spec.can_restart:
        raise Refused(f"{item} {BY_HAND}")
    if child.lease is not None and child.lease.in_progress:
        raise Refused(f"{item} is being restarted: {child.lease.action} {child.lease.stage}; see `fsmctl get actions`")
    forced = world.breaker.forced
    if forced is not None and forced.state == "open":
        raise Refused(f"circuit/{supervisor} is forced open, and restarts no child; `fsmctl circuit reset` ends that")
