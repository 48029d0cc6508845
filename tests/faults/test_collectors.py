"""Collectors that die, hang, and stored observations that are garbage or of the future; checks that flap: F21, F23."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections.abc import Callable

import pytest

from supervisor.store import encode
from tests.conftest import free_port
from tests.faults.conftest import Scale
from tests.faults.harness import SUPERVISOR, Plant, Shape, now
from tests.waiting import wait_until
from workers.model import Observed

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]


def phase(plant: Plant, worker: str) -> str:
    """Return the phase that people are shown."""
    rows = json.loads(plant.fsmctl("get", "workers", "-o", "json"))
    return str(next(row["phase"] for row in rows if row["id"] == worker))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_f23_a_collector_that_is_gone_is_replaced(make_plant: MakePlant, scale: Scale, how: str) -> None:
    plant = make_plant(Shape(nodes=("edge-1",), processes=3))
    plant.start()
    for _ in range(scale(1, 10)):
        old = plant.collector("edge-1")
        old.send_signal(signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        plant.tell(f"collector {how}")
        plant.kill_process("process-0")
        plant.wait_all_up(60)
        wait_until(lambda old=old: not old.is_running() or old.status() == "zombie", "the old one to be gone", 30)
        assert plant.collector("edge-1").pid != old.pid
    plant.settle()

    assert plant.violations() == []


@pytest.mark.slow
def test_f23_a_node_without_any_collector_is_unknown_and_not_healthy(make_plant: MakePlant) -> None:
    plant = make_plant(Shape(nodes=("edge-1", "edge-2"), processes=2))
    plant.start()
    plant.kill_hosts("edge-1")
    at = now()
    wait_until(lambda: phase(plant, "process-0") == "unknown", "the worker to be unknown", 40)
    assert phase(plant, "process-1") == "running"
    assert plant.begun(since=at) == []
    plant.start_node("edge-1")
    plant.settle()

    assert plant.violations() == []


@pytest.mark.slow
def test_f23_garbage_and_observations_of_the_future_start_nothing(make_plant: MakePlant, scale: Scale) -> None:
    plant = make_plant(Shape(nodes=("edge-1",), processes=3))
    plant.start()
    collector = plant.collector("edge-1")
    key = plant.store.keys(SUPERVISOR).observed("edge-1", "process-0")
    for text in ('{"schema": 1', "[]", "null", '{"schema": 99}', *fuzzed(plant, scale(8, 500))):
        collector.suspend()  # it would set right what is wrong; for less than the 10 s after which it is replaced
        plant.store.client.set(key, text)
        ticks = plant.ticks()
        wait_until(lambda ticks=ticks: plant.ticks() > ticks, "a tick over it", 8)
        collector.resume()
        plant.let_pass(1.0)  # for its local heartbeat
    collector.suspend()
    plant.store.client.set(key, encode(Observed(collected_at=plant.store.now() + 3600, pid=None)))
    plant.let_pass(3.0)
    told = phase(plant, "process-0")
    collector.resume()
    begun = plant.begun("process-0")
    plant.settle()

    assert len(begun) == 1, "an absurd observation was acted on"
    assert told == "unknown"
    assert plant.violations() == []


def fuzzed(plant: Plant, count: int) -> list[str]:
    """Return stored observations with a byte changed each."""
    text = str(plant.store.client.get(plant.store.keys(SUPERVISOR).observed("edge-1", "process-0")))
    found = []
    for _ in range(count):
        at = plant.random.randrange(len(text))
        found.append(text[:at] + plant.random.choice('{}[]":,x0') + text[at + 1 :])
    return found


@pytest.mark.slow
def test_f21_a_check_that_flaps_at_1_hz(make_plant: MakePlant, scale: Scale) -> None:
    """At most one transition of the circuit in each flap window of 10 s."""
    flapper = """
import socket, sys, time
while True:
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
        server.settimeout(0.5)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            try: server.accept()[0].close()
            except OSError: break
    time.sleep(0.5)
"""
    port = free_port()
    child = f"""
[[children]]
name = "broker"
type = "tcp"
node = "edge-1"
check = {{ address = "127.0.0.1:{port}", timeout = "200ms" }}
"""
    plant = make_plant(
        Shape(nodes=("edge-1",), processes=2, depends_on="broker", tables=child, observation_interval=0.3)
    )
    plant.start_piece("flapper", (sys.executable, "-c", flapper, str(port)))
    plant.start(wait=False)
    plant.let_pass(scale(30, 300))
    told = [float(event["time"]) for event in plant.events() if event["event"] in ("circuit.opened", "circuit.closed")]

    assert plant.violations() == []
    assert [later - earlier for earlier, later in itertools.pairwise(told) if later - earlier < 10.0] == []
