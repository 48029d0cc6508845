"""The disk under Redis' log of its writes is full: F20."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import redis

from supervisor.model import LEASE_TTL
from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape, eventually
from tests.loglines import lines_of
from tests.small_disk import fill, small_disk

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
BUSY = Shape(processes=0, floating=3, bound=3, life=1.5, effect=(0.2, 1.0))
DISK = 4  # MB


def refuses(client: redis.Redis) -> bool:
    """Tell whether Redis refuses to write because it cannot log what it writes."""
    try:
        client.set("anything", os.urandom(2048))
    except redis.ResponseError as error:
        return "MISCONF" in str(error)
    return False


def test_f20_the_disk_under_redis_log_is_full(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    plant = make_plant(BUSY)
    ballast, took = plant.redis.folder / "ballast", []
    with small_disk(plant.redis.folder, DISK), plant.redis.client() as client:
        plant.start()
        pids = {name: piece.pid for name, piece in plant.pieces.items()}
        for _ in range(scale(1, 5)):
            plant.wait_effects(4)
            plant.tell("disk full")
            fill(ballast)
            eventually(lambda: refuses(client), "redis to refuse writes", 30)
            plant.let_pass(LEASE_TTL + 3)
            ballast.unlink()
            eventually(lambda: not refuses(client), "redis to write again", 30)
            took.append(plant.wait_all_act(90))
        report("F20", n=len(took), all_act_max=max(took))
        plant.settle()

        assert plant.violations() == []
        assert {name: piece.pid for name, piece in plant.pieces.items() if piece.alive} == pids
        for node in plant.shape.nodes:
            said = [line for line in lines_of(plant.pieces[node].said()) if line["event"] == "store.away"]
            told = [
                line for line in said if line.get("node") == node and (line["reason"], line["count"]) == ("disk", 1)
            ]
            assert len(told) == scale(1, 5), told
        plant.destroy()
