"""fsmctl cancel: ends the action in progress."""

from __future__ import annotations

import click

from supervisor.cli.acts import Act, act_options
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import NotFound, Refused
from supervisor.model import Lease
from supervisor.store import decode
from workers.duration import ago

_EPILOG = """\b
Examples:
  fsmctl cancel 3f2a9c4e-77a0-4dd5-9b21-0c1f5e2a8d6e    an action, by its id
  fsmctl cancel line-1-temperature      whatever is in progress for a worker
  fsmctl cancel child/broker            a restart of a child
  fsmctl cancel line-1-pressure --force frees a worker whose action is stuck
"""


@click.command("cancel", epilog=_EPILOG)
@click.argument("action", metavar="ACTION|ID")
@click.option("--force", is_flag=True, help="Free the worker at once, whatever its executor still does.")
@act_options(asks=True)
@with_session
def command(session: Session, act: Act, action: str, force: bool) -> None:
    """Cancel an action in progress: by its id, or that of a worker or of child/NAME.

    One that waits in the queue is taken back at once; one that runs is asked to give up, and its executor ends it. With
    --force, which needs a yes, the worker is free at once: the fence still refuses what the old action does on
    its node, but effects elsewhere (of floating workers) may overlap.

    What is desired stays as it is, so the same action may be wanted again; see `fsmctl pause` and `fsmctl set`.
    """
    supervisor, place, item = _find(session, item_of(action))
    store = session.runtime.store
    lease = store.read(Lease, store.keys(supervisor).lease(place, item))
    if lease is None or not lease.in_progress:
        last = f"; the last was {lease.action}: {lease.outcome}" if lease else ""
        raise Refused(f"{item} has no action in progress{last}")
    since = ago(store.now() - (lease.begun_at or lease.claimed_at))
    what = f"{lease.action} of {item}, {lease.stage} for {since}"
    if not act.begins(f"cancel {'by force ' if force else ''}the {what}", asks=force):
        return
    reason = f"cancelled by {act.words}" + (" (forced)" if force else "")
    answer = session.runtime.leases.cancel(
        supervisor, place, item, lease.token, reason, force, by=act.by, why=act.reason
    )
    if answer == "nothing":
        raise Refused(f"the {lease.action} of {item} has just ended; see `fsmctl get actions`")
    act.done(f"{what}, {'is cancelled' if answer == 'cancelled' else 'has been asked to give up'}")


def _find(session: Session, text: str) -> tuple[str, str, str]:
    """Return supervisor, place and id of the worker or child that a word names, or whose action it names."""
    try:
        return *session.find(text), text
    except NotFound as error:
        found = _by_action(session, text)
        if found is None:
            raise NotFound(f"{error}; nor is it the id of an action in progress, see `fsmctl get actions`") from None
        return found


def _by_action(session: Session, text: str) -> tuple[str, str, str] | None:
    """Return supervisor, place and id of the worker or child whose action in progress has this id."""
    store = session.runtime.store
    for supervisor, index in session.indexes():
        keys = store.keys(supervisor)
        items = list(index.places.items())
        texts = store.scripts.read([keys.lease(place, item) for item, place in items]) if items else []
        for (item, place), stored in zip(items, texts, strict=True):
            lease = decode(stored, Lease, keys.lease(place, item)) if stored else None
            if lease is not None and lease.in_progress and lease.action_id == text:
                return supervisor, place, item
    return None
