"""Which decisions a tick keeps for `fsmctl replay`: those of workers for which something has really changed.

Each process that ticks remembers on its own what it saw last, so one change may be kept once for each of them. A worker
that a process sees for the first time is kept only if something is done about it.
"""

from __future__ import annotations

from collections.abc import Collection

from supervisor.frames import NOTHING, Mark, frame_of, mark_of, outcomes
from supervisor.plan import Plan, Subject, View
from supervisor.store import encode

MOST_A_TICK = (
    200  # frames; what has changed beyond is compared again by the next tick, so that a storm costs none its time
)
MOST_TEXT = 8192  # characters of a frame; one that is longer is not kept


class Recorder:
    """What one process saw last of each worker, by supervisor."""

    def __init__(self) -> None:
        """Begin without a memory."""
        self._seen: dict[str, dict[str, int]] = {}  # the hash of a mark, which holds a kilobyte

    def frames(self, supervisor: str, view: View, plan: Plan, places: Collection[str]) -> dict[str, str]:
        """Return the frames to keep of a plan that was made for a view, as stored, by worker.

        The view may be of some workers alone; `places` has all there are, and the others are not remembered.
        """
        seen, found = self._seen.setdefault(supervisor, {}), outcomes(plan)
        acted = {step.subject.id for step in plan.steps}
        others: dict[str, Subject] = {}
        kept: dict[str, str] = {}
        for subject in view.subjects:
            outcome = found.get(subject.id, NOTHING)
            snapshot = subject.snapshot
            if snapshot is None or seen.get(subject.id) == (mark := _digest(mark_of(subject, snapshot, outcome))):
                continue
            is_news = subject.id in seen or subject.id in acted
            if is_news and len(kept) >= MOST_A_TICK:
                continue
            seen[subject.id] = mark
            if is_news:
                others = others or {one.id: one for one in view.subjects}
                kept[subject.id] = encode(frame_of(subject, snapshot, view, others, outcome))
        if len(seen) > len(places):
            self._seen[supervisor] = {item: mark for item, mark in seen.items() if item in places}
        return {item: text for item, text in kept.items() if len(text) <= MOST_TEXT}


def _digest(mark: Mark) -> int:
    """Return a number for a mark, also where a type observes what cannot be hashed, such as a dict."""
    try:
        return hash(mark)
    except TypeError:
        return hash(repr(mark))
