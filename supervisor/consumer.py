"""The consumer of an executor: Celery's own, but guarded where messages are sealed, and sparing with its events.

It sends these twice a second instead of one by one.
"""

from __future__ import annotations

from typing import Any

import celery.worker.consumer
from celery.utils.log import get_logger

from supervisor.guard import Guard

log = get_logger("celery.worker.consumer")  # where Celery says that a message could not be acknowledged
FLUSH_EVERY = 0.5  # seconds; Celery sends 24 at once sooner. One by one they cost a third of the throughput


class Consumer(celery.worker.consumer.Consumer):  # type: ignore[misc]  # celery ships no types
    """Celery's consumer. Flower and `celery events` take events in bulk as well."""

    _is_due = False

    def create_task_handler(self, *arguments: Any, **named: Any) -> Any:
        """Return what takes a message: Celery's own, which sees what the guard has let through."""
        handle, guard = super().create_task_handler(*arguments, **named), self._guard
        if guard is None:
            return handle

        def guarded(message: Any) -> Any:
            if guard.admit(message):
                return handle(message)
            return message.ack_log_error(log, self.connection_errors)

        return guarded

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Drop a message that cannot be unpacked. Celery would print all of it."""
        if self._guard is None:
            super().on_decode_error(message, exc)
        else:
            self._guard.unreadable(exc)
            message.ack_log_error(log, self.connection_errors)

    @property
    def _guard(self) -> Guard | None:
        """Return this executor's guard, which its attendant has made before anything is consumed."""
        guard: Guard | None = self.controller.guard
        return guard

    def register_with_event_loop(self, hub: Any) -> None:
        """Begin anew with each connection: the loop has forgotten what was to be called later."""
        self._is_due = False
        super().register_with_event_loop(hub)

    def on_send_event_buffered(self) -> None:
        """Send what is gathered in a while; called for each event."""
        if self.hub and not self._is_due:
            self._is_due = True
            self.hub.call_later(FLUSH_EVERY, self._send_events)

    def _send_events(self) -> None:
        self._is_due = False
        self._flush_events()

    def shutdown(self) -> None:
        """Send the last ones, of what the drain has ended."""
        self._flush_events()
        super().shutdown()
