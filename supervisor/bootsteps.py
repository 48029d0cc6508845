"""What an executor has beside its pool: lease renewal, the node's heartbeat, and its collector.

All of it is one thread in the main process, with a connection of its own and without a log handler's lock: pool
processes are forked from here at any time. It reads what runs from Celery's own list of active requests, so renewal
stops by itself when a pool process dies or this process does.
"""

from __future__ import annotations

import threading
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from supervisor.attendant import NodeAttendant, queue_node
from supervisor.connection import STORE_ERRORS
from supervisor.errors import Refused
from supervisor.leases import Grant
from supervisor.logs import raw_line
from supervisor.runtime import make_runtime
from supervisor.settings import Settings


def active_grants() -> list[Grant]:
    """Return the leases of the actions that this executor's pool runs now."""
    while True:
        try:
            requests = list(state.active_requests)
        except RuntimeError:  # the set changed while it was copied: look again
            continue
        leases = [(request.request_dict or {}).get("fsm_lease") for request in requests]
        return [Grant(**lease) for lease in leases if lease]


class Attendant(bootsteps.StartStopStep):  # type: ignore[misc]  # celery ships no types
    """Starts the thread after the pool was forked, and ends it after the pool has drained."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, worker: Any, **_: Any) -> None:
        """Nothing yet: the pool is forked first."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._attendant: NodeAttendant | None = None

    def start(self, worker: Any) -> None:
        """Register the node, bring the collector along, and begin to renew. A taken name ends the executor."""
        node = queue_node(worker.app.amqp.queues.consume_from)
        runtime = make_runtime(Settings.from_env())
        attendant = NodeAttendant(runtime, node, worker.hostname, int(worker.concurrency or 1), active_grants)
        try:
            attendant.begin()
        except Refused as error:
            raw_line(f"error: {error}")
            raise SystemExit(1) from None
        except STORE_ERRORS as error:
            raw_line(f"the store does not answer yet: {error}")
        self._attendant = attendant
        self._thread = threading.Thread(target=attendant.run, args=(self._stop,), name="attendant", daemon=True)
        self._thread.start()
        # Celery stops this step before the pool, whose actions need their leases: worker_shutdown comes after both
        signals.worker_shutdown.connect(self._end, weak=False)

    def terminate(self, worker: Any) -> None:
        """Leave at once: the pool is killed, nothing needs a lease any more."""
        self._end()

    def _end(self, **_: Any) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._attendant is not None:
            self._attendant.end()
