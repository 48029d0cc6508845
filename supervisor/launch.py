"""The runner behind `fsmctl up`: starts the parts, starts again what dies, and stops all in order.

Every part is a held process like any supervised one (`workers.holder`): its output is rotated, a part that outlived a
killed runner is found again by its folder, and nothing is known by pid alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from actions.model import ActionError
from supervisor.backoff import delay
from supervisor.clock import Clock
from supervisor.errors import Refused, SupervisorError, TimedOut
from supervisor.settings import Settings
from workers.drivers.process import FLOWER_PREFIX, ProcessComponent, look, quit_holder
from workers.duration import Duration
from workers.holder import read_token
from workers.process.config import ProcessConfig

_STOP_TIMEOUT = 15.0  # seconds for a part to end after SIGTERM before its group is killed
_QUIT_MARGIN = 10.0  # seconds beyond a stop_timeout for a holder to answer
LOOK_EVERY = 0.5  # seconds between two looks at the parts
_FLOWER_SAVES = 30_000.0  # milliseconds between two writes of Flower's history: what its kill -9 loses at most
_STABLE_AFTER = 30.0  # seconds of life after which a part's deaths are forgiven


@dataclass(frozen=True)
class Part:
    """A process that `fsmctl up` keeps running. Parts of one `stage` are stopped together, higher stages first.

    One that `signs` is given the private key, if there is one.
    """

    name: str
    command: tuple[str, ...]
    stage: int
    signs: bool = False


@dataclass
class _Life:
    """What the runner remembers of a part."""

    part: Part
    started: float = 0.0
    deaths: int = 0
    next_try: float = 0.0


@dataclass
class Runner:
    """Keeps parts running in a data folder."""

    settings: Settings
    clock: Clock
    say: Callable[[str], None]
    _lives: dict[str, _Life] = field(default_factory=dict)

    def _folder(self, name: str) -> Path:
        return self.settings.data_dir / "parts" / name

    def _component(self, part: Part) -> ProcessComponent:
        config = ProcessConfig(
            command=part.command,
            env=part_environment(self.settings, part.signs),
            cwd=str(self.settings.data_dir),
            stop_timeout=Duration(_STOP_TIMEOUT),
        )
        return ProcessComponent(self._folder(part.name), config, part.name)

    def start(self, part: Part) -> None:
        """Start a part. Raises `SupervisorError` when it cannot be run."""
        life = self._lives.setdefault(part.name, _Life(part))
        life.started = self.clock.monotonic()
        try:
            self._component(part).start(read_token(str(self._folder(part.name))) + 1)
        except ActionError as error:
            raise SupervisorError(f"part {part.name} does not start: {error}") from None

    def watch(self) -> None:
        """Start again what has died, with backoff; a part that cannot be started is tried again later."""
        now = self.clock.monotonic()
        for life in self._lives.values():
            if look(self._folder(life.part.name)).pid is not None:
                if now - life.started > _STABLE_AFTER:
                    life.deaths = 0
                continue
            if life.next_try == 0.0:
                ended = look(self._folder(life.part.name)).last_exit(self.clock.now())
                life.deaths += 1
                life.next_try = now + delay(life.deaths - 1)
                how = ended.words() if ended else "without a trace"
                output = self._folder(life.part.name) / "output.log"
                self.say(f"{life.part.name} died, {how}; starting it again. Output: {output}")
            if now >= life.next_try:
                life.next_try = 0.0
                self._start_again(life.part)

    def _start_again(self, part: Part) -> None:
        try:
            self.start(part)
        except SupervisorError as error:
            self.say(str(error))

    def stop(self, last_look: Callable[[], None]) -> None:
        """Stop the parts stage by stage, then the supervised processes, then Redis (stage 0).

        `last_look` is called when everything but Redis has been stopped.
        """
        for stage in sorted({life.part.stage for life in self._lives.values()} - {0}, reverse=True):
            self._stop_stage(stage)
        self.stop_supervised()
        last_look()
        self._stop_stage(0)
        self._lives.clear()

    def _stop_stage(self, stage: int) -> None:
        names = [life.part.name for life in self._lives.values() if life.part.stage == stage]
        self._quit([self._folder(name) for name in names], _STOP_TIMEOUT)

    def stop_supervised(self) -> None:
        """Stop every supervised process of this data folder; what is desired stays as it is."""
        folders = [state.parent for state in self.settings.data_dir.glob("nodes/*/*/*/*/state.json")]
        running = [folder for folder in folders if look(folder).pid is not None]
        if running:
            self.say(f"stopping {len(running)} supervised processes")
        self._quit(running, 20.0)

    def clean_up(self) -> None:
        """End the parts that a killed runner left behind; the supervised processes go on and are adopted."""
        left = [state.parent for state in self.settings.data_dir.glob("parts/*/state.json")]
        left = [folder for folder in left if look(folder).pid is not None]
        if left:
            self.say(f"ending parts of an earlier run: {', '.join(sorted(folder.name for folder in left))}")
        redis = [folder for folder in left if folder.name == "redis"]
        self._quit([folder for folder in left if folder not in redis], _STOP_TIMEOUT)
        self._quit(redis, _STOP_TIMEOUT)

    def _quit(self, folders: Sequence[Path], stop_timeout: float) -> None:
        def end(folder: Path) -> None:
            try:
                quit_holder(folder, stop_timeout + _QUIT_MARGIN)
            except ActionError as error:
                self.say(f"{folder.name} was not stopped: {error}")

        if folders:
            with ThreadPoolExecutor(max_workers=32) as pool:
                list(pool.map(end, folders))


def part_environment(settings: Settings, signs: bool = False) -> dict[str, str]:
    """Return what a part runs with: our settings, Flower's, and this Python environment's commands found first."""
    ours = settings.environment()
    if not signs:
        del ours["FSM_SIGNING_KEY"]
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    log_format = settings.log_format if settings.log_format != "auto" else "json"
    flower = {name: value for name, value in os.environ.items() if name.startswith(FLOWER_PREFIX)}
    return {**flower, **ours, "PATH": path, "FSM_LOG_FORMAT": log_format, "PYTHONUNBUFFERED": "1"}


def parts_of(nodes: Iterable[str], settings: Settings, exporter_port: int, flower_port: int) -> list[Part]:
    """Return all parts but Redis: executors, beats, exporter, Flower."""
    celery = (sys.executable, "-m", "celery", "--quiet", "-A", "supervisor")
    executor = (*celery, "worker", "--without-gossip", "--without-mingle")
    parts = [Part("supervisor", (*executor, "-Q", "supervisor", "-n", "supervisor@%h", "-c", "2"), 2, signs=True)]
    parts += [
        Part(f"node-{node}", (*executor, "-Q", f"actions,actions.{node}", "-n", f"{node}@%h"), 1) for node in nodes
    ]
    parts += [Part(f"beat-{number}", (*celery, "beat"), 3) for number in (1, 2)]
    fsmctl = (sys.executable, "-c", "from supervisor.cli import main; main()")
    parts.append(Part("exporter", (*fsmctl, "exporter", "--port", str(exporter_port)), 3))
    parts.append(Part("flower", (*celery, "flower", *_flower_options(settings, flower_port)), 3))
    return parts


def _flower_options(settings: Settings, port: int) -> tuple[str, ...]:
    """Return Flower's options: on loopback, with a history that outlives it (docs/flower.md)."""
    return (
        "--address=127.0.0.1",
        f"--port={port}",
        "--persistent=True",  # saved at its end, and while it runs:
        f"--state-save-interval={_FLOWER_SAVES:.0f}",
        f"--db={settings.data_dir / 'flower'}",
        "--max-tasks=5000",
        "--purge-offline-workers=86400",  # seconds: executors that were renamed or moved do not stay for ever
        # an action's arguments and how it ended say more than what Flower shows by itself
        "--tasks-columns=received,name,args,worker,state,result,runtime,kwargs",
    )


