"""Clocks of day that are wrong, that jump, and that strobe, on nodes, supervisors and Redis: F16."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
MakePlant = Callable[[Shape], Plant]
SHAPE = Shape(nodes=("edge-1", "edge-2"), processes=2, floating=2, bound=2, life=1.5, effect=(0.5, 1.5), fence=False)


@pytest.fixture(scope="module")
def library() -> str:
    """Return libfaketime."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("no libfaketime (Debian: apt-get install libfaketime)")
    return str(found[0])


def skewed(library: str, clock: Path) -> dict[str, str]:
    """Return the environment of a host whose clock of day is told by a file ("+7200", "-300", …) at any time.

    The monotonic clock stays what it is, as it does when an operator or NTP sets a real clock.
    """
    clock.write_text("+0")
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def skews(plant: Plant) -> dict[str, float]:
    """Return the skew of each node, as its collector has measured it."""
    found = plant.store.nodes("plant", plant.shape.nodes)
    return {node: collector.clock_skew for node, (_, collector) in found.items() if collector is not None}


@pytest.mark.parametrize("where", ["edge-1", "supervisor-1"])
def test_f16_s21_a_skewed_clock_changes_nothing_but_the_reported_skew(
    make_plant: MakePlant, scale: Scale, library: str, where: str
) -> None:
    """S21 live: a node's clock 2 h off; snapshots' ages and leases are right all the same."""
    plant = make_plant(SHAPE)
    clock = plant.folder / "clock"
    plant.extra[where] = skewed(library, clock)
    clock.write_text("+7200")  # two hours ahead from the start: such a worker re-ran all that others were running
    plant.start()
    for offset in ("+7200", "-7200", "+300", "-300", *(["+30", "-30"] * scale(2, 20))):
        clock.write_text(offset)
        plant.wait_effects(scale(4, 20), 90)
        if where == "edge-1" and abs(int(offset)) > 100:
            wait_until(lambda o=offset: abs(skews(plant)["edge-1"] - int(o)) < 60, f"the skew {offset} reported", 30)
            assert abs(skews(plant)["edge-2"]) < 5
            rows = json.loads(plant.fsmctl("get", "workers", "-o", "json"))
            assert all(-1 <= row["observed_age_seconds"] < 30 for row in rows), rows
    lost = [event for event in plant.events("action.ended") if event["outcome"] == "lost"]
    plant.settle()

    assert plant.violations() == []
    assert lost == []


def test_f16_redis_own_clock_steps(make_plant: MakePlant, scale: Scale, library: str) -> None:
    plant = make_plant(SHAPE)
    clock = plant.folder / "clock"
    plant.redis.piece.environ = {**plant.environ("redis"), **skewed(library, clock)}
    plant.start()
    for offset in ["+300", "+0", "-300", "+0", *scale([], ["+7200", "+0", "-7200", "+0"])]:
        plant.wait_effects(4, 90)
        plant.tell("redis' clock", offset=offset)
        clock.write_text(offset)
        plant.wait_all_act(90)
    plant.settle()

    assert plant.violations() == []
