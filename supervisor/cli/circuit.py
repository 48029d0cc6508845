"""fsmctl circuit: an operator's word above the checks."""

from __future__ import annotations

import click

from supervisor.cli.session import Session, operator, with_session
from supervisor.errors import NotFound

_EPILOG = """\b
Examples:
  fsmctl circuit open plant-1 --reason "broker upgrade"
  fsmctl circuit close plant-1 --reason "the check is broken"
  fsmctl circuit reset plant-1
"""
_FORCED = {"open": "open", "close": "closed", "reset": ""}


@click.command("circuit", epilog=_EPILOG)
@click.argument("verb", type=click.Choice(tuple(_FORCED)))
@click.argument("name", metavar="SUPERVISOR")
@click.option("--reason", default="", help="Why; shown with the circuit and in the events.")
@with_session
def command(session: Session, verb: str, name: str, reason: str) -> None:
    """Force a supervisor's circuit open or closed, or reset it.

    Forced open is for maintenance: nothing is done but stops, and no child is restarted. Forced closed, workers act
    whatever the checks say; children that fail are restarted all the same. Both last, over restarts of everything,
    until a reset, after which the checks count again and attempts begin at 0.
    """
    known = [found for found, _ in session.indexes()]
    if name not in known:
        raise NotFound(f"no supervisor {name!r}: expected one of {', '.join(known)}")
    session.runtime.store.force_circuit(name, _FORCED[verb], operator(), reason)
    done = f"is forced {_FORCED[verb]}; `fsmctl circuit reset {name}` ends that"
    click.echo(f"circuit/{name} {done if verb != 'reset' else 'is reset: the checks count again'}", err=True)
