"""Writes the tables of docs/observability.md from the code: `python -m tests.observability [--check]`.

A table stands between two marks, `<!-- NAME: generated -->` and `<!-- NAME: end -->`; the text around is people's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from supervisor.logschema import COMMON, EVENTS, FIELDS, Event, words
from supervisor.metrics import COUNTERS, GAUGES, HISTOGRAMS, Counter, Gauge, Histogram
from tests.monitoring import alerts

PAGE = Path(__file__).parent.parent / "docs" / "observability.md"


def metrics() -> Iterator[str]:
    """Yield the lines of the table of metrics."""
    yield "| metric | type | labels | what it tells |"
    yield "|---|---|---|---|"
    for metric in (*GAUGES, *COUNTERS, *HISTOGRAMS):
        labels = [*([] if isinstance(metric, Gauge) and metric.of_store else ["supervisor"]), *metric.labels]
        shown = ", ".join(f"`{label}`" for label in labels)
        kind = type(metric).__name__.lower()
        yield f"| `{metric.name}` | {kind} | {shown} | {metric.help}{_more(metric)} |"


def _more(metric: Counter | Histogram | Gauge) -> str:
    """Return a metric's buckets, and the values that its label can have."""
    more = ""
    if isinstance(metric, Histogram):
        more += "; buckets " + " ".join(f"{bound:g}" for bound in metric.buckets)
    if not isinstance(metric, Gauge) and metric.values:
        more += f"; {metric.labels[0]}: " + ", ".join(f"`{value}`" for value in metric.values)
    return more


def events() -> Iterator[str]:
    """Yield the lines of the table of log events."""
    yield "| event | level | message | scope | fields |"
    yield "|---|---|---|---|---|"
    for name in sorted(EVENTS):
        event = EVENTS[name]
        yield f"| `{name}` | {event.level} | {event.message} | {event.scope} | {_fields(event)} |"
    yield "| `library.said` | any | the library's | infrastructure | `logger`, *others of the library's* |"


def _fields(event: Event) -> str:
    return ", ".join([*(f"`{field}`" for field in event.fields), *(f"*`{field}`*" for field in event.optional)])


def fields() -> Iterator[str]:
    """Yield the lines of the table of the fields of log lines."""
    yield "| field | values | unit | meaning |"
    yield "|---|---|---|---|"
    for name in (*COMMON, *sorted(FIELDS.keys() - set(COMMON))):
        yield f"| `{name}` | {words(FIELDS[name].kind)} | {FIELDS[name].unit} | {FIELDS[name].meaning} |"


def fired() -> Iterator[str]:
    """Yield the lines of the table of alerts."""
    yield "| alert | severity | for | what it says |"
    yield "|---|---|---|---|"
    for alert in alerts():
        name, runbook = alert["alert"], f"runbooks.md#{alert['alert'].lower()}"
        severity, after = alert["labels"]["severity"], alert.get("for", "")
        yield f"| [`{name}`]({runbook}) | {severity} | {after} | {alert['annotations']['summary']} |"


TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "metrics": metrics,
    "events": events,
    "fields": fields,
    "alerts": fired,
}


def filled(page: str) -> str:
    """Return a page with its tables as the code is now. Raises `ValueError` when a table's marks are not there."""
    for name, lines in TABLES.items():
        begin, end = f"<!-- {name}: generated -->\n", f"<!-- {name}: end -->"
        before, opened, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not opened or not closed:
            raise ValueError(f"{PAGE} has no table {name!r}: expected {begin.strip()} and {end}")
        page = before + begin + "\n".join(lines()) + "\n" + end + after
    return page


def main() -> int:
    """Write the page, or with --check compare it; return the exit code."""
    page = PAGE.read_text()
    if page == filled(page):
        return 0
    if "--check" not in sys.argv:
        PAGE.write_text(filled(page))
        return 0
    sys.stderr.write(f"{PAGE} is stale: run `make diagrams`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
