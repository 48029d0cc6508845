"""The consumer of an executor: Celery's own, but it sends its events twice a second instead of one by one."""

from __future__ import annotations

from typing import Any

import celery.worker.consumer

FLUSH_EVERY = 0.5  # seconds; Celery sends 24 at once sooner. One by one they cost a third of the throughput


class Consumer(celery.worker.consumer.Consumer):  # type: ignore[misc]  # celery ships no types
    """Celery's consumer. Flower and `celery events` take events in bulk as well."""

    _is_due = False

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
