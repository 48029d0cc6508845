"""A real Prometheus and Alertmanager for a test: scrape its targets, answer queries, tell its receivers."""

from __future__ import annotations

import json
import re
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
def prometheus_of(
    folder: Path, targets: Sequence[str], *, job: str = "fsm", rules: Sequence[Path] = (), alertmanager: str = ""
) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `targets` (HOST:PORT) until the block ends.

    It evaluates the files `rules`, and sends alerts to `alertmanager` (HOST:PORT).
    """
    binary = shutil.which("prometheus") or missing("no prometheus: apt-get install prometheus")
    configuration = folder / "prometheus.yml"
    configuration.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
                "scrape_configs": [{"job_name": job, "static_configs": [{"targets": list(targets)}]}],
                "rule_files": [str(path) for path in rules],
                "alerting": {
                    "alertmanagers": [{"static_configs": [{"targets": [alertmanager] if alertmanager else []}]}]
                },
            }
        )
    )
    address = f"127.0.0.1:{free_port()}"
    options = (
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        "--rules.alert.resend-delay=1s",  # what fires at the start is sent before Alertmanager has been discovered
    )
    with _running(folder, [str(binary), *options, f"--web.listen-address={address}"], address):
        yield Prometheus(f"http://{address}")


@contextmanager
def alertmanager_of(folder: Path, configuration: Path, receiver: str) -> Iterator[str]:
    """Run an Alertmanager by a configuration of ours, but at once and to `receiver` (HOST:PORT); yield its address."""
    binary = shutil.which("prometheus-alertmanager") or missing(
        "no prometheus-alertmanager: apt-get install prometheus-alertmanager"
    )
    text = configuration.read_text().replace("127.0.0.1:9095", receiver)
    hurried = folder / "alertmanager.yml"
    hurried.write_text(re.sub(r"(group_wait|group_interval): \w+", rf"\1: {EVERY}", text))
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={hurried}", f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=")
    with _running(folder, [str(binary), *options, f"--web.listen-address={address}"], address):
        yield address


@contextmanager
def _running(folder: Path, command: Sequence[str], address: str) -> Iterator[None]:
    """Run a program of Prometheus' family until the block ends, from when it is ready."""
    name = Path(command[0]).name
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: process.poll() is not None or _is_ready(address), f"{name} to be ready, see {log}", 30)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        process.wait(20)


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
