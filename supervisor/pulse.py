"""Beat's scheduler: one pulse again and again, by the monotonic clock, and never more of them than anybody can need.

Between two of them it listens for marks that ring, and sends a pulse for them at once: a change is acted on without
waiting for the next one. Where it hears nothing, all goes on at the pulse's own pace.
"""

from __future__ import annotations

from typing import Any

from celery.beat import Scheduler, SchedulingError

from supervisor.bell import Bell
from supervisor.broker import PUBLISH_ERRORS
from supervisor.clock import Clock, SystemClock
from supervisor.connection import STORE_ERRORS, connect, trouble_with
from supervisor.keys import rings
from supervisor.logs import Trouble, logger
from supervisor.settings import Settings

log = logger("supervisor.pulse")
PULSE = "pulse"  # its name in beat_schedule
MOST_WAITING = (
    10  # pulses in the queue beyond which none is added: nobody ticks, and one would be enough to start again
)
_CONNECT_AGAIN = 1.0  # seconds after which one who does not hear tries to listen again
_HEARD_AT_ONCE = 1000  # rings that are taken together: one pulse answers all that have rung before it


class Ear:
    """Listens for marks that ring, over a connection of its own."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Connect at the first `wait`."""
        self._settings, self._clock = settings, clock
        self._subscription: Any = None
        self._try_at = 0.0
        self._trouble = Trouble(log, "beat.deaf", clock.monotonic)

    def wait(self, seconds: float) -> bool:
        """Wait until something rings, `seconds` at most; tell whether it has. Where Redis is away, only wait."""
        until = self._clock.monotonic() + seconds
        try:
            while (left := until - self._clock.monotonic()) > 0 and self._listens():
                if self._heard(left):
                    self._drain()
                    return True
        except STORE_ERRORS as error:
            self._trouble.is_now(trouble_with(error), error=str(error))
            self.hang_up()
        self._clock.sleep(max(0.0, until - self._clock.monotonic()))
        return False

    def _listens(self) -> bool:
        """Subscribe, if that is to be tried; tell whether we are."""
        if self._subscription is None and self._clock.monotonic() >= self._try_at:
            client: Any = connect(self._settings, patient=False)
            self._subscription = client.pubsub()
            self._subscription.psubscribe(rings(self._settings.namespace))
        return self._subscription is not None

    def _heard(self, seconds: float) -> bool:
        """Tell whether a message comes that is a ring; that we are heard ourselves ends what was wrong."""
        message = self._subscription.get_message(timeout=seconds)
        if message is not None:
            self._trouble.is_now("")
        return message is not None and message["type"] == "pmessage"

    def _drain(self) -> None:
        for _ in range(_HEARD_AT_ONCE):
            if self._subscription.get_message(timeout=0.0) is None:
                return

    def hang_up(self) -> None:
        """Listen over a new connection in a while: the old one may be to a Redis that is gone."""
        subscription, self._subscription = self._subscription, None
        self._try_at = self._clock.monotonic() + _CONNECT_AGAIN
        if subscription is not None:
            subscription.close()


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
        self._bell, self._ear = Bell(), Ear(Settings.from_env(), self._clock)

    def tick(self, **_: Any) -> float:
        """Publish if it is time, then listen until it may be again. Return 0: there is nothing left to wait for."""
        now = self._clock.monotonic()
        is_scheduled = now >= self._due
        if is_scheduled or now >= self._bell.due(now):
            entry = self.schedule[PULSE]
            is_sent = self._pulse(entry)
            if is_scheduled or is_sent:  # a woken pulse is as good as the one that would come
                self._due = now + entry.schedule.seconds
            self._bell.pulsed(self._clock.monotonic(), is_scheduled)
        self._listen()
        return 0.0

    def _listen(self) -> None:
        """Wait until the next pulse; what rings is waited for no longer than it takes until it may be answered."""
        now = self._clock.monotonic()
        left = min(self._due, self._bell.due(now), now + self.max_interval) - now
        if left <= 0:
            return
        if self._bell.is_rung:
            self._clock.sleep(left)
        elif self._ear.wait(left):
            self._bell.ring()

    def _pulse(self, entry: Any) -> bool:
        """Publish, or say once why not; tell whether it was published."""
        try:
            queue = entry.options.get("queue") or self.app.conf.task_default_queue
            waiting = self.producer.channel.queue_declare(queue=queue).message_count  # makes nothing, on Redis
            if waiting < MOST_WAITING:
                self.apply_async(entry, producer=self.producer, advance=False)
            self._trouble.is_now("nobody takes them" if waiting >= MOST_WAITING else "")
        except (SchedulingError, *PUBLISH_ERRORS) as error:
            self._trouble.is_now("the broker does not take them", error=str(error))
            self._reconnect()
            return False
        return bool(waiting < MOST_WAITING)

    def _ensure_connected(self) -> Any:
        """Connect, or fail: the next pulse is the next try."""
        return self.connection.ensure_connection(max_retries=0)

    def _reconnect(self) -> None:
        """Let the next pulse find a new connection."""
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            connection.collect()
        self._ear.hang_up()
