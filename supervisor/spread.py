"""Which looks begin now: what is asked for, and of what is due as much as keeps looks evenly spread. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

START_EVERY = 0.05  # seconds between looks at what is due
_AT_ONCE = 4  # looks that may always begin together; more do in proportion to how many there are
_HASTE = 1.5  # times the looks a second that are needed, so that what was held up catches up

Key = tuple[str, str]  # supervisor, id of a worker or child


@dataclass(frozen=True)
class Round:
    """The looks of one supervisor: each id with the time from which on it is due, again after `interval` seconds."""

    interval: float
    due: Mapping[str, float]


def to_begin(rounds: Mapping[str, Round], asked: Collection[Key], running: Collection[Key], now: float) -> list[Key]:
    """Return what to look at now, of the `rounds` of all supervisors; nothing that is being looked at already.

    A thousand looks begun at once would wait for each other until they seem to have timed out.
    """
    urgent: list[Key] = []
    due: list[tuple[float, Key]] = []
    for supervisor, looks in rounds.items():
        for item, at in looks.due.items():
            key = (supervisor, item)
            if key in running:
                continue
            if key in asked:
                urgent.append(key)
            elif at <= now:
                due.append((at, key))
    due.sort()
    looks_a_second = sum(len(looks.due) / looks.interval for looks in rounds.values())
    most = _AT_ONCE + math.ceil(_HASTE * looks_a_second * START_EVERY)
    return urgent + [key for _, key in due[:most]]
