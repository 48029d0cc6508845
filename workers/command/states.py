"""The machine of what is run by commands: the process machine, judged by what the status command says. Pure."""

from __future__ import annotations

import msgspec

from workers.model import Observed, Signal, Snapshot, Transition
from workers.process import states as process


class CommandObserved(Observed, frozen=True, kw_only=True):
    """What the status command said. It has no pid; `started_at` is when it was first seen to run.

    `last_exit` is the first look that saw it not running any more; nobody knows more exactly when it ended, or how.
    """

    running: bool = False


MACHINE = process.MACHINE


def derive(snapshot: Snapshot, now: float) -> Transition:
    """Return what is needed next, from one fresh snapshot."""
    observed = process.require_observed(snapshot)
    condition, reason = classify(snapshot, observed)
    return MACHINE.step(snapshot.status.state, condition, reason, signal_of(snapshot, observed, now))


def classify(snapshot: Snapshot, observed: Observed) -> tuple[process.Condition, str]:
    """Return the condition of a snapshot and the reason in words."""
    ended = observed.last_exit
    why = "it has not been seen to run yet"
    if ended is not None:
        why = f"it was seen to run for {ended.ended_at - ended.started_at:.1f}s and then not any more"
    return process.condition_of(snapshot, "it" if is_running(observed) else None, observed.config_id, why)


def is_running(observed: Observed) -> bool:
    """Tell whether the status command said that it runs."""
    return isinstance(observed, CommandObserved) and observed.running


def signal_of(snapshot: Snapshot, observed: Observed, now: float) -> Signal:
    """Return what became known about incarnations.

    Only an end seen since the present state began, and not while it was being stopped, is one that nobody asked for:
    the status command cannot tell who ended it.
    """
    ended, status = observed.last_exit, snapshot.status
    if ended is not None and (snapshot.wants_stop or status.state == "stopping" or ended.ended_at <= status.since):
        observed = msgspec.structs.replace(observed, last_exit=None)
    return process.signal_of(snapshot, observed, now)
