"""One of three hosts is cut off, both ways or one: F12, F13. The others must not notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape, now
from tests.faults.hosts import FROM_REDIS, TO_REDIS, Hosts, hosts_missing
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
Report = Callable[..., None]
NODES = ("edge-1", "edge-2", "edge-3")
WAYS = {"both ways": (TO_REDIS, FROM_REDIS), "to Redis": (TO_REDIS,), "from Redis": (FROM_REDIS,)}
AWAY_AFTER = 15.0  # seconds without a heartbeat


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield three hosts with a network."""
    why = hosts_missing()
    if why:
        pytest.skip(why)
    made = Hosts(NODES)
    try:
        made.make()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def plant(make_plant: Callable[[Shape], Plant], hosts: Hosts) -> Plant:
    """Return a plant whose nodes are on these hosts, running."""
    plant = make_plant(Shape(nodes=NODES, processes=3, floating=2, bound=3, life=3.0, effect=(0.2, 0.5)))
    plant.redis.bind(hosts.address)
    for node in NODES:
        plant.urls[node] = f"redis://{hosts.address}:{plant.redis.port}/0"
        plant.inside[node] = hosts.inside(node)
    plant.start()
    return plant


def tick_time(plant: Plant, seconds: float) -> float:
    """Let time pass; return the mean time of a tick meanwhile."""
    names = ("supervisor_tick_duration_seconds_sum", "supervisor_tick_duration_seconds_count")
    before = [plant.counter(name) for name in names]
    plant.let_pass(seconds)
    spent, ticks = (plant.counter(name) - old for name, old in zip(names, before, strict=True))
    assert ticks > seconds / 4, "the supervisor ticks on"
    return spent / ticks


@pytest.mark.parametrize("ways", WAYS)
def test_f12_f13_a_host_cut_off_is_away_and_nobody_else_notices(
    plant: Plant, hosts: Hosts, scale: Scale, report: Report, ways: str
) -> None:
    for lasts in scale((10.0, 25.0), (10.0, 60.0)):
        quiet = tick_time(plant, 10.0)
        others = [worker for worker in plant.workers if plant.node_of(worker) in ("edge-2", "edge-3")]
        plant.tell("cut", "edge-1", ways=ways)
        hosts.cut("edge-1", *WAYS[ways])
        since = now()
        busy = tick_time(plant, lasts)
        acted = {line["worker"] for line in plant.begun(*others, since=since)}
        assert acted == set(others), "workers of the other hosts are acted for meanwhile"
        if lasts > AWAY_AFTER + 5.0:
            wait_until(lambda: plant.is_away("edge-1"), "the host to be away", 10)
            assert not any(plant.is_away(node) for node in ("edge-2", "edge-3"))
        hosts.mend("edge-1")
        plant.tell("mended", "edge-1")
        back = plant.wait_all_act(60)
        report("F12" if ways == "both ways" else "F13", ways=ways, lasts=lasts, tick=quiet, tick_cut=busy, back=back)
        assert busy < 2 * quiet + 0.02, "the time of a tick does not change"
    plant.settle()

    assert plant.violations() == []
    assert all(piece.alive for piece in plant.pieces.values())
