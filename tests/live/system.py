"""A whole installation for a test: `fsmctl up` on free ports in a folder of its own, looked at through fsmctl alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.loglines import faults_in
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
DEMO = ROOT / "compose" / "demo"
SCRIPTS = Path(sysconfig.get_path("scripts"))
FLOWS = ("line-1-temperature", "line-1-pressure", "line-2-temperature", "line-2-vibration")
WORKERS = ("plc-1", *FLOWS)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def demo_fleet(folder: Path) -> Path:
    """Write the demo's fleet file with ports of its own; its programs stay where they are."""
    text = (DEMO / "fleet.toml").read_text()
    used = sorted(set(re.findall(r"\b7(?:301|31[1-4]|390)\b", text)))
    for old, new in zip(used, free_ports(len(used)), strict=True):
        text = text.replace(old, str(new))
    text = text.replace('cwd = "."', f'cwd = "{DEMO}"')
    path = folder / "fleet.toml"
    path.write_text(text)
    return path


@dataclass
class System:
    """One installation. `environ` is added to what its commands run with."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)
    up: subprocess.Popen[str] | None = None
    fleet: Path = field(init=False)
    ports: list[int] = field(default_factory=lambda: free_ports(3))

    def __post_init__(self) -> None:
        """Write the fleet file."""
        self.fleet = demo_fleet(self.folder)

    @property
    def data(self) -> Path:
        """Return the data folder."""
        return self.folder / "data"

    def _environ(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FSM_")}
        return {**clean, "FSM_DATA_DIR": str(self.data), **self.environ}

    def fsmctl(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run fsmctl; fail unless it exits with `code` (None: any)."""
        run = subprocess.run(
            [SCRIPTS / "fsmctl", *arguments],
            capture_output=True,
            text=True,
            env=self._environ(),
            cwd=self.folder,
            timeout=120,
            check=False,
        )
        assert code is None or run.returncode == code, (
            f"fsmctl {arguments}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        )
        assert "Traceback" not in run.stderr, run.stderr
        return run

    @contextlib.contextmanager
    def follow(self, *arguments: str) -> Iterator[Iterator[str]]:
        """Run an fsmctl command that goes on, and yield its lines as they come."""
        command = [str(SCRIPTS / "fsmctl"), *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self._environ(), cwd=self.folder) as run:
            assert run.stdout is not None
            try:
                yield run.stdout
            finally:
                run.terminate()

    def json(self, *arguments: str) -> Any:
        """Return what fsmctl prints with `-o json`."""
        return json.loads(self.fsmctl(*arguments, "-o", "json").stdout)

    def start(self, stdout: int | None = None) -> None:
        """Run `fsmctl up` in the background, with its output in up.out or, of a terminal, at a descriptor."""
        redis, exporter, flower = (str(port) for port in self.ports)
        output = (self.folder / "up.out").open("a")
        self.up = subprocess.Popen(
            [
                *(str(SCRIPTS / "fsmctl"), "up", "--fleet", str(self.fleet), "--redis-port", redis),
                *("--exporter-port", exporter, "--flower-port", flower),
            ],
            stdout=output if stdout is None else stdout,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environ(),
            cwd=self.folder,
            start_new_session=True,
        )
        output.close()

    def stop(self, number: int = signal.SIGINT) -> int:
        """End `fsmctl up` with a signal and return its exit code."""
        assert self.up is not None
        if self.up.poll() is None:
            self.up.send_signal(number)
        return self.up.wait(timeout=90)

    def said(self) -> str:
        """Return what `fsmctl up` printed so far."""
        return (self.folder / "up.out").read_text()

    def wait_for(self, target: str, condition: str, timeout: str = "60s") -> None:
        """Wait with fsmctl itself."""
        self.fsmctl("wait", target, "--for", condition, "--timeout", timeout)

    def worker(self, worker_id: str) -> dict[str, Any]:
        """Return a worker's row of `get workers`."""
        return next(row for row in self.json("get", "workers") if row["id"] == worker_id)

    def child(self, name: str) -> dict[str, Any]:
        """Return a child's row of `get children`."""
        return next(row for row in self.json("get", "children") if row["name"] == name)

    def new_pid(self, worker_id: str, old: int, timeout: float) -> int:
        """Wait until a worker runs under another pid than `old`, and return it."""

        def running_anew() -> int | None:
            row = self.worker(worker_id)
            return row["pid"] if row["state"] == "running" and row["pid"] not in (None, old) else None

        return wait_until(running_anew, f"{worker_id} to run under another pid than {old}", timeout) or 0

    def processes(self) -> list[psutil.Process]:
        """Return every process that belongs to this installation: its data folder is in its command or environment."""
        found = []
        for process in psutil.process_iter():
            try:
                text = "\0".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())])
            except (psutil.Error, OSError):
                continue
            if str(self.folder) in text and process.pid != os.getpid():
                found.append(process)
        return found

    def part_pid(self, name: str) -> int:
        """Return the pid of a part, from its holder's own notes."""
        state = json.loads((self.data / "parts" / name / "state.json").read_text())
        return int(state["pid"])

    def log_faults(self) -> list[str]:
        """Return how what the parts have logged, as their holders kept it, differs from the schema of log lines."""
        found = []
        for folder in (self.data / "parts").glob("*"):
            kept = [folder / name for name in ("output.log.1", "output.log")]
            text = "".join(file.read_text() for file in kept if file.exists())
            found += [f"{folder.name}: {fault}" for fault in faults_in(text)]
        return found

    def destroy(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.up is not None and self.up.poll() is None:
            self.up.kill()
            self.up.wait(timeout=30)
        for _ in range(20):
            left = self.processes()
            if not left:
                return
            for process in left:
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(left, timeout=1)
