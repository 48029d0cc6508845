"""Messages that an executor refused: told in the log, and counted in Redis by the place that refused them."""

from __future__ import annotations

import queue
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from supervisor.envelope import Untrusted
from supervisor.keys import POOL, SUPERVISOR
from supervisor.logs import REPEAT_EVERY, RawLog
from supervisor.store import Store

log = RawLog()
_LINES = 20  # lines in the log per reason and `REPEAT_EVERY`; each says how many there were before
_LONGEST = 100  # characters of what a stranger says


@dataclass
class Refusals:
    """What one executor has refused. The thread that consumes adds, the attendant's counts."""

    monotonic: Callable[[], float]
    process: str = field(default_factory=lambda: uuid.uuid4().hex)
    _new: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)
    _waiting: Counter[str] = field(default_factory=Counter)
    _sent: Counter[str] = field(default_factory=Counter)
    _number: int = 1
    _told: Counter[str] = field(default_factory=Counter)
    _lines: Counter[str] = field(default_factory=Counter)
    _since: float = 0.0

    def add(self, refused: Untrusted, said: Mapping[str, object]) -> None:
        """Take up a refusal. `said` is what the message says of itself; it may be anything."""
        reason = refused.reason.value
        self._new.put(reason)
        self._told[reason] += 1
        now = self.monotonic()
        if now - self._since >= REPEAT_EVERY:
            self._since, self._lines = now, Counter()
        self._lines[reason] += 1
        if self._lines[reason] <= _LINES:
            words = {name: str(value)[:_LONGEST] for name, value in said.items()}
            error = str(refused)[: 3 * _LONGEST]
            log.tell("message.refused", reason=reason, error=error, count=self._told[reason], **words)

    def count(self, store: Store, place: str) -> None:
        """Count what is not counted yet. Redis' errors pass through: the next call counts the same then, once."""
        counted = self._sent or self.uncounted()
        if not counted:
            return
        where = counted_at(store, place)
        if where is None:
            return  # nothing is applied yet, so there is nowhere to count
        keys, at = store.keys(where[0]), where[1]
        self._sent = counted.copy()
        counts = [one for pair in sorted(counted.items()) for one in pair]
        names = [keys.counters(at), keys.refused(at, self.process)]
        store.scripts.run("refuse", names, [self._number, *counts])
        self._number += 1
        self._waiting -= self._sent
        self._sent = Counter()

    def uncounted(self) -> Counter[str]:
        """Return what is not counted yet, by reason."""
        while not self._new.empty():
            self._waiting[self._new.get()] += 1
        return self._waiting


def counted_at(store: Store, place: str) -> tuple[str, str] | None:
    """Return the supervisor and the place that a place's refusals are counted at: the first that has that place.

    What a message says of itself does not matter. What nobody has is counted at the pool; None without a supervisor.
    """
    names = store.supervisors()
    for name in names:
        index = store.index(name)
        if index is not None and place in (*index.places_used, SUPERVISOR):
            return name, place
    return (names[0], POOL) if names else None
