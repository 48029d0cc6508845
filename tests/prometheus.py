"""A real Prometheus for a test: it scrapes targets of the test and answers queries."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import free_port, missing
from tests.waiting import wait_until

EVERY = "250ms"  # between two scrapes


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query, each with `metric` (labels) and `value` (time, text)."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the newest value of each series of a metric, by the values of these labels."""
        return {tuple(one["metric"][name] for name in labels): float(one["value"][1]) for one in self.query(metric)}


@contextmanager
def prometheus_of(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` (HOST:PORT) until the block ends."""
    binary = shutil.which("prometheus") or missing("no prometheus: apt-get install prometheus")
    configuration = folder / "prometheus.yml"
    configuration.write_text(
        f"global: {{scrape_interval: {EVERY}, scrape_timeout: {EVERY}}}\n"
        f"scrape_configs: [{{job_name: fsm, static_configs: [{{targets: {list(targets)}}}]}}]\n"
    )
    address = f"127.0.0.1:{free_port()}"
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                str(binary),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address={address}",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        made = Prometheus(f"http://{address}")
        wait_until(lambda: process.poll() is not None or _is_ready(made), f"prometheus to be ready, see {log}", 30)
        assert process.poll() is None, log.read_text()
        yield made
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(prometheus: Prometheus) -> bool:
    try:
        return httpx.get(f"{prometheus.url}/-/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
