"""The attendant of an executor: renews leases, sends the node's heartbeat, watches the node's collector."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from supervisor.backoff import delay
from supervisor.connection import STORE_ERRORS
from supervisor.errors import Refused, SupervisorError
from supervisor.leases import Grant
from supervisor.logs import raw_line
from supervisor.model import HEARTBEAT_INTERVAL, LEASE_TTL, NodeDocument
from supervisor.runtime import Runtime
from workers import holder
from workers.holder import boot_id, stat_of

_FAILURES: tuple[type[Exception], ...] = (SupervisorError, *STORE_ERRORS)
_BEAT = 0.5  # seconds between two looks of the attendant
_HUNG_AFTER = 10.0  # seconds without a local heartbeat after which a collector is replaced
_STOP_TIMEOUT = 3.0  # seconds for a collector to end by itself


def queue_node(queues: Iterable[str]) -> str | None:
    """Return the node whose queue an executor consumes (`actions.<node>`), or None. Raises `SystemExit` for two."""
    nodes = [queue.removeprefix("actions.") for queue in queues if queue.startswith("actions.")]
    if len(nodes) > 1:
        raise SystemExit(
            f"error: an executor serves one node, and -Q names {', '.join(sorted(nodes))}; start one for each"
        )
    return nodes[0] if nodes else None


def heartbeat_file(data_dir: Path, node: str) -> Path:
    """Return the file by which an executor judges its collector: pid, start ticks, monotonic time. Not by Redis."""
    return data_dir / "nodes" / node / "collector.alive"


def write_heartbeat(data_dir: Path, node: str, monotonic: float) -> None:
    """Say that this process is the node's collector and lives. The monotonic clock is one for all of a host."""
    file = heartbeat_file(data_dir, node)
    stat = stat_of(os.getpid())
    holder.write_whole(str(file), f"{os.getpid()} {stat[1] if stat else 0} {monotonic}")


class CollectorWatch:
    """Starts a node's collector, and replaces it when it died or hangs; adopts one that a former executor left."""

    def __init__(self, data_dir: Path, node: str, monotonic: Callable[[], float]) -> None:
        """Watch the collector of `node`."""
        self._node = node
        self._file = heartbeat_file(data_dir, node)
        self._monotonic = monotonic
        self._child: subprocess.Popen[bytes] | None = None
        self._tries = 0
        self._next_try = 0.0

    def look(self) -> None:
        """See that a collector lives; start one if not, with backoff between tries."""
        if self._child is not None:
            self._child.poll()
        process, silence = self._living()
        if process is not None and silence < _HUNG_AFTER:
            self._tries = 0
            return
        if self._monotonic() < self._next_try:
            return
        if process is not None:
            raw_line(f"collector of {self._node} (pid {process.pid}) hangs: replacing it")
            process.kill()
        self._start()

    def _start(self) -> None:
        """Start a collector in a session of its own: the end of this executor's group is not its end."""
        self._tries += 1
        self._next_try = self._monotonic() + _HUNG_AFTER + delay(self._tries)
        command = [sys.executable, "-m", "supervisor.collector", self._node]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def _living(self) -> tuple[psutil.Process | None, float]:
        """Return the collector that wrote the heartbeat, if that very process lives, and its silence in seconds."""
        try:
            pid, ticks, beat = self._file.read_text().split()
            stat = stat_of(int(pid))
            if stat is None or stat[0] == "Z" or stat[1] != int(ticks):
                return None, 0.0
            return psutil.Process(int(pid)), self._monotonic() - float(beat)
        except (OSError, ValueError, psutil.Error):
            return None, 0.0

    def end(self) -> None:
        """End the collector, by force if it does not listen."""
        process, _ = self._living()
        if process is None and self._child is not None and self._child.poll() is None:
            process = psutil.Process(self._child.pid)
        if process is None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            process.kill()
        except psutil.NoSuchProcess:
            return


class NodeAttendant:
    """The thread's work. Without a node (a supervisor's executor) it only renews."""

    def __init__(
        self, runtime: Runtime, node: str | None, executor: str, slots: int, grants: Callable[[], list[Grant]]
    ) -> None:
        """Attend to `executor`, which serves `node` with `slots` pool processes."""
        self._runtime = runtime
        self._executor = executor
        self._slots = slots
        self._grants = grants
        self._node = node
        clock = runtime.clock
        self._watch = None if node is None else CollectorWatch(runtime.settings.data_dir, node, clock.monotonic)
        self._away = False

    def begin(self) -> None:
        """Take the node's name. Raises `Refused` when another host has it."""
        self._heartbeat(left=False)

    def run(self, stop: threading.Event) -> None:
        """Attend until `stop`. Nothing that Redis does ends this loop."""
        next_renewal = next_heartbeat = 0.0
        while not stop.wait(_BEAT):
            now = self._runtime.clock.monotonic()
            try:
                if self._watch is not None:
                    self._watch.look()
                if now >= next_renewal:
                    next_renewal = now + LEASE_TTL / 3
                    self._runtime.leases.renew(self._grants())
                if now >= next_heartbeat:
                    next_heartbeat = now + HEARTBEAT_INTERVAL
                    self._heartbeat(left=False)
                self._store_is(away=False)
            except Refused as error:
                raw_line(f"error: {error}")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            except STORE_ERRORS as error:
                self._store_is(away=True, error=str(error))

    def end(self) -> None:
        """End the collector and say that the node has left."""
        if self._watch is not None:
            self._watch.end()
        try:
            self._heartbeat(left=True)
        except _FAILURES as error:
            raw_line(f"the node's end was not written: {error}")

    def _heartbeat(self, left: bool) -> None:
        if self._node is None:
            return
        document = NodeDocument(
            node=self._node,
            host=socket.gethostname(),
            boot_id=boot_id(),
            executor=self._executor,
            pid=os.getpid(),
            slots=self._slots,
            left=left,
        )
        self._runtime.store.know_node(self._node)
        for supervisor in self._runtime.store.supervisors():
            self._runtime.store.heartbeat(supervisor, document)

    def _store_is(self, away: bool, error: str = "") -> None:
        """Say once that Redis went away, and once that it is back."""
        if away != self._away:
            self._away = away
            raw_line(f"the store does not answer: {error}" if away else "the store answers again")
