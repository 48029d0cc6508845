"""S19: an alert travels through a real Prometheus and Alertmanager; what follows from it is held back meanwhile."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.monitoring import ALERTMANAGER, PROMETHEUS
from tests.prometheus import alertmanager_of, prometheus_of
from tests.waiting import wait_until

pytestmark = pytest.mark.live
CLOSED = 'supervisor_circuit_state{{supervisor="plant-1",state="closed"}} {}\n'
MISMATCH = 'supervisor_oldest_mismatch_timestamp_seconds{{supervisor="plant-1"}} {}\n'


@dataclass
class Site:
    """A web server: shows `page` to Prometheus, and keeps what Alertmanager posts, by path."""

    page: str = ""
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    address: str = ""

    def told(self, path: str) -> set[tuple[str, str]]:
        """Return status and name of each alert that was ever posted to `path`."""
        return {
            (alert["status"], alert["labels"]["alertname"])
            for where, post in self.posted
            if where == path
            for alert in post["alerts"]
        }


@contextmanager
def site_running() -> Iterator[Site]:
    """Serve a site on a free port until the block ends."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(site.page.encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            site.posted.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def hurried_rules(folder: Path) -> list[Path]:
    """Write our rules so that alerts fire and end at once."""
    written = []
    for path in (PROMETHEUS / "rules" / "supervisor.yml", PROMETHEUS / "alerts" / "supervisor.yml"):
        written.append(folder / f"{path.parent.name}.yml")
        written[-1].write_text(re.sub(r"\bfor: \d+\w", "for: 0s", path.read_text()))
    return written


def test_s19_an_alert_reaches_a_receiver_and_holds_back_what_follows_from_it(tmp_path: Path) -> None:
    circuit, converging = "SupervisorCircuitOpen", "SupervisorWorkersNotConverging"
    with (
        site_running() as site,
        alertmanager_of(tmp_path, ALERTMANAGER, site.address) as alertmanager,
        prometheus_of(
            tmp_path, [site.address], job="supervisor", rules=hurried_rules(tmp_path), alertmanager=alertmanager
        ),
    ):
        site.page = CLOSED.format(0)
        wait_until(lambda: ("firing", circuit) in site.told("/operators"), "the circuit's alert", 30)

        site.page += MISMATCH.format(time.time() - 3600)
        wait_until(lambda: held_back(alertmanager, converging), f"{converging} to be held back", 30)
        wait_until(lambda: ("firing", "SupervisorWatchdog") in site.told("/watchdog"), "the watchdog", 30)
        assert ("firing", converging) not in site.told("/operators")

        site.page = site.page.replace(CLOSED.format(0), CLOSED.format(1))
        wait_until(lambda: ("resolved", circuit) in site.told("/operators"), "the circuit's alert to end", 30)
        wait_until(lambda: ("firing", converging) in site.told("/operators"), f"{converging}, now that it may", 30)


def held_back(alertmanager: str, name: str) -> bool:
    """Tell whether Alertmanager has an alert, and holds it back because of another."""
    found = httpx.get(f"http://{alertmanager}/api/v2/alerts", params={"filter": f"alertname={name}"}, timeout=5).json()
    return bool(found) and all(alert["status"]["inhibitedBy"] for alert in found)
