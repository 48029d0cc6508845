"""Keeps the leases of what an executor runs, and ends what must not run on. One thread of the main process calls it.

An execution is told to give up when its lease is lost or cannot be renewed in time, when somebody asks for it, or when
the executor drains; one that does not listen is killed. So an execution never outlives its lease by this host's clock,
unless this very process is frozen: then the fence at the effect refuses it.
"""

from __future__ import annotations

import os
import queue
import select
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psutil

from actions.model import Outcome
from supervisor.clock import Clock
from supervisor.leases import Grant, Held, Leases
from supervisor.logs import raw_line
from supervisor.model import HARD_KILL_AFTER, LEASE_TTL
from supervisor.poolprocess import CANCEL, runner_of

_RENEW_EVERY = LEASE_TTL / 3  # SPEC 4.3
_GIVE_UP_AFTER = LEASE_TTL * 2 / 3  # seconds without a renewal; SPEC 4.3
_KILL_AFTER = LEASE_TTL * 0.8  # seconds without a renewal; what is left covers a call to Redis that hangs for a second
_LISTEN = 1.5  # seconds between being told to give up and being killed
_GONE_WITHIN = 2.0  # seconds for a killed process to be gone
_REPORT_FOR = (
    2 * LEASE_TTL
)  # seconds for which an end that Redis did not take is tried again; its lease is reaped by then


@dataclass(frozen=True)
class Execution:
    """An action in a pool process: `timeout` is the action's, `hard_limit` when the pool kills it; seconds."""

    grant: Grant
    pid: int
    timeout: float
    hard_limit: float


@dataclass(frozen=True)
class End:
    """An execution that cannot write its own end: its process was killed by it, or has to be."""

    execution: Execution
    outcome: Outcome
    detail: str


@dataclass
class _Life:
    """What is remembered of an execution; times are monotonic seconds."""

    execution: Execution
    begun: float
    renewed: float
    told: float | None = None


