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
from supervisor.logs import RawLog
from supervisor.model import HARD_KILL_AFTER, LEASE_TTL
from supervisor.poolprocess import CANCEL, runner_of

log = RawLog()
_RENEW_EVERY = LEASE_TTL / 3  # SPEC 4.3
_ASK_AGAIN = 0.5  # seconds to the next renewal while an action is said not to have begun
_GIVE_UP_AFTER = LEASE_TTL * 2 / 3  # seconds without a renewal; SPEC 4.3
_KILL_AFTER = LEASE_TTL * 0.8  # seconds without a renewal; what is left covers a call to Redis that hangs for a second
_LISTEN = 1.5  # seconds between being told to give up and being killed
_GONE_WITHIN = 0.2  # seconds for a killed process to be gone; one that hangs in the kernel is looked at again
_KILL_LOOKS = 10  # looks at the processes that a cold shutdown has killed
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
    _lives: dict[Execution, _Life] = field(default_factory=dict)
    _told: dict[Execution, tuple[float, str]] = field(default_factory=dict)
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
        self._take_reports()
        self.enforce()
        now = self.clock.monotonic()
        if now >= self._next_renewal:
            self._renew(now)  # one that failed is due again at the next look
        self._write_ends()
        held = self._held()
        for execution, why in zip(held, self.leases.asked_to_cancel(list(held.values())), strict=True):
            if why:
                self.give_up(execution, why)

    @property
    def in_flight(self) -> int:
        """Return how many executions there are now."""
        return len(self.active())

    def enforce(self) -> None:
        """Tell or kill what has outlived its lease or its time."""
        for execution, life in self._lives.items():
            self._enforce(execution, life, self.clock.monotonic())

    def give_up_all(self, why: str) -> int:
        """Tell every execution to give up; return how many there are."""
        self._know()
        for execution in self._lives:
            self.give_up(execution, why)
        return len(self._lives)

    def give_up(self, execution: Execution, why: str) -> None:
        """Tell an execution to give up, once; it is killed when it does not."""
        life = self._lives[execution]
        if life.told is not None:
            return
        life.told = self.clock.monotonic()
        self._told[execution] = (life.told, why)
        self.cancelled += 1
        grant = execution.grant
        named = {"worker_id": grant.worker_id, "action_type": grant.action, "action_id": grant.action_id}
        log.tell("action.given_up", reason=why, token=grant.token, **named)
        _signal(execution.pid)

    def kill_all(self, why: str) -> None:
        """Kill every execution and write its end. Redis' errors pass through."""
        self._know()
        for execution in self._lives:
            kill_tree(execution.pid)
            self.reports.put(End(execution, Outcome.CANCELLED, why))
        self._take_reports()
        for _ in range(_KILL_LOOKS):
            self._write_ends()
            if not self._unwritten:
                return

    def _know(self) -> None:
        """Take up what has begun, drop what has ended. Two copies of one message are two executions."""
        now = self.clock.monotonic()
        self._lives = {execution: self._lives.get(execution) or _Life(now, now) for execution in self.active()}
        self._told = {
            execution: (told, why)
            for execution, (told, why) in self._told.items()
            if execution in self._lives or now - told < _REPORT_FOR
        }

    def _held(self) -> dict[Execution, Held]:
        """Return what is to be renewed: not what should have been killed."""
        now = self.clock.monotonic()
        return {
            execution: Held(execution.grant, runner_of(execution.pid), execution.timeout, now - life.begun)
            for execution, life in self._lives.items()
            if now - life.begun < execution.hard_limit + HARD_KILL_AFTER
        }

    def _renew(self, now: float) -> None:
        """Renew; counted from before the call, since Redis' clock has run on when the answer comes.

        Soon again while one is said not to have begun: perhaps Redis has lost that, and the hold-off is short.
        """
        held = self._held()
        answers = self.leases.renew(self.executor, list(held.values()))
        for execution, answer in zip(held, answers, strict=True):
            if answer == "lost":
                self.give_up(execution, "its lease is lost")
            elif answer != "ended":
                self._lives[execution].renewed = now
        self._next_renewal = now + (_ASK_AGAIN if "queued" in answers else _RENEW_EVERY)

    def _enforce(self, execution: Execution, life: _Life, now: float) -> None:
        silence = now - life.renewed
        if silence >= _GIVE_UP_AFTER:
            self.give_up(execution, f"its lease was not renewed for {silence:.1f}s")
        deaf = life.told is not None and now - life.told >= _LISTEN
        overdue = now - life.begun >= execution.hard_limit + HARD_KILL_AFTER
        if deaf or overdue or silence >= _KILL_AFTER:
            kill_tree(execution.pid)

    def _take_reports(self) -> None:
        while not self.reports.empty():
            self._unwritten.append((self.clock.monotonic(), self.reports.get()))

    def _write_ends(self) -> None:
        """Write the reported ends, those first that could not be written before."""
        now = self.clock.monotonic()
        for since, end in tuple(self._unwritten):
            if now - since >= _REPORT_FOR or self._write_end(end):
                self._unwritten.remove((since, end))

    def _write_end(self, end: End) -> bool:
        """Write an end if its process is gone; one that was told to give up has not killed its process."""
        execution = end.execution
        kill_tree(execution.pid)
        if not _is_gone(execution.pid):
            return False
        outcome, detail, by = end.outcome, end.detail, "killed" if end.outcome is Outcome.LOST else "gone"
        if execution in self._told:
            _, why = self._told[execution]
            outcome, detail, by = Outcome.CANCELLED, f"killed, as it did not give up: {why}", "gone"
        self.leases.end(execution.grant, runner_of(execution.pid), outcome, detail, by)
        return True


def _is_gone(pid: int) -> bool:
    """Tell whether a killed process is dead, or dies at once; without taking its exit code from the pool."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], _GONE_WITHIN)[0])
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
