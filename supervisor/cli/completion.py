"""fsmctl completion: what a shell needs to complete commands, options, and the names that live in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
Found = Sequence[tuple[str, "Index"]]


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


def _worker_targets(store: Store, found: Found) -> list[str]:
    return [f"worker/{item}" for item in _items(store, found) if "/" not in item]


def _node_targets(store: Store, found: Found) -> list[str]:
    return [f"node/{node}" for node in _nodes(store, found)]


def _scopes(store: Store, found: Found) -> list[str]:
    groups = sorted({f"group/{group}" for _, index in found for group in index.settings.groups})
    return ["all", *groups, *_node_targets(store, found)]


def _targets(store: Store, found: Found) -> list[str]:
    children = [item for item in _items(store, found) if "/" in item]
    circuits = [f"circuit/{name}" for name in _supervisors(store, found)]
    return [*_worker_targets(store, found), *children, *circuits, *_node_targets(store, found)]


# by the words of the metavar that a command gives its argument, and by the name of an option
_LIVE: dict[str, Callable[[Store, Found], list[str]]] = {
    "ID": _items,
    "TARGET": _targets,
    "KIND/NAME": _targets,
    "worker/ID": _worker_targets,
    "node/NAME": _node_targets,
    "circuit/NAME": lambda store, found: [f"circuit/{name}" for name in _supervisors(store, found)],
    "SCOPE": _scopes,
    "SUPERVISOR": _supervisors,
    "NODE": _nodes,
    "INCIDENT": _incidents,
    "ACTION": _actions,
}
_OPTIONS = {"--worker": "ID", "--node": "NODE", "--supervisor": "SUPERVISOR"}
_KIND_AND_NAMES = ("KIND [NAME]...", "KIND NAME")  # the first word is a kind, the others are names of that kind


def live_names(ctx: click.Context, *words: str) -> list[str]:
    """Return the names that what is called by these words may have now; none when Redis is away or not known."""
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
        return [name for word in words for name in _LIVE[word](store, indexes)]
    except STORE_ERRORS:
        return []  # a person is typing: nothing may be printed
    except SupervisorError:
        return []


class LiveName(click.types.StringParamType):
    """A text that a shell completes with names from the store."""

    def __init__(self, words: Sequence[str]) -> None:
        """Complete what a command calls by these words."""
        self._words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin with what is there."""
        return [CompletionItem(name) for name in live_names(ctx, *self._words) if name.startswith(incomplete)]


class KindOrName(click.types.StringParamType):
    """A kind, then names of that kind; or both in one word, as worker/ID."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the kinds, or the names, that begin with what is there."""
        from supervisor.cli.kinds import KINDS, WAYS

        before = ctx.params.get(param.name or "") or ()
        said, slash, _ = (before[0] if before else incomplete).partition("/")
        if not before and not slash:
            names = list(KINDS)
        elif (plural := WAYS.get(said)) is None:
            names = []
        else:
            words = {"nodes": "NODE", "circuit": "SUPERVISOR", "incidents": "INCIDENT"}
            found = live_names(ctx, words.get(plural, "ID"))
            names = [name.removeprefix("child/") for name in found if plural != "children" or "/" in name]
            names = [f"{said}/{name}" for name in names] if "/" in incomplete else names
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def words_of(param: click.Parameter) -> list[str]:
    """Return the words by which a command calls what a parameter may be, as far as the store has names for them."""
    if isinstance(param, click.Option):
        words = [_OPTIONS[name] for name in param.opts if name in _OPTIONS]
    else:
        words = (param.metavar or (param.name or "").upper()).removesuffix("...").strip("[]").split("|")
    return [word for word in words if word in _LIVE]


def add_live_names(command: click.Command) -> None:
    """Let a command's arguments and options be completed from the store, as their names say."""
    for param in command.params:
        if param.type is not click.STRING:
            continue
        if param.metavar in _KIND_AND_NAMES:
            param.type = KindOrName()
        elif words := words_of(param):
            param.type = LiveName(words)
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
