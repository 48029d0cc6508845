"""fsmctl events: what happened, from the capped streams."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from supervisor.cli.duration import DurationType
from supervisor.cli.output import print_data
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import NotFound, UsageError
from supervisor.history import is_kind, is_of
from supervisor.streams import Event, Streams
from workers.duration import Duration, ago

_WAIT = 1.0  # seconds that one look of --follow waits for news
_EPILOG = """\b
Examples:
  fsmctl events -n 20
  fsmctl events --worker line-1-temperature --since 1h
  fsmctl events --kind circuit --kind operator.pause
  fsmctl events --node edge-1 --kind action.ended -o json
  fsmctl events -f
"""
_SHOWN_ELSEWHERE = ("id", "time", "supervisor", "place", "event", "worker_id", "child_name", "token", "action_id")


def streams(session: Session, node: str | None = None) -> Streams:
    """Return the streams of all places, or of one node. Raises `NotFound` with a suggestion."""
    used = {name: index.places_used for name, index in session.indexes()}
    if node is None:
        return Streams.all_of(session.runtime.store, used)
    known = sorted({place for places in used.values() for place in places})
    if node not in known:
        raise NotFound(f"no node {node!r}{_hint(node, known)}")
    every = Streams.all_of(session.runtime.store, used)
    return Streams(every.store, tuple(stream for stream in every.of if stream.place == node))


def _hint(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f": expected one of {', '.join(known)}"


def events_of(
    session: Session, places: Iterable[tuple[str, Iterable[str]]], worker: str | None, most: int
) -> list[Event]:
    """Return the newest `most` events, oldest first; of one worker or child if given."""
    read = Streams.all_of(session.runtime.store, dict(places))
    return read.newest(most, lambda event: worker is None or is_of(event, worker))


def wanted(worker: str | None, kinds: Iterable[str]) -> Callable[[Event], bool]:
    """Return what tells whether an event passes the filters."""
    names = tuple(kinds)
    return lambda event: (worker is None or is_of(event, worker)) and (not names or is_kind(event["event"], names))


def event_line(event: dict[str, Any], now: float) -> str:
    """Return one event for a person: age, what, whose, and its values."""
    whose = event.get("worker_id") or event.get("child_name") or event["supervisor"]
    return f"{ago(now - event['time']):>7}  {event['event']:<18} {whose:<20} {_words(event)}".rstrip()


def _words(event: dict[str, Any]) -> str:
    """Return what an event says beside whose it is: the shortest that has all of it."""
    rest = {key: value for key, value in event.items() if key not in _SHOWN_ELSEWHERE and value}
    if event["event"] == "worker.transition":
        return f"{rest.pop('from', '?')} to {rest.pop('to', '?')}: {rest.pop('reason', '')}"
    first = [rest.pop(key) for key in ("action", "outcome") if key in rest]
    last = [rest.pop(key) for key in ("detail", "reason") if key in rest]
    values = [f"{key}={value}" for key, value in rest.items()]
    return " ".join([*first, *values]) + (": " if last and (first or values) else "") + "; ".join(last)


def fit(line: str) -> str:
    """Return a line that is not wider than the terminal; what goes into a pipe or a file is left whole."""
    width = shutil.get_terminal_size().columns
    return f"{line[: width - 1]}…" if sys.stdout.isatty() and len(line) > width else line


@click.command("events", epilog=_EPILOG)
@click.option("--worker", metavar="ID", help="Only of this worker, or of child/NAME.")
@click.option("--node", metavar="NAME", help="Only what was told of this node.")
@click.option(
    "--kind",
    "kinds",
    metavar="EVENT",
    multiple=True,
    help="Only events of this name (action.ended), family (action) or pattern (*.stuck); may be repeated.",
)
@click.option("--since", type=DurationType(), metavar="AGO", help="Only what is not older, as 10m or 1h.")
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens; with -o json one object a line.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table", help="How to print it.")
@with_session
def command(
    session: Session,
    worker: str | None,
    node: str | None,
    kinds: tuple[str, ...],
    since: Duration | None,
    lines: int,
    follow: bool,
    output: str,
) -> None:
    """Show what happened: state changes, actions from claim to outcome, circuits, operators' acts.

    The oldest first. On a terminal, lines are cut at its width.
    """
    if follow and output == "yaml":
        raise UsageError("-o yaml is a whole document and cannot be followed: expected -o json, an object a line")
    item = session.whole(item_of(worker)) if worker else None
    passes = wanted(item, kinds)
    read = streams(session, node)
    ends = read.ends()
    earliest = 0.0 if since is None else session.runtime.store.now() - since
    found = read.newest(lines, passes, earliest, ends)
    if output in ("json", "yaml") and not follow:
        print_data(output, found)
        return
    if not found and not follow:
        click.echo(f"no events{_why_none(read, kinds)}", err=True)
    _print(session, found, output)
    while follow:
        read = streams(session, node)  # a node may have come meanwhile
        _print(session, [event for event in read.more(ends, _WAIT) if passes(event)], output)


def _print(session: Session, found: list[Event], output: str) -> None:
    now = session.runtime.store.now() if found else 0.0
    for event in found:
        click.echo(json.dumps(event) if output == "json" else fit(event_line(event, now)))


def _why_none(read: Streams, kinds: tuple[str, ...]) -> str:
    """Return a hint for a name that no event has."""
    if not kinds:
        return ""
    known = sorted({event["event"] for event in read.newest(1000, lambda _: True)})
    return "" if any(is_kind(name, kinds) for name in known) else f" of that kind; there are {', '.join(known)}"
