"""The command driver: runs start, stop and status commands, each under a minder that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actions.model import ActionError, Fenced, Incarnation
from workers import holder, minder
from workers.command.config import CommandConfig
from workers.drivers.process import environment

RUNS, RUNS_NOT = 0, 3  # exit codes of a status command, as LSB's init scripts have them
_BUSY_TIMEOUT = 5.0  # seconds that another execution may hold the folder's lock: it has been told to give up
_SETTLE_TIMEOUT = 5.0  # seconds for the status command to agree that a start or stop has been done
_POLL = 0.1  # seconds between two looks; neither a lock nor a status can be awaited
_MINDER = (sys.executable, "-I", "-S", minder.__file__)


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
        answer = await _ask_async(self._request("status", self.config.status, None))
        return self._told(answer)

    def start(self, token: int) -> Incarnation:
        """Run the start command unless it runs already, and see that it does then. Raises `Fenced` or `ActionError`."""
        with self._fenced(token) as lock:
            if self._status() is None:
                self._run("start", self.config.start, token, lock)
            return self._settled(running=True) or Incarnation(0, 0, "")

    def stop(self, token: int) -> None:
        """Run the stop command, unless nothing runs, and see that nothing does then. Raises `Fenced` or `ActionError`.

        A status that cannot be told is no reason not to stop.
        """
        with self._fenced(token) as lock:
            if self.current() is not None:
                self._run("stop", self.config.stop, token, lock)
                self._settled(running=False)

    @contextmanager
    def _fenced(self, token: int) -> Iterator[int]:
        """Hold the folder's lock with `token` accepted; give its descriptor, for the minder to hold it too."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        give_up = time.monotonic() + _BUSY_TIMEOUT
        while (lock := holder.take_lock(str(self.folder))) is None:
            if time.monotonic() >= give_up:
                raise ActionError(f"another execution for {self.id} is not over after {_BUSY_TIMEOUT:g}s")
            time.sleep(_POLL)
        with lock:
            try:
                holder.accept_token(str(self.folder), token)
            except holder.Refused as refusal:
                raise Fenced(token, refusal.args[0]["fenced"], self.id) from None
            except OSError as error:
                raise ActionError(f"the token cannot be kept in {self.folder}: {error}") from None
            yield lock.fileno()

    def _run(self, verb: str, command: tuple[str, ...], token: int, lock: int) -> None:
        """Run a start or stop command to its end. Raises `ActionError` unless it ends with 0."""
        answer = _ask(self._request(verb, command, token), lock)
        if answer.get("code") != 0:
            raise ActionError(_complaint(verb, answer))

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
        return self._told(_ask(self._request("status", self.config.status, None)))

    def _told(self, answer: Mapping[str, Any]) -> Incarnation | None:
        """Return what a status command's end means. Raises `ActionError` when it means nothing."""
        if answer.get("code") == RUNS:
            return Incarnation(0, 0, _printed_config(answer["output"]) or self.config_id)
        if answer.get("code") == RUNS_NOT:
            return None
        raise ActionError(_complaint("status", answer))

    def _request(self, verb: str, command: tuple[str, ...], token: int | None) -> bytes:
        """Return what a minder is told. A look has a time limit of its own and no token, and is not logged."""
        ours = {"FSM_WORKER": self.id, "FSM_ACTION": verb, "FSM_CONFIG_ID": self.config_id}
        if token is not None:
            ours["FSM_TOKEN"] = str(token)
        request = {
            "command": command,
            "cwd": self.config.cwd,
            "env": {**environment(self.config.env), **ours},
            "timeout": float(self.config.status_timeout) if token is None else None,
            "log": None if token is None else str(self.folder / "output.log"),
            "title": f"{verb}, token {token}",
        }
        return json.dumps(request).encode() + b"\n"


def _ask(request: bytes, lock: int | None = None) -> dict[str, Any]:
    """Have a minder run a command, and wait. An exception that interrupts this hangs up, which kills the command.

    `lock` is handed to the minder, so that the lock is held until nothing of the command is left, whatever becomes of
    this process.
    """
    with subprocess.Popen(
        _MINDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    ) as process:
        assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        try:
            with suppress(BrokenPipeError):  # it died, and answers nothing
                process.stdin.write(request)
                process.stdin.flush()
            answer = process.stdout.readline()
            return json.loads(answer) if answer else _died(process.stderr.read())
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


async def _ask_async(request: bytes) -> dict[str, Any]:
    """Do as `_ask` for a look, in an event loop."""
    process = await asyncio.create_subprocess_exec(
        *_MINDER,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    try:
        process.stdin.write(request)
        answer = await process.stdout.readline()
        complaint = b"" if answer else await process.stderr.read()
    finally:
        process.stdin.close()
        await process.wait()  # also when the look is given up: hung up on, it kills the command and ends
    return json.loads(answer) if answer else _died(complaint)


def _died(complaint: bytes) -> dict[str, Any]:
    """Return the answer of a minder that gave none; what it printed of that is a traceback."""
    why = complaint.decode(errors="replace").strip().rpartition("\n")[2]
    return {"error": f"its minder died: {why or 'it was killed'}"}


def _complaint(verb: str, answer: Mapping[str, Any]) -> str:
    """Say how a command ended, with the last line that it printed."""
    if "error" in answer:
        return f"{verb}: {answer['error']}"
    how = f"was ended by signal {answer.get('signal')}"
    if "timeout" in answer:
        how = f"did not end within {answer['timeout']:g}s"
    elif "code" in answer:
        how = f"ended with exit code {answer['code']}"
    last = answer["output"].strip().rpartition("\n")[2][-200:]
    return f"{verb} {how}: {last}" if last else f"{verb} {how}"


def _printed_config(output: str) -> str:
    """Return the configuration id that a status command has printed as `config_id=…`, "" if it has not."""
    found = [line.removeprefix("config_id=") for line in output.splitlines() if line.startswith("config_id=")]
    return found[-1].strip() if found else ""
