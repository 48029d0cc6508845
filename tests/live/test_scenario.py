"""The plan's scenario whole, on one timeline: a broker goes down and flows that write to it come back by themselves.

A real Kafka is the broker, a child of type `redpanda`. Each flow is a real Bento, whose own Kafka output writes to that
broker: Benthos' core has no Kafka output. What the test does is harm: the broker is killed and its port taken for a
while, two flows are killed meanwhile. Nothing is mended but that the port is free again.

`PICTURES=write .venv/bin/pytest tests/live/test_scenario.py` writes docs/img/scenario.svg anew.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from kafka import KafkaConsumer, TopicPartition

from supervisor.model import ChildObserved
from tests.benthos_peer import BENTO, program, version
from tests.conftest import RedisServer
from tests.kafka_peer import VERSION, KafkaPeer, jars
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.live.system import ROOT, free_ports
from tests.waiting import wait_until
from workers.benthos.states import BenthosObserved

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(400)]
PICTURE = ROOT / "docs" / "img" / "scenario.svg"
FLOWS = ("line-1", "line-2", "line-3")
*VICTIMS, SURVIVOR = FLOWS
BROKER = "child/broker"
TOPIC = "readings"
WAITS = "start waits for the circuit to close"
GRACE = 10.0  # seconds that the broker is given to start
BACKOFFS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before the attempts after the first
SECONDS = 120.0  # of patience, on whatever machine


class Plant:
    """The installation, its broker, and what has come to that."""

    def __init__(self, pieces: Pieces, peer: KafkaPeer, bento: Path) -> None:
        """Write what the flows do."""
        self.pieces, self.peer, self.bento = pieces, peer, bento
        self.struck_at = 0.0  # when the broker was killed; a slow start before may have opened the circuit, too
        self.ports = dict(zip(FLOWS, free_ports(len(FLOWS)), strict=True))
        for flow, port in self.ports.items():
            (pieces.folder / f"{flow}.json").write_text(json.dumps(self._flow(flow, port)))

    def _flow(self, flow: str, port: int) -> dict[str, Any]:
        message = f'root = {{"flow": "{flow}", "n": counter()}}'
        retries = {"initial_interval": "100ms", "max_interval": "300ms", "max_elapsed_time": "500ms"}
        output = {"addresses": [self.peer.address], "topic": TOPIC, "max_in_flight": 1, "backoff": retries}
        return {
            "http": {"address": f"127.0.0.1:{port}"},
            "input": {"generate": {"interval": "20ms", "mapping": message}},
            "output": {"kafka": output},
        }

    def fleet(self) -> str:
        """Return the fleet: a broker and three flows behind it."""
        flows = "".join(
            f"""
