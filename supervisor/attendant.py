"""The attendant of an executor: looks after its leases, the node's heartbeat, the node's collector, and the drain."""

from __future__ import annotations

import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from supervisor.clock import skew_of
from supervisor.connection import STORE_ERRORS, trouble_with
from supervisor.errors import Refused, SupervisorError
from supervisor.logs import RawLog, Trouble
from supervisor.model import HEARTBEAT_INTERVAL, NodeDocument
from supervisor.operators import is_drained
from supervisor.renewal import End, Execution, Renewal
from supervisor.runtime import Runtime
from workers import holder
from workers.holder import boot_id, stat_of

log = RawLog()
_FAILURES: tuple[type[Exception], ...] = (SupervisorError, *STORE_ERRORS)
_BEAT = 0.5  # seconds between two looks of the attendant
_HUNG_AFTER = 10.0  # seconds without a local heartbeat after which a collector is replaced
_REPLACED_AFTER = (2.0, 4.0, 6.0)  # seconds after the first, second, third replacement in a row; SPEC 4.4
_THEN_EVERY = 60.0  # seconds
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
    """Return the file by which an executor judges its collector, and not by Redis: pid, start ticks.

    Its modification time is the last beat, in monotonic seconds.
    """
    return data_dir / "nodes" / node / "collector.alive"


def write_heartbeat(data_dir: Path, node: str, monotonic: float) -> None:
    """Say that this process is the node's collector and lives. The monotonic clock is one for all of a host.

    Only the first beat writes; the others set a time, which is seen whole and takes no room on a full disk.
    """
    file = heartbeat_file(data_dir, node)
    stat = stat_of(os.getpid())
    who = f"{os.getpid()} {stat[1] if stat else 0}"
    if not file.exists() or file.read_text() != who:
        holder.write_whole(str(file), who)
    os.utime(file, (monotonic, monotonic))


class CollectorWatch:
    """Starts a node's collector, and replaces it when it died or hangs; adopts one that a former executor left."""

    def __init__(self, data_dir: Path, node: str, monotonic: Callable[[], float]) -> None:
        """Watch the collector of `node`."""
        self._node = node
        self._file = heartbeat_file(data_dir, node)
        self._monotonic = monotonic
        self._child: subprocess.Popen[bytes] | None = None
        self._tries = 0
        self._started = -_HUNG_AFTER
        self._next_try = 0.0

    def look(self) -> None:
        """See that a collector lives; start one if not, with growing pauses between tries."""
        starting = self._child is not None and self._child.poll() is None
        process, silence = self._living()
        if process is not None and silence < _HUNG_AFTER:
            self._tries = 0
            return
        now = self._monotonic()
        if now < self._next_try or (starting and now - self._started < _HUNG_AFTER):
            return
        self._kill(process)
        self._start(now)

    def _kill(self, process: psutil.Process | None) -> None:
        """Kill a collector that hangs: the one that wrote the heartbeat, or one of ours that never wrote any."""
        if process is None and self._child is not None and self._child.poll() is None:
            process = psutil.Process(self._child.pid)
        if process is not None:
            log.tell("collector.hung", node=self._node, pid=process.pid)
            process.kill()

    def _start(self, now: float) -> None:
        """Start a collector in a session of its own: the end of this executor's group is not its end."""
        self._started = now
        self._next_try = now + (_REPLACED_AFTER[self._tries] if self._tries < len(_REPLACED_AFTER) else _THEN_EVERY)
        self._tries += 1
        command = [sys.executable, "-m", "supervisor.collector", self._node]
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def _living(self) -> tuple[psutil.Process | None, float]:
        """Return the collector that wrote the heartbeat, if that very process lives, and its silence in seconds."""
        try:
            pid, ticks = self._file.read_text().split()
            stat = stat_of(int(pid))
            if stat is None or stat[0] == "Z" or stat[1] != int(ticks):
                return None, 0.0
            return psutil.Process(int(pid)), self._monotonic() - self._file.stat().st_mtime
        except (OSError, ValueError, psutil.Error):
            return None, 0.0

    def end(self, timeout: float) -> None:
        """End the collector, by force if it does not listen within `timeout` seconds."""
        process, _ = self._living()
        if process is None and self._child is not None and self._child.poll() is None:
            process = psutil.Process(self._child.pid)
        if process is None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout)
        except psutil.TimeoutExpired:
            process.kill()
        except psutil.NoSuchProcess:
            return


