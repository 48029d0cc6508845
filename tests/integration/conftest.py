"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.clock import FakeClock
from supervisor.store import Store
from tests.integration.plant import Plant, make_plant, worker
from tests.integration.processes import Yard


@pytest.fixture
def bare_plant(store: Store, clock: FakeClock, data_dir: Path) -> Plant:
    """Return an installation without a fleet."""
    return make_plant(store, clock, data_dir)


@pytest.fixture
def plant(bare_plant: Plant) -> Plant:
    """Return an installation with the worker flow-1 on edge-1, whose executor is alive."""
    bare_plant.apply_fleet(worker("flow-1"))
    bare_plant.heartbeat()
    return bare_plant


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """Return a place for real processes; none is left behind."""
    made = Yard(tmp_path / "yard")
    made.root.mkdir()
    yield made
    made.clear()
