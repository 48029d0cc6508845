"""A stand-in for Redpanda's admin API: its replies in its own form, served over HTTP, changed by the test.

The fields are those of Redpanda's API documents (broker.json, cluster.json in src/v/redpanda/admin/api-doc of its
repository); a Redpanda itself cannot be had as a package.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

READY, BROKERS, HEALTH = "/v1/status/ready", "/v1/brokers", "/v1/cluster/health_overview"
_REST = {"partitions": 0, "eligible": 0, "transferring": 0, "failed": 0, "errors": False, "finished": False}


def broker(node_id: int, **changes: Any) -> dict[str, Any]:
    """Return an entry of /v1/brokers: a broker that is well."""
    return {
        "node_id": node_id,
        "num_cores": 2,
        "internal_rpc_address": f"redpanda-{node_id}",
        "internal_rpc_port": 33145,
        "membership_status": "active",
        "is_alive": True,
        "disk_space": [{"path": "/var/lib/redpanda/data", "free": 40_000_000_000, "total": 50_000_000_000}],
        "version": "v24.3.1",
        "maintenance_status": {"draining": False, **_REST},
        **changes,
    }


def health(**changes: Any) -> dict[str, Any]:
    """Return a reply of /v1/cluster/health_overview: a cluster of three that is well."""
    return {
        "is_healthy": True,
        "unhealthy_reasons": [],
        "controller_id": 0,
        "all_nodes": [0, 1, 2],
        "nodes_down": [],
        "nodes_in_recovery_mode": [],
        "high_disk_usage_nodes": [],
        "leaderless_partitions": [],
        "leaderless_count": 0,
        "under_replicated_partitions": [],
        "under_replicated_count": 0,
        "bytes_in_cloud_storage": -1,
        **changes,
    }


def well() -> dict[str, tuple[int, Any]]:
    """Return the replies of three brokers that are well."""
    return {
        READY: (200, {"status": "ready"}),
        BROKERS: (200, [broker(0), broker(1), broker(2)]),
        HEALTH: (200, health()),
    }


@dataclass
class AdminApi:
    """What answers: a status and a value for each path. `hangs`: it takes the request and never answers."""

    replies: dict[str, tuple[int, Any]] = field(default_factory=well)
    hangs: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""


@contextmanager
def serving() -> Iterator[AdminApi]:
    """Yield a stand-in that serves on the loopback."""
    api = AdminApi()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if api.hangs.is_set():
                api.over.wait()
                return
            status, value = api.replies.get(self.path, (404, {"message": "Not found", "code": 404}))
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            with contextlib.suppress(ConnectionError):  # who asked may have read enough
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        api.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
