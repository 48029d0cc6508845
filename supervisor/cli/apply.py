"""fsmctl apply: make a fleet file the wish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.diff import differences, fleet_option, lines, show
from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from supervisor.diff import Difference, whose
from supervisor.fleet import read_fleets
from supervisor.runtime import Runtime
from supervisor.store import Applied, Author

_SHOWN = 5  # removed ids that the question names
_EPILOG = """\b
Examples:
  fsmctl apply -f compose/demo/fleet.toml --dry-run
  fsmctl apply -f compose/demo/fleet.toml
  fsmctl apply -f fleet.toml --yes --reason "line 2 is dismantled"
"""


def apply_file(runtime: Runtime, path: Path, author: Author | None = None) -> Applied:
    """Check a fleet file and write it. Raises `FleetError` or `Refused`, and then nothing has changed.

    A file without a list of nodes may name those that have ever reported here. What changed is told by id, as
    SUPERVISOR/ID where the file has several supervisors.
    """
    fleets = read_fleets(path, runtime.workers, runtime.store.known_nodes(), runtime.checks)
    whole = Applied()
    for name, applied in runtime.store.apply_fleets(fleets, author).items():
        for word, items in vars(applied).items():
            getattr(whole, word).extend(items if len(fleets) == 1 else [f"{name}/{item}" for item in items])
    return whole


def _destruction(found: Sequence[Difference]) -> str:
    """Return what the apply would destroy, as an act says it; "" for nothing."""
    removed = [whose(item) for one in found for item, _ in one.removed]
    more = f" and {len(removed) - _SHOWN} more" if len(removed) > _SHOWN else ""
    return f"remove {', '.join(removed[:_SHOWN])}{more}" if removed else ""


@click.command("apply", epilog=_EPILOG)
@fleet_option
@act_options(asks=True)
@document_option
@with_session
def command(session: Session, path: Path, act: Act, output: str) -> None:
    """Make FILE the desired state of its supervisors' fleets.

    A changed configuration is taken up by a reconfigure action; a worker that left the file is stopped, then forgotten;
    one that has another node is stopped, then moves there. A bad file is refused whole and changes nothing.

    A file that removes workers or children needs a yes: on a terminal what would change is shown and asked for,
    elsewhere it is refused without --yes. --dry-run shows what `fsmctl diff` shows.
    """
    found = differences(session.runtime, path)
    if act.dry_run:
        show(found, output)
        return
    if what := _destruction(found):
        if not act.yes:
            click.echo("\n".join(lines(found)), err=True)
        act.begins(what, asks=True)
    applied = apply_file(session.runtime, path, Author(act.by, act.reason))
    if output != "text":
        print_data(output, vars(applied))
        return
    for word, items in vars(applied).items():
        if items:
            click.echo(f"{word:<10} {', '.join(sorted(items))}")
