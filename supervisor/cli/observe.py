"""fsmctl observe: look at a worker or child now."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from supervisor.cli.acts import Act, act_options
from supervisor.cli.duration import DurationType
from supervisor.cli.output import print_json
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import TimedOut
from supervisor.operators import ask_to_look
from workers.duration import Duration, ago

_POLL = 0.1  # seconds between two looks at the store
_EPILOG = """\b
Examples:
  fsmctl observe line-1-temperature
  fsmctl observe child/broker --timeout 5s -o json
"""


@click.command("observe", epilog=_EPILOG)
@click.argument("item", metavar="ID")
@click.option("--timeout", type=DurationType(), default="15s", show_default=True, help="How long to wait at most.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@act_options()
@with_session
def command(session: Session, act: Act, item: str, timeout: Duration, output: str) -> None:
    """Ask the collector of a worker or of child/NAME to look now, and show what it sees.

    Works while the circuit is open and everything is paused; nothing is changed by a look. Exit code 6 when no newer
    observation is in after --timeout.
    """
    name = item_of(item)
    supervisor, place = session.find(name)
    if not act.begins(f"ask the collector on {place} to look at {name}"):
        return
    store = session.runtime.store
    asked = store.now()
    ask_to_look(store, supervisor, place, name, act.by, act.reason)
    seen = _wait(session, store.keys(supervisor).observed(place, name), asked, timeout)
    if seen is None:
        raise TimedOut(_why_not(session, supervisor, place, name, timeout))
    if output == "json":
        print_json(seen)
        return
    width, now = max(map(len, seen)), store.now()
    click.echo("\n".join(f"{field:<{width}}  {_shown(field, value, now)}" for field, value in seen.items()))


def _wait(session: Session, key: str, asked: float, timeout: float) -> dict[str, Any] | None:
    """Return what was seen by a look that began after it was asked for, or None."""
    store, clock = session.runtime.store, session.runtime.clock
    start = clock.monotonic()
    while True:
        text = store.client.get(key)
        seen: dict[str, Any] = msgspec.json.decode(text) if text else {}
        if seen.get("collected_at", 0.0) > asked:
            return seen
        if clock.monotonic() - start >= timeout:
            return None
        clock.sleep(_POLL)


def _why_not(session: Session, supervisor: str, place: str, name: str, timeout: Duration) -> str:
    """Return what is known of why nobody has looked."""
    _, collector = session.runtime.store.nodes(supervisor, [place])[place]
    beat = f"; its last sign is {ago(session.runtime.store.now() - collector.at)} old" if collector else ""
    return f"the collector on {place} has not looked at {name} within {timeout}{beat}; see `fsmctl get nodes`"


def _shown(field: str, value: object, now: float) -> str:
    """Return a value for a person: times as ages, other numbers to a tenth."""
    if field.endswith("_at") and isinstance(value, float):
        return f"{ago(now - value)} ago"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(name, part, now)}" for name, part in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return "-" if value is None or value == "" else str(value)
