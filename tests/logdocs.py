"""Writes docs/logs.md from the schema of log lines: `python -m tests.logdocs [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor.logs import REPEAT_EVERY
from supervisor.logschema import COMMON, EVENTS, FIELDS, Event, words

PAGE = Path(__file__).parent.parent / "docs" / "logs.md"
HEAD = f"""# Log events

Generated from `supervisor/logschema.py` by `make diagrams`; `make lint` fails when this page is stale.

Every process writes one line of JSON to stderr for each event (`FSM_LOG_FORMAT=console`: readable colour instead), from
`FSM_LOG_LEVEL` on. An event has one level and one message, which never change; every line has `timestamp`, `level`,
`event`, `message`, `error_scope` and `impact`, and in a trace `trace_id` and `span_id`. What is about a child is of the
scope infrastructure, whoever says it. Redis and Flower write lines of their own.

A condition that lasts is said when it begins or its `reason` changes, then every {REPEAT_EVERY:g} s with a `count`, and
as `EVENT.over` when it has ended. Lines of Celery and other libraries are the event `library.said`, with the library's
`logger`. Passwords in URLs, and what a text calls a password or secret, are written as `***`.

Fields in *italics* are there where they are known.

| event | level | message | scope | fields |
|---|---|---|---|---|
"""
FIELDS_HEAD = """
## Fields

| field | values | unit | meaning |
|---|---|---|---|
"""


def page() -> str:
    """Return the page as the schema is now."""
    events = [_row(name, EVENTS[name]) for name in sorted(EVENTS)]
    library = "| `library.said` | any | the library's | infrastructure | `logger`, *others of the library's* |"
    order = [*COMMON, *sorted(FIELDS.keys() - set(COMMON))]
    fields = [
        f"| `{name}` | {words(FIELDS[name].kind)} | {FIELDS[name].unit} | {FIELDS[name].meaning} |" for name in order
    ]
    return HEAD + "\n".join([*events, library]) + "\n" + FIELDS_HEAD + "\n".join(fields) + "\n"


def _row(name: str, event: Event) -> str:
    fields = [*(f"`{field}`" for field in event.fields), *(f"*`{field}`*" for field in event.optional)]
    return f"| `{name}` | {event.level} | {event.message} | {event.scope} | {', '.join(fields)} |"


def main() -> int:
    """Write the page, or with --check compare it; return the exit code."""
    if "--check" not in sys.argv:
        PAGE.write_text(page())
        return 0
    if PAGE.is_file() and PAGE.read_text() == page():
        return 0
    sys.stderr.write(f"{PAGE} is stale: run `make diagrams`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
