"""fsmctl wait: until something is so."""

from __future__ import annotations

import difflib
from typing import Any

import click

from supervisor.cli import rows
from supervisor.cli.duration import DurationType
from supervisor.cli.session import Session
from supervisor.connection import STORE_ERRORS
from supervisor.errors import NotFound, StoreUnreachable, SupervisorError, TimedOut
from supervisor.runtime import Runtime
from workers.duration import Duration, ago

_POLL = 0.2  # seconds between two looks
_FIELDS = {"worker": ("state", "phase", "desired", "node"), "child": ("verdict",), "circuit": ("state",)}
_LISTS = {"worker": "workers", "child": "children", "circuit": "circuit"}
_EPILOG = """\b
Examples:
  fsmctl wait worker/line-1-temperature --for state=running --timeout 60s
  fsmctl wait child/broker --for verdict=ok
  fsmctl wait circuit/plant-1 --for state=closed
"""


def _parse(target: str, condition: str) -> tuple[str, str, str, str]:
    kind, _, name = target.partition("/")
    field, _, value = condition.partition("=")
    if kind not in _FIELDS or not name:
        raise click.UsageError(
            f"{target!r} is not something to wait for: expected worker/ID, child/NAME or circuit/SUPERVISOR"
        )
    if field not in _FIELDS[kind] or not value:
        fields = " or ".join(f"{field}=VALUE" for field in _FIELDS[kind])
        raise click.UsageError(f"{condition!r} cannot be waited for on a {kind}: expected {fields}")
    return kind, name, field, value


def _row(session: Session, kind: str, name: str) -> dict[str, Any]:
    """Return the row of what is waited for. Raises `NotFound`."""
    known: list[str] = []
    for supervisor, world in session.worlds():
        known += {
            "circuit": [supervisor],
            "child": [child.spec.name for child in world.children],
            "worker": [subject.id for subject in world.view.subjects],
        }[kind]
        if kind == "circuit" and supervisor == name:
            return rows.circuit_row(supervisor, world)
        if kind == "child" and (child := next((child for child in world.children if child.spec.name == name), None)):
            return rows.child_row(supervisor, child, world)
        subject = next((subject for subject in world.view.subjects if subject.id == name), None)
        if kind == "worker" and subject is not None:
            return rows.worker_row(supervisor, subject, world)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"see `fsmctl get {_LISTS[kind]}`"
    raise NotFound(f"no {kind} {name!r}; {hint}")


def _look(options: dict[str, Any], kind: str, name: str) -> tuple[dict[str, Any] | None, SupervisorError | None]:
    """Return the row, or why there is none yet; a name that an applied fleet does not have is an error at once."""
    try:
        session = Session(options["data_dir"], options["supervisor"])
        runtime: Runtime = session.runtime
        if not runtime.store.supervisors():
            return None, NotFound("no fleet has been applied here yet")
        return _row(session, kind, name), None
    except StoreUnreachable as error:
        return None, error
    except STORE_ERRORS as error:
        return None, StoreUnreachable(f"Redis does not answer: {error}")


def _is_current(row: dict[str, Any]) -> bool:
    """Tell whether a worker's row is more than a memory: seen lately, and nothing seen that is about to change it."""
    return row.get("phase") != "unknown" and row.get("next_state") is None


@click.command("wait", epilog=_EPILOG)
@click.argument("target")
@click.option(
    "--for",
    "condition",
    required=True,
    metavar="FIELD=VALUE",
    help="worker: state, phase, desired, node; child: verdict; circuit: state.",
)
@click.option("--timeout", type=DurationType(), default="60s", show_default=True, help="How long at most.")
@click.pass_context
def command(context: click.Context, target: str, condition: str, timeout: Duration) -> None:
    """Wait until a worker, child or circuit is as wanted; exit code 6 when it is not in time.

    A store that does not answer yet is waited for too.
    """
    kind, name, field, value = _parse(target, condition)
    from supervisor.clock import SystemClock  # the session comes and goes with the store; the clock stays

    clock = SystemClock()
    start = clock.monotonic()
    seen = "nothing"
    while True:
        row, error = _look(context.find_root().obj, kind, name)
        if row is not None:
            seen = f"{field}={row[field]}" + (f" ({row['reason']})" if row.get("reason") else "")
            if row[field] == value and (value == "unknown" or _is_current(row)):
                click.echo(f"{target} {field}={value} after {ago(clock.monotonic() - start)}", err=True)
                return
        if clock.monotonic() - start >= timeout:
            raise error or TimedOut(f"{target} was not {condition} within {timeout}: seen {seen}")
        clock.sleep(_POLL)
