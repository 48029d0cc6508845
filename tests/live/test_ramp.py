"""A thousand workers behind an open circuit: when it closes, they begin no faster than the recovery rate."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(400)]
WORKERS = 1000
RATE = 12  # actions per second: a start costs some 50 ms of a core
TICK = 0.2


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def test_a_thousand_workers_begin_at_the_recovery_rate_and_all_converge(pieces: Pieces) -> None:
    with socket.socket() as broker:
        broker.bind(("127.0.0.1", 0))  # and nobody listens: its check fails
        pieces.apply(fleet(broker.getsockname()[1]))
        pieces.start_supervisor()
        pieces.start_node(slots=4)
        wait_until(lambda: pieces.store.is_circuit_open(NAME), "the circuit to open", 30)
        wait_until(lambda: len(wanting(pieces)) == WORKERS, "all workers to want to act", 60)
        assert claims(pieces) == []
        broker.listen(1024)
        wait_until(lambda: len(claims(pieces)) >= WORKERS, "all to begin", 300)
    wait_until(lambda: running(pieces) == WORKERS, "all to run", 60)
    breaker = pieces.store.breaker(NAME)
    assert breaker.closed_at is not None
    begun = [time - breaker.closed_at for time in claims(pieces) if time > breaker.closed_at]
    for number, after in enumerate(begun, start=1):  # what is not used is kept for a second
        assert number <= RATE * (after + 1.0), f"{number} had begun {after:.2f}s after the circuit closed"
    assert breaker.ramp_at == 0.0


def fleet(port: int) -> str:
    workers = "".join(
        f"""
[[workers]]
id = "flow-{number}"
type = "process"
node = "edge-1"
depends_on = ["broker"]
config = {{ command = ["sleep", "600"] }}
"""
        for number in range(WORKERS)
    )
    return f"""
[supervisor]
name = "{NAME}"
tick_interval = "{TICK * 1000:.0f}ms"
observation_interval = "5s"
half_open_workers = 5
recovery_rate = {RATE}
flap_window = "0s"

[[children]]
name = "broker"
type = "tcp"
node = "edge-1"
check = {{ address = "127.0.0.1:{port}" }}
{workers}"""


def events(pieces: Pieces) -> list[tuple[float, dict[str, str]]]:
    """Return all events, each with its time in seconds."""
    found = pieces.store.events(NAME, ["edge-1"], 10_000)
    return [(int(at.partition("-")[0]) / 1000, fields) for at, fields in found]


def claims(pieces: Pieces) -> list[float]:
    """Return when workers' starts were claimed."""
    found = [(time, event) for time, event in events(pieces) if event["event"] == "action.claimed"]
    return [time for time, event in found if event["action"] == "start"]


def wanting(pieces: Pieces) -> set[str]:
    """Return the workers that are about to start."""
    return {event["worker_id"] for _, event in events(pieces) if event.get("to") == "starting"}


def running(pieces: Pieces) -> int:
    return len({event["worker_id"] for _, event in events(pieces) if event.get("to") == "running"})
