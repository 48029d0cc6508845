"""The verdict on a child, from what its collector saw. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.circuit import Verdict
from supervisor.model import ChildObserved, ChildSpec, Lease
from workers.duration import ago
from workers.model import STALE_AFTER

_SHOWN = 5  # names that a sentence says


def judge(spec: ChildSpec, seen: ChildObserved | None, node_away: bool, last: Lease | None, now: float) -> Verdict:
    """Return the verdict on one child at `now` (epoch seconds). Pure."""
    if node_away:
        return Verdict("unknown", f"node {spec.node} is away")
    if seen is None:
        return Verdict("unknown", "not observed yet")
    age = now - seen.collected_at
    if age >= STALE_AFTER:
        return Verdict("unknown", f"last observed {ago(age)} ago")
    if last is not None and last.ended_at is not None and seen.collected_at <= last.ended_at:
        return Verdict("starting", f"not observed since its {last.action} ended")
    return _judge_seen(spec, seen, now)


def _judge_seen(spec: ChildSpec, seen: ChildObserved, now: float) -> Verdict:
    """Judge by a fresh look."""
    if seen.unknown:
        return Verdict("unknown", seen.error or "the look failed")
    if not seen.started:
        return Verdict("absent", "not started yet")
    return _judge_started(spec, seen, now)


def _judge_started(spec: ChildSpec, seen: ChildObserved, now: float) -> Verdict:
    if spec.process is not None and seen.pid is None:
        return Verdict("failed", seen.error or "its process is gone")
    if seen.failures == 0:
        return _judge_passing(spec, seen)
    why = seen.error or "check failed"
    if seen.started_at is not None and now - seen.started_at < spec.start_grace:
        return Verdict("starting", why)
    if seen.failures < spec.check.failures:
        return Verdict("unknown", f"{seen.failures} of {spec.check.failures} looks failed: {why}")
    return Verdict("failed", why)


def _judge_passing(spec: ChildSpec, seen: ChildObserved) -> Verdict:
    """Judge one whose last look passed; too few in a row are no news yet, neither good nor bad."""
    if seen.passes < spec.check.successes:
        return Verdict("unknown", f"{seen.passes} of {spec.check.successes} looks passed")
    words = f"pid {seen.pid} passes its check" if seen.pid else "passes its check"
    detail = f"{words}: {seen.detail}" if seen.detail else words
    missing = [topic.name for topic in spec.topics if topic.name in seen.missing]
    lacks = f"topics {_named(missing)}" if missing else ""
    return Verdict("ok", f"{detail}; lacks {lacks}" if lacks else detail, lacks)


def _named(names: Sequence[str]) -> str:
    """Return names for a sentence, which says a few of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
