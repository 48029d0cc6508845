"""fsmctl get: lists."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from supervisor.cli import rows
from supervisor.cli.kinds import KINDS, Kind, Row, asked, complete
from supervisor.cli.output import output_option, print_rows, rows_text
from supervisor.cli.select import Filter, changed, chosen, named, ordered, parse_labels, parse_words
from supervisor.cli.session import Session, with_session
from supervisor.settings import is_dumb_terminal

_EVERY = 2.0  # seconds between two looks of --watch
_CLEAR = "\x1b[H\x1b[J"  # to the upper left, and clear what follows
_EPILOG = f"""\b
KIND is one of {", ".join(list(KINDS)[:5])},
{", ".join(list(KINDS)[5:])}.

\b
Examples:
  fsmctl get workers
  fsmctl get workers -l line=1 --phase failed,degraded
  fsmctl get workers --node edge-1 --sort -for -o wide
  fsmctl get worker/line-1-temperature -o yaml
  fsmctl get leases --watch
"""


@dataclass(frozen=True)
class Wanted:
    """What to list, and how."""

    kind: Kind
    names: Sequence[str]
    filter: Filter
    sort: str | None
    output: str

    def load(self, session: Session) -> list[Row]:
        """Return the rows."""
        kind, asked_for = self.kind, self.filter
        whole = self.output not in ("table", "name") or self.sort is not None
        found = list(kind.load(session, whole))
        if self.names:
            found = named(found, self.names, kind.names, kind.name)
        elif kind.shown is not None and not asked_for.states:
            found = [row for row in found if row[kind.state] in kind.shown]
        found = chosen(found, asked_for, kind.state)
        return found if self.sort is None else ordered(found, self.sort, kind.pairs(wide=True))

    def show(self, found: Sequence[Row]) -> None:
        """Print them."""
        printed = [rows.public(row) for row in found] if self.output in ("json", "yaml") else list(found)
        empty = f"no {self.kind.plural}"
        print_rows(self.output, printed, self.kind.pairs(self.output == "wide"), empty, self.kind.name)


def _watch(session: Session, wanted: Wanted) -> None:
    """Show the list for as long as somebody looks: drawn anew on a terminal, else each row again that has news."""
    redraw = sys.stdout.isatty() and not is_dumb_terminal()
    before: list[Row] = []
    first = True
    while True:
        found = wanted.load(session)
        if redraw:
            click.echo(_CLEAR, nl=False)
            wanted.show(found)
        else:
            _append(wanted, changed(found, before, wanted.kind.names[0]), first)
            before = found
        first = False
        session.runtime.clock.sleep(_EVERY)


def _append(wanted: Wanted, news: Sequence[Row], first: bool) -> None:
    """Print rows below those that were printed before: of a table without its headings, of JSON one a line."""
    if not news:
        return
    if wanted.output == "json":
        import json

        for row in news:
            click.echo(json.dumps(rows.public(row), ensure_ascii=False))
    elif wanted.output == "yaml":
        wanted.show(news)
    else:
        text = rows_text(wanted.output, news, wanted.kind.pairs(wanted.output == "wide"), wanted.kind.name)
        click.echo(text if first or wanted.output == "name" else text.partition("\n")[2])


@click.command("get", epilog=_EPILOG)
@click.argument("words", metavar="KIND [NAME]...", nargs=-1, required=True, shell_complete=complete)
@output_option
@click.option("-l", "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only those with this label.")
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only those in this state, verdict, status.")
@click.option("--phase", "phases", multiple=True, metavar="PHASE", help="Only workers in this phase.")
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only what is on this node, or in the pool.")
@click.option("--sort", metavar="COLUMN", help="By a column or a key of the JSON; -COLUMN: the largest first.")
@click.option("-w", "--watch", is_flag=True, help="Go on showing it; in a pipe, what changes.")
@with_session
def command(
    session: Session, words: tuple[str, ...], output: str, sort: str | None, watch: bool, **only: tuple[str, ...]
) -> None:
    """List what there is of a KIND; with NAMEs, or their beginnings, only those.

    `!=` is for labels too; options may be repeated or take several values with commas between. Beside its own labels,
    a worker has type, node, group and supervisor. Actions are those in progress, and each worker's last one; leases
    those that are held, and all with --state free,queued,running.
    """
    kind, names = asked(words)
    words_of = {name: parse_words(only[name]) for name in ("states", "phases", "nodes")}
    wanted = Wanted(kind, names, Filter(parse_labels(only["labels"]), **words_of), sort, output)
    gc.disable()  # there are no cycles to find among the rows of a list, and it is looked for with every few hundred
    if watch:
        _watch(session, wanted)
    wanted.show(wanted.load(session))
