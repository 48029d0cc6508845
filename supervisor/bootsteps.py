"""What an executor has beside its pool: lease renewal, the node's heartbeat, its collector, and the drain at its end.

All of it is one thread in the main process, with a connection of its own and without a log handler's lock: pool
processes are forked from here at any time. It reads what runs from Celery's own list of active requests, so renewal
stops by itself when a pool process dies or this process does.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from typing import Any

import msgspec
from billiard.exceptions import WorkerLostError
from celery import bootsteps, signals
from celery.worker import state
from celery.worker.request import Request

from actions.model import Outcome
from supervisor import poolprocess
from supervisor.attendant import NodeAttendant, queue_node
from supervisor.connection import connect
from supervisor.errors import Refused, TimedOut, UsageError
from supervisor.guard import make_guard
from supervisor.keys import POOL, queue_of
from supervisor.leases import Grant
from supervisor.logs import RawLog
from supervisor.model import HARD_KILL_AFTER
from supervisor.renewal import End, Execution, kill_tree
from supervisor.runtime import make_runtime
from supervisor.settings import Settings
from supervisor.store import Store

log = RawLog()
_LEFT_AT_ONCE = 128 + signal.SIGTERM  # exit code after the second SIGTERM, as a shell would say it
_reports: queue.SimpleQueue[End] = queue.SimpleQueue()


def execution_of(request: Any) -> Execution | None:
    """Return what a request runs; None for a tick, for what no process has taken up yet, and for a forged lease."""
    lease = (request.request_dict or {}).get("fsm_lease")
    if lease is None or request.worker_pid is None:
        return None
    try:
        grant = msgspec.convert(lease, Grant)
    except msgspec.ValidationError:
        return None  # the pool process refuses the message, and says so
    hard, soft = request.request_dict.get("timelimit") or (None, None)
    limit = float(hard or HARD_KILL_AFTER)
    return Execution(grant, request.worker_pid, float(soft or limit), limit)


def active() -> list[Execution]:
    """Return what this executor's pool runs now."""
    while True:
        try:
            requests = list(state.active_requests)
        except RuntimeError:  # the set changed while it was copied: look again
            continue
        found = [execution_of(request) for request in requests]
        return [execution for execution in found if execution is not None]


class ActionRequest(Request):  # type: ignore[misc]  # celery ships no types
    """A request whose process may die: then its end is written from here. Celery calls this in the main process."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Report an action that its hard limit kills."""
        super().on_timeout(soft, timeout)
        if not soft:
            self._report(Outcome.TIMEOUT, f"killed, as it did not end within {timeout:g}s")

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """Report an action whose pool process died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # the pool wraps it with its traceback
        if isinstance(error, WorkerLostError):
            self._report(Outcome.LOST, f"its pool process died: {error}")
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Report an action that is terminated through Celery, as by Flower."""
        self._report(Outcome.CANCELLED, "terminated through Celery")
        super().terminate(pool, signal)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Report an action that is cut off by a cold shutdown."""
        self._report(Outcome.CANCELLED, "its executor was told to quit")
        super().cancel(pool, signal, emit_retry)

    def _report(self, outcome: Outcome, detail: str) -> None:
        execution = execution_of(self)
        if execution is not None:
            _reports.put(End(execution, outcome, detail))


class FloatingWork:
    """Whether this executor takes floating workers' actions: none while its node is drained."""

    def __init__(self, worker: Any) -> None:
        """Begin as the executor was started: with those that it is to consume."""
        self._worker = worker
        self._serves = queue_of(POOL) in worker.app.amqp.queues.consume_from
        self._takes = self._wanted = self._serves

    def take(self, wanted: bool) -> bool:
        """Take them, or no more of them, and tell whether this executor takes any, or has one still to do.

        Celery's consumer belongs to its own thread, which does it soon.
        """
        self._wanted = wanted
        consumer = self._worker.consumer
        if self._serves and wanted != self._takes and consumer is not None:
            consumer.call_soon(self._change, consumer)
        return self._takes or any(_is_floating(request) for request in list(state.reserved_requests))

    def _change(self, consumer: Any) -> None:
        """Change what is consumed, if it is connected; else the next heartbeat asks again."""
        if consumer.task_consumer is None or self._wanted == self._takes:
            return
        if self._wanted:
            consumer.app.amqp.queues.select_add(consumer.app.amqp.queues[queue_of(POOL)])
            consumer.add_task_queue(queue_of(POOL))
        else:
            consumer.cancel_task_queue(queue_of(POOL))
        self._takes = self._wanted


