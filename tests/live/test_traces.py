"""Traces of real processes, sent by HTTP to a receiver of ours; and to one that never answers."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = pytest.mark.live
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "1s"

[[workers]]
id = "flow"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "300"] }}
"""


@dataclass
class Receiver:
    """What was received: (service, span) each."""

    url: str = ""
    spans: list[tuple[dict[str, Any], Any]] = field(default_factory=list)

    def named(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        return [(resource, span) for resource, span in self.spans if span.name == name]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive spans as an OpenTelemetry collector does."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {one.key: one.value.string_value for one in of_process.resource.attributes}
                made.spans += [(resource, span) for scope in of_process.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def started(redis_server: RedisServer, folder: Path, url: str, every: float) -> Iterator[Pieces]:
    """Yield an installation whose worker has been started, its traces sent to `url` every so many seconds."""
    with redis_server.connect() as client:
        client.flushall()
    environ = {
        "FSM_TRACES": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": f"{every * 1000:.0f}",
    }
    with pieces_in(folder, redis_server.url, **environ) as pieces:
        pieces.apply(FLEET)
        pieces.start_supervisor()
        pieces.start_node()
        wait_until(lambda: pieces.events(to="running", worker_id="flow"), "flow to run", 30)
        yield pieces


def said(pieces: Pieces, name: str, event: str) -> list[dict[str, Any]]:
    """Return the log lines of a piece that tell `event`."""
    lines = [line for line in pieces.said(name).splitlines() if line.startswith("{")]
    return [told for told in map(json.loads, lines) if told.get("event") == event]


def test_a_real_actions_span_is_a_part_of_its_ticks_across_the_queue(redis_server: RedisServer, tmp_path: Path) -> None:
    with receiver() as received, started(redis_server, tmp_path, received.url, every=0.2) as pieces:
        wait_until(lambda: received.named("actions.start"), "the action's span", 20)
        wait_until(lambda: received.named("tick"), "the tick's span", 20)
        ((resource, action),), ((_, tick),) = received.named("actions.start"), received.named("tick")
        lease = pieces.lease("flow")

        assert (action.trace_id, action.parent_span_id) == (tick.trace_id, tick.span_id)
        assert tick.start_time_unix_nano < action.start_time_unix_nano < action.end_time_unix_nano
        assert (resource["service.name"], resource["host.name"]) == ("fsm-supervisor", socket.gethostname())
        trace_id = action.trace_id.hex()
        assert lease is not None
        assert (lease.action, lease.trace_id) == ("start", trace_id)
        events = pieces.events(trace_id=trace_id)
        assert [event["event"] for event in events] == ["action.claimed", "action.begun", "action.ended"]
        assert [line["trace_id"] for line in said(pieces, "edge-1", "action.ended")] == [trace_id]


def test_processes_that_end_send_their_last_spans(redis_server: RedisServer, tmp_path: Path) -> None:
    with receiver() as received, started(redis_server, tmp_path, received.url, every=600.0) as pieces:
        assert received.spans == []
        for name in ("edge-1", "supervisor"):
            pieces.processes[name].send_signal(signal.SIGTERM)
            assert pieces.processes[name].wait(30) == 0
        assert sorted(span.name for _, span in received.spans) == ["actions.start", "tick"], (
            "ticks that do not act: none"
        )


def test_a_receiver_that_never_answers_holds_up_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with started(redis_server, tmp_path, url, every=0.2) as pieces:
            pieces.want("flow", "stopped")
            wait_until(lambda: pieces.events(to="stopped", worker_id="flow"), "flow to be stopped", 30)
            (claimed,) = pieces.events(event="action.claimed", action="stop")
            (ended,) = pieces.events(event="action.ended", action="stop")
            assert claimed["trace_id"] == ended["trace_id"]
            assert ended["outcome"] == "success"
            pieces.processes["edge-1"].send_signal(signal.SIGTERM)
            assert pieces.processes["edge-1"].wait(20) == 0
