"""The plan's own example: the broker is well, and a flow that depends on it has no connection to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer, free_port
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = pytest.mark.live
FLOW = """
import http.server, pathlib, sys
marker = pathlib.Path(sys.argv[2])
connected = int(marker.exists())   # its first life never finds its output; nothing but a new life mends it
marker.touch()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(f"input_connection_up 1\\noutput_connection_up {connected}\\n".encode())
    def log_message(self, *args): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def test_a_flow_that_has_no_output_though_its_broker_is_well_is_at_fault_and_restarted(
    pieces: Pieces, redis_server: RedisServer
) -> None:
    flow, port = pieces.folder / "flow.py", free_port()
    flow.write_text(FLOW)
    broker = redis_server.url.removeprefix("redis://").partition("/")[0]
    command = json.dumps(["python3", str(flow), str(port), str(pieces.folder / "marker")])
    pieces.apply(f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "300ms"

[[rules]]
name = "no-output"
child = "broker"
worker_type = "dfc_read"
observed = {{ output_connected = false }}
lasts = "2s"

[[children]]
name = "broker"
type = "redis"
node = "edge-1"
check = {{ address = "{broker}" }}

[[workers]]
id = "flow"
type = "dfc_read"
node = "edge-1"
depends_on = ["broker"]
config = {{ command = {command}, http = "127.0.0.1:{port}" }}
""")
    pieces.start_supervisor()
    pieces.start_node()
    wait_until(
        lambda: pieces.events(event="action.ended", worker_id="flow", action="restart", outcome="success"),
        "the flow to be restarted",
        30,
    )
    (claimed,) = pieces.events(event="action.claimed", worker_id="flow", action="restart")
    assert claimed["reason"].startswith("rule no-output: child broker is ok and output_connected is False for ")
    wait_until(lambda: pieces.events(event="worker.transition", worker_id="flow", to="running"), "it to run", 30)
    status = json.loads(pieces.store.client.get(pieces.store.keys(NAME).status("edge-1", "flow")))
    assert status.get("fault", "") == ""
    assert len(pieces.events(event="action.claimed", worker_id="flow", action="restart")) == 1
    assert pieces.store.breaker(NAME).state == "closed"
