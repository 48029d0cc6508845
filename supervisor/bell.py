"""When a mark that rings may wake a tick: soon, but not at once after another pulse, and not too often. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from supervisor.model import TICK_DEBOUNCE

GAP = TICK_DEBOUNCE + 0.02  # seconds after a pulse: within the debounce its tick's gate lets no other start
COST = 0.2  # seconds of credit that a woken pulse takes: five a second can be kept up, however often it rings
MOST = 5 * COST  # seconds of credit at most: after a rest, so many pulses follow each other as fast as `GAP` lets them


@dataclass
class Bell:
    """What has rung, and the credit for pulses that nobody has scheduled. Times are monotonic seconds."""

    is_rung: bool = False
    _credit: float = MOST
    _counted_at: float = 0.0
    _last: float = -math.inf

    def ring(self) -> None:
        """Something was marked."""
        self.is_rung = True

    def due(self, now: float) -> float:
        """Return when the pulse for what has rung may be sent; infinity when nothing has."""
        if not self.is_rung:
            return math.inf
        missing = COST - self._credit_at(now)
        return max(self._last + GAP, now + missing if missing > 0 else now)

    def pulsed(self, now: float, is_scheduled: bool) -> None:
        """Take note of a pulse, which answers what has rung; one that was scheduled anyway costs nothing."""
        self._credit, self._counted_at = self._credit_at(now), now
        if not is_scheduled:
            self._credit -= COST
        self._last, self.is_rung = now, False

    def _credit_at(self, now: float) -> float:
        return min(MOST, self._credit + now - self._counted_at)
