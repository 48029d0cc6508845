"""Loads `lua/*.lua` and runs them; the only way a lease, a tick or a circuit is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.lock import Lock

NAMES = (
    "gate",
    "finish",
    "apply",
    "begin",
    "renew",
    "end",
    "reap",
    "cancel",
    "node",
    "observe",
    "read",
    "leave",
    "touch",
    "force",
    "order",
    "restore",
    "check",
    "refuse",
)


@cache
def source(name: str) -> str:
    """Return the text of a script with the prelude in front of it."""
    folder = files("supervisor") / "lua"
    return (folder / "prelude.lua").read_text() + (folder / f"{name}.lua").read_text()


class Scripts:
    """The scripts of one Redis connection.

    `clock` None (always, outside tests) lets the scripts read Redis' own time; a test passes its clock's `now`.
    """

    def __init__(self, client: redis.Redis, clock: Callable[[], float] | None = None) -> None:
        """Register the scripts; nothing is sent yet."""
        self._client = client
        self._clock = clock
        self._scripts = {name: client.register_script(source(name)) for name in NAMES}

    def read(self, keys: Sequence[str]) -> list[str | None]:
        """Return the texts at `keys` in one round trip."""
        texts: Any = self._client.mget(list(keys))
        return list(texts)

    def run(self, name: str, keys: Sequence[str], arguments: Sequence[str | bytes | int | float]) -> Any:
        """Run a script; its first argument, the time, is added here. Redis' errors pass through."""
        return self._scripts[name](keys=list(keys), args=[self._now(), *arguments])

    def queue(self, pipe: Any, name: str, keys: Sequence[str], arguments: Sequence[str | int | float] = ()) -> None:
        """Put a script into a transaction that is being gathered."""
        self._scripts[name](keys=list(keys), args=[self._now(), *arguments], client=pipe)

    def offer(self) -> None:
        """Load what Redis does not know, as after a restart: a node's user may run scripts, but not bring any.

        kombu's lock on what an executor holds is released by a script of the client library.
        """
        scripts = [*self._scripts.values(), self._client.register_script(Lock.LUA_RELEASE_SCRIPT)]
        known = self._client.script_exists(*(script.sha for script in scripts))
        for script, is_known in zip(scripts, known, strict=True):
            if not is_known:
                self._client.script_load(script.script)

    def _now(self) -> str:
        return "" if self._clock is None else f"{self._clock():.6f}"
