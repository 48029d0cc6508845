"""Consistency rules: what observations that are right one by one say together. Pure.

A rule finds a worker at fault, and gives it a new life when that has lasted: the broker is well, and a flow that
depends on it has no connection to it. Rules are declared in the fleet file, or come from Python (entry points in the
group `fsm_supervisor.rules`): anything with a `name`, `lasts` and `finds`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from actions.restart import Restart
from supervisor.circuit import Verdict
from supervisor.failures import count_failure
from supervisor.model import DeclaredRule, SupervisorSettings
from workers.duration import ago
from workers.model import Snapshot, Status, Transition


class Rule(Protocol):
    """What a rule is. `lasts`: the seconds for which it has to find the same worker at fault."""

    @property
    def name(self) -> str:
        """Return its name, without a colon."""

    @property
    def lasts(self) -> float:
        """Return the seconds."""

    def finds(self, snapshot: Snapshot, verdicts: Mapping[str, Verdict]) -> str:
        """Return why the worker, which runs and was just observed, is at fault; "" if it is not."""


class Declared(msgspec.Struct, frozen=True):
    """A rule of the fleet file: the child is ok, or failed, and a worker of that type that depends on it is seen so."""

    of: DeclaredRule

    @property
    def name(self) -> str:
        """Return its name."""
        return self.of.name

    @property
    def lasts(self) -> float:
        """Return the seconds."""
        return self.of.lasts

    def finds(self, snapshot: Snapshot, verdicts: Mapping[str, Verdict]) -> str:
        """Return why the worker is at fault, with the values that say so."""
        if snapshot.identity.type != self.of.worker_type or self.of.child not in snapshot.desired.depends_on:
            return ""
        verdict = verdicts.get(self.of.child)
        seen = {name: getattr(snapshot.observed, name, None) for name in self.of.observed}
        if verdict is None or verdict.state != self.of.child_is or seen != self.of.observed:
            return ""
        values = ", ".join(f"{name} is {value}" for name, value in seen.items())
        return f"child {self.of.child} is {self.of.child_is} and {values}"


class Found(msgspec.Struct, frozen=True):
    """A rule that found a worker at fault, and why."""

    rule: Rule
    why: str


def find(rules: Sequence[Rule], snapshot: Snapshot, verdicts: Mapping[str, Verdict]) -> Found | None:
    """Return the first rule that finds the worker at fault. Raises whatever a rule from Python raises."""
    found = (Found(rule, why) for rule in rules if (why := rule.finds(snapshot, verdicts)))
    return next(found, None)


def note(status: Status, found: Found | None, now: float) -> Status:
    """Return the status with the fault that was found, since when the same rule finds it; or without one."""
    name = found.rule.name if found else ""
    if status.fault.partition(":")[0] == name:
        return status
    text = f"{name}: {found.why}" if found else ""
    return msgspec.structs.replace(status, fault=text, fault_since=now if found else 0.0)


def restart(
    snapshot: Snapshot, status: Status, found: Found, settings: SupervisorSettings, now: float
) -> tuple[Transition, Status] | None:
    """Return the restart of a worker whose fault has lasted, for as long as this incarnation runs, too; else None.

    None, too, where a child is said to have failed and the worker says that it has not: which of the two is wrong
    nobody knows, and the child is being restarted already.

    It counts as a failure, once for each incarnation: a worker that is at fault again and again is quarantined.
    """
    observed = snapshot.observed
    if observed is None or not _mends(found.rule):
        return None
    since = max(status.fault_since, observed.started_at or 0.0)
    if now - since < found.rule.lasts:
        return None
    action = Restart(failed_pid=observed.pid or 0, failed_start_ticks=observed.start_ticks)
    why = f"rule {found.rule.name}: {found.why} for {ago(now - since)}"
    life = f"{observed.pid}-{observed.start_ticks}-{since:.3f}"
    if status.fault_counted != life:
        status = count_failure(msgspec.structs.replace(status, fault_counted=life), now, why, settings, now)
    return Transition(reason=why, action=action), status


def _mends(rule: Rule) -> bool:
    """Tell whether a new life of the worker can mend what a rule finds."""
    return not isinstance(rule, Declared) or rule.of.child_is == "ok"
