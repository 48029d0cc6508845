"""fsmctl logs: what a supervised process printed."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import IO

import click

from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import NotFound
from supervisor.keys import CHILD_PREFIX
from supervisor.model import ChildObserved
from workers.model import Observed

_POLL = 0.2  # seconds between two looks of --follow
_EPILOG = """\b
Examples:
  fsmctl logs line-1-temperature -n 20
  fsmctl logs child/broker -f
"""


def log_file(session: Session, item: str) -> Path:
    """Return the output file of a worker or child. Raises `NotFound` when it is not on this host."""
    supervisor, place = session.find(item)
    store, key = session.runtime.store, session.runtime.store.keys(supervisor).observed(place, item)
    seen: ChildObserved | Observed | None
    seen = store.read(ChildObserved, key) if item.startswith(CHILD_PREFIX) else store.read(Observed, key)
    if seen is None or not seen.log:
        raise NotFound(f"{item} has no output yet: it has not been observed on node {place}")
    path = Path(seen.log)
    if not path.is_file():
        raise NotFound(f"the output of {item} is {path} on node {place}, and not on this host; run this command there")
    return path


def follow(file: IO[str], path: Path, sleep: object) -> None:
    """Print what is appended, across rotation, until interrupted."""
    while True:
        text = file.read()
        if text:
            click.echo(text, nl=False)
            continue
        if path.is_file() and path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino:
            file.close()
            file = path.open(errors="replace")
            continue
        sleep(_POLL)  # type: ignore[operator]  # a clock's sleep


@click.command("logs", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@click.option("-n", "--lines", type=click.IntRange(0), default=100, show_default=True, help="Lines to begin with.")
@click.option("-f", "--follow", "go_on", is_flag=True, help="Go on with what it prints.")
@with_session
def command(session: Session, worker: str, lines: int, go_on: bool) -> None:
    """Show what a worker's process, or child/NAME's, printed. To be run on its node."""
    path = log_file(session, item_of(worker))
    with path.open(errors="replace") as file:
        for line in deque(file, maxlen=lines):
            click.echo(line, nl=False)
        if go_on:
            follow(file, path, session.runtime.clock.sleep)
