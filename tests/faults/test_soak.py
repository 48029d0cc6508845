"""F27: any of the faults, at any time, for as long as wished: `make soak MINUTES=20`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape, now
from tests.faults.proxy import Proxy
from tests.faults.test_messages import Doubling, Thief

pytestmark = [pytest.mark.live, pytest.mark.fault, pytest.mark.slow]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
SHAPE = Shape(
    nodes=("edge-1", "edge-2", "edge-3"),
    processes=3,
    floating=6,
    bound=6,
    supervisors=2,
    beats=2,
    effect=(0.5, 3.0),
    life=6.0,
)


def kill_executor(plant: Plant) -> None:
    node = plant.random.choice(plant.shape.nodes)
    plant.kill_executors(node)
    plant.start_node(node)


def kill_host(plant: Plant) -> None:
    node = plant.random.choice(plant.shape.nodes)
    plant.kill_hosts(node)
    plant.let_pass(plant.random.uniform(0.0, 20.0))
    plant.start_node(node)


def freeze_executor(plant: Plant) -> None:
    node = plant.random.choice(plant.shape.nodes)
    plant.freeze(node)
    plant.let_pass(plant.random.uniform(1.0, 22.0))
    plant.thaw(node)


def kill_supervisor(plant: Plant) -> None:
    name = plant.random.choice(("supervisor-1", "supervisor-2"))
    plant.pieces[name].kill()
    plant.start_supervisor(name)


def kill_redis(plant: Plant) -> None:
    plant.tell("redis killed")
    plant.redis.kill()
    plant.redis.start()


def freeze_redis(plant: Plant) -> None:
    plant.tell("redis frozen")
    plant.redis.piece.signal(signal.SIGSTOP)
    plant.let_pass(plant.random.uniform(1.0, 15.0))
    plant.redis.piece.signal(signal.SIGCONT)


def cut_off(plant: Plant) -> None:
    proxy = plant.proxies[plant.random.choice(plant.shape.nodes)]
    proxy.blackhole()
    plant.let_pass(plant.random.uniform(1.0, 35.0))
    proxy.blackhole(False)


def slow(plant: Plant) -> None:
    proxy = plant.proxies[plant.random.choice(plant.shape.nodes)]
    proxy.weather.latency = plant.random.choice((0.05, 0.2, 0.5)) / 2
    plant.let_pass(15.0)
    proxy.weather.latency = 0.0


def double(plant: Plant) -> None:
    _edit(plant.proxies["supervisor-1"], plant, Doubling(plant.random))


def lose(plant: Plant) -> None:
    _edit(plant.proxies["supervisor-1"], plant, Thief(plant.random, 0.1))


def _edit(proxy: Proxy, plant: Plant, edit: Doubling | Thief) -> None:
    proxy.edit = edit
    plant.let_pass(15.0)
    proxy.edit = None


def kill_process(plant: Plant) -> None:
    plant.kill_process(plant.random.choice(plant.process_workers))


def kill_collector(plant: Plant) -> None:
    for process in plant.processes(plant.random.choice(plant.shape.nodes)):
        if "supervisor.collector" in " ".join(process.cmdline()):
            process.kill()


FAULTS = (
    *(kill_executor, kill_host, freeze_executor, kill_supervisor, kill_process, kill_collector),
    *(kill_redis, freeze_redis, cut_off, slow, double, lose),
)


def size(plant: Plant) -> int:
    """Return the resident memory of the whole plant, bytes."""
    total = 0
    for process in plant.processes():
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


@pytest.mark.timeout(0)
def test_f27_soak(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    if "SOAK_MINUTES" not in os.environ and not scale.full:
        pytest.skip("runs for as long as you say: make soak MINUTES=20")
    minutes = float(os.environ.get("SOAK_MINUTES") or 20.0)
    plant = make_plant(SHAPE)
    for name in (*SHAPE.nodes, "supervisor-1"):
        plant.proxy(name)
    plant.start()
    counted: dict[str, int] = {}
    before, end = size(plant), now() + 60 * minutes
    while now() < end:
        fault = plant.random.choice(FAULTS)
        counted[fault.__name__] = counted.get(fault.__name__, 0) + 1
        plant.tell(fault.__name__)
        fault(plant)
        plant.let_pass(plant.random.uniform(1.0, 8.0))
    for worker in plant.workers:
        plant.fsmctl("resume", worker)  # so many failures in so short a time are put into quarantine, as they should be
    took = plant.settle(180)
    with plant.redis.client() as client:
        connections = client.info("clients")["connected_clients"]
    growth = (size(plant) - before) / 1e6
    report("F27", minutes=minutes, converged=took, growth_mb=growth, connections=connections, faults=counted)

    assert plant.violations() == []
    assert all(piece.alive for piece in plant.pieces.values())
