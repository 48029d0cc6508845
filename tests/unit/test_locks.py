"""The lock files: what is pinned in several is the same in all."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CLIENTS = {"kafka-python", "paho-mqtt", "asyncua"}


def pins(name: str) -> dict[str, str]:
    """Return the version, with its marker, of each package in a lock file."""
    return dict(re.findall(r"(?m)^([\w.-]+)==(.+?) \\$", (ROOT / name).read_text()))


def test_a_node_has_all_that_runs_any_part_and_the_clients_that_its_looks_need() -> None:
    run, edge = pins("requirements.lock"), pins("requirements-edge.lock")
    assert {name: edge.get(name) for name in run} == run
    assert edge.keys() >= CLIENTS
    assert not run.keys() & CLIENTS


def test_what_is_tested_with_is_what_a_node_runs() -> None:
    edge, dev = pins("requirements-edge.lock"), pins("requirements-dev.lock")
    assert {name: dev.get(name) for name in edge} == edge
