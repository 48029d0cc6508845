"""A whole incident: a broker dies and its port is taken, a person is called, the port is freed, all comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from supervisor.exporter import StoreCollector
from tests.conftest import RedisServer, free_port, redis_binary
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers.drivers.process import look

pytestmark = [pytest.mark.live, pytest.mark.slow]
FLOWS = 4
MAX_ATTEMPTS = 5  # the default: a warning at 4, the escalation at 5


def fleet(port: int) -> str:
    """Return a fleet of a broker of ours and some flows behind it; a person is called after MAX_ATTEMPTS."""
    flows = "".join(
        f"""
[[workers]]
id = "flow-{number}"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "600"], min_uptime = "1s" }}
"""
        for number in range(FLOWS)
    )
    return f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "300ms"
half_open_workers = 1
half_open_for = "5s"
recovery_rate = 2

[[children]]
name = "broker"
type = "redis"
node = "edge-1"
command = ["{redis_binary()}", "--port", "{port}", "--save", ""]
check = {{ address = "127.0.0.1:{port}", timeout = "300ms" }}
start_grace = "0s"
runbook = {{ url = "https://example.com/broker", steps = ["free its port"] }}
{flows}"""


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def test_s2_s3b_s5_s6_s13_s16_an_incident_from_the_death_of_a_broker_to_the_whole_fleet_again(pieces: Pieces) -> None:
    port = free_port()
    pieces.apply(fleet(port))
    pieces.start_supervisor()
    pieces.start_node()
    wait_until(lambda: all(pids(pieces)), "all flows to run", 40)
    with broker_dead_and_its_port_taken(pieces, port):
        for pid in pids(pieces):
            psutil.Process(pid).kill()
        wait_until(lambda: events(pieces, "circuit.escalated"), "the escalation", 60)
        assert pieces.store.is_circuit_open(NAME)
        assert not any(pids(pieces))
    wait_until(lambda: pieces.store.breaker(NAME).state == "closed", "the circuit to close", 60)
    wait_until(lambda: all(pids(pieces)), "all flows to run again", 40)

    check_attempts(pieces)
    check_what_was_told(pieces)
    check_the_incident(pieces)
    check_what_was_counted(pieces)


def check_attempts(pieces: Pieces) -> None:
    """Each attempt came 1, 2, 4, 8, 16 s after the end of the one before, and the tick that found it due."""
    starts = [time for time, _ in events(pieces, "circuit.restart")]
    waits = [start - end for end, start in zip(ends_of_restarts(pieces), starts[1:], strict=False)]
    backoffs = (1, 2, 4, 8, 16)  # the one after the last found the port free
    assert all(backoff <= wait <= backoff + 1.5 for backoff, wait in zip(backoffs, waits, strict=True)), waits


def check_what_was_told(pieces: Pieces) -> None:
    """One warning before the last attempt, one escalation with what a person needs, a heartbeat each tick."""
    assert [line["attempts_remaining"] for line in log_lines(pieces, "circuit.one_attempt_left")] == [1]
    (escalation,) = log_lines(pieces, "circuit.escalated")
    assert (escalation["runbook_url"], escalation["manual_steps"]) == ("https://example.com/broker", ["free its port"])
    assert len(log_lines(pieces, "circuit.heartbeat")) >= 50  # some 20 s of five ticks each
    assert len(events(pieces, "circuit.half_opened")) == 1


def check_the_incident(pieces: Pieces) -> None:
    """It is over, with the downtime from its opening."""
    ((opened, first),) = events(pieces, "circuit.opened")
    ((closed, last),) = events(pieces, "circuit.closed")
    (incident,) = json.loads(pieces.fsmctl("incidents", "-o", "json"))
    assert incident["state"] == "closed"
    assert incident["duration_seconds"] == pytest.approx(closed - opened, abs=0.5)
    assert float(last["total_downtime"]) == pytest.approx(closed - opened, abs=0.5)
    assert (incident["id"], incident["children"], incident["attempts"]) == (
        first["incident"],
        ["broker"],
        MAX_ATTEMPTS + 1,
    )
    assert "broker" in incident["reason"]
    assert opened < incident["escalated_at"] < closed


def check_what_was_counted(pieces: Pieces) -> None:
    """The metrics say what the events do."""
    samples = {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "supervisor")): sample.value
        for family in StoreCollector(pieces.runtime()).collect()
        for sample in family.samples
    }
    transitions = {to: samples["supervisor_circuit_transitions_total", to] for to in ("open", "half_open", "closed")}
    names = {"open": "circuit.opened", "half_open": "circuit.half_opened", "closed": "circuit.closed"}
    assert transitions == {to: len(events(pieces, name)) for to, name in names.items()}
    assert samples["supervisor_escalations_total",] == samples["supervisor_circuit_breaker_recoveries_total",] == 1
    assert samples["supervisor_infrastructure_check_failures_total",] >= MAX_ATTEMPTS
    restarts = [key for key in samples if key[0] == "supervisor_actions_completed_total" and key[-1] == "child/broker"]
    assert sum(samples[key] for key in restarts) == len(ends_of_restarts(pieces)) + 1
    assert samples["supervisor_circuit_breaker_open",] == samples["supervisor_escalations_active",] == 0


def pids(pieces: Pieces) -> list[int | None]:
    """Return the pid of each flow, None for one that does not run."""
    return [look(folder_of(pieces, f"workers/flow-{number}")).pid for number in range(FLOWS)]


def folder_of(pieces: Pieces, item: str) -> Path:
    return pieces.settings().data_dir / "nodes" / "edge-1" / NAME / item


def events(pieces: Pieces, kind: str) -> list[tuple[float, dict[str, str]]]:
    """Return the events of a kind, each with its time in seconds, oldest first."""
    found = pieces.store.events(NAME, ["edge-1"], 10_000)
    return [(int(at.partition("-")[0]) / 1000, fields) for at, fields in found if fields["event"] == kind]


def ends_of_restarts(pieces: Pieces) -> list[float]:
    """Return when the restarts of the broker ended, oldest first, but not its first start."""
    return [time for time, event in events(pieces, "action.ended") if event["worker_id"] == "child/broker"][1:]


def log_lines(pieces: Pieces, event: str) -> list[dict[str, object]]:
    """Return what the supervisor's executor has logged of an event."""
    lines = [json.loads(line) for line in pieces.said("supervisor").splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


@contextmanager
def broker_dead_and_its_port_taken(pieces: Pieces, port: int) -> Iterator[None]:
    """Kill the broker and hold its port, so that none can listen there."""
    pid = look(folder_of(pieces, "children/broker")).pid
    assert pid is not None
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        psutil.Process(pid).kill()
        wait_until(lambda: listens(holder, port), f"port {port} to be free", 5)
        yield


def listens(holder: socket.socket, port: int) -> bool:
    """Listen on a port, or tell that it is not free yet. Nobody answers there, so checks fail."""
    with suppress(OSError):
        holder.bind(("127.0.0.1", port))
        holder.listen()
        return True
    return False
