"""Log lines of other processes, as they are found in files and in what `fsmctl up` passes on."""

from __future__ import annotations

import json
from typing import Any

from supervisor.logschema import line_faults


def lines_of(text: str) -> list[dict[str, Any]]:
    """Return the lines of JSON in a text, without the `NAME | ` that `fsmctl up` puts before them."""
    found = []
    for line in text.splitlines():
        start = line.find("{")
        if start == 0 or line[:start].rstrip().endswith("|"):
            found.append(json.loads(line[start:]))
    return found


def faults_in(text: str) -> list[str]:
    """Return how the lines of JSON in a text differ from the schema. A last line that is cut off is no line."""
    whole = text[: text.rfind("\n") + 1]
    return [fault for line in lines_of(whole) for fault in line_faults(line)]


def news_of(text: str, event: str) -> list[dict[str, Any]]:
    """Return what a text says of a condition that lasts: that it began, became another, or ended; not that it lasts."""
    told: list[dict[str, Any]] = []
    for line in lines_of(text):
        if line["event"] not in (event, f"{event}.over"):
            continue
        before = told[-1] if told else {}
        if (line["event"], line.get("reason")) != (before.get("event"), before.get("reason")):
            told.append(line)
    return told
