"""Children that another service manager keeps: restarted through it, and known by the pid that it names."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from actions.model import ActionError, Incarnation
from workers import holder
from workers.drivers.minding import ask, complaint, fenced, request
from workers.drivers.process import environment

_WITHIN = 20.0  # seconds for a service to go down, or to come up, by s6's own word
_NEW_WITHIN = 10.0  # seconds for a pid file to name another process
_POLL = 0.1  # seconds between two looks at a pid file, which cannot be awaited


@dataclass(frozen=True)
class S6Component:
    """A service directory under s6; implements `actions.model.Component`. s6 starts it, we tell it to."""

    id: str
    folder: Path
    service: str
    config_id: str = ""

    def current(self) -> Incarnation | None:
        """Return what runs by s6's word, or None. Raises `ActionError` when s6 cannot tell."""
        told = self._s6("s6-svstat", "-o", "pid").strip()
        return named(int(told)) if told.lstrip("-").isdigit() else None

    def start(self, token: int) -> Incarnation:
        """Bring the service up and wait until it is. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token) as lock:
            self._tell("-u", "-wu", lock)
        seen = self.current()
        if seen is None:
            raise ActionError(f"{self.service} is not up after s6-svc -u; see its log and s6-svstat {self.service}")
        return seen

    def stop(self, token: int) -> None:
        """Bring the service down and wait until it is. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token) as lock:
            self._tell("-d", "-wd", lock)

    def _tell(self, what: str, until: str, lock: int) -> None:
        self._s6("s6-svc", what, until, "-T", f"{_WITHIN * 1000:.0f}", lock=lock)

    def _s6(self, *command: str, lock: int | None = None) -> str:
        try:
            return _run((*command, self.service), lock=lock)
        except ActionError as error:
            raise ActionError(
                f"{error}; expected s6 on this host, and service {self.service!r} a directory that it watches"
            ) from None


@dataclass(frozen=True)
class HookComponent:
    """What a command restarts; implements `actions.model.Component`. Known by a pid file, if there is one."""

    id: str
    folder: Path
    restart: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    pid_file: str
    config_id: str = ""

    def current(self) -> Incarnation | None:
        """Return what the pid file names; None without a file, or when that process is gone."""
        if not self.pid_file:
            return None
        with suppress(OSError, ValueError):
            return named(int(Path(self.pid_file).read_text()))
        return None

    def start(self, token: int) -> Incarnation:
        """Run the restart command; with a pid file, wait until it names another process. Raises `ActionError`."""
        before = self.current()
        with fenced(self.folder, self.id, token) as lock:
            _run(self.restart, self.cwd, {**self.env, "FSM_TOKEN": str(token)}, lock, self.folder / "output.log")
        give_up = time.monotonic() + _NEW_WITHIN
        while self.pid_file:
            seen = self.current()
            if seen is not None and seen != before:
                return seen
            if time.monotonic() >= give_up:
                raise ActionError(f"{self.pid_file} names no new process {_NEW_WITHIN:g}s after {self.restart[0]}")
            time.sleep(_POLL)
        return Incarnation(0, 0, "")

    def stop(self, token: int) -> None:
        """Do nothing: the command that follows is a restart."""


def named(pid: int) -> Incarnation | None:
    """Return the incarnation of a process that another manager names by its pid, or None if it is gone."""
    stat = holder.stat_of(pid) if pid > 0 else None
    return None if stat is None or stat[0] == "Z" else Incarnation(pid, stat[1], "")


def _run(
    command: Sequence[str],
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    lock: int | None = None,
    log: Path | None = None,
) -> str:
    """Run a command to its end and return what it printed. Raises `ActionError` unless it ends with 0."""
    answer = ask(request(command, cwd, environment(env or {}), None, log, " ".join(command)), lock)
    if answer.get("code") != 0:
        raise ActionError(complaint(command[0], answer))
    return str(answer["output"])
