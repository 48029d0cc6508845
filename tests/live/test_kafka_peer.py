"""A real Kafka that wants a login as a fleet's broker: topics come before the flow; it is restarted when it dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.model import ChildObserved
from tests.conftest import RedisServer
from tests.kafka_peer import PASSWORD, USER, KafkaPeer, jars
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers.drivers.kafka import ask

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(400)]
CHILD = "child/broker"


@pytest.fixture
def peer(tmp_path: Path) -> KafkaPeer:
    """Return a Kafka that does not run yet."""
    (tmp_path / "kafka").mkdir()
    return KafkaPeer(tmp_path / "kafka", jars(), logins=True)


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path, peer: KafkaPeer) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def fleet(peer: KafkaPeer) -> str:
    return f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"
half_open_workers = 0

[[children]]
name = "broker"
type = "redpanda"
node = "edge-1"
command = {json.dumps(peer.command())}
cwd = "{peer.folder}"
start_grace = "2m"
topics = ["readings", "alarms:3"]

[children.check]
kind = "redpanda"
brokers = ["{peer.address}"]
timeout = "5s"
sasl = "SCRAM-SHA-512"
username = "{USER}"
password_file = "{peer.password_file}"

[[workers]]
id = "flow"
type = "process"
node = "edge-1"
depends_on = ["broker"]
config = {{ command = ["sleep", "600"], min_uptime = "1s" }}
"""


def seen(pieces: Pieces) -> ChildObserved | None:
    return pieces.store.read(ChildObserved, pieces.store.keys(NAME).observed("edge-1", CHILD))


def everything(redis_server: RedisServer) -> dict[bytes, bytes]:
    """Return all that is in Redis, as it is stored and not compressed."""
    with redis_server.connect() as client:
        client.config_set("rdbcompression", "no")
        found = {key: client.dump(key) or b"" for key in client.scan_iter()}
        client.config_set("rdbcompression", "yes")
    return found


def ended(pieces: Pieces, item: str, action: str) -> list[dict[str, str]]:
    return pieces.events(event="action.ended", worker_id=item, action=action, outcome="success")


def test_topics_come_before_the_flow_and_a_killed_broker_is_restarted_with_all_that_it_held(
    pieces: Pieces, peer: KafkaPeer, redis_server: RedisServer
) -> None:
    pieces.apply(fleet(peer))
    pieces.start_supervisor()
    pieces.start_node()
    wait_until(lambda: ended(pieces, "flow", "start"), "the flow to be started", 180)
    told = [(one["worker_id"], one["action"]) for one in pieces.events(event="action.ended", outcome="success")]
    assert told == [(CHILD, "restart_child"), (CHILD, "create_topics"), ("flow", "start")]
    assert ask(peer.brokers, ["readings", "alarms"]).partitions == {"readings": 1, "alarms": 3}
    found = seen(pieces)
    assert found is not None
    assert (found.detail, found.missing) == ("1 broker alive; no leaderless partitions", ())
    assert found.pid is not None

    os.kill(found.pid, signal.SIGKILL)
    wait_until(lambda: pieces.events(event="circuit.opened"), "the circuit to open", 60)
    wait_until(lambda: pieces.events(event="circuit.closed"), "the circuit to close", 180)
    assert len(ended(pieces, CHILD, "restart_child")) == 2
    assert ask(peer.brokers, ["readings", "alarms"]).partitions == {"readings": 1, "alarms": 3}
    assert len(ended(pieces, CHILD, "create_topics")) == 1
    again = seen(pieces)
    assert again is not None
    assert again.pid not in (None, found.pid)
    stored = everything(redis_server)
    assert [key for key, value in stored.items() if str(peer.password_file).encode() in value] != []
    assert [key for key, value in stored.items() if PASSWORD.encode() in value] == []
