"""fsmctl apply: make a fleet file the wish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.diff import differences, fleet_option, fleets_of, lines, show
from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from supervisor.diff import Changed, Difference, whose
from supervisor.fleet import Fleet
from supervisor.runtime import Runtime
from supervisor.store import Applied, Author

_SHOWN = 5  # ids that the question names
_EPILOG = """\b
Examples:
  fsmctl apply -f compose/demo/fleet.toml --dry-run
  fsmctl apply -f compose/demo/fleet.toml
  fsmctl apply -f fleet.toml --yes --reason "line 2 is dismantled"
"""


def apply_fleets(runtime: Runtime, fleets: Sequence[Fleet], author: Author) -> Applied:
    """Write the fleets of one file. Raises `Refused`, and then nothing has changed.

    What changed is told by id, as SUPERVISOR/ID where the file has several supervisors.
    """
    whole = Applied()
    for name, applied in runtime.store.apply_fleets(fleets, author).items():
        for word, items in vars(applied).items():
            getattr(whole, word).extend(items if len(fleets) == 1 else [f"{name}/{item}" for item in items])
    return whole


def destruction(found: Sequence[Difference]) -> str:
    """Return what the apply would remove or stop, as an act says it; "" for nothing."""
    removed = [whose(item) for one in found for item, _ in one.removed]
    stopped = [whose(changed.id) for one in found for changed in (*one.changed, *one.moving) if _stops(changed)]
    return " and ".join(f"{verb} {_some(items)}" for verb, items in (("remove", removed), ("stop", stopped)) if items)


def replaced(supervisor: str, damage: str) -> str:
    """Return what is said of settings that could not be read, and are the file's now."""
    return f"replaced the settings of {supervisor}, which could not be read: {damage}"


def _stops(changed: Changed) -> bool:
    """Tell whether the file takes back that a worker is to run."""
    return any(change.key == "state" and change.new == "stopped" for change in changed.changes)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{', '.join(items[:_SHOWN])}{more}"


@click.command("apply", epilog=_EPILOG)
@fleet_option
@act_options(asks=True)
@document_option
@with_session
def command(session: Session, path: Path, act: Act, output: str) -> None:
    """Make FILE the desired state of its supervisors' fleets.

    A changed configuration is taken up by a reconfigure action; a worker that left the file is stopped, then forgotten;
    one that has another node is stopped, then moves there. A bad file is refused whole and changes nothing. Settings in
    the store that cannot be read are replaced, which is said.

    A file that removes workers or children, or wants stopped what was to run, needs a yes: on a terminal what would
    change is shown and asked for, elsewhere it is refused without --yes. --dry-run shows what `fsmctl diff` shows.
    """
    fleets = fleets_of(session.runtime, path)  # once: what is confirmed is what is applied
    found = differences(session.runtime, fleets)
    if act.dry_run:
        show(found, output)
        return
    if what := destruction(found):
        if not act.yes:
            click.echo("\n".join(lines(found)), err=True)
        act.begins(what, asks=True)
    applied = apply_fleets(session.runtime, fleets, Author(act.by, act.reason))
    for one in filter(lambda one: one.damage, found):
        click.echo(replaced(one.supervisor, one.damage), err=True)
    if output != "text":
        print_data(output, vars(applied))
        return
    for word, items in vars(applied).items():
        if items:
            click.echo(f"{word:<10} {', '.join(sorted(items))}")
