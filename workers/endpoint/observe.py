"""Look at an endpoint: its process, if it is one of ours, then how it answers. Read-only, as far as a question is."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from actions.model import ActionError, Component, Incarnation
from workers.asking import CannotLook, Unexpected, in_thread
from workers.drivers.process import ProcessComponent, text_of
from workers.endpoint.config import EndpointConfig
from workers.endpoint.states import Answer, EndpointObserved, answer_of
from workers.model import Observed
from workers.process import observe as process
from workers.target import Target

Observe = Callable[[Target, Observed | None, float], Awaitable[EndpointObserved]]
Look = Callable[[Any], Awaitable[str]]
MAX_WORDS = 200  # characters kept of what an endpoint says


@dataclass(frozen=True)
class Library:
    """What a look cannot be made without: the module, and the extra of this distribution that brings it."""

    module: str
    extra: str


def observer(look: Look, library: Library | None = None) -> Observe:
    """Return the observer of a type whose endpoints are asked by `look`, which needs `library`.

    `look(config)` returns in words what was answered; it raises `Unexpected`, OSError or ValueError for an answer that
    is not as it should be, and `CannotLook` when nothing can be known. It is cut off after the configured `timeout`.
    """

    async def observe(target: Target, previous: Observed | None, collected_at: float) -> EndpointObserved:
        """Return whether it runs and how it answers. Raises OSError or ValueError for the process.

        Raises `CannotLook` for what is watched only; of a process of ours it is known at least that it runs.
        """
        seen = EndpointObserved(**msgspec.structs.asdict(await process.observe(target, previous, collected_at)))
        config = _config_of(target)
        ours, runs = bool(config.command), seen.pid is not None
        if ours is not runs:
            return seen
        try:
            if library is not None:
                await _load(library)
            return await _asked(look, config, seen)
        except CannotLook as error:
            if not ours:
                raise
            return msgspec.structs.replace(seen, trouble=f"it cannot be asked: {error}"[:MAX_WORDS])

    return observe


def password_of(path: str) -> str | None:
    """Return what is in a password's file, without the newline at its end; None for no file. Raises `CannotLook`."""
    try:
        return text_of(path, "password_file").removesuffix("\n") if path else None
    except ActionError as error:
        raise CannotLook(str(error)) from None


async def _load(library: Library) -> None:
    """Import what a look needs, beside the clock: the first import takes longer than many a look may.

    Raises `CannotLook` when it is not installed.
    """
    if library.module in sys.modules:
        return
    try:
        await in_thread(lambda: importlib.import_module(library.module))
    except ImportError as error:
        raise CannotLook(
            f"{error}; install fsm-supervisor[{library.extra}] on this node to look at workers of this type"
        ) from None


async def _asked(look: Look, config: EndpointConfig, seen: EndpointObserved) -> EndpointObserved:
    """Return the observation with how it answered laid over it."""
    clock = asyncio.get_running_loop().time
    began, answer, trouble = clock(), "", None
    try:
        async with asyncio.timeout(config.timeout):
            answer = await look(config)
    except TimeoutError:
        trouble = f"no answer from {config.peer} within {config.timeout:g}s"
    except Unexpected as error:
        trouble = str(error)
    except (OSError, ValueError) as error:
        trouble = f"{config.peer}: {str(error) or type(error).__name__}"
    return msgspec.structs.replace(
        seen,
        answered=trouble is None,
        trouble=None if trouble is None else trouble[:MAX_WORDS],
        latency_ms=(clock() - began) * 1000,
        answer=answer[:MAX_WORDS],
    )


def matters(observed: Observed, target: Target) -> Answer:
    """Return how it answers, which `derive` goes by: its latency alone is no news, that it is too long is."""
    return answer_of(observed, _config_of(target).max_latency)


class _Watched(ProcessComponent):
    """What is watched only: nothing of ours starts it; an earlier command's process can be stopped."""

    def start(self, token: int) -> Incarnation:
        """Refuse. Raises `ActionError`."""
        raise ActionError(
            f"it is watched only, so nothing starts it (token {token}): give it a command in the fleet file, "
            "or start it where it runs"
        )


def component(target: Target) -> Component:
    """Return what actions start and stop."""
    config = _config_of(target)
    kind = ProcessComponent if config.command else _Watched
    return kind(target.folder, config, target.config_id)


def _config_of(target: Target) -> EndpointConfig:
    if not isinstance(target.config, EndpointConfig):
        raise TypeError(f"{target.id} is not configured as an endpoint: {type(target.config).__name__}")
    return target.config
