"""Exponential backoff. Pure; nobody sleeps: callers compare the result with the time."""

from __future__ import annotations

from supervisor.model import BACKOFF_BASE, BACKOFF_CAP


def delay(attempts: int) -> float:
    """Return the seconds to wait after `attempts` tries in a row: 0, then 1, 2, 4 … 60 (SPEC 4.2, 4.3)."""
    if attempts <= 0:
        return 0.0
    return min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempts - 1, 32))
