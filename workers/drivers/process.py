"""The process driver: talks to the holder that owns a process, and reads what it wrote down."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from actions.model import ActionError, Fenced, Incarnation
from workers import holder
from workers.model import Exit
from workers.process.config import ProcessConfig

FLOWER_PREFIX = "FLOWER_"  # of the environment variables that Flower reads
_ANSWER_TIMEOUT = 5.0  # seconds for a holder to answer, beyond the stop_timeout where it has to wait for the process
_CHANGE_TIMEOUT = 3.0  # seconds that a holder may have the lock and no socket: it has just started, or is just ending
_SETTLE_LOOKS = 25  # times _CHANGE_POLL: half a second for a holder to write down an end
_CHANGE_POLL = 0.02  # seconds between two looks at such a holder; a lock and a socket cannot be awaited together


class NoHolder(ActionError):
    """A folder is locked and nobody listens there, or who did hung up without a reply."""


@dataclass(frozen=True)
class Look:
    """What a folder says of its process, with ages in seconds instead of clock times.

    `changing`: it has ended and its holder, which lives, has not said how yet.
    """

    pid: int | None = None
    start_ticks: int = 0
    config_id: str = ""
    age: float | None = None
    ended: Mapping[str, Any] | None = None
    changing: bool = False

    @property
    def incarnation(self) -> Incarnation | None:
        """Return what runs."""
        return None if self.pid is None else Incarnation(self.pid, self.start_ticks, self.config_id)

    def last_exit(self, now: float) -> Exit | None:
        """Return how the last incarnation ended, in epoch seconds given that it is `now`."""
        return None if self.ended is None else exit_at(self.ended, now)


def exit_at(ended: Mapping[str, Any], now: float) -> Exit:
    """Turn ages into epoch seconds."""
    return Exit(
        pid=ended["pid"],
        start_ticks=ended["start_ticks"],
        started_at=now - ended["started_ago"],
        ended_at=now - ended["ended_ago"],
        code=ended["code"],
        signal=ended["signal"],
        requested=ended["requested"],
        reason=ended.get("reason", msgspec.UNSET),
    )


def look(folder: Path) -> Look:
    """Read what runs in `folder`, without asking its holder. Raises OSError or ValueError for a bad state.json."""
    state = holder.read_state(str(folder))
    if state is None:
        return Look()
    if state["boot_id"] != _boot_id():
        return Look()  # it ended with its host: no exit of its own, and nothing has been started since
    clock = time.clock_gettime(time.CLOCK_BOOTTIME)
    stat = holder.stat_of(state["pid"]) if state["exit"] is None else None
    if stat is not None and stat[0] != "Z" and stat[1] == state["start_ticks"]:
        return Look(state["pid"], state["start_ticks"], state["config_id"], clock - state["started_boot"])
    if state["exit"] is None and holder.is_held(str(folder)):
        return Look(changing=True)
    return Look(ended=_ended(state, clock))


@cache
def _boot_id() -> str:
    """Return the identity of this boot of the kernel, which outlives this process."""
    return str(holder.boot_id())


async def settled_look(folder: Path) -> Look:
    """Look until a holder that is just writing down an end has done so. Raises as `look`, or ValueError if not."""
    for _ in range(_SETTLE_LOOKS):
        seen = look(folder)
        if not seen.changing:
            return seen
        await asyncio.sleep(_CHANGE_POLL)
    raise ValueError("its process has ended and its holder does not say how")


def _ended(state: Mapping[str, Any], clock: float) -> dict[str, Any]:
    """Say how it ended; what vanished together with its holder is taken to have ended now."""
    how = state["exit"] or {"code": None, "signal": 0, "requested": False, "ended_boot": clock}
    return {
        "pid": state["pid"],
        "start_ticks": state["start_ticks"],
        "started_ago": clock - state["started_boot"],
        "ended_ago": clock - how["ended_boot"],
        "code": how["code"],
        "signal": how["signal"],
        "requested": how["requested"],
    }


@dataclass(frozen=True)
class ProcessComponent:
    """A process in its folder; implements `actions.model.Component`."""

    folder: Path
    config: ProcessConfig
    config_id: str

    def current(self) -> Incarnation | None:
        """Return the running incarnation, or None."""
        return look(self.folder).incarnation

    def start(self, token: int) -> Incarnation:
        """Start the process under a new holder, or return what a living holder holds.

        Raises `Fenced` for a token that is too small and `ActionError` when the command cannot be run.
        """
        reply = self._settle(lambda: self._new_holder(token), {"do": "start", "token": token}, _ANSWER_TIMEOUT)
        self._check(reply, token)
        return Incarnation(reply["pid"], reply["start_ticks"], reply["config_id"])

    def stop(self, token: int) -> None:
        """Stop the process and return when it is gone. Raises `Fenced` or `ActionError`."""
        timeout = self.config.stop_timeout + _ANSWER_TIMEOUT
        self._check(self._settle(lambda: self._fence(token), {"do": "stop", "token": token}, timeout), token)

    def _settle(
        self, alone: Callable[[], dict[str, Any]], request: Mapping[str, object], timeout: float
    ) -> dict[str, Any]:
        """Do it alone if no holder has the lock, else ask the holder; a holder that comes or goes is waited for."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        give_up = time.monotonic() + _CHANGE_TIMEOUT
        while True:
            reply = alone()
            if not reply.get("busy"):
                return reply
            try:
                return ask(self.folder, request, timeout)
            except NoHolder:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(_CHANGE_POLL)

    def _fence(self, token: int) -> dict[str, Any]:
        """Record the token while nothing is held, so that a later start with a smaller one is refused."""
        lock = holder.take_lock(str(self.folder))
        if lock is None:
            return {"busy": True}
        with lock:
            try:
                holder.accept_token(str(self.folder), token)
            except holder.Refused as refusal:
                return dict(refusal.args[0])
            holder.kill_leftovers(str(self.folder))
        return {"stopped": None}

    def _new_holder(self, token: int) -> dict[str, Any]:
        request = {
            "do": "start",
            "token": token,
            "command": list(self.config.command or ()),
            "cwd": self.config.cwd,
            "env": environment_of(self.config),
            "stop_signal": self.config.stop_signal,
            "stop_timeout": self.config.stop_timeout,
            "config_id": self.config_id,
            **_settings_of(self.config),
        }
        python = [sys.executable, "-I", "-S", holder.__file__, str(self.folder)]
        run = subprocess.run(python, input=json.dumps(request), capture_output=True, text=True, cwd="/", check=False)
        if run.returncode != 0:
            raise ActionError(f"the holder for {self.folder.name} did not start: {run.stderr.strip()[-300:]}")
        reply: dict[str, Any] = json.loads(run.stdout)
        return reply

    def _check(self, reply: Mapping[str, Any], token: int) -> None:
        if "fenced" in reply:
            raise Fenced(token, reply["fenced"], self.folder.name)
        if "error" in reply:
            raise ActionError(str(reply["error"]))


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a supervised process: ours without our own settings, then `extra`.

    Our settings (`FSM_…`) hold the store's address with its password, Flower's the passwords of people: no supervised
    process is given them.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("FSM_", FLOWER_PREFIX))}
    return {**ours, **extra}


