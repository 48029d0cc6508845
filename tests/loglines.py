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
