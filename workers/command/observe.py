"""Look at what is run by commands: ask its status command. Read-only, as far as that command is."""

from __future__ import annotations

from actions.model import ActionError
from workers.command.config import CommandConfig
from workers.command.states import CommandObserved
from workers.drivers.command import CommandComponent
from workers.model import Exit, Observed
from workers.target import Target


async def observe(target: Target, previous: Observed | None, collected_at: float) -> CommandObserved:
    """Return whether it runs; an error when the status command cannot tell."""
    log = str(target.folder / "output.log")
    started_at = previous.started_at if previous else None
    last_exit = previous.last_exit if previous else None
    try:
        seen = await component(target).look()
    except ActionError as error:
        return CommandObserved(
            collected_at=collected_at, error=str(error), started_at=started_at, last_exit=last_exit, log=log
        )
    if seen is None:
        ended = last_exit if started_at is None else _exit(started_at, collected_at)
        return CommandObserved(collected_at=collected_at, last_exit=ended, log=log)
    return CommandObserved(
        collected_at=collected_at,
        running=True,
        started_at=collected_at if started_at is None else started_at,
        config_id=seen.config_id,
        log=log,
    )


def _exit(started_at: float, ended_at: float) -> Exit:
    """Name an incarnation without a pid by the millisecond in which it was first seen."""
    return Exit(pid=0, start_ticks=round(started_at * 1000), started_at=started_at, ended_at=ended_at)


def component(target: Target) -> CommandComponent:
    """Return what actions start and stop."""
    if not isinstance(target.config, CommandConfig):
        raise TypeError(f"{target.id} is not configured by commands: {type(target.config).__name__}")
    return CommandComponent(target.id, target.folder, target.config, target.config_id)