@dataclass
class Renewal:
    """The executions of one executor. `look` is called every half second, and at once when something was reported."""

    leases: Leases
    executor: str
    clock: Clock
    active: Callable[[], list[Execution]]
    reports: queue.SimpleQueue[End]
    cancelled: int = 0
    _lives: dict[str, _Life] = field(default_factory=dict)
    _told: dict[str, tuple[float, str]] = field(default_factory=dict)
    _unwritten: list[tuple[float, End]] = field(default_factory=list)
    _next_renewal: float = 0.0

    def wait(self, seconds: float) -> None:
        """Wait until an end is reported, `seconds` at most."""
        try:
            self._unwritten.append((self.clock.monotonic(), self.reports.get(timeout=seconds)))
        except queue.Empty:
            return

    def look(self) -> None:
        """Renew what is due, tell or kill what must end, write reported ends. Redis' errors pass through.

        Limits are enforced before Redis is asked anything, so that no error keeps them from it.
        """
        self._know()
        self.enforce()
        self._write_ends()
        now = self.clock.monotonic()
        if now >= self._next_renewal:
            self._renew(now)
            self._next_renewal = now + _RENEW_EVERY  # a renewal that failed is due again at the next look
        for action_id, why in self.leases.asked_to_cancel(self._held()).items():
            self.give_up(action_id, why)

    @property
    def in_flight(self) -> int:
        """Return how many executions there are now."""
        return len(self.active())

    def enforce(self) -> None:
        """Tell or kill what has outlived its lease or its time."""
        for life in list(self._lives.values()):
            self._enforce(life, self.clock.monotonic())

    def give_up_all(self, why: str) -> int:
        """Tell every execution to give up; return how many there are."""
        self._know()
        for action_id in self._lives:
            self.give_up(action_id, why)
        return len(self._lives)

    def give_up(self, action_id: str, why: str) -> None:
        """Tell an execution to give up, once; it is killed when it does not."""
        life = self._lives[action_id]
        if life.told is not None:
            return
        life.told = self.clock.monotonic()
        self._told[action_id] = (life.told, why)
        self.cancelled += 1
        raw_line(f"action {life.execution.grant.action} of {life.execution.grant.worker_id} is told to give up: {why}")
        _signal(life.execution.pid)

    def kill_all(self, why: str) -> None:
        """Kill every execution and write its end. Redis' errors pass through."""
        self._know()
        for life in self._lives.values():
            kill_tree(life.execution.pid)
            self.reports.put(End(life.execution, Outcome.CANCELLED, why))
        self._write_ends()

    def _know(self) -> None:
        """Take up what has begun, drop what has ended."""
        now = self.clock.monotonic()
        running = {execution.grant.action_id: execution for execution in self.active()}
        self._lives = {
            action_id: self._lives.get(action_id) or _Life(execution, now, now)
            for action_id, execution in running.items()
        }
        self._told = {
            action_id: (told, why)
            for action_id, (told, why) in self._told.items()
            if action_id in running or now - told < _REPORT_FOR
        }

    def _held(self) -> list[Held]:
        """Return what is to be renewed: not what has been told to give up, nor what should have been killed."""
        now = self.clock.monotonic()
        return [
            Held(life.execution.grant, runner_of(life.execution.pid), life.execution.timeout, now - life.begun)
            for life in self._lives.values()
            if now - life.begun < life.execution.hard_limit + HARD_KILL_AFTER
        ]

    def _renew(self, now: float) -> None:
        """Renew; counted from before the call, since Redis' clock has run on when the answer comes."""
        for action_id, answer in self.leases.renew(self.executor, self._held()).items():
            if answer == "lost":
                self.give_up(action_id, "its lease is lost")
            elif answer != "ended":
                self._lives[action_id].renewed = now

    def _enforce(self, life: _Life, now: float) -> None:
        silence = now - life.renewed
        if silence >= _GIVE_UP_AFTER:
            self.give_up(life.execution.grant.action_id, f"its lease was not renewed for {silence:.1f}s")
        deaf = life.told is not None and now - life.told >= _LISTEN
        overdue = now - life.begun >= life.execution.hard_limit + HARD_KILL_AFTER
        if deaf or overdue or silence >= _KILL_AFTER:
            kill_tree(life.execution.pid)

    def _write_ends(self) -> None:
        """Write the reported ends, those first that Redis did not take before."""
        now = self.clock.monotonic()
        while not self.reports.empty():
            self._unwritten.append((now, self.reports.get()))
        while self._unwritten:
            since, end = self._unwritten[0]
            if now - since < _REPORT_FOR:
                self._write_end(end)
            self._unwritten.pop(0)

    def _write_end(self, end: End) -> None:
        """Write an end once its process is gone; one that was told to give up has not killed its process."""
        pid = end.execution.pid
        kill_tree(pid)
        _wait_until_gone(pid)
        outcome, detail, by = end.outcome, end.detail, "killed" if end.outcome is Outcome.LOST else "gone"
        if end.execution.grant.action_id in self._told:
            _, why = self._told[end.execution.grant.action_id]
            outcome, detail, by = Outcome.CANCELLED, f"killed, as it did not give up: {why}", "gone"
        self.leases.end(end.execution.grant, runner_of(pid), outcome, detail, by)


def _wait_until_gone(pid: int) -> None:
    """Wait for the death of a killed process, without taking its exit code from the pool. Raises `TimeoutError`."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([descriptor], [], [], _GONE_WITHIN)[0]:
            raise TimeoutError(f"pool process {pid} was killed and is still there after {_GONE_WITHIN:g}s")
    finally:
        os.close(descriptor)


def _signal(pid: int) -> None:
    """Tell our pool process `pid` to give up, if it still is one."""
    try:
        process = psutil.Process(pid)
        if process.ppid() == os.getpid():
            process.send_signal(CANCEL)
    except psutil.NoSuchProcess:
        return


def kill_tree(pid: int) -> None:
    """Kill our pool process `pid` with all that it has started and that has not been handed over to a holder."""
    try:
        process = psutil.Process(pid)
        if process.ppid() != os.getpid():
            return
        process.suspend()  # it must not take its command's death for a result
        _kill(process.children(recursive=True))
        _kill([process])
    except psutil.NoSuchProcess:
        return


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
