"""Fixtures of the live tests: whole installations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.system import WORKERS, System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Return an installation that is not started yet, and leave nothing of it behind."""
    made = System(tmp_path)
    try:
        yield made
    finally:
        made.destroy()
    assert made.log_faults() == []


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Return an installation whose demo fleet runs; shared by the tests, which leave it as they found it."""
    made = System(tmp_path_factory.mktemp("running"))
    try:
        made.start()
        for worker in WORKERS:
            made.wait_for(f"worker/{worker}", "state=running")
        yield made
        assert made.stop() == 0
        assert made.processes() == []
        assert made.log_faults() == []
    finally:
        made.destroy()
