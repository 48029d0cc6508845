"""Writes docs/state-machines.md from the workers' tables: `python -m tests.diagrams [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor.breaker import TABLE
from workers.registry import built_in

PAGE = Path(__file__).parent.parent / "docs" / "state-machines.md"
HEAD = """# State machines

Generated from the tables in `workers/*/states.py` and `supervisor/breaker.py` by `make diagrams`; `make lint` fails
when this page is stale. A label `condition / action` means: stay, and request that action. A pair that is not drawn
means: stay.
"""


def page() -> str:
    """Return the page as the tables are now."""
    types = built_in()
    machines = [f"## {name}\n\n```mermaid\n{types.get(name).machine.mermaid()}```\n" for name in types.names()]
    return "\n".join([HEAD, *machines, f"## The circuit\n\n```mermaid\n{circuit()}```\n"])


def circuit() -> str:
    """Return the circuit's table as a mermaid state diagram."""
    drawn = [f"    {state} --> {after}: {why}" for (state, why), after in TABLE.items() if after != state]
    return "\n".join(["stateDiagram-v2", "    [*] --> closed", *drawn]) + "\n"


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
