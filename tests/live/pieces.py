"""A whole installation in pieces, on the tests' own Redis: one supervisor's executor, one beat, one node's executor.

Beside `fsmctl up` (tests/live/system.py), which starts again what a test wants to see dead.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from supervisor.fleet import read_fleets
from supervisor.keys import POOL
from supervisor.model import Lease
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.store import Store
from tests.loglines import faults_in
from tests.waiting import wait_until
from workers.registry import built_in

NAME = "pieces"
FSMCTL = ("-c", "from supervisor.cli import main; main()")
EXECUTOR = ("worker", "--without-gossip", "--without-mingle")


@dataclass
class Pieces:
    """Processes by name, all of one namespace; `output` of each lies beside its data.

    `environ` is added to what all are given, `own` to what the piece of that name is.
    """

    folder: Path
    url: str
    environ: dict[str, str] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)  # of pieces that come as users of their own
    queues: dict[str, str] = field(default_factory=dict)  # of nodes that are not in the pool
    own: dict[str, dict[str, str]] = field(default_factory=dict)  # what single pieces have in their environment besides
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def settings(self) -> Settings:
        """Return the settings that all pieces share."""
        return Settings.from_env(self._environ())

    def runtime(self) -> Runtime:
        """Return access to the store."""
        return make_runtime(self.settings())

    @property
    def store(self) -> Store:
        """Return the store."""
        return self.runtime().store

    def _environ(self, name: str = "") -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FSM_")}
        ours = {
            "FSM_REDIS_URL": self.urls.get(name, self.url),
            "FSM_NAMESPACE": "pieces",
            "FSM_DATA_DIR": str(self.folder / "data"),
            "FSM_PULSE": "0.2",
            "FSM_LOG_FORMAT": "json",
        }
        return {**clean, **ours, **self.environ}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `celery -A supervisor ARGUMENTS` as a piece called `name`."""
        return self.start_python(name, "-m", "celery", "--quiet", "-A", "supervisor", *arguments)

    def start_python(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `python ARGUMENTS` as a piece called `name`."""
        with (self.folder / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**self._environ(name), **self.own.get(name, {})},
                cwd=self.folder,
                start_new_session=True,
            )
        return self.processes[name]

    def start_supervisor(self, *options: str) -> None:
        """Start what ticks."""
        self.start("supervisor", *EXECUTOR, "-Q", "supervisor", "-n", "supervisor@%h", "-c", "1", *options)
        self.start("beat", "beat")

    def start_exporter(self, port: int) -> None:
        """Start an exporter on a port of the loopback."""
        self.start_python("exporter", *FSMCTL, "exporter", "--port", str(port))

    def start_node(self, node: str = "edge-1", slots: int = 2, known_to: str = NAME) -> subprocess.Popen[bytes]:
        """Start a node's executor and wait until a supervisor knows that the node lives."""
        process = self.start(
            node,
            *EXECUTOR,
            "-Q",
            self.queues.get(node, f"actions,actions.{node}"),
            "-n",
            f"{node}@%h",
            "-c",
            str(slots),
        )
        wait_until(lambda: self._is_ready(node, known_to), f"{node} to be ready: {self.said(node)}", 120)
        return process

    def _is_ready(self, node: str, supervisor: str) -> bool:
        document, collector = self.store.nodes(supervisor, [node])[node]
        return (
            document is not None and not document.left and document.pid == self.processes[node].pid and bool(collector)
        )

    def said(self, name: str) -> str:
        """Return what a piece has printed."""
        return (self.folder / f"{name}.out").read_text()

    def apply(self, text: str) -> None:
        """Apply a fleet file."""
        path = self.folder / "fleet.toml"
        path.write_text(text)
        self.store.apply_fleets(read_fleets(path, built_in()))

    def fsmctl(self, *arguments: str) -> str:
        """Run fsmctl, which has to succeed, and return what it prints."""
        run = subprocess.run(
            [sys.executable, *FSMCTL, *arguments],
            capture_output=True,
            text=True,
            env=self._environ(),
            cwd=self.folder,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, f"fsmctl {arguments}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def want(self, worker_id: str, state: Any, place: str = "edge-1") -> None:
        """Say what is desired of a worker."""
        self.store.set_override(NAME, place, worker_id, state, "test")

    def lease(self, worker_id: str, place: str = "edge-1") -> Lease | None:
        """Return a worker's lease."""
        store = self.store
        return store.read(Lease, store.keys(NAME).lease(place, worker_id))

    def events(self, **fields: str) -> list[dict[str, str]]:
        """Return the events with these fields, oldest first."""
        found = self.store.events(NAME, ["edge-1", "edge-2", POOL], 10_000)
        return [event for _, event in found if fields.items() <= event.items()]

    def pool_process(self, worker_id: str, place: str = "edge-1") -> psutil.Process:
        """Wait until an action of a worker runs, and return the pool process that runs it."""

        def runs() -> Lease | None:
            lease = self.lease(worker_id, place)
            return lease if lease is not None and lease.stage == "running" else None

        lease = wait_until(runs, f"an action of {worker_id} to run", 20)
        assert lease is not None
        return psutil.Process(int(lease.runner.partition("/")[2]))

    def destroy(self) -> None:
        """Kill every process of this installation: its folder is in its command or environment."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)
        for process in psutil.process_iter():
            try:
                text = "\0".join([*process.cmdline(), *(f"{k}={v}" for k, v in process.environ().items())])
                if str(self.folder) in text and process.pid != os.getpid():
                    process.kill()
            except psutil.Error:
                continue


@contextmanager
def pieces_in(folder: Path, url: str, **environ: str) -> Iterator[Pieces]:
    """Yield an installation without any piece, and leave nothing of it behind."""
    made = Pieces(folder, url, environ)
    try:
        yield made
    finally:
        made.destroy()
    wrong = [(name, fault) for name in made.processes for fault in faults_in(made.said(name))]
    assert wrong == []