def redis_part(settings: Settings, port: int) -> tuple[Part, str]:
    """Return the private Redis and its URL; its data and its password lie in the data folder.

    Raises `SupervisorError` when there is no redis-server.
    """
    binary = shutil.which("redis-server") or shutil.which("redis-server", path=sysconfig.get_path("scripts"))
    if binary is None:
        raise SupervisorError(
            "no redis-server was found on PATH or in this Python environment; install Debian's package redis-server, "
            "or set FSM_REDIS_URL to a Redis that runs already"
        )
    folder = settings.data_dir / "redis"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = folder / "password"
    if not secret.exists():
        write_private(secret, secrets.token_urlsafe(24))
    password = secret.read_text().strip()
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
    ]
    write_private(folder / "redis.conf", "\n".join(lines) + "\n")
    return Part("redis", (binary, str(folder / "redis.conf")), 0), f"redis://:{password}@127.0.0.1:{port}/0"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def check_ports(ports: Iterable[tuple[str, int, str]]) -> None:
    """See that ports are free on loopback: (what for, port, option). Raises `Refused` for the first that is taken."""
    for purpose, port, option in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise Refused(
                    f"port {port} for {purpose} is taken; stop what listens there, or choose another with {option}"
                ) from None


def lock_data_dir(settings: Settings) -> IO[str]:
    """Return the locked file that makes this the folder's only runner. Raises `Refused` when another one lives."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (settings.data_dir / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip() or "?"
        file.close()
        raise Refused(
            f"another fsmctl up (pid {pid}) runs on {settings.data_dir}; stop it, or use another --data-dir"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def wait_until(condition: Callable[[], bool], what: str, timeout: float, clock: Clock) -> None:
    """Wait until `condition` holds. Raises `TimedOut` after `timeout` seconds."""
    give_up = clock.monotonic() + timeout
    while not condition():
        if clock.monotonic() >= give_up:
            raise TimedOut(f"waited {timeout:g}s for {what} in vain")
        clock.sleep(0.05)


class Tail:
    """Follows the output of the parts, for a runner that has no terminal."""

    def __init__(self, data_dir: Path, echo: Callable[[str], None]) -> None:
        """Follow what is written from now on, not what an earlier run has left."""
        self._folder = data_dir / "parts"
        self._echo = echo
        self._open: dict[str, IO[str]] = {}
        for path in self._folder.glob("*/output.log"):
            self._open[path.parent.name] = file = path.open(errors="replace")
            file.seek(0, os.SEEK_END)

    def look(self) -> None:
        """Print what was appended since the last look; a rotated file is read to its end, then its successor."""
        for path in sorted(self._folder.glob("*/output.log")):
            name = path.parent.name
            file = self._open.get(name)
            if file is not None:
                self._copy(name, file)
            if file is None or self._rotated(file, path):
                if file is not None:
                    file.close()
                file = self._open[name] = path.open(errors="replace")
                self._copy(name, file)

    def _copy(self, name: str, file: IO[str]) -> None:
        for line in file:
            self._echo(f"{name:<11} | {line.rstrip()}")

    @staticmethod
    def _rotated(file: IO[str], path: Path) -> bool:
        with suppress(FileNotFoundError):
            return os.fstat(file.fileno()).st_ino != path.stat().st_ino
        return False


def run_until(stop: threading.Event, runner: Runner, show: Callable[[], None]) -> None:
    """Watch the parts and show the fleet until `stop`."""
    while not stop.wait(LOOK_EVERY):
        runner.watch()
        show()
