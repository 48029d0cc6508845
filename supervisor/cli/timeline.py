"""fsmctl timeline: states, actions and circuit of a worker on one time axis."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from supervisor.cli.duration import DurationType
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import SupervisorError, UsageError
from supervisor.history import is_of
from supervisor.keys import CHILD_PREFIX
from supervisor.streams import Event, Streams
from supervisor.timeline import Now, Timeline, make_timeline
from workers.duration import Duration

_MOST = 5_000  # events
_LEAST_WIDTH = 60  # columns
_EPILOG = """\b
Examples:
  fsmctl timeline line-1-temperature
  fsmctl timeline line-1-temperature --since 10m --svg incident.svg
  fsmctl timeline line-1-temperature --since 2h --until 1h
"""


def read_timeline(session: Session, item: str, supervisor: str, since: float, until: float) -> Timeline:
    """Return a worker's timeline from `since` to `until` seconds ago. Raises `UsageError` for a child."""
    if item.startswith(CHILD_PREFIX):
        raise UsageError(f"{item!r} is a child: expected a worker, whose timeline shows the children it depends on")
    world = session.world(supervisor)
    subject = next(one for one in world.view.subjects if one.id == item)
    snapshot = subject.snapshot
    if snapshot is None:
        raise SupervisorError(f"{item} cannot be read: {subject.unreadable}")
    children = {f"{CHILD_PREFIX}{name}" for name in snapshot.desired.depends_on}

    def wanted(event: Event) -> bool:
        name = event["event"]
        of_all = name.startswith(("circuit.", "store.")) or name == "operator.circuit"
        return of_all or is_of(event, item) or event.get("worker_id") in children

    read = Streams.all_of(session.runtime.store, {supervisor: world.index.places_used})
    events = read.newest(_MOST, wanted, world.now - since)
    now = Now(
        worker=item,
        state=snapshot.status.state,
        state_since=snapshot.status.since,
        phases={state: phase.value for state, phase in subject.phases.items()},
        circuit=world.breaker.state,
        at=world.now,
        forced=world.breaker.forced.state if world.breaker.forced is not None else "",
    )
    title = f"{item}, {snapshot.identity.type} on {subject.place} of {supervisor}"
    return make_timeline(title, events, now, world.now - since, world.now - until)


@click.command("timeline", epilog=_EPILOG)
@click.argument("worker", metavar="worker/ID")
@click.option("--since", type=DurationType(), default="1h", show_default=True, help="How far it goes back.")
@click.option("--until", type=DurationType(), default="0s", metavar="AGO", help="Where it ends.  [default: now]")
@click.option("--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Draw it into a file.")
@with_session
def command(session: Session, worker: str, since: Duration, until: Duration, svg: Path | None) -> None:
    """Show a worker's states and actions, its children's restarts, and the circuit, on one time axis.

    In a column that several things share the shortest is seen; all are listed below. --svg draws the same as a picture.
    """
    if until >= since:
        raise UsageError(f"--until is {until}: expected less than --since, which is {since}")
    item, supervisor, _ = session.match(item_of(worker))
    timeline = read_timeline(session, item, supervisor, since, until)
    if svg is None:
        from supervisor.cli.drawtext import draw

        click.echo(draw(timeline, max(_LEAST_WIDTH, shutil.get_terminal_size().columns)))
        return
    from supervisor.cli.drawsvg import draw as draw_svg

    try:
        svg.write_text(draw_svg(timeline), encoding="utf-8")
    except OSError as error:
        raise SupervisorError(f"{svg} cannot be written: {error.strerror}") from None
    click.echo(f"written to {svg}", err=True)
