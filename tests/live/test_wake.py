"""A mark starts a tick at once; where it is not heard, beat's pulse is soon enough."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers.model import Status

pytestmark = pytest.mark.live

PULSE = 40.0  # seconds: whatever happens in a fraction of it was not waited for
FLEET = f"""
[supervisor]
name = "{NAME}"

[[workers]]
id = "worker-1"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "100000"], min_uptime = "0s" }}
"""


@pytest.fixture
def pieces(tmp_path: Path, redis_server: RedisServer) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def state(pieces: Pieces) -> str:
    """Return the worker's state."""
    store = pieces.store
    status = store.read(Status, store.keys(NAME).status("edge-1", "worker-1"))
    return status.state if status is not None else ""


def seconds_to(pieces: Pieces, wanted: str, wish: str) -> float:
    """Wish the worker running or stopped; return how long it takes to be seen so."""
    began = pieces.store.now()
    pieces.want("worker-1", wish)
    wait_until(lambda: state(pieces) == wanted, f"worker-1 to be {wanted}", 2 * PULSE)
    return pieces.store.now() - began


def test_a_wish_is_done_in_a_fraction_of_the_pulse(pieces: Pieces) -> None:
    pieces.environ["FSM_PULSE"] = str(PULSE)
    pieces.apply(FLEET)
    pieces.start_supervisor()
    pieces.start_node()
    wait_until(lambda: state(pieces) == "running", "worker-1 to run", 2 * PULSE)
    took = [seconds_to(pieces, *wish) for wish in (("stopped", "stopped"), ("running", "running"))]
    # each takes two states and an action, each of which would have waited for a pulse
    assert max(took) < PULSE / 2, took


def test_a_beat_that_may_not_listen_says_so_once_and_the_pulse_alone_is_enough(pieces: Pieces) -> None:
    with pieces.runtime().store.client as client:
        client.acl_setuser(
            "deaf", enabled=True, nopass=True, keys="*", commands=["+@all", "-psubscribe"], channels="*", reset=True
        )
        pieces.urls["beat"] = pieces.url.replace("redis://", "redis://deaf:any@")
        pieces.apply(FLEET)
        pieces.start_supervisor()
        pieces.start_node()
        wait_until(lambda: state(pieces) == "running", "worker-1 to run", 60)
        seconds_to(pieces, "stopped", "stopped")
        assert pieces.said("beat").count('"event":"beat.deaf"') + pieces.said("beat").count('"event": "beat.deaf"') == 1
        client.acl_deluser("deaf")
