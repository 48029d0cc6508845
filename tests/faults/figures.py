"""Print the figures of a fault run as the table of docs/reliability.md: `python -m tests.faults.figures FILE…`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

LEFT_OUT = ("fault", "test", "full", "cpus", "kernel", "python", "celery", "kombu", "redis")


def row(figure: dict[str, Any]) -> str:
    """Return one line: the fault, at which counts, and what was measured. The latest of a test's figures counts."""
    told = {name.replace("_", " "): value for name, value in figure.items() if name not in LEFT_OUT}
    values = ", ".join(value if isinstance(value, str) else f"{name} {value:g}" for name, value in told.items())
    return f"| {figure['fault']} | {'full' if figure['full'] else 'short'} | {values} |"


def main(paths: list[str]) -> None:
    """Print the last figure of each test and fault in these files, full counts before short ones."""
    lines = [line for path in paths for line in Path(path).read_text().splitlines()]
    figures = sorted((json.loads(line) for line in lines), key=lambda figure: bool(figure["full"]))
    latest = {
        (figure["test"], figure["fault"], figure.get("seconds"), figure.get("lasts")): figure for figure in figures
    }
    print("| fault | counts | measured (times in seconds) |\n|---|---|---|")  # noqa: T201 - that is what it is for
    for figure in sorted(latest.values(), key=lambda figure: (int(figure["fault"].split()[0][1:]), figure["fault"])):
        print(row(figure))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
