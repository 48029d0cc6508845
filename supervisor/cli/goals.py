"""What can be waited for: a target, and what is wanted of it. Pure over the rows that `fsmctl get` shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from supervisor.keys import SUPERVISOR, queue_of

FIELDS = {
    "worker": ("state", "phase", "desired", "node", "action"),
    "child": ("verdict",),
    "circuit": ("state",),
    "node": ("status",),
    "queue": (),
}
_CONDITIONED = ("worker", "child")
_QUEUES = (SUPERVISOR, "actions")
EMPTY = "empty"
ALL_WORKERS = ("*",)  # as targets


@dataclass(frozen=True)
class Goal:
    """One thing that is wanted of one target, or of all of a kind (name ""): `field` has `value`, or is (not) held.

    An action of value "none" is no action in progress; "no-condition" without a value is no condition at all.
    """

    kind: str
    name: str
    field: str
    value: str = ""

    @property
    def target(self) -> str:
        """Return whom it is about, as people write it."""
        return f"{self.kind}/{self.name}"

    @property
    def wanted(self) -> str:
        """Return what is wanted, as people write it."""
        return f"{self.field}={self.value}" if self.value else self.field

    def is_met(self, row: dict[str, Any]) -> bool:
        """Tell whether a row is as wanted. A worker's state and phase count only while they are more than a memory."""
        seen = self._value(row)
        if self.field == EMPTY:
            return seen == "0"
        if self.field == "condition":
            return self.value in _held(row)
        if self.field == "no-condition":
            return not (_held(row) if not self.value else self.value in _held(row))
        return seen == self.value and (self.value == "unknown" or self.field == "action" or _is_current(row))

    def seen(self, row: dict[str, Any]) -> str:
        """Return what a row has instead, in words."""
        if self.field == EMPTY:
            return f"{self._value(row)} in it"
        if self.field.endswith("condition"):
            return f"conditions {', '.join(_held(row)) or 'none'}"
        return f"{self.field}={self._value(row)}" + (f" ({row['reason']})" if row.get("reason") else "")

    def _value(self, row: dict[str, Any]) -> str:
        if self.field == EMPTY:
            return str(row["messages"] + row["queued"])
        if self.field == "action":
            return str(row["action"]["name"]) if row["action"] else "none"
        return str(row.get(self.field))


def _held(row: dict[str, Any]) -> list[str]:
    return [condition["type"] for condition in row["conditions"]]


def _is_current(row: dict[str, Any]) -> bool:
    """Tell whether a worker's row was seen lately, and nothing seen is about to change it."""
    return row.get("phase") != "unknown" and row.get("next_state") is None


def make_goals(targets: Sequence[str], conditions: Sequence[str]) -> list[Goal]:
    """Return what is wanted of whom. Raises `UsageError` naming what fits nothing.

    `circuit=STATE`, of every supervisor whose name is then "", and `queue=NAME`, which is empty then, need no target.
    """
    alone = [condition for condition in conditions if condition.partition("=")[0] in ("circuit", "queue")]
    others = [condition for condition in conditions if condition not in alone]
    goals = [_of_all(condition) for condition in alone]
    if others and not targets:
        raise click.UsageError(f"{others[0]!r} is wanted of nobody: expected targets, as worker/ID, or --all")
    if targets and not others:
        raise click.UsageError(f"nothing is wanted of {targets[0]!r}: expected --for FIELD=VALUE")
    return [*goals, *(_goal(*_target(text), condition) for text in targets for condition in others)]


def _of_all(condition: str) -> Goal:
    field, _, value = condition.partition("=")
    if not value:
        raise click.UsageError(f"{condition!r} is not complete: expected circuit=STATE or queue=NAME")
    return Goal("circuit", "", "state", value) if field == "circuit" else Goal("queue", queue_name(value), EMPTY)


def queue_name(text: str) -> str:
    """Return the queue that a node's name, `actions.NODE`, `actions` or `supervisor` means."""
    return text if text in _QUEUES or text.startswith("actions.") else queue_of(text)


def _target(text: str) -> tuple[str, str]:
    kind, slash, name = text.partition("/")
    if text in ALL_WORKERS:
        return "worker", ""
    if not slash:
        return "worker", text
    if kind not in FIELDS or not name:
        expected = ", ".join(f"{kind}/NAME" for kind in FIELDS)
        raise click.UsageError(f"{text!r} is not something to wait for: expected {expected}")
    return kind, queue_name(name) if kind == "queue" else name


def _goal(kind: str, name: str, condition: str) -> Goal:
    field, equals, value = condition.partition("=")
    conditioned = kind in _CONDITIONED and (field == "no-condition" or (field == "condition" and value))
    whole = bool(value) or (field == "no-condition" and not equals) or field == EMPTY
    known = field in FIELDS[kind] or conditioned or (kind == "queue" and condition == EMPTY)
    if not known or not whole:
        raise click.UsageError(f"{condition!r} cannot be waited for on a {kind}: expected {_expected(kind)}")
    return Goal(kind, name, field, value)


def _expected(kind: str) -> str:
    words = [f"{field}=VALUE" for field in FIELDS[kind]]
    words += ["condition=TYPE", "no-condition"] if kind in _CONDITIONED else []
    return " or ".join(words or [EMPTY])


def told(unmet: Iterable[tuple[Goal, str]], most: int = 3) -> str:
    """Return what is not as wanted yet, in a sentence: the first few, and how many more."""
    words = [f"{goal.target} is not {goal.wanted}: seen {seen}" for goal, seen in unmet]
    more = f"; and {len(words) - most} more" if len(words) > most else ""
    return "; ".join(words[:most]) + more
