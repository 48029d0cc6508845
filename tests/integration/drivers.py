"""What the contract of the drivers is tried on: one rig for each driver, with a thing of its own, which is down."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from actions.model import ActionError, Component
from tests.conftest import missing
from tests.integration.processes import Yard, holders, kill, sh
from tests.waiting import wait_until
from workers.command.config import CommandConfig
from workers.command.observe import observe as observe_command
from workers.drivers.command import CommandComponent
from workers.drivers.docker import DockerComponent
from workers.drivers.service import S6Component
from workers.drivers.systemd import SystemdComponent
from workers.model import Observed
from workers.process.config import ProcessConfig
from workers.process.observe import component as component_of
from workers.process.observe import observe as observe_process
from workers.target import Target

IMAGE = "python:3.11-slim-bookworm"  # compose/Dockerfile needs it, too
Observe = Callable[[Target, Observed | None, float], object]


@dataclass(frozen=True)
class Rig:
    """A driver with a thing of its own.

    `kill` ends the thing as the outside world would. `lives` counts the lives that it has had, where its incarnation
    does not tell them apart. `observe` is how a worker with this driver is looked at (None: it is for children alone),
    `end` how the observation then words that end. `broken` works on what there is not; `complaint` is what it says.
    """

    component: Component
    kill: Callable[[], None]
    broken: Component
    complaint: str
    target: Target | None = None
    observe: Observe | None = None
    end: str = ""
    lives: Callable[[], int] | None = None


@contextmanager
def process_rig(root: Path) -> Iterator[Rig]:
    """Yield a process of ours under its holder."""
    yard = Yard(root)
    one = yard.make()

    def kill_it() -> None:
        running = one.current()
        assert running is not None
        kill(running.pid)
        wait_until(lambda: not holders(one.folder), "the holder has written how it ended")

    try:
        yield Rig(
            one,
            kill_it,
            yard.make("/nowhere/flow", name="broken"),
            r"cannot run \['/nowhere/flow'\].* No such file or directory",
            Target("flow", one.folder, one.config, one.config_id),
            observe_process,
            r"^pid \d+ was ended by signal 9 after ",
        )
    finally:
        yard.clear()


@contextmanager
def command_rig(root: Path) -> Iterator[Rig]:
    """Yield a thing that is run by commands: it is up while the file `up` exists, and writes down its starts."""
    config = CommandConfig(
        start=sh("echo x >> starts; touch up"), stop=sh("rm -f up"), status=sh("test -e up || exit 3"), cwd=str(root)
    )
    broken = CommandConfig(start=("/nowhere/gw",), stop=("/nowhere/gw",), status=("/nowhere/gw", "status"))
    one = CommandComponent("gw", root / "gw", config, "c1")
    starts = root / "starts"
    yield Rig(
        one,
        (root / "up").unlink,
        CommandComponent("gw", root / "broken", broken, "c1"),
        r"cannot run \['/nowhere/gw', 'status'\].* No such file or directory",
        Target("gw", one.folder, config, "c1"),
        observe_command,
        r"^it was gone after 5\.0s$",
        lives=lambda: len(starts.read_text().split()) if starts.exists() else 0,
    )


@contextmanager
def s6_rig(root: Path) -> Iterator[Rig]:
    """Yield a service under a real s6, which does not start again by itself what was killed."""
    if shutil.which("s6-svscan") is None:
        missing("no s6-svscan: apt-get install s6")
    scan, service = root / "scan", root / "scan" / "broker"
    service.mkdir(parents=True)
    for name, script in {"run": "exec sleep 300", "finish": "exit 125"}.items():
        (service / name).write_text(f"#!/bin/sh\n{script}\n")
        (service / name).chmod(0o755)
    (service / "down").touch()
    one = S6Component("broker", root / "held", str(service))

    def known() -> bool:
        with contextlib.suppress(ActionError):
            return one.current() is None
        return False

    def kill_it() -> None:
        running = one.current()
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
        wait_until(lambda: one.current() is None, "s6 to see it gone")

    with subprocess.Popen(["s6-svscan", str(scan)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as svscan:
        try:
            wait_until(known, "s6 to know the service")
            yield Rig(
                one,
                kill_it,
                S6Component("broker", root / "broken", str(root / "none")),
                r"^s6-svc ended with exit code 111: .*; expected s6 on this host, and service '\S+/none' a directory",
            )
        finally:
            svscan.send_signal(signal.SIGTERM)
            svscan.wait(10)


@dataclass(frozen=True)
class Systemd:
    """A stand-in for systemd, which answers as a real one did; `root` comes first on PATH."""

    root: Path

    def unit(self, name: str, state: str = "never") -> None:
        """Make a unit that is in a recorded state."""
        life = {"pid": 134, "life": uuid.uuid4().hex, "began": 1_000_000, "ended": 2_000_000}
        (self.root / f"{name}.json").write_text(json.dumps({**life, "state": state}))

    def refuse(self, what: str) -> None:
        """Let it refuse from now on, in recorded words."""
        (self.root / "refuses").write_text(what)

    def run(self, verb: str, name: str) -> None:
        """Do as a person would by systemctl."""
        subprocess.run([self.root / "systemctl", "--no-ask-password", "--no-pager", verb, "--", name], check=True)

    def effects(self) -> list[str]:
        """Return what it was asked to do, oldest first."""
        file = self.root / "journal"
        asked = file.read_text().splitlines() if file.exists() else []
        return [line for line in asked if not line.startswith("show")]


@contextmanager
def systemd_of(root: Path) -> Iterator[Systemd]:
    """Yield a systemd that the driver finds; the real one's answers are recorded."""
    root.mkdir(exist_ok=True)
    tests = Path(__file__).parents[1]
    text = (tests / "integration" / "systemctl.py").read_text()
    (root / "systemctl").write_text(f"#!{sys.executable} -IS\n{text}")
    (root / "systemctl").chmod(0o755)
    shutil.copy(tests / "recorded" / "systemd-252.json", root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{root}:{os.environ['PATH']}")
        yield Systemd(root)


@contextmanager
def systemd_rig(root: Path) -> Iterator[Rig]:
    """Yield a unit of the stand-in."""
    with systemd_of(root) as systemd:
        systemd.unit("flow.service")
        config = ProcessConfig(driver="systemd", unit="flow.service")
        target = Target("flow", root / "flow", config, "c1")
        yield Rig(
            component_of(target),
            lambda: systemd.run("kill", "flow.service"),
            SystemdComponent("flow", root / "broken", "nowhere.service", "c1"),
            r"^unit nowhere\.service: LoadState is not-found; there is no such unit on this host: expected one that ",
            target,
            observe_process,
            r"^pid \d+ was ended by signal 9 \(systemd's result: signal\) after ",
        )


@contextmanager
def container_of(*command: str) -> Iterator[str]:
    """Yield the name of a container of a real engine that would run a command, and was never started."""
    if not shutil.which("docker") or docker("info").returncode != 0:
        pytest.skip("no container engine answers: `docker info` fails")
    name = f"fsm-test-{uuid.uuid4().hex[:12]}"
    made = docker("create", "--name", name, "--stop-signal", "KILL", IMAGE, *command)
    if made.returncode != 0:
        pytest.skip(f"no container of {IMAGE} can be made: {made.stderr.strip()}")
    try:
        yield name
    finally:
        docker("rm", "--force", name)


def docker(*words: str) -> subprocess.CompletedProcess[str]:
    """Do as a person would by the docker command."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)


@contextmanager
def docker_rig(root: Path) -> Iterator[Rig]:
    """Yield a container of a real engine."""
    with container_of("sleep", "300") as name:
        config = ProcessConfig(driver="docker", container=name)
        target = Target("flow", root / "flow", config, "c1")
        one = component_of(target)

        def kill_it() -> None:
            assert docker("kill", name).returncode == 0
            wait_until(lambda: one.current() is None, "the engine to see it gone")

        yield Rig(
            one,
            kill_it,
            DockerComponent("flow", root / "broken", f"{name}-none"),
            rf"^container {name}-none: the engine says: No such container: {name}-none; expected one that exists at ",
            target,
            observe_process,
            r"^it ended with exit code 137 \(as by signal 9\) after ",
        )


RIGS = {
    "process": process_rig,
    "command": command_rig,
    "s6": s6_rig,
    "systemd": systemd_rig,
    "docker": docker_rig,
}
