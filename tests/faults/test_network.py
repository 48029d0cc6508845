"""Connections between nodes and Redis that are half-open, slow, lossy: F14, F15."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.checker import percentile
from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape
from tests.faults.test_supervisors import TickWatch

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
CONSUMING_WITHIN = 10.0  # seconds after the partition has healed


def test_f14_a_partition_with_a_broker_restart(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    """32 s, because kombu drops a BRPOP that was silent for so long: heal and that watchdog coincide."""
    plant = make_plant(Shape(processes=0, floating=2, bound=2, life=1.5, effect=(0.2, 0.5)))
    proxies = [plant.proxy(node) for node in plant.shape.nodes]
    plant.start()
    consuming, acting = [], []
    for _ in range(scale(1, 20)):
        plant.wait_effects(4)
        plant.tell("partition")
        for proxy in proxies:
            proxy.blackhole()
        plant.let_pass(16)
        plant.redis.kill()
        plant.redis.start()
        plant.let_pass(16)
        for proxy in proxies:
            proxy.blackhole(False)
        plant.tell("healed")
        consuming.append(plant.consuming_again(60))
        acting.append(plant.wait_all_act())
    report("F14", n=len(consuming), consuming_p50=percentile(consuming, 0.5), consuming_max=max(consuming))
    plant.settle()

    assert plant.violations() == []
    assert max(consuming) <= CONSUMING_WITHIN
    assert all(piece.alive for piece in plant.pieces.values())


@pytest.mark.parametrize("latency", [0.05, 0.2, 0.5])
def test_f15_a_slow_and_lossy_network(make_plant: MakePlant, scale: Scale, report: Report, latency: float) -> None:
    if latency != 0.2 and not scale.full:
        pytest.skip("one latency is enough in a short run; all three with FAULTS=full")
    plant = make_plant(Shape(processes=0, floating=2, bound=2, life=2.0, effect=(4.0, 8.0), supervisors=2))
    plant.start()
    hosts = [*plant.shape.nodes, *(name for name in plant.pieces if name.startswith("supervisor"))]
    for name in hosts:
        plant.proxy(name)
        plant.pieces[name].kill()
    plant.kill_hosts(*plant.shape.nodes)
    for name in hosts:
        weather = plant.proxies[name].weather
        weather.latency, weather.stall, weather.stalled = latency / 2, 0.03, 1.0
    for node in plant.shape.nodes:
        plant.start_node(node)
    for number in (1, 2):
        plant.start_supervisor(f"supervisor-{number}")
    plant.wait_all_act(120)
    before = len(lost(plant))
    watch = TickWatch(plant.redis.port)
    try:
        plant.wait_effects(scale(8, 100), scale(120, 900))
    finally:
        watch.close()
    report("F15", latency=latency, effects=len(plant.begun()), overruns=plant.counter("supervisor_tick_overruns_total"))
    for name in hosts:
        plant.proxies[name].weather.latency = plant.proxies[name].weather.stall = 0.0
    plant.settle(90)

    assert plant.violations() == []
    assert lost(plant)[before:] == []
    assert watch.overlaps() == []


def lost(plant: Plant) -> list[dict[str, str]]:
    """Return the ends of actions whose lease ran out while they ran; one whose message was lost has never begun."""
    ends = [event for event in plant.events("action.ended") if event["outcome"] == "lost"]
    return [event for event in ends if event["detail"].startswith("lease ran out")]
