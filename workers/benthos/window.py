"""What has passed through a Benthos over the last while, from the counters of earlier looks. Pure."""

from __future__ import annotations

import msgspec

_STEPS = 12  # samples kept of a window: what is counted is at most a twelfth longer than asked for


class Sample(msgspec.Struct, frozen=True):
    """Counters since the start of a life, as they were `at` (epoch seconds)."""

    at: float
    received: int = 0
    sent: int = 0
    errors: int = 0


class Window(msgspec.Struct, frozen=True):
    """What has passed within `seconds`; 0 of them at the first look."""

    seconds: float = 0.0
    received: int = 0
    sent: int = 0
    errors: int = 0

    @property
    def tried(self) -> int:
        """Return how many messages were sent, or failed to be."""
        return self.sent + self.errors

    @property
    def error_rate(self) -> float:
        """Return the fraction of what was tried that failed."""
        return self.errors / self.tried if self.tried else 0.0

    @property
    def passes(self) -> bool:
        """Tell whether any message came or went."""
        return self.received > 0 or self.sent > 0


def keep(earlier: tuple[Sample, ...], now: Sample, length: float) -> tuple[Sample, ...]:
    """Return the samples that later looks will need; `length` is the window's, in seconds.

    The first is the newest that is as old as the window, if there is one. Counters that went back begin anew.
    """
    if earlier and not _follows(now, earlier[-1]):
        earlier = ()
    old = [sample for sample in earlier if now.at - sample.at >= length]
    kept = (*old[-1:], *earlier[len(old) :])
    if not kept or now.at - kept[-1].at >= length / _STEPS:
        kept = (*kept, now)
    return kept


def _follows(now: Sample, before: Sample) -> bool:
    """Tell whether no counter, nor the time, went back."""
    both = zip(msgspec.structs.astuple(now), msgspec.structs.astuple(before), strict=True)
    return all(after >= earlier for after, earlier in both)


def between(first: Sample, now: Sample) -> Window:
    """Return what has passed since `first`."""
    return Window(
        seconds=now.at - first.at,
        received=now.received - first.received,
        sent=now.sent - first.sent,
        errors=now.errors - first.errors,
    )
