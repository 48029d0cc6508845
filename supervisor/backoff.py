"""Exponential backoff. Pure; nobody sleeps: callers compare the result with the time."""

from __future__ import annotations

import zlib

from supervisor.model import BACKOFF_BASE, BACKOFF_CAP


def delay(attempts: int) -> float:
    """Return the seconds to wait after `attempts` tries in a row: 0, then 1, 2, 4 … 60 (SPEC 4.2, 4.3)."""
    if attempts <= 0:
        return 0.0
    return min(BACKOFF_CAP, BACKOFF_BASE * 2.0 ** min(attempts - 1, 32))


def jittered(attempts: int, jitter: float, who: str) -> float:
    """Return the delay prolonged by up to the fraction `jitter`, so that those who failed together come back apart.

    By how much follows from `who` and `attempts`: every tick and every reader comes to the same time.
    """
    share = zlib.crc32(f"{who}/{attempts}".encode()) / 2**32  # 0 ≤ share < 1
    return delay(attempts) * (1.0 + jitter * share)
