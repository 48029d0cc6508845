"""Look at a process: what its holder wrote down, and what /proc says of it; or what its manager says. Read-only."""

from __future__ import annotations

from actions.model import Component
from workers.drivers import kept
from workers.drivers.docker import DockerComponent
from workers.drivers.process import ProcessComponent, settled_look
from workers.drivers.systemd import SystemdComponent
from workers.model import Observed
from workers.process.config import ProcessConfig
from workers.target import Target


async def observe(target: Target, previous: Observed | None, collected_at: float) -> Observed:
    """Return whether the process runs and how its last incarnation ended. Raises OSError or ValueError."""
    of_other = _kept(target, _config(target))
    if of_other is not None:
        return await kept.observe(of_other, previous, collected_at)
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
    config = _config(target)
    return _kept(target, config) or ProcessComponent(target.folder, config, target.config_id)


def _kept(target: Target, config: ProcessConfig) -> SystemdComponent | DockerComponent | None:
    """Return what another manager keeps; None: it is ours."""
    if config.container:
        engine, stop_timeout = config.engine or "", float(config.stop_timeout)
        return DockerComponent(target.id, target.folder, config.container, engine, target.config_id, stop_timeout)
    if config.unit:
        return SystemdComponent(target.id, target.folder, config.unit, target.config_id)
    return None


def _config(target: Target) -> ProcessConfig:
    if not isinstance(target.config, ProcessConfig):
        raise TypeError(f"{target.id} is not configured as a process: {type(target.config).__name__}")
    return target.config
