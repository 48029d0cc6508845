"""fsmctl wait: until something is so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from supervisor.cli.duration import DurationType
from supervisor.cli.goals import ALL_WORKERS, Goal, make_goals, told
from supervisor.cli.kinds import KINDS
from supervisor.cli.matching import not_found
from supervisor.cli.session import Session
from supervisor.clock import SystemClock
from supervisor.connection import STORE_ERRORS
from supervisor.errors import NotFound, StoreUnreachable, SupervisorError, TimedOut
from workers.duration import Duration, ago

_POLL = 0.2  # seconds between two looks
_QUIET = 1.0  # seconds before progress is told, and between two words of it
_LISTS = {"worker": "workers", "child": "children", "circuit": "circuit", "node": "nodes", "queue": "queues"}
_NAMED_BY = {"worker": "id", "circuit": "supervisor"}
_EPILOG = """\b
Examples:
  fsmctl wait worker/line-1-temperature --for state=running --timeout 60s
  fsmctl wait --all --for phase=running --for no-condition
  fsmctl wait line-1-temperature line-1-pressure --for condition=paused
  fsmctl wait child/broker --for verdict=ok
  fsmctl wait --for circuit=closed
  fsmctl wait --for queue=edge-1          until it is empty
"""

Rows = dict[tuple[str, str], list[dict[str, Any]]]


def _rows(session: Session, kinds: Iterable[str]) -> Rows:
    """Return what there is of some kinds, by kind and name; several supervisors may have one of a name."""
    found: Rows = {}
    for kind in kinds:
        for row in KINDS[_LISTS[kind]].load(session, True):
            found.setdefault((kind, row[_NAMED_BY.get(kind, "name")]), []).append(row)
    return found


def _unmet(goals: Sequence[Goal], rows: Rows) -> list[tuple[Goal, str]]:
    """Return what is not as wanted, with what was seen instead. Raises `NotFound` for what there is not."""
    found = []
    for goal in _named(goals, rows):
        named = rows.get((goal.kind, goal.name))
        if named is None:
            raise not_found(goal.kind, goal.name, sorted(name for kind, name in rows if kind == goal.kind))
        unmet = [row for row in named if not goal.is_met(row)]
        found += [(goal, goal.seen(row) + (f" in {row['supervisor']}" if len(named) > 1 else "")) for row in unmet]
    return found


def _named(goals: Sequence[Goal], rows: Rows) -> list[Goal]:
    """Return the goals with those of every one (name "") for each that there is."""
    return [
        Goal(goal.kind, name, goal.field, goal.value)
        for goal in goals
        for kind, name in ([(goal.kind, goal.name)] if goal.name else [key for key in rows if key[0] == goal.kind])
    ]


class _Waiting:
    """One wait: it looks, tells, and ends."""

    def __init__(self, options: dict[str, Any], goals: Sequence[Goal]) -> None:
        """Wait for `goals`; the session comes and goes with the store, the clock stays."""
        self._options = options
        self._goals = goals
        self._clock = SystemClock()
        self._start = self._told_at = self._clock.monotonic()
        self._last = ""

    def run(self, timeout: Duration) -> None:
        """Wait. Raises `TimedOut`, or at the end why the store could not be looked at."""
        while True:
            unmet, error = self._look()
            if unmet is not None and not unmet:
                self._say_done()
                return
            if self._clock.monotonic() - self._start >= timeout:
                raise error or TimedOut(f"after {timeout}: {told(unmet or ())}")
            self._tell(str(error) if error else told(unmet or ()))
            self._clock.sleep(_POLL)

    def _look(self) -> tuple[list[tuple[Goal, str]] | None, SupervisorError | None]:
        """Return what is not as wanted; or why that cannot be told yet. Raises `NotFound` for an unknown name."""
        try:
            session = Session(self._options["data_dir"], self._options["supervisor"])
            if not session.runtime.store.supervisors():
                return None, NotFound("no fleet has been applied here yet")
            return _unmet(self._goals, _rows(session, dict.fromkeys(goal.kind for goal in self._goals))), None
        except StoreUnreachable as error:
            return None, error
        except STORE_ERRORS as error:
            return None, StoreUnreachable(f"Redis does not answer: {error}")

    def _tell(self, words: str) -> None:
        """Say what is waited for, when that has changed, and not more often than a person reads."""
        now = self._clock.monotonic()
        if words != self._last and now - self._told_at >= _QUIET:
            self._last, self._told_at = words, now
            click.echo(f"{ago(now - self._start):>5}  {words}", err=True)

    def _say_done(self) -> None:
        took = ago(self._clock.monotonic() - self._start)
        if len(self._goals) == 1 and self._goals[0].name:
            click.echo(f"{self._goals[0].target} {self._goals[0].wanted} after {took}", err=True)
        else:
            click.echo(f"all is as wanted after {took}", err=True)


@click.command("wait", epilog=_EPILOG)
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--for",
    "conditions",
    required=True,
    multiple=True,
    metavar="FIELD=VALUE",
    help="worker: state, phase, desired, node, action (or none), condition, no-condition; child: verdict; "
    "circuit: state; node: status; queue: empty. All that are given have to hold.",
)
@click.option("--all", "everyone", is_flag=True, help="All workers.")
@click.option("--timeout", type=DurationType(), default="60s", show_default=True, help="How long at most.")
@click.pass_context
def command(
    context: click.Context, targets: tuple[str, ...], conditions: tuple[str, ...], everyone: bool, timeout: Duration
) -> None:
    """Wait until all targets are as wanted; exit code 6 when they are not in time.

    A target is worker/ID (or ID), child/NAME, circuit/SUPERVISOR, node/NAME or queue/NAME. Without one, circuit=STATE
    is wanted of every circuit, and queue=NAME to be empty. What several supervisors have by one name has to be so in
    each; `fsmctl --supervisor NAME wait` asks of one alone. A store that does not answer yet is waited for too.
    Progress is told on stderr.
    """
    if everyone and targets:
        raise click.UsageError("--all and targets exclude each other: expected one of them")
    goals = make_goals(ALL_WORKERS if everyone else targets, conditions)
    _Waiting(context.find_root().obj, goals).run(timeout)
