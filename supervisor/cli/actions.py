"""fsmctl actions: the actions of a while, ended and in progress, from the event streams."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.duration import DurationType
from supervisor.cli.events import streams
from supervisor.cli.output import print_rows
from supervisor.cli.session import Session, item_of, with_session
from supervisor.history import Run, Standing, is_of, runs_of, standing
from supervisor.model import Lease
from supervisor.streams import Event
from workers.duration import Duration, ago

_EVENTS_PER_ACTION = 8  # at most, and those of others between them
_SHOWN_ONLY = ("age", "wait_shown", "took_shown", "executor_shown")
_EPILOG = """\b
Examples:
  fsmctl actions
  fsmctl actions --last 10 --worker line-1-temperature
  fsmctl actions --outcome error --outcome lost --since 1h -o wide
  fsmctl actions --node edge-1 --name restart_child -o json
"""
_COLUMNS = (
    ("WORKER", "worker_id"),
    ("ACTION", "action"),
    ("OUTCOME", "outcome"),
    ("AGE", "age"),
    ("WAIT", "wait_shown"),
    ("TOOK", "took_shown"),
    ("EXECUTOR", "executor_shown"),
)
_WIDE = (*_COLUMNS[:-1], ("EXECUTOR", "executor"), ("ID", "id"), ("REASON", "reason"), ("DETAIL", "detail"))


def row_of(run: Run, now: float, in_progress: bool) -> dict[str, Any]:
    """Return one action; `in_progress` tells whether one without an outcome has its worker's lease."""
    outcome = standing(run, in_progress)
    waits = outcome == Standing.QUEUED and run.claimed_at is not None
    runs = outcome == Standing.RUNNING and run.begun_at is not None
    wait = now - run.claimed_at if waits and run.claimed_at is not None else run.queue_wait
    took = now - run.begun_at if runs and run.begun_at is not None else run.took
    return {
        "id": run.action_id,
        "worker_id": run.worker_id,
        "action": run.action,
        "outcome": outcome,
        "reason": run.reason or None,
        "detail": run.detail or None,
        "queue_wait_seconds": None if wait is None else round(wait, 3),
        "duration_seconds": None if took is None else round(took, 3),
        "claimed_at": run.claimed_at,
        "begun_at": run.begun_at,
        "ended_at": run.ended_at,
        "executor": run.executor or None,
        "node": run.place,
        "token": run.token,
        "supervisor": run.supervisor,
        "age": ago(now - run.last_told),
        "wait_shown": _short(wait),
        "took_shown": _short(took),
        "executor_shown": run.executor.partition("@")[0] or None,
    }


def _short(seconds: float | None) -> str | None:
    """Return a duration with as much as matters: "0.013s", "12.3s", "2m05s"."""
    if seconds is None:
        return None
    return f"{seconds:.3f}s" if seconds < 1 else f"{seconds:.1f}s" if seconds < 60 else ago(seconds)


def rows_of(session: Session, runs: list[Run]) -> list[dict[str, Any]]:
    """Return the actions as rows; those without an end are what their leases say of them."""
    rows, now = [], session.runtime.store.now()
    for run in runs:
        lease = None if run.outcome else _lease(session, run)
        if lease is not None and not lease.in_progress:  # it has ended since the streams were read
            run.outcome, run.detail, run.ended_at = lease.outcome, lease.detail, lease.ended_at
        rows.append(row_of(run, now, in_progress=lease is not None))
    return rows


def _lease(session: Session, run: Run) -> Lease | None:
    """Return the lease of a worker, if it still is this action's."""
    keys = session.runtime.store.keys(run.supervisor)
    lease = session.runtime.store.read(Lease, keys.lease(run.place, run.worker_id))
    return lease if lease is not None and lease.action_id == run.action_id else None


@click.command("actions", epilog=_EPILOG)
@click.option("--worker", metavar="ID", help="Only of this worker, or of child/NAME.")
@click.option("--node", metavar="NAME", help="Only of this node.")
@click.option("--name", "names", metavar="ACTION", multiple=True, help="Only actions of this name; may be repeated.")
@click.option("--outcome", "outcomes", multiple=True, help="Only with this outcome (running, error, …); repeatable.")
@click.option("--since", type=DurationType(), metavar="AGO", help="Only what was heard of since, as 10m or 1h.")
@click.option(
    "-n", "--last", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many at most, the newest."
)
@click.option(
    "-o", "--output", type=click.Choice(("table", "wide", "json", "yaml")), default="table", help="How to print it."
)
@with_session
def command(
    session: Session,
    worker: str | None,
    node: str | None,
    names: tuple[str, ...],
    outcomes: tuple[str, ...],
    since: Duration | None,
    last: int,
    output: str,
) -> None:
    """List actions, the newest last: outcome, how long it waited in the queue, how long it ran, and where.

    OUTCOME is success, error, timeout, cancelled, lost or discarded; queued or running for one in progress; unknown for
    one whose end nobody told. `fsmctl get actions` lists each worker's current or last one alone.
    """
    item = session.whole(item_of(worker)) if worker else None

    def wanted(event: Event) -> bool:
        told = event["event"].startswith("action.") and event["event"] != "action.discarded"
        return told and (item is None or is_of(event, item)) and (not names or event.get("action") in names)

    earliest = 0.0 if since is None else session.runtime.store.now() - since
    most = 10_000 if outcomes else max(1_000, last * _EVENTS_PER_ACTION)
    rows = rows_of(session, runs_of(streams(session, node).newest(most, wanted)))
    kept = [row for row in rows if not outcomes or row["outcome"] in outcomes]
    kept = [row for row in kept if max(row["ended_at"] or 0, row["begun_at"] or 0, row["claimed_at"] or 0) >= earliest]
    if output in ("json", "yaml"):
        kept = [{key: value for key, value in row.items() if key not in _SHOWN_ONLY} for row in kept]
    print_rows(output, kept[-last:], _WIDE if output == "wide" else _COLUMNS, "no actions")
