"""fsmctl circuit: an operator's word above the checks."""

from __future__ import annotations

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.session import Session, with_session
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
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, verb: str, name: str) -> None:
    """Force a supervisor's circuit open or closed, or reset it.

    Forced open, which needs a yes, is for maintenance: nothing is done but stops, and no child is restarted.
    Forced closed, workers act whatever the checks say; children that fail are restarted all the same. Both last, over
    restarts of everything, until a reset, after which the checks count again and attempts begin at 0.
    """
    known = [found for found, _ in session.indexes()]
    name = name.removeprefix("circuit/")
    if name not in known:
        raise NotFound(f"no supervisor {name!r}: expected one of {', '.join(known)}")
    what = f"reset circuit/{name}" if verb == "reset" else f"force circuit/{name} {_FORCED[verb]}"
    if act.begins(what, asks=verb == "open"):
        session.runtime.store.force_circuit(name, _FORCED[verb], act.by, act.reason)
        done = f"is forced {_FORCED[verb]}; `fsmctl circuit reset {name}` ends that"
        act.done(f"circuit/{name} {done if verb != 'reset' else 'is reset: the checks count again'}")
