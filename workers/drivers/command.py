"""The command driver: runs start, stop and status commands, each under a minder that leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actions.model import ActionError, Incarnation
from workers.command.config import CommandConfig
from workers.drivers.minding import ask, ask_async, complaint, fenced, request
from workers.drivers.process import environment

RUNS, RUNS_NOT = 0, 3  # exit codes of a status command, as LSB's init scripts have them
_SETTLE_TIMEOUT = 5.0  # seconds for the status command to agree that a start or stop has been done
_POLL = 0.1  # seconds between two looks at a status, which cannot be awaited


@dataclass(frozen=True)
class CommandComponent:
    """What is run by commands; implements `actions.model.Component`.

    Effects happen under the lock of `folder`, with the largest token accepted beside it. All executors that share the
    folder share the fence; over several hosts the commands are given the token, for what they work on to refuse.
    """

    id: str
    folder: Path
    config: CommandConfig
    config_id: str

    def current(self) -> Incarnation | None:
        """Return what runs, or None; of what cannot be told, one without a configuration: it may run."""
        try:
            return self._status()
        except ActionError:
            return Incarnation(0, 0, "")

    async def look(self) -> Incarnation | None:
        """Return what runs, or None. Raises `ActionError` when the status command cannot tell."""
        answer = await ask_async(self._request("status", self.config.status, None))
        return self._told(answer)

    def start(self, token: int) -> Incarnation:
        """Run the start command unless it runs already, and see that it does then. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token) as lock:
            if self._status() is None:
                self._run("start", self.config.start, token, lock)
            return self._settled(running=True) or Incarnation(0, 0, "")

    def stop(self, token: int) -> None:
        """Run the stop command, unless nothing runs, and see that nothing does then. Raises `Fenced` or `ActionError`.

        A status that cannot be told is no reason not to stop.
        """
        with fenced(self.folder, self.id, token) as lock:
            if self.current() is not None:
                self._run("stop", self.config.stop, token, lock)
                self._settled(running=False)

    def _run(self, verb: str, command: tuple[str, ...], token: int, lock: int) -> None:
        """Run a start or stop command to its end. Raises `ActionError` unless it ends with 0."""
        answer = ask(self._request(verb, command, token), lock)
        if answer.get("code") != 0:
            raise ActionError(complaint(verb, answer))

    def _settled(self, running: bool) -> Incarnation | None:
        """Return what the status command says once it says what it should. Raises `ActionError` if it does not."""
        give_up = time.monotonic() + _SETTLE_TIMEOUT
        while True:
            seen = self._status()
            if (seen is not None) is running:
                return seen
            if time.monotonic() >= give_up:
                done, told = ("start", "does not run") if running else ("stop", "runs")
                raise ActionError(f"{done} has ended, and status still says after {_SETTLE_TIMEOUT:g}s that it {told}")
            time.sleep(_POLL)

    def _status(self) -> Incarnation | None:
        return self._told(ask(self._request("status", self.config.status, None)))

    def _told(self, answer: Mapping[str, Any]) -> Incarnation | None:
        """Return what a status command's end means. Raises `ActionError` when it means nothing."""
        if answer.get("code") == RUNS:
            return Incarnation(0, 0, _printed_config(answer["output"]) or self.config_id)
        if answer.get("code") == RUNS_NOT:
            return None
        raise ActionError(complaint("status", answer))

    def _request(self, verb: str, command: tuple[str, ...], token: int | None) -> bytes:
        """Return what a minder is told. A look has a time limit of its own and no token, and is not logged."""
        ours = {"FSM_WORKER": self.id, "FSM_ACTION": verb, "FSM_CONFIG_ID": self.config_id}
        if token is not None:
            ours["FSM_TOKEN"] = str(token)
        timeout = float(self.config.status_timeout) if token is None else None
        log = None if token is None else self.folder / "output.log"
        env = {**environment(self.config.env), **ours}
        return request(command, self.config.cwd, env, timeout, log, f"{verb}, token {token}")


def _printed_config(output: str) -> str:
    """Return the configuration id that a status command has printed as `config_id=…`, "" if it has not."""
    found = [line.removeprefix("config_id=") for line in output.splitlines() if line.startswith("config_id=")]
    return found[-1].strip() if found else ""
