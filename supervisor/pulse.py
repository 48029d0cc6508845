"""Beat's scheduler: one pulse again and again, by the monotonic clock, and never more of them than anybody can need."""

from __future__ import annotations

from typing import Any

from celery.beat import Scheduler, SchedulingError

from supervisor.broker import PUBLISH_ERRORS
from supervisor.clock import SystemClock
from supervisor.logs import Trouble, logger

log = logger("supervisor.pulse")
PULSE = "pulse"  # its name in beat_schedule
MOST_WAITING = (
    10  # pulses in the queue beyond which none is added: nobody ticks, and one would be enough to start again
)


class PulseScheduler(Scheduler):  # type: ignore[misc]  # celery ships no types
    """Publishes the pulse. A host whose clock of day is set goes on as before, and a broker that is away ends nothing.

    Celery's own scheduler goes by the clock of day: after a step back of two hours it would rest for two hours.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let the first pulse be due at once."""
        super().__init__(*args, **kwargs)
        self._clock = SystemClock()
        self._due = self._clock.monotonic()
        self._trouble = Trouble(log, "beat.silent")

    def tick(self, **_: Any) -> float:
        """Publish if it is time; return the seconds until it is time again."""
        now = self._clock.monotonic()
        entry = self.schedule[PULSE]
        if now >= self._due:
            self._due = now + entry.schedule.seconds
            self._pulse(entry)
        return float(min(max(0.0, self._due - self._clock.monotonic()), self.max_interval))

    def _pulse(self, entry: Any) -> None:
        """Publish, or say once why not."""
        try:
            queue = entry.options.get("queue") or self.app.conf.task_default_queue
            waiting = self.producer.channel.queue_declare(queue=queue).message_count  # makes nothing, on Redis
            if waiting < MOST_WAITING:
                self.apply_async(entry, producer=self.producer, advance=False)
            self._trouble.is_now("nobody takes them" if waiting >= MOST_WAITING else "")
        except (SchedulingError, *PUBLISH_ERRORS) as error:
            self._trouble.is_now("the broker does not take them", error=str(error))
            self._reconnect()

    def _ensure_connected(self) -> Any:
        """Connect, or fail: the next pulse is the next try."""
        return self.connection.ensure_connection(max_retries=0)

    def _reconnect(self) -> None:
        """Let the next pulse find a new connection."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            connection.collect()
