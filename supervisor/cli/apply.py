"""fsmctl apply: make a fleet file the wish."""

from __future__ import annotations

from pathlib import Path

import click

from supervisor.cli.output import output_option, print_json
from supervisor.cli.session import Session, with_session
from supervisor.fleet import read_fleets
from supervisor.runtime import Runtime
from supervisor.store import Applied

_EPILOG = """\b
Example:
  fsmctl apply -f compose/demo/fleet.toml
"""


def apply_file(runtime: Runtime, path: Path) -> Applied:
    """Check a fleet file and write it. Raises `FleetError` or `Refused`, and then nothing has changed.

    A file without a list of nodes may name those that have ever reported here. What changed is told by id, as
    SUPERVISOR/ID where the file has several supervisors.
    """
    fleets = read_fleets(path, runtime.workers, runtime.store.known_nodes())
    whole = Applied()
    for name, applied in runtime.store.apply_fleets(fleets).items():
        for word, items in vars(applied).items():
            getattr(whole, word).extend(items if len(fleets) == 1 else [f"{name}/{item}" for item in items])
    return whole


@click.command("apply", epilog=_EPILOG)
@click.option(
    "-f", "--fleet", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Fleet file (TOML)."
)
@output_option
@with_session
def command(session: Session, path: Path, output: str) -> None:
    """Make FILE the desired state of its supervisors' fleets.

    A changed configuration is taken up by a reconfigure action; a worker that left the file is stopped, then forgotten;
    one that has another node is stopped, then moves there. A bad file is refused whole and changes nothing.
    """
    applied = apply_file(session.runtime, path)
    if output == "json":
        print_json(vars(applied))
        return
    for word, items in vars(applied).items():
        if items:
            click.echo(f"{word:<10} {', '.join(sorted(items))}")
