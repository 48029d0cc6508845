"""fsmctl logs: what a supervised process printed, wherever its node is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import NotFound, SupervisorError, TimedOut
from supervisor.keys import CHILD_PREFIX, POOL
from supervisor.model import ChildObserved, CollectorDocument, Lease
from supervisor.outputs import LOG, Output
from supervisor.relay import RENEW_EVERY, Follower, Told
from supervisor.targets import folder_of
from workers.duration import ago
from workers.model import Observed

_POLL = 0.2  # seconds between two looks at a local file
_HEAR = 0.5  # seconds of one wait for an answer
_SAY_AFTER = 1.0  # seconds without a first answer after which we say what is waited for
_SILENT_AFTER = 6.0  # seconds without a sign of life after which an answering collector is said to have gone silent
_GIVE_UP_AFTER = 10.0  # seconds without an answer, when it is not followed
_PIECE = 65_536  # bytes of one look at a local file
_EPILOG = """\b
Examples:
  fsmctl logs line-1-temperature -n 20
  fsmctl logs child/broker -f
"""


def node_of(session: Session, supervisor: str, place: str, item: str) -> str:
    """Return the node that has the output of a worker or child. Raises `NotFound` when there is none yet."""
    store, keys = session.runtime.store, session.runtime.store.keys(supervisor)
    key = keys.observed(place, item)
    seen: ChildObserved | Observed | None
    seen = store.read(ChildObserved, key) if item.startswith(CHILD_PREFIX) else store.read(Observed, key)
    if seen is None:
        raise NotFound(f"{item} has no output yet: it has not been observed on node {place}")
    if place != POOL:
        if not seen.log:
            raise NotFound(f"{item} has no output here: what runs it, on {place}, is not started by this installation")
        return place
    lease = store.read(Lease, keys.lease(place, item))
    if lease is None or not lease.executor:
        raise NotFound(f"{item} has no output yet: it floats, and no action of it has run on any node")
    return lease.executor.partition("@")[0]


def _is_ours(folder: Path) -> bool:
    """Tell whether the output lies in our own data folder and may be read: then nobody need be asked."""
    return os.access(folder / LOG, os.R_OK)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell as such what keeps the output in a folder from being read. Raises `SupervisorError`."""
    try:
        yield
    except OSError as error:
        raise SupervisorError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from None


def _local(session: Session, folder: Path, lines: int, go_on: bool) -> None:
    output = Output(folder)
    with _told(folder):
        output.open_last(lines)
    while True:
        with _told(folder):
            piece = output.read(_PIECE)
        if piece is not None:
            _show(Told(piece.text, piece.gap))
        elif go_on:
            session.runtime.clock.sleep(_POLL)
        else:
            return


def _show(told: Told) -> None:
    if told.gap:
        click.echo("-- some output is missing here: it was rotated away before it could be read --", err=True)
    click.echo(told.text, nl=False)


class _Listening:
    """One `fsmctl logs` that is answered by a collector."""

    def __init__(self, session: Session, follower: Follower) -> None:
        """Begin to listen."""
        self._session = session
        self._follower = follower
        self._clock = session.runtime.clock
        self._start = self._heard = self._clock.monotonic()
        self._answered = self._waits = False

    def run(self) -> None:
        """Show what is answered until the end. Raises `NotFound` or `TimedOut`."""
        asked = self._start - RENEW_EVERY
        while True:
            if self._clock.monotonic() - asked >= RENEW_EVERY:
                asked = self._clock.monotonic()
                self._follower.ask()
            answers = self._follower.hear(_HEAR)
            self._tell_silence(bool(answers))
            for told in answers:
                if told.end:
                    raise NotFound(told.end)
                if told.end is not None:
                    return
                _show(told)

    def _tell_silence(self, answered: bool) -> None:
        """Say once that nobody answers, and once that somebody does."""
        now = self._clock.monotonic()
        if answered:
            if self._waits:
                click.echo(f"-- the collector of {self._follower.node} answers --", err=True)
            self._heard, self._answered, self._waits = now, True, False
            return
        silence = now - self._heard
        if not self._follower.go_on and silence >= _GIVE_UP_AFTER:
            raise TimedOut(f"{self._whom()}; nothing came within {_GIVE_UP_AFTER:g}s: see `fsmctl get nodes`")
        if not self._waits and silence >= (_SILENT_AFTER if self._answered else _SAY_AFTER - _HEAR):
            self._waits = True
            click.echo(f"-- {self._whom()}; waiting for it --", err=True)

    def _whom(self) -> str:
        """Return who should answer, and when it was heard of last."""
        node, store = self._follower.node, self._session.runtime.store
        collector = store.read(CollectorDocument, store.keys(self._follower.supervisor).collector(node))
        if collector is None:
            return f"the output is on node {node}, of whose collector nothing was ever heard"
        return f"the output is on node {node}, whose collector was last heard {ago(store.now() - collector.at)} ago"


@click.command("logs", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@click.option("-n", "--lines", type=click.IntRange(0), default=100, show_default=True, help="Lines to begin with.")
@click.option("-f", "--follow", "go_on", is_flag=True, help="Go on with what it prints.")
@with_session
def command(session: Session, worker: str, lines: int, go_on: bool) -> None:
    """Show what a worker's process, or child/NAME's, printed.

    Read from this host's data folder if it is there, else asked of the collector of its node, which keeps the last one
    to two megabytes of each.
    """
    item, supervisor, place = session.match(item_of(worker))
    node = node_of(session, supervisor, place, item)
    folder = folder_of(session.settings.data_dir, supervisor, place, item)
    if _is_ours(folder):
        _local(session, folder, lines, go_on)
        return
    follower = Follower(session.runtime.store, supervisor, node, place, item, lines, go_on)
    try:
        _Listening(session, follower).run()
    finally:
        follower.leave()
