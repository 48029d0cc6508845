"""A Benthos in streams mode, as far as its interface goes: answers in the words that a real one gave."""

from __future__ import annotations

import http.server
import json
import threading
import time
from pathlib import Path
from typing import Any

RECORDED = json.loads((Path(__file__).parent.parent / "recorded" / "bento-v1.10.0.json").read_text())["streams"]


class FakeBenthos:
    """Streams in memory. One whose output is "stuck" does not end by itself, one of "nowhere" is not connected."""

    def __init__(self) -> None:
        self.streams: dict[str, Any] = {}
        self.asked: list[str] = []
        self.inactive = False
        self.broken = False
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                status, text = server.answer(self.command, self.path, body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        """Listen no more."""
        self.http.shutdown()
        self.http.server_close()

    def answer(self, method: str, path: str, body: str) -> tuple[int, str]:
        """Return status and text."""
        name = path.split("/")[2]
        if method != "GET":
            self.asked.append(f"{method} {path}")
        if self.broken:
            return 500, "oh"
        if path.endswith("/stats"):
            return self._stats(name)
        if method != "POST" and name not in self.streams:
            return tuple(RECORDED["PUT /streams/c"])
        if method == "GET":
            told = {"active": not self.inactive, "uptime": 1.0, "uptime_str": "1s", "config": self.streams[name]}
            return 200, json.dumps(told)
        if method == "DELETE":
            del self.streams[name]
            return tuple(RECORDED["DELETE /streams/a"])
        return self._take(method, name, body)

    def _take(self, method: str, name: str, body: str) -> tuple[int, str]:
        if '"outputt"' in body:
            return tuple(RECORDED["POST /streams/c lint"])
        if '"unbuildable"' in body:
            self.streams.pop(name, None)
            return 502, "Error: failed to init output"
        if method == "PUT" and "stuck" in json.dumps(self.streams[name]):
            self.streams[name] = {}  # hung up on, it gives its messages back
            time.sleep(4.5)
            return 502, "Error: context canceled"
        given = json.loads(body) if body.startswith("{") else {"yaml": body}
        self.streams[name] = json.loads(json.dumps(given).replace("${SECRET}", "told-nobody"))
        return tuple(RECORDED["POST /streams/a"])

    def _stats(self, name: str) -> tuple[int, str]:
        up = int("nowhere" not in json.dumps(self.streams[name]))
        labels = f'{{label="",path="root.END",stream="{name}"}}'
        stats = {f"{end}_connection_up{labels}": one for end, one in (("input", 1), ("output", up))}
        return 200, json.dumps({**stats, f"output_sent{labels}": 5, "uptime_ns": 1})
