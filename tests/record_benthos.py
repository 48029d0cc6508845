"""Records what a real Benthos answers: `python -m tests.record_benthos PROGRAM >tests/recorded/NAME.json`.

PROGRAM is a `benthos`, `bento` or `rpk connect`, of any build. Each situation is a flow of its own, asked once
it has come to be so; the contract tests read the answers as a collector would.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port
from tests.waiting import wait_until

PATHS = ("/ping", "/ready", "/version", "/metrics")
METRICS = {"benthos": "json_api", "bento": "prometheus"}  # what these programs bring along
INPUT = {"generate": {"interval": "5ms", "mapping": 'root = {"n": counter()}'}}


class HalfBad(http.server.BaseHTTPRequestHandler):
    """Refuses every second message."""

    seen = 0

    def do_POST(self) -> None:
        """Answer 500, then 200."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        HalfBad.seen += 1
        self.send_response(500 if HalfBad.seen % 2 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Recorder:
    """One program, and the folder of its flows."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.metrics = METRICS[Path(program).name]

    @contextlib.contextmanager
    def running(self, *words: str, **flow: Any) -> Iterator[httpx.Client]:
        """Run a flow, or streams mode, and end it."""
        port = free_port()
        config = self.folder / f"{port}.json"
        settings = {"http": {"address": f"127.0.0.1:{port}"}, "metrics": {self.metrics: {}}, "logger": {"level": "OFF"}}
        config.write_text(json.dumps({**settings, **flow}))
        with (
            subprocess.Popen([self.program, "-c", str(config), *words]) as process,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30.0) as client,
        ):
            try:
                wait_until(lambda: _answers(client), "it to answer")
                yield client
            finally:
                process.kill()  # one that cannot send waits for its messages

    def flows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each situation with its answers."""
        out = {"file": {"path": str(self.folder / "out"), "codec": "lines"}}
        with self.running(input=INPUT, output=out) as client:
            wait_until(lambda: "sent" in client.get("/metrics").text and _passed(self.folder / "out"), "messages")
            yield "flowing", answers(client, PATHS)
        with self.running(input=INPUT, output=_socket(free_port())) as client:
            wait_until(lambda: client.get("/ready").status_code == 503, "it to miss its output")
            yield "unconnected", answers(client, PATHS)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HalfBad)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        output = {"url": f"http://127.0.0.1:{server.server_port}/", "retries": 0}
        with self.running(input=INPUT, output={"http_client": output}) as client:
            wait_until(lambda: HalfBad.seen > 40, "errors")
            yield "erring", answers(client, PATHS)
        server.shutdown()
        yield "lost", self.lost()

    def lost(self) -> dict[str, Any]:
        """Return the answers of a flow whose target was there and went away."""
        with (
            socket.create_server(("127.0.0.1", 0)) as target,
            self.running(input=INPUT, output=_socket(target.getsockname()[1])) as client,
        ):
            connection, _ = target.accept()
            wait_until(lambda: client.get("/ready").status_code == 200, "it to find its output")
            target.close()
            connection.close()
            wait_until(lambda: client.get("/ready").status_code == 503, "it to miss its output")
            return answers(client, PATHS)

    def streams(self) -> dict[str, Any]:
        """Return what streams mode answers: one that flows, one without its output, one that lint refuses."""
        flowing = {"input": INPUT, "output": {"drop": {}}}
        with self.running("streams") as client:
            said = {"empty": answers(client, ("/ready", "/streams"))}
            said["POST /streams/a"] = answer(client.post("/streams/a", json=flowing))
            said["POST /streams/a again"] = answer(client.post("/streams/a", json=flowing))
            said["POST /streams/b"] = answer(
                client.post("/streams/b", json={"input": INPUT, "output": _socket(free_port())})
            )
            said["POST /streams/c lint"] = answer(client.post("/streams/c", json={**flowing, "outputt": {}}))
            said["POST /streams/c type"] = answer(
                client.post("/streams/c", json={"input": INPUT, "output": {"dropp": {}}})
            )
            said["PUT /streams/a lint"] = answer(client.put("/streams/a", json={**flowing, "outputt": {}}))
            said["PUT /streams/c"] = answer(client.put("/streams/c", json=flowing))
            wait_until(lambda: client.get("/ready").status_code == 503, "a stream to miss its output")
            wait_until(lambda: client.get("/streams/a").json()["uptime"] > 1, "messages")
            paths = ("/ready", "/metrics", "/streams", "/streams/a", "/streams/b", "/streams/c")
            said["both"] = answers(client, (*paths, "/streams/a/stats"))
            said["DELETE /streams/a"] = answer(client.delete("/streams/a"))
            said["DELETE /streams/a again"] = answer(client.delete("/streams/a"))
        return said


def _socket(port: int) -> dict[str, Any]:
    return {"socket": {"network": "tcp", "address": f"127.0.0.1:{port}"}}


def _passed(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 4000


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return client.get("/ping").status_code == 200
    return False


def answer(reply: httpx.Response) -> list[Any]:
    """Return status and body."""
    return [reply.status_code, reply.text]


def answers(client: httpx.Client, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return status and body of each path."""
    return {path: answer(client.get(path)) for path in paths}


def main() -> None:
    """Record all situations of one program."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(sys.argv[1], Path(folder))
        recorded = {"flows": dict(recorder.flows()), "streams": recorder.streams()}
    sys.stdout.write(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
