"""Runs commands, each under a minder that leaves nothing behind; and the fence for effects that commands have."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from actions.model import ActionError, Fenced
from workers import holder, minder

_BUSY_TIMEOUT = 5.0  # seconds that another execution may hold the folder's lock: it has been told to give up
_POLL = 0.1  # seconds between two looks at a lock, which cannot be awaited
MINDER = (sys.executable, "-I", "-S", minder.__file__)


def request(
    command: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    timeout: float | None = None,
    log: Path | None = None,
    title: str = "",
) -> bytes:
    """Return what a minder is told: what to run, for how many seconds at most, and where to append its output."""
    told = {
        "command": list(command),
        "cwd": cwd,
        "env": dict(env),
        "timeout": timeout,
        "log": None if log is None else str(log),
        "title": title,
    }
    return json.dumps(told).encode() + b"\n"


@contextmanager
def fenced(folder: Path, name: str, token: int) -> Iterator[int]:
    """Hold a folder's lock with `token` accepted; give its descriptor, for a minder to hold it too.

    Raises `Fenced` for a token smaller than one that was accepted before, `ActionError` when the lock does not come
    free or the token cannot be kept. `name` is for the messages.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    give_up = time.monotonic() + _BUSY_TIMEOUT
    while (lock := holder.take_lock(str(folder))) is None:
        if time.monotonic() >= give_up:
            raise ActionError(f"another execution for {name} is not over after {_BUSY_TIMEOUT:g}s")
        time.sleep(_POLL)
    with lock:
        try:
            holder.accept_token(str(folder), token)
        except holder.Refused as refusal:
            raise Fenced(token, refusal.args[0]["fenced"], name) from None
        except OSError as error:
            raise ActionError(f"the token cannot be kept in {folder}: {error}") from None
        yield lock.fileno()


def ask(told: bytes, lock: int | None = None) -> dict[str, Any]:
    """Have a minder run a command, and wait. An exception that interrupts this hangs up, which kills the command.

    `lock` is handed to the minder, so that the lock is held until nothing of the command is left, whatever becomes of
    this process.
    """
    with subprocess.Popen(
        MINDER,
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
                process.stdin.write(told)
                process.stdin.flush()
            answer = process.stdout.readline()
            return json.loads(answer) if answer else _died(process.stderr.read())
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()


async def ask_async(told: bytes) -> dict[str, Any]:
    """Do as `ask` for a look, in an event loop."""
    process = await asyncio.create_subprocess_exec(
        *MINDER,
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
        process.stdin.write(told)
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


def complaint(verb: str, answer: Mapping[str, Any]) -> str:
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
