"""What every command starts with: the store of this installation, and the worker that an argument names."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import click

from supervisor.cli.matching import not_found, pick
from supervisor.connection import STORE_ERRORS, check_server, words_for
from supervisor.errors import NotFound, StoreUnreachable, UsageError
from supervisor.keys import CHILD_PREFIX
from supervisor.logs import configure_later
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.store import Index
from supervisor.view import World, load_world

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command's access to the store."""

    def __init__(self, data_dir: str | None, supervisor: str | None) -> None:
        """Connect. Raises `UsageError` or `StoreUnreachable`."""
        self.settings = Settings.from_env(data_dir=data_dir)
        configure_later(self.settings.log_format, self.settings.log_level)
        self.runtime: Runtime = make_runtime(self.settings)
        check_server(self.runtime.store.client, self.settings)
        self.runtime.store.check_schema()
        self._only = supervisor

    def indexes(self) -> Iterator[tuple[str, Index]]:
        """Yield the supervisors that are asked about. Raises `NotFound` for an unknown or an empty store."""
        names = self.runtime.store.supervisors()
        if not names:
            raise NotFound("no fleet has been applied here yet; run `fsmctl apply -f fleet.toml`")
        if self._only is not None and self._only not in names:
            raise NotFound(f"no supervisor {self._only!r}: expected one of {', '.join(names)}")
        for name in names:
            index = self.runtime.store.index(name) if self._only in (None, name) else None
            if index is not None:
                yield name, index

    def worlds(self, workers: bool = True, node: str | None = None) -> Iterator[tuple[str, World]]:
        """Yield each supervisor's world as it is now, if need be without its workers, or only what is on `node`."""
        now = self.runtime.store.now()
        for name, index in self.indexes():
            yield name, load_world(self.runtime, name, index if node is None else index.at(node), now, workers)

    def world(self, supervisor: str) -> World:
        """Return the world of a supervisor, which has a fleet, as it is now."""
        index = dict(self.indexes())[supervisor]
        return load_world(self.runtime, supervisor, index, self.runtime.store.now())

    def find(self, item: str) -> tuple[str, str]:
        """Return (supervisor, place) of a worker id or `child/NAME`.

        Raises `NotFound` with a suggestion, and `UsageError` naming the supervisors where several have it.
        """
        indexes = dict(self.indexes())
        found = [(name, index.places[item]) for name, index in indexes.items() if item in index.places]
        if not found:
            raise not_found("worker or child", item, [one for index in indexes.values() for one in index.places])
        if len(found) > 1:
            names = ", ".join(name for name, _ in found)
            raise UsageError(f"{item} is in several supervisors: {names}; say which with `fsmctl --supervisor NAME …`")
        return found[0]

    def whole(self, text: str) -> str:
        """Return the id of a worker or `child/NAME` by itself, or by a beginning that it alone has.

        Raises `NotFound` with a suggestion, and `UsageError` where several begin so.
        """
        known = {item for _, index in self.indexes() for item in index.places}
        child = f"{CHILD_PREFIX}{text}"
        item = child if child in known and text not in known else text
        is_child = item.startswith(CHILD_PREFIX)
        among = [one for one in known if one.startswith(CHILD_PREFIX) == is_child]
        return item if item in known else pick("worker or child", item, among, known)

    def match(self, text: str) -> tuple[str, str, str]:
        """Return (id, supervisor, place) of a worker or `child/NAME`, by its id or the beginning of it.

        For commands that only read; one that acts takes whole ids (`find`). Raises as `whole` and `find`.
        """
        item = self.whole(text)
        return (item, *self.find(item))


def operator() -> str:
    """Return who runs this command, as events name them: user@host; a user without a name, as in containers: uid-N."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # OSError: from Python 3.13 on
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def item_of(text: str) -> str:
    """Return the id that `worker/ID`, `child/NAME` or a bare ID names."""
    return text.removeprefix("worker/")


def with_session(function: F) -> F:
    """Give a command its session as first argument; Redis' errors become one sentence and exit code 5."""

    @click.pass_context
    @functools.wraps(function)
    def command(context: click.Context, *args: Any, **kwargs: Any) -> Any:
        options = context.find_root().obj
        session = Session(options["data_dir"], options["supervisor"])
        try:
            return function(session, *args, **kwargs)
        except BrokenPipeError:  # the reader of our output has left: Redis' own come as its client's errors
            raise
        except STORE_ERRORS as error:
            raise StoreUnreachable(words_for(error, session.settings.shown_url)) from None

    return cast("F", command)
