"""fsmctl config: the settings that count, and where each came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from supervisor.cli.output import print_rows
from supervisor.errors import StoreUnreachable
from supervisor.settings import Settings

_EPILOG = """\b
Examples:
  fsmctl config
  fsmctl config -o json

\b
Keys of -o json, a list: name, value, from; supervisor (null: this process).
"""
_COLUMNS = (("SETTING", "name"), ("FROM", "from"), ("VALUE", "shown"))
_NOT_SET = ("schema", "name", "source", "applied_at")  # fields of stored settings that nobody sets


@click.command("config", epilog=_EPILOG)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def command(context: click.Context, output: str) -> None:
    """Show the settings that count here, and where each came from.

    Those of this process come from the environment or a context, or are defaults; those of each supervisor were applied
    from a fleet file or are defaults; what operators ordered besides is in the store. Passwords and secrets are not
    shown.
    """
    options = context.find_root().obj
    rows = list(_own(options))
    unreachable = None
    try:
        rows += _stored(options)
    except StoreUnreachable as error:  # what is known without the store helps to find it
        unreachable = error
    if output == "json":
        print_rows("json", [{key: row[key] for key in ("name", "value", "from", "supervisor")} for row in rows], (), "")
    else:
        _print_table(rows)
    if unreachable is not None:
        raise unreachable


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Print a table for this process, and one for each supervisor."""
    for number, supervisor in enumerate(dict.fromkeys(row["supervisor"] for row in rows)):
        click.echo(("\n" if number else "") + ("this process" if supervisor is None else f"supervisor {supervisor}"))
        print_rows("table", [row for row in rows if row["supervisor"] == supervisor], _COLUMNS, "")


def _own(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of this process."""
    settings = Settings.from_env(data_dir=options["data_dir"])
    origins = Settings.origins(data_dir=options["data_dir"])
    if (entered := options["context"]) is not None:
        given = entered.settings().items()
        origins |= {name: f"context {entered.name}" if is_given else "default" for name, is_given in given}
    for name, value in settings.shown().items():
        yield _row(None, name, value, origins[name])


def _stored(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the settings of each supervisor, and operators' standing orders. Raises `StoreUnreachable`."""
    from supervisor.cli.session import Session
    from supervisor.connection import STORE_ERRORS, words_for
    from supervisor.model import SupervisorSettings

    session = Session(options["data_dir"], options["supervisor"])
    try:
        store, now = session.runtime.store, session.runtime.store.now()
        for supervisor in store.supervisors():
            index = store.index(supervisor)
            if index is None or options["supervisor"] not in (None, supervisor):
                continue
            plain = SupervisorSettings(name=supervisor)
            for name in index.settings.__struct_fields__:
                if name not in _NOT_SET:
                    value = getattr(index.settings, name)
                    given = value != getattr(plain, name)
                    origin = f"fleet file {index.settings.source or '(unknown)'}" if given else "default"
                    yield _row(supervisor, name, msgspec.to_builtins(value), origin)
            yield from _ordered(supervisor, session, now)
    except STORE_ERRORS as error:
        raise StoreUnreachable(words_for(error, session.settings.shown_url)) from None


def _ordered(supervisor: str, session: Any, now: float) -> Iterator[dict[str, Any]]:
    """Yield what operators ordered: the circuit, pauses of scopes, drains."""
    store = session.runtime.store
    forced = store.breaker(supervisor).forced
    if forced is not None:
        why = f": {forced.reason}" if forced.reason else ""
        yield _row(supervisor, "circuit", f"{forced.state}{why}", f"store, by {forced.by}")
    index = store.index(supervisor)
    for name, order in sorted(index.orders.items() if index is not None else ()):
        if not order.is_over(now):
            yield _row(supervisor, name, order.words(now).partition(" ")[2], f"store, by {order.by}")


def _row(supervisor: str | None, name: str, value: Any, origin: str) -> dict[str, Any]:
    from supervisor.logs import redact

    safe = value if isinstance(value, bool | int | float) or value is None else redact(value)
    shown = " ".join(map(str, safe)) if isinstance(safe, list) else safe
    if isinstance(safe, dict):
        shown = ", ".join(f"{key} {one}" for key, one in safe.items())
    return {"name": name, "value": safe, "shown": shown, "from": origin, "supervisor": supervisor}
