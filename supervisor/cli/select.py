"""Which rows of a list are shown, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from supervisor.cli.matching import pick
from supervisor.errors import UsageError
from workers.model import KNOWN_LABELS

Row = dict[str, Any]
# What a column shows as an age is sorted by the number behind it; "-": by when it began, the youngest first.
_BEHIND = {
    "observed_age": "observed_age_seconds",
    "heartbeat_age": "heartbeat_age_seconds",
    "collector_age": "collector_age_seconds",
    "clock_skew": "clock_skew_seconds",
    "state_age": "-since",
    "age": "-claimed_at",
    "opened": "-opened_at",
    "took": "duration_seconds",
    "duration": "duration_seconds",
    "downtime": "downtime_seconds",
    "until": "deadline_in_seconds",
    "oldest": "oldest_seconds",
}
MOVING = frozenset((*_BEHIND, *_BEHIND.values()))  # keys that change by themselves: no news


@dataclass(frozen=True)
class Filter:
    """What is asked for; an empty part asks for anything. `labels` are (key, value, wanted or not)."""

    labels: tuple[tuple[str, str, bool], ...] = ()
    states: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


def parse_labels(texts: Iterable[str]) -> tuple[tuple[str, str, bool], ...]:
    """Return what `key=value` and `key!=value`, several with commas between, ask for. Raises `UsageError`."""
    found = []
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        key, sign, value = text.partition("=")
        if not sign or not key.strip("!"):
            raise UsageError(f"label {text!r}: expected key=value or key!=value, as line=1 or node!=edge-2")
        found.append((key.removesuffix("!"), value, not key.endswith("!")))
    return tuple(found)


def parse_words(texts: Iterable[str]) -> frozenset[str]:
    """Return the words of an option that may be repeated, or hold several with commas between."""
    return frozenset(word.strip() for text in texts for word in text.split(",") if word.strip())


def chosen(rows: Iterable[Row], asked: Filter, state: str) -> list[Row]:
    """Return the rows that fit; `state` is the key of their state. Raises `UsageError` for what they do not have."""
    return [
        row
        for row in rows
        if (not asked.states or row[state] in asked.states)
        and (not asked.phases or _of(row, "phase", "--phase") in asked.phases)
        and (not asked.nodes or _node(row) in asked.nodes)
        and (not asked.labels or _has(row, asked.labels))
    ]


def _of(row: Row, key: str, option: str) -> object:
    if key not in row:
        raise UsageError(f"{option} is for workers alone: nothing else has a phase")
    return row[key]


def _node(row: Row) -> object:
    """Return the node that a row is of: a node itself by its name."""
    if "node" in row:
        return row["node"]
    if "heartbeat_age" in row:
        return row["name"]
    raise UsageError("--node is for what is on a node: a circuit or an incident is of the whole supervisor")


def _has(row: Row, labels: Sequence[tuple[str, str, bool]]) -> bool:
    own: Mapping[str, str] = row.get("labels", {})
    return all(
        ((row.get(key) if key in KNOWN_LABELS else own.get(key)) == value) is wanted for key, value, wanted in labels
    )


def named(rows: Sequence[Row], names: Iterable[str], keys: Collection[str], what: str) -> list[Row]:
    """Return the rows that are named, each by one of `keys`, whole or by its beginning. Raises as `pick`."""
    wanted = {pick(what, name, {str(row[key]) for row in rows for key in keys}) for name in names}
    return [row for row in rows if not wanted.isdisjoint(str(row[key]) for key in keys)]


def ordered(rows: Sequence[Row], by: str, columns: Sequence[tuple[str, str]]) -> list[Row]:
    """Return the rows by a column's heading or a key of the JSON, what has none last; "-" before it: the largest first.

    Raises `UsageError` for what is neither.
    """
    if not rows:
        return []
    word = by.removeprefix("-").lower()
    key = next((key for heading, key in columns if heading.lower() == word), word)
    turned, key = _behind(key)
    if key not in rows[0]:
        known = [heading.lower() for heading, _ in columns]
        raise UsageError(f"cannot sort by {word!r}: expected one of {', '.join(known)}, or a key of -o json")
    there = [row for row in rows if row[key] is not None]
    there.sort(key=lambda row: _comparable(row[key]), reverse=by.startswith("-") is not turned)
    return there + [row for row in rows if row[key] is None]


def _behind(key: str) -> tuple[bool, str]:
    """Return the key whose values are sorted, and whether its order is the other way round."""
    behind = _BEHIND.get(key, key)
    return behind.startswith("-"), behind.removeprefix("-")


def _comparable(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else msgspec.json.encode(value)


def by_identity(rows: Iterable[Row], name: str) -> dict[tuple[Any, str], Row]:
    """Return the rows by what tells them apart: supervisor, if they have one, and name, whose key is `name`."""
    return {(row.get("supervisor"), row[name]): row for row in rows}


def changed(rows: Iterable[Row], before: Iterable[Row], name: str) -> list[Row]:
    """Return the rows that are new or say something new beside how old they are; `name` is the key of their names."""
    seen = by_identity(before, name)
    return [row for key, row in by_identity(rows, name).items() if _news(row) != _news(seen.get(key))]


def _news(row: Row | None) -> Row | None:
    return None if row is None else {key: value for key, value in row.items() if key not in MOVING}
