"""Real processes under real holders, for tests: made in a folder, counted, and ended by their pid."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import wait_until
from workers.drivers.process import ProcessComponent, look
from workers.process.config import ProcessConfig


def sh(script: str) -> tuple[str, ...]:
    """Return the command that runs a shell script."""
    return ("sh", "-c", script)


def held(folder: Path) -> list[int]:
    """Return the pids of all living processes, descendants too, that were started in `folder`."""
    return sorted(_held(str(folder)))


def _held(folder: str) -> Iterator[int]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("FSM_HELD") == folder and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid


def holders(folder: Path) -> list[int]:
    """Return the pids of all living holders of `folder`."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if (process.info["cmdline"] or [])[-1:] == [str(folder)] and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def kill(pid: int) -> None:
    """Kill one process, which is ours, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    wait_until(lambda: not alive(pid, process.create_time()), f"pid {pid} is gone")


def alive(pid: int, created: float) -> bool:
    """Tell whether that very process lives."""
    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Yard:
    """Where a test's processes run; leaves none of them behind."""

    root: Path
    folders: set[Path] = field(default_factory=set)

    def make(self, *command: str, name: str = "flow", config_id: str = "c1", **changes: Any) -> ProcessComponent:
        """Return a component of a command, by default one that sleeps; nothing is started."""
        folder = self.root / name
        self.folders.add(folder)
        config = ProcessConfig(command=command or ("sleep", "300"), cwd=str(self.root), **changes)
        return ProcessComponent(folder, config, config_id)

    def clear(self) -> None:
        """Kill everything that was started here."""
        for folder in self.folders:
            for pid in [*holders(folder), *held(folder)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
        for folder in self.folders:
            wait_until(lambda folder=folder: not held(folder), f"nothing of {folder} is left")  # type: ignore[misc]


def ended(component: ProcessComponent) -> dict[str, Any]:
    """Wait until the process has ended and its holder too; return how, without the times."""
    wait_until(lambda: not holders(component.folder), "the holder has written how it ended")
    gone = wait_until(lambda: look(component.folder).ended, "its end is written down")
    return {key: value for key, value in gone.items() if not key.endswith("_ago")}


def output(component: ProcessComponent) -> str:
    """Return what the process has printed."""
    file = component.folder / "output.log"
    return file.read_text() if file.exists() else ""


def wait_for_line(component: ProcessComponent, line: str) -> None:
    """Wait until the process has printed a line."""
    wait_until(lambda: line in output(component).splitlines(), f"{shlex.quote(line)} is printed")
