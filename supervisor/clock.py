"""Time, injected everywhere; the one place that reads the clocks."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the code may ask of time."""

    def now(self) -> float:
        """Return epoch seconds of this host; only for what never leaves it. Shared time is Redis' (`Store.now`)."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    def after(self, seconds: float) -> threading.Event:
        """Return an event that is set once `seconds` have passed."""


class SystemClock:
    """The real clocks."""

    def now(self) -> float:
        """Return epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`."""
        time.sleep(seconds)

    def after(self, seconds: float) -> threading.Event:
        """Return an event that a daemon timer sets."""
        event = threading.Event()
        timer = threading.Timer(seconds, event.set)
        timer.daemon = True
        timer.start()
        return event


def skew_of(here: float, shared: float, round_trip: float) -> float:
    """Return the seconds by which this host's clock of day is ahead of Redis', to the millisecond.

    `shared` was read from Redis in the middle of a `round_trip`, `here` at its end; a clock that is behind is negative.
    """
    return round(here - (shared + round_trip / 2), 3)


class StepWatch:
    """Notices that Redis' clock was set: between two measurements it moved on otherwise than the monotonic clock."""

    _STEP = 1.0  # seconds of difference; less is slewing, and the doubt of the measurements
    _PROMPT = 0.5  # seconds that a measurement may take; a slower one says too little
    _YOUNG = 120.0  # seconds back to which a measurement is compared: two clocks differ by far less than _STEP by then

    def __init__(self) -> None:
        """Begin without a measurement."""
        self._last: tuple[float, float] | None = None

    def stepped(self, shared: float, before: float, after: float) -> bool:
        """Tell whether Redis' clock, which said `shared`, was set since the last measurement.

        `before` and `after` are monotonic times around this one; all in seconds.
        """
        last, self._last = self._last, None
        if after - before > self._PROMPT:
            return False
        here = (before + after) / 2
        self._last = (shared, here)
        if last is None or here - last[1] > self._YOUNG:
            return False
        return abs((shared - last[0]) - (here - last[1])) > self._STEP


class FakeClock:
    """A clock that only moves when told to: `advance`, or somebody's `sleep`. For tests and simulation."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        """Start at `start` epoch seconds."""
        self._now = start
        self._timers: list[tuple[float, threading.Event]] = []

    def now(self) -> float:
        """Return the fake epoch seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the same; it never goes back either."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Advance at once."""
        self.advance(seconds)

    def after(self, seconds: float) -> threading.Event:
        """Return an event that `advance` sets when it passes the time."""
        event = threading.Event()
        self._timers.append((self._now + seconds, event))
        self.advance(0.0)
        return event

    def advance(self, seconds: float) -> None:
        """Move time on and set the events that have become due. Raises `ValueError` for a step back."""
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} seconds: time does not go back")
        self._now += seconds
        for due, event in self._timers:
            if due <= self._now:
                event.set()
        self._timers = [timer for timer in self._timers if not timer[1].is_set()]
