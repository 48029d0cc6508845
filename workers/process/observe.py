"""Look at a process: what its holder wrote down, and what /proc says of it. Read-only."""

from __future__ import annotations

from actions.model import Component
from workers.drivers.process import ProcessComponent, settled_look
from workers.model import Observed
from workers.process.config import ProcessConfig
from workers.target import Target


async def observe(target: Target, previous: Observed | None, collected_at: float) -> Observed:
    """Return whether the process runs and how its last incarnation ended. Raises OSError or ValueError."""
    seen = await settled_look(target.folder)
    return Observed(
        collected_at=collected_at,
        pid=seen.pid,
        start_ticks=seen.start_ticks,
        started_at=None if seen.age is None else collected_at - seen.age,
        config_id=seen.config_id,
        last_exit=seen.last_exit(collected_at),
        log=str(target.folder / "output.log"),
    )


def component(target: Target) -> Component:
    """Return what actions start and stop."""
    if not isinstance(target.config, ProcessConfig):
        raise TypeError(f"{target.id} is not configured as a process: {type(target.config).__name__}")
    return ProcessComponent(target.folder, target.config, target.config_id)
