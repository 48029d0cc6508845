"""What answers on a network, in a whole installation: frozen and back, while others hang, which delays nobody."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer, free_port, redis_binary
from tests.integration.mosquitto import mosquitto
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers.endpoint.states import EndpointObserved
from workers.model import Status

pytestmark = pytest.mark.live
OPCUA = Path(__file__).parents[1] / "integration" / "opcua_server.py"
HUNG = [f"hung-{number}" for number in range(12)]
PEERS = ("broker", "plc", "cache")
LONG = 60  # seconds to wait at most: the host may be busy


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


@pytest.fixture
def silence() -> Iterator[str]:
    """Return the address of what takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield "127.0.0.1:{1}".format(*server.getsockname())


def worker(name: str, kind: str, command: list[str], **config: object) -> str:
    """Return a worker of the fleet file."""
    config |= {"timeout": "4s", "max_latency": "4s", **({"command": command} if command else {})}
    pairs = ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.items())
    return f'[[workers]]\nid = "{name}"\ntype = "{kind}"\nnode = "edge-1"\nconfig = {{ {pairs} }}\n'


def fleet(folder: Path, silence: str) -> str:
    """Return a broker, a PLC and a cache of ours, and a dozen of somebody else's that hang."""
    broker, address = mosquitto(folder / "broker", "allow_anonymous true")
    plc, cache = free_port(), free_port()
    (folder / "now.json").write_text('{"value": 21.5, "quality": "Good", "state": "Running"}')
    served = [sys.executable, str(OPCUA), str(plc), str(folder)]
    redis = [redis_binary(), "--port", str(cache), "--bind", "127.0.0.1", "--save", ""]
    head = f'[supervisor]\nname = "{NAME}"\ntick_interval = "200ms"\nobservation_interval = "300ms"\n'
    ours = [
        worker("broker", "mqtt", broker, address=address),
        worker("plc", "opcua", served, url=f"opc.tcp://127.0.0.1:{plc}/", node="ns=2;s=Line1.Speed"),
        worker("cache", "tcp_service", redis, address=f"127.0.0.1:{cache}", send="PING\r\n", expect="PONG"),
    ]
    theirs = [worker(name, ("mqtt", "tcp_service")[n % 2], [], **hung(n, silence)) for n, name in enumerate(HUNG)]
    return "\n".join([head, *ours, *theirs])


def hung(number: int, silence: str) -> dict[str, object]:
    """Return how one of those is asked that hang."""
    return {"address": silence, "expect": "anything"} if number % 2 else {"address": silence}


def state(pieces: Pieces, name: str) -> tuple[str, str]:
    """Return the state and the reason of a worker."""
    status = pieces.store.read(Status, pieces.store.keys(NAME).status("edge-1", name))
    return (status.state, status.reason) if status else ("", "")


def seen(pieces: Pieces, name: str) -> EndpointObserved | None:
    """Return what was seen of a worker last."""
    return pieces.store.read(EndpointObserved, pieces.store.keys(NAME).observed("edge-1", name))


def all_in(pieces: Pieces, wanted: str) -> None:
    """Wait until all of ours are in a state."""
    for name in PEERS:
        wait_until(lambda name=name: state(pieces, name)[0] == wanted, f"{name} {wanted}", LONG)  # type: ignore[misc]


def send(pieces: Pieces, number: signal.Signals) -> None:
    """Send a signal to all of ours."""
    for name in PEERS:
        observed = seen(pieces, name)
        assert observed is not None
        assert observed.pid is not None
        os.kill(observed.pid, number)


def test_endpoints_are_degraded_while_they_are_frozen_and_those_that_hang_delay_nobody(
    pieces: Pieces, silence: str
) -> None:
    pieces.apply(fleet(pieces.folder, silence))
    pieces.start_supervisor()
    pieces.start_node()
    all_in(pieces, "running")
    send(pieces, signal.SIGSTOP)
    all_in(pieces, "degraded")
    reasons = {name: state(pieces, name)[1] for name in PEERS}
    send(pieces, signal.SIGCONT)
    assert "waited 3.6s in vain for " in reasons["broker"]
    assert reasons["plc"].endswith("/ within 4s")
    assert reasons["cache"].endswith(" within 4s")
    all_in(pieces, "running")
    assert pieces.events(event="action.claimed", action="restart") == []

    looks: list[tuple[float, float]] = []  # each of the one that hangs, with the last of another by then

    def looked_twice() -> bool:
        cache, hung = seen(pieces, "cache"), seen(pieces, "hung-0")
        assert cache is not None
        assert hung is not None
        others.add(cache.collected_at)
        if not looks or hung.collected_at > looks[-1][0]:
            looks.append((hung.collected_at, cache.collected_at))
        return len(looks) > 2

    others: set[float] = set()
    wait_until(looked_twice, "one that hangs to be looked at twice more", LONG)
    (_, before), (_, after) = looks[-2:]
    # between the two it hung for 4 s, and the other was looked at all the time
    assert len([at for at in others if before < at <= after]) > 2
    assert {state(pieces, name)[0] for name in HUNG} == {"starting"}
    assert pieces.events(event="action.claimed", worker_id="hung-0") == []