_MAX_FILE = 65_536  # bytes of an env_file or a secret
_RESOURCES = {"open_files": "NOFILE", "processes": "NPROC", "memory": "AS", "file_size": "FSIZE", "core": "CORE"}


def environment_of(config: ProcessConfig) -> dict[str, str]:
    """Return the environment of a process: ours, its user's, over that its file's, its own and its secrets.

    Raises `ActionError` for a user that there is not, or a file that cannot be read; it never tells what is in a file.
    """
    user = _other_user(config)
    theirs = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name} if user else {}
    from_file = _env_file(config.env_file) if config.env_file else {}
    secrets = {
        name: text_of(path, f"secret {name}").removesuffix("\n") for name, path in (config.secrets or {}).items()
    }
    return environment({**theirs, **from_file, **config.env, **secrets})


def _settings_of(config: ProcessConfig) -> dict[str, object]:
    """Return what a holder needs to know beside: limits, umask, user; what is not asked for is not there."""
    settings: dict[str, object] = {}
    if config.limits:
        limits = ((name, getattr(config.limits, key)) for key, name in _RESOURCES.items())
        settings["limits"] = {name: most for name, most in limits if most is not None}
    if config.umask:
        settings["umask"] = int(config.umask, 8)
    if (user := _other_user(config)) is not None:
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        settings |= {"uid": user.pw_uid, "gid": user.pw_gid, "groups": groups}
    return settings


def _other_user(config: ProcessConfig) -> pwd.struct_passwd | None:
    """Return the user that a process is to run as; None: it is ours already."""
    if not config.user:
        return None
    try:
        user = pwd.getpwnam(config.user)
    except KeyError:
        raise ActionError(f"user {config.user!r} is not known on this host; expected one of its users") from None
    if user.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        ours = pwd.getpwuid(os.geteuid()).pw_name
        raise ActionError(
            f"user {config.user!r}: the executor runs as {ours}; only one that runs as root can change it"
        )
    return user


def _env_file(path: str) -> dict[str, str]:
    """Return the variables of a file: NAME=VALUE, one a line, the value taken as it stands; # begins a comment."""
    found = {}
    for number, line in enumerate(text_of(path, "env_file").splitlines(), start=1):
        name, given, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not given or not name.strip().isidentifier():
            raise ActionError(f"env_file {path}, line {number}: expected NAME=VALUE, a comment or nothing")
        found[name.strip()] = value
    return found


def text_of(path: str, what: str) -> str:
    """Return what is in a file of ours. Raises `ActionError`, which never tells it and calls the file `what`."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise ActionError(f"{what}: {path} is longer than {_MAX_FILE} bytes")
        if b"\0" in content:
            raise ActionError(f"{what}: {path} holds a NUL byte, which no environment can")
        return content.decode()
    except OSError as error:
        raise ActionError(f"{what}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ActionError(f"{what}: {path} is not UTF-8 text") from None


def ask(folder: Path, request: Mapping[str, object], timeout: float) -> dict[str, Any]:
    """Send one request to the holder of `folder` and return its reply.

    Raises `NoHolder` when none listens or it hangs up first, `ActionError` when none answers within `timeout` seconds.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout)
            client.connect(f"/proc/self/fd/{directory}/socket")
            client.sendall(json.dumps(request).encode() + b"\n")
            line = client.makefile("r").readline()
    except (FileNotFoundError, ConnectionError, BlockingIOError) as error:  # the last: more wait than it can hold
        raise NoHolder(f"the holder of {folder.name} does not listen: {error}") from None
    except OSError as error:
        raise ActionError(f"the holder of {folder.name} does not answer: {error}") from None
    finally:
        os.close(directory)
    if not line.endswith("\n"):
        raise NoHolder(f"the holder of {folder.name} hung up without a reply")
    reply: dict[str, Any] = json.loads(line)
    return reply


def quit_holder(folder: Path, timeout: float) -> None:
    """End the process in `folder` on behalf of its owner, whatever the token; nothing running is fine.

    Raises `ActionError` when it is still there after `timeout` seconds.
    """
    if look(folder).pid is None:
        return
    try:
        ask(folder, {"do": "quit"}, timeout)
    except NoHolder:
        if look(folder).pid is not None:
            raise