def _is_floating(request: Any) -> bool:
    """Tell whether a request came for any node."""
    return bool((request.delivery_info or {}).get("routing_key") == queue_of(POOL))


@signals.worker_process_init.connect  # type: ignore[untyped-decorator]  # celery ships no types
def _listen(**_: Any) -> None:
    """Let a new pool process be told to give up."""
    poolprocess.listen()


class Attendant(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Starts the thread after the pool was forked, and ends it after the pool has drained."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, worker: Any, **_: Any) -> None:
        """Nothing yet: the pool is forked first."""
        self._worker = worker
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._attendant: NodeAttendant | None = None

    def start(self, worker: Any) -> None:
        """Register the node, bring the collector along, and begin to renew. A taken name ends the executor."""
        try:
            attendant = self._begin(worker)
        except (Refused, UsageError) as error:
            log.tell("executor.refused", error=str(error))
            raise SystemExit(1) from None
        self._attendant = attendant
        self._thread = threading.Thread(target=attendant.run, args=(self._stop,), name="attendant", daemon=True)
        self._thread.start()
        # Celery stops this step before the pool, whose actions need their leases: worker_shutdown comes after both
        signals.worker_shutdown.connect(self._end, weak=False)
        self._leave_at_once_when_told_twice()

    @staticmethod
    def _begin(worker: Any) -> NodeAttendant:
        """Make the attendant and the guard, and take the node's name. Raises `Refused` or `UsageError`."""
        queues = worker.app.amqp.queues.consume_from
        settings = Settings.from_env()
        runtime = make_runtime(settings, Store(connect(settings, patient=False), settings.namespace))
        worker.guard = make_guard(settings, queues, runtime.actions, runtime.clock)
        slots = int(worker.concurrency or 1)
        execution = (active, _reports, _is_stopping, FloatingWork(worker).take)
        attendant = NodeAttendant(runtime, queue_node(queues), worker.hostname, slots, *execution)
        attendant.guard = worker.guard
        attendant.begin()
        return attendant

    def terminate(self, worker: Any) -> None:
        """Leave now (SIGQUIT): kill what runs and write its end."""
        self._end_thread()
        if self._attendant is not None:
            self._attendant.kill_all("its executor was told to quit")
        self._end()

    def _leave_at_once_when_told_twice(self) -> None:
        """Let a second SIGTERM end this process at once; Celery would go on waiting for the first."""
        first = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: Any) -> None:
            if not _is_stopping() and callable(first):
                first(number, frame)
                return
            log.tell("executor.left_at_once", in_flight=len(active()))
            for execution in active():
                kill_tree(execution.pid)
            if self._attendant is not None:
                self._attendant.leave()
            os._exit(_LEFT_AT_ONCE)

        signal.signal(signal.SIGTERM, handle)

    def _end_thread(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _end(self, **_: Any) -> None:
        """End the attendant; how the drain went is this executor's exit code."""
        self._end_thread()
        if self._attendant is not None:
            self._attendant.end()
            if self._attendant.cut_short and not self._worker.exitcode:
                self._worker.exitcode = TimedOut.exit_code
            self._attendant = None


def _is_stopping() -> bool:
    """Tell whether this executor has been told to stop. Celery keeps the exit code there, of which 0 is one."""
    return any(told is not None and told is not False for told in (state.should_stop, state.should_terminate))
