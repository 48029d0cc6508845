"""fsmctl completion: what a shell needs to complete commands, options, and the names that live in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from supervisor.store import Index, Store

_EPILOG = """\b
Examples:
  source <(fsmctl completion bash)         in ~/.bashrc
  source <(fsmctl completion zsh)          in ~/.zshrc, after compinit
  fsmctl completion fish > ~/.config/fish/completions/fsmctl.fish
"""
_SHELLS = ("bash", "zsh", "fish")
Found = Iterable[tuple[str, "Index"]]


def _items(store: Store, found: Found) -> list[str]:
    return sorted((item for _, index in found for item in index.places), key=lambda item: ("/" in item, item))


def _supervisors(store: Store, found: Found) -> list[str]:
    return [name for name, _ in found]


def _nodes(store: Store, found: Found) -> list[str]:
    return sorted({node for _, index in found for node in index.nodes} | store.known_nodes())


def _incidents(store: Store, found: Found) -> list[str]:
    return [incident.id for name, _ in found for incident in store.incidents(name)]


def _actions(store: Store, found: Found) -> list[str]:
    from supervisor.model import Lease

    ids = []
    for name, index in found:
        for item, place in index.places.items():
            lease = store.read(Lease, store.keys(name).lease(place, item))
            ids += [lease.action_id] if lease is not None and lease.in_progress else []
    return ids


def _targets(store: Store, found: Found) -> list[str]:
    listed = list(found)
    items = _items(store, listed)
    workers = [item if "/" in item else f"worker/{item}" for item in items]
    circuits = [f"circuit/{name}" for name, _ in listed]
    return [*workers, *circuits, *(f"node/{node}" for node in _nodes(store, listed))]


# by the metavar that a command gives its argument or option
_LIVE: dict[str, Callable[[Store, Found], list[str]]] = {
    "ID": _items,
    "TARGET": _targets,
    "SUPERVISOR": _supervisors,
    "NODE": _nodes,
    "INCIDENT": _incidents,
    "ACTION": _actions,
}


def live_names(ctx: click.Context, metavar: str) -> list[str]:
    """Return the names that an argument of that metavar may have now; none when Redis is away or not known."""
    from supervisor.cli.context import enter
    from supervisor.connection import STORE_ERRORS, connect
    from supervisor.errors import SupervisorError
    from supervisor.settings import Settings
    from supervisor.store import Store

    options = ctx.find_root().params
    try:
        enter(options.get("chosen"), options.get("data_dir"), "")
        settings = Settings.from_env(data_dir=options.get("data_dir"))
        store = Store(connect(settings, patient=False), settings.namespace)
        indexes = [(name, index) for name in store.supervisors() if (index := store.index(name))]
        return _LIVE[metavar](store, indexes)
    except STORE_ERRORS:
        return []  # a person is typing: nothing may be printed
    except SupervisorError:
        return []


class LiveName(click.types.StringParamType):
    """A text that a shell completes with names from the store."""

    def __init__(self, metavar: str) -> None:
        """Complete what a command calls `metavar`."""
        self._metavar = metavar

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin with what is there."""
        return [CompletionItem(name) for name in live_names(ctx, self._metavar) if name.startswith(incomplete)]


def add_live_names(command: click.Command) -> None:
    """Let a command's arguments and options be completed from the store, as their metavars say."""
    for param in command.params:
        metavar = param.metavar or (param.name or "").upper()
        if param.type is click.STRING and metavar in _LIVE:
            param.type = LiveName(metavar)
    for sub in getattr(command, "commands", {}).values():
        add_live_names(sub)


@click.command("completion", epilog=_EPILOG)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what SHELL reads to complete fsmctl: commands, options, ids of workers, children, nodes, incidents.

    The names come from the store, in the moment; without a store that answers there are none.
    """
    kind = get_completion_class(shell)
    if kind is None:  # click has all three
        raise click.UsageError(f"{shell} is not known to this version of click")
    click.echo(kind(context.find_root().command, {}, "fsmctl", "_FSMCTL_COMPLETE").source(), nl=False)