[[workers]]
id = "{flow}"
type = "benthos"
node = "edge-1"
depends_on = ["broker"]
[workers.config]
command = {json.dumps([str(self.bento), "-c", f"{flow}.json"])}
cwd = "{self.pieces.folder}"
http = "127.0.0.1:{port}"
window = "2s"
min_uptime = "2s"
"""
            for flow, port in self.ports.items()
        )
        return f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"
half_open_workers = 1

[[children]]
name = "broker"
type = "redpanda"
node = "edge-1"
command = {json.dumps(self.peer.command())}
cwd = "{self.peer.folder}"
start_grace = "{GRACE:g}s"
check = {{ kind = "redpanda", brokers = ["{self.peer.address}"], timeout = "2s" }}
topics = ["{TOPIC}"]
{flows}"""

    def seen(self, flow: str) -> BenthosObserved:
        """Return how a flow was seen last."""
        store = self.pieces.store
        seen = store.read(BenthosObserved, store.keys(NAME).observed("edge-1", flow))
        assert seen is not None
        return seen

    def broker_pid(self) -> int | None:
        """Return the process of the broker."""
        store = self.pieces.store
        seen = store.read(ChildObserved, store.keys(NAME).observed("edge-1", BROKER))
        return seen.pid if seen is not None else None

    def states(self) -> dict[str, str]:
        """Return the state of each flow, as fsmctl shows it."""
        return {one["id"]: one["state"] for one in json.loads(self.pieces.fsmctl("get", "workers", "-o", "json"))}

    def told(self, flow: str) -> str:
        """Return why a flow is as it is, and why nothing is done, as fsmctl explains it."""
        return " ".join(self.pieces.fsmctl("explain", flow).split())

    def are_active(self) -> bool:
        """Tell whether all flows are."""
        return self.states() == dict.fromkeys(FLOWS, "active")

    def events(self, kind: str, worker: str = "") -> list[tuple[float, dict[str, str]]]:
        """Return the events of a kind since the broker was killed, each with its time in seconds, oldest first."""
        found = self.pieces.store.events(NAME, ["edge-1"], 10_000)
        timed = [(int(at.partition("-")[0]) / 1000, event) for at, event in found]
        return [
            (at, event)
            for at, event in timed
            if at >= self.struck_at and event["event"] == kind and worker in ("", event.get("worker_id"))
        ]

    def wait_for_messages(self) -> None:
        """Wait until a hundred messages of each flow have come to the broker from now on."""
        part = TopicPartition(TOPIC, 0)
        consumer = KafkaConsumer(bootstrap_servers=self.peer.address, auto_offset_reset="latest")
        counted = dict.fromkeys(FLOWS, 0)

        def come() -> bool:
            for message in consumer.poll(timeout_ms=100).get(part, []):
                counted[json.loads(message.value)["flow"]] += 1
            return min(counted.values()) >= 100

        try:
            consumer.assign([part])
            consumer.seek_to_end(part)
            wait_until(come, f"a hundred messages of each flow at the broker: {counted}", SECONDS)
        finally:
            consumer.close()


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Have a port, and hang up on who comes."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def bound() -> bool:
        with suppress(OSError):
            server.bind(("127.0.0.1", port))
            server.listen()
            return True
        return False

    def hang_up() -> None:
        with suppress(OSError):
            while True:
                server.accept()[0].close()

    wait_until(bound, f"port {port} to be free")
    threading.Thread(target=hang_up, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture
def plant(redis_server: RedisServer, tmp_path: Path) -> Iterator[Plant]:
    libs, bento = jars(), program(BENTO)
    with redis_server.connect() as client:
        client.flushall()
    (tmp_path / "kafka").mkdir()
    with pieces_in(tmp_path, redis_server.url) as pieces:
        yield Plant(pieces, KafkaPeer(tmp_path / "kafka", libs), bento)


def test_a_broker_goes_down_and_all_of_it_comes_back_without_a_hand(plant: Plant, tmp_path: Path) -> None:
    sys.stdout.write(f"Kafka {VERSION}, {plant.bento}: {version(plant.bento)}\n")
    plant.pieces.apply(plant.fleet())
    plant.pieces.start_supervisor()
    plant.pieces.start_node()
    wait_until(plant.are_active, "all flows to be active", SECONDS)
    plant.wait_for_messages()

    strike_the_broker(plant)
    wait_until(lambda: plant.events("circuit.closed"), "the circuit to close", SECONDS)
    wait_until(plant.are_active, "all flows to be active again", SECONDS)
    plant.wait_for_messages()

    check_the_order(plant)
    check_attempts(plant)
    draw(plant, tmp_path / "scenario.svg")


def strike_the_broker(plant: Plant) -> None:
    """Kill the broker and take its port until it was restarted in vain; kill two flows meanwhile.

    It is seen, while the circuit is open, how each flow is: that waits for the circuit, not the circuit for it.
    """
    pid = plant.broker_pid()
    assert pid is not None
    plant.struck_at = plant.pieces.store.now()
    os.kill(pid, signal.SIGKILL)
    with taken(plant.peer.port):
        wait_until(lambda: plant.events("circuit.opened"), "the circuit to open", SECONDS)
        ((opened, _),) = plant.events("circuit.opened")
        wait_until(lambda: set(plant.states().values()) == {"degraded"}, "all flows to be degraded", SECONDS)
        wait_until(lambda: len(plant.events("circuit.restart")) >= 2, "two attempts", SECONDS)
        for flow in VICTIMS:
            os.kill(plant.seen(flow).pid or 0, signal.SIGKILL)
        for flow in VICTIMS:
            wait_until(lambda flow=flow: plant.seen(flow).pid is None, f"{flow} to be seen down", SECONDS)
            wait_until(lambda flow=flow: WAITS in plant.told(flow), f"fsmctl explain {flow} to say {WAITS!r}", SECONDS)
        assert all(plant.seen(flow).collected_at > opened for flow in FLOWS)
        assert [event for _, event in plant.events("action.claimed") if event["worker_id"] != BROKER] == []
        assert len(plant.events("circuit.opened")) == 1
        assert not plant.events("circuit.half_opened")


def check_the_order(plant: Plant) -> None:
    """One incident; each thing after the one before; the flow that lived on was not touched."""
    ((opened, _),) = plant.events("circuit.opened")
    ((eased, _),) = plant.events("circuit.half_opened")
    ((closed, last),) = plant.events("circuit.closed")
    restarts = [at for at, _ in plant.events("circuit.restart")]
    ((first, of_first), (second, of_second)) = [
        (at, event) for at, event in plant.events("action.claimed") if event["worker_id"] != BROKER
    ]
    tried = plant.events("worker.transition", of_first["worker_id"])[-1][0]
    order = [plant.struck_at, opened, *restarts, eased, first, closed, second]
    assert order == sorted(order)
    assert first < tried
    assert int(last["retry_attempt"]) == len(restarts)
    assert {(event["worker_id"], event["action"]) for event in (of_first, of_second)} == {(f, "start") for f in VICTIMS}
    for flow in FLOWS:
        moves = [event for _, event in plant.events("worker.transition", flow)]
        degraded = next(event for event in moves if event["to"] == "degraded")
        assert " writes failed in " in degraded["reason"]
        assert moves[-1]["to"] == "active"
    assert plant.events("operator.circuit") == []


def check_attempts(plant: Plant) -> None:
    """Each attempt waited for the end of the one before, the grace, and a backoff that doubles."""
    starts = [at for at, _ in plant.events("circuit.restart")]
    ends = [at for at, event in plant.events("action.ended", BROKER) if event["action"] == "restart_child"]
    waits = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    assert len(starts) == len(ends) >= 2
    assert all(wait >= GRACE + backoff - 0.01 for wait, backoff in zip(waits, BACKOFFS, strict=False)), waits


def draw(plant: Plant, picture: Path) -> None:
    """Draw the flow that came back last, its broker and the circuit on one time axis; it is all on it."""
    *_, (_, last) = plant.events("action.claimed")
    ago = plant.pieces.store.now() - plant.struck_at + 3.0
    plant.pieces.fsmctl("timeline", last["worker_id"], "--since", f"{ago:.1f}s", "--svg", str(picture))
    drawn = " ".join(ElementTree.fromstring(picture.read_text()).itertext())
    for word in ("active", "degraded", "starting", "start", "restart_child", "open", "half_open", "closed"):
        assert word in drawn, f"{word} is not in {picture}"
    if os.environ.get("PICTURES") == "write":
        PICTURE.write_text(picture.read_text())
