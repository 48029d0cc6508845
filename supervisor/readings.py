"""What is to be made of a collector's readings: which are news, and which are none to believe. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from supervisor.model import ChildObserved
from workers.model import Document, Observed

KEPT_ASIDE = 4096  # characters of a rejected reading, the last of each place
_RESTLESS = frozenset(  # fields that change with every look and are no news
    {"collected_at", "started_at", "last_exit", "messages_in", "messages_out", "messages_in_per_second", "passes"}
    | {"messages_out_per_second", "write_ms", "window", "samples", "latency_ms", "answer"}
)


class Rejected(msgspec.Struct, frozen=True):
    """A reading that is not believed: `reason` is a metric's label, `why` is for people, `text` is what is kept."""

    reason: str
    why: str
    text: str


def check(seen: object) -> Rejected | None:
    """Return why a look's result is none to believe: of another form, or with a number that cannot be."""
    if not isinstance(seen, Observed | ChildObserved):
        return Rejected("unreadable", f"{type(seen).__name__} is no observation", repr(seen)[:KEPT_ASIDE])
    try:
        plain = msgspec.to_builtins(seen, enc_hook=float)
        msgspec.convert(plain, type(seen))
    except (TypeError, ValueError) as error:
        return Rejected("unreadable", str(error), repr(seen)[:KEPT_ASIDE])
    for name, number in _numbers("", plain):
        if not math.isfinite(number) or number < 0:
            return Rejected("absurd", f"{name} is {number}", repr(seen)[:KEPT_ASIDE])
    return None


def _numbers(name: str, value: object) -> Iterator[tuple[str, float]]:
    """Yield every number in plain data with the name of the field that holds it; none may be negative."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(str(key), inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(name, inner)
    elif isinstance(value, int | float):
        yield name, value


def unknown(
    item: str, collected_at: float, previous: Observed | ChildObserved | None, error: str
) -> Observed | ChildObserved:
    """Return a fresh observation that knows nothing but why."""
    if isinstance(previous, ChildObserved) or item.startswith("child/"):
        failures = previous.failures if isinstance(previous, ChildObserved) else 0
        return ChildObserved(collected_at=collected_at, failures=failures, unknown=True, error=f"unknown: {error}")
    return Observed(collected_at=collected_at, error=error)


def news(document: Document) -> dict[str, object]:
    """Return what of an observation matters to a tick: all but what changes with every look."""
    plain = msgspec.structs.asdict(document)
    return {name: value for name, value in plain.items() if name not in _RESTLESS}