class NodeAttendant:
    """The thread's work. Without a node (a supervisor's executor) there is no heartbeat and no collector."""

    def __init__(
        self,
        runtime: Runtime,
        node: str | None,
        executor: str,
        slots: int,
        active: Callable[[], list[Execution]],
        reports: queue.SimpleQueue[End],
        is_stopping: Callable[[], bool],
        take_floating: Callable[[bool], bool] = lambda wanted: wanted,
    ) -> None:
        """Attend to `executor`, which serves `node` with `slots` pool processes and runs what `active` says.

        `take_floating` lets it take floating workers' actions, or no more of them, and tells whether it has any to do.
        """
        self._runtime = runtime
        self._executor = executor
        self._slots = slots
        self._node = node
        self._is_stopping = is_stopping
        self._take_floating = take_floating
        clock = runtime.clock
        self._renewal = Renewal(runtime.leases, executor, clock, active, reports)
        self._watch = None if node is None else CollectorWatch(runtime.settings.data_dir, node, clock.monotonic)
        self._away = Trouble(log, "store.away", clock.monotonic)
        self._trouble = Trouble(log, "attendant.failed", clock.monotonic)
        self._next_heartbeat = 0.0
        self._drain_since: float | None = None
        self._in_flight = 0
        self.cut_short = False

    def begin(self) -> None:
        """Take the node's name, later if the store does not answer yet. Raises `Refused` when another host has it."""
        try:
            self._heartbeat(left=False)
        except STORE_ERRORS as error:
            self._store_is_away(error)

    def run(self, stop: threading.Event) -> None:
        """Attend until `stop`. Nothing that Redis does ends this loop."""
        while not stop.is_set():
            self._renewal.wait(_BEAT)
            try:
                self._beat()
                self._trouble.is_now("")
            except Refused as error:
                self._lose_name(error)
            except STORE_ERRORS as error:
                self._store_is_away(error)
            except Exception as error:  # noqa: BLE001 - leases are renewed here: no fault of a part may end it
                self._trouble.is_now(type(error).__name__, error=str(error))

    def _lose_name(self, error: Refused) -> None:
        """Stop the executor, once: another host has its node's name. What runs is drained, so this thread goes on."""
        log.tell("executor.refused", error=str(error))
        self._next_heartbeat = math.inf
        os.kill(os.getpid(), signal.SIGTERM)

    def _beat(self) -> None:
        """Do what is due."""
        self._drain()
        if self._watch is not None:
            self._watch.look()
        self._renewal.look()
        now = self._runtime.clock.monotonic()
        if now >= self._next_heartbeat:
            self._heartbeat(left=False)
            self._next_heartbeat = now + HEARTBEAT_INTERVAL  # one that failed is due again at the next look
            self._away.is_now("")

    def _drain(self) -> None:
        """Once the executor stops: give what runs `drain_timeout` to end, then tell it to give up."""
        if not self._is_stopping():
            return
        now = self._runtime.clock.monotonic()
        timeout = self._runtime.settings.drain_timeout
        if self._drain_since is None:
            self._drain_since = now
            self._in_flight = self._renewal.in_flight
            log.tell("executor.draining", in_flight=self._in_flight, timeout=timeout)
        elif now - self._drain_since >= timeout and self._renewal.give_up_all("its executor stops"):
            self.cut_short = True

    def kill_all(self, why: str) -> None:
        """Kill what runs and write its end; what cannot be written is reaped."""
        try:
            self._renewal.kill_all(why)
        except STORE_ERRORS as error:
            log.tell("executor.ends_not_written", error=str(error))

    def leave(self) -> None:
        """End the collector without waiting for it."""
        if self._watch is not None:
            self._watch.end(timeout=0.0)

    def end(self) -> None:
        """Say how the drain went, end the collector, and say that the node has left."""
        if self._drain_since is not None:
            self._tell_drained(round(self._runtime.clock.monotonic() - self._drain_since, 3))
        if self._watch is not None:
            self._watch.end(_STOP_TIMEOUT)
        try:
            self._heartbeat(left=True)
        except _FAILURES as error:
            log.tell("node.end_not_written", error=str(error))

    def _tell_drained(self, took: float) -> None:
        if self.cut_short:
            cancelled = self._renewal.cancelled
            log.tell("executor.cut_short", in_flight=self._in_flight, duration=took, cancelled=cancelled)
        else:
            log.tell("executor.drained", in_flight=self._in_flight, duration=took)

    def _heartbeat(self, left: bool) -> None:
        skew = self._measure_skew()
        if self._node is None:
            self._runtime.store.scripts.offer()  # nodes with users of their own bring none
            return
        store, supervisors = self._runtime.store, self._runtime.store.supervisors()
        drained = any(is_drained(store, supervisor, self._node) for supervisor in supervisors)
        takes = self._take_floating(not drained)
        document = NodeDocument(
            node=self._node,
            host=socket.gethostname(),
            boot_id=boot_id(),
            executor=self._executor,
            pid=os.getpid(),
            slots=self._slots,
            left=left,
            clock_skew=skew,
            drained=drained and not takes,
        )
        store.know_node(self._node)
        for supervisor in supervisors:
            store.heartbeat(supervisor, document)

    def _measure_skew(self) -> float:
        """Return the seconds by which this host's clock is ahead of Redis'; it is told by the collector, and shown."""
        clock = self._runtime.clock
        before = clock.monotonic()
        now = self._runtime.store.now()
        return skew_of(clock.now(), now, clock.monotonic() - before)

    def _store_is_away(self, error: Exception) -> None:
        """Tell that Redis does not answer; that it does again is told with the next heartbeat."""
        self._away.is_now(trouble_with(error), error=str(error))
