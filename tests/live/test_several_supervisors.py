"""Several supervisors in one file: one site's broken broker does not stop another site."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer, free_port
from tests.live.pieces import Pieces, pieces_in
from tests.waiting import wait_until
from workers.drivers.process import look

pytestmark = pytest.mark.live
SITES = ("north", "south")
SITE = """
[[supervisors]]
name = "{site}"
tick_interval = "200ms"
observation_interval = "300ms"

[[children]]
supervisor = "{site}"
name = "broker"
type = "tcp"
node = "edge-1"
check = {{ address = "{broker}" }}

[[workers]]
supervisor = "{site}"
id = "{site}-flow"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "600"], min_uptime = "1s" }}
"""


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        broken, well = f"127.0.0.1:{free_port()}", redis_server.url.removeprefix("redis://").partition("/")[0]
        made.apply(SITE.format(site="north", broker=broken) + SITE.format(site="south", broker=well))
        made.start_supervisor()
        made.start_node("edge-1", known_to="south")
        yield made


def test_a_sites_broken_broker_stops_that_site_alone(pieces: Pieces) -> None:
    folders = {site: pieces.settings().data_dir / "nodes/edge-1" / site / "workers" / f"{site}-flow" for site in SITES}
    wait_until(lambda: pieces.store.breaker("north").is_open, "north's circuit to open", 20)
    wait_until(lambda: look(folders["south"]).pid, "south's flow to run", 20)
    first = look(folders["south"]).pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: look(folders["south"]).pid not in (None, first), "south's flow to run again", 20)
    assert look(folders["north"]).pid is None
    assert pieces.store.breaker("south").state == "closed"
