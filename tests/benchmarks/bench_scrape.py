"""How long a scrape of a large fleet takes: `python -m tests.benchmarks.bench_scrape [--workers N] [--scrapes N]`.

A real exporter process over a real Redis that holds a fleet of workers, all observed, running, and started once. Prints
the machine, versions, the number of scrapes, their median and spread.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from supervisor.fleet import Fleet, WorkerEntry
from supervisor.metrics import counted_as
from supervisor.model import CollectorDocument, Lease, NodeDocument, Stage, SupervisorSettings, WorkerLabel
from supervisor.store import Store, encode
from tests.benchmarks.measuring import machine
from tests.conftest import OwnRedis, free_port
from tests.waiting import wait_until
from workers.dfc_read.states import FlowObserved
from workers.model import Desired, Observed, Status

NAME = "plant-1"
NODES = tuple(f"edge-{number}" for number in range(1, 11))
CONFIGS: dict[str, dict[str, Any]] = {
    "process": {"command": ["sleep", "300"], "cwd": "/", "min_uptime": 10.0},
    "dfc_read": {"command": ["flow"], "cwd": "/", "min_uptime": 10.0, "http": "127.0.0.1:7311"},
}


def entries(count: int) -> Iterator[WorkerEntry]:
    """Yield workers, of each type in turn, spread over the nodes."""
    kinds = list(CONFIGS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        desired = Desired(state="running", config=CONFIGS[kind], config_id="c1")
        yield WorkerEntry(f"worker-{number:05}", kind, NODES[number % len(NODES)], desired)


def fill(store: Store, count: int, label: WorkerLabel) -> None:
    """Write a fleet that runs."""
    workers = tuple(entries(count))
    store.apply_fleets([Fleet(SupervisorSettings(name=NAME, nodes=NODES, worker_label=label), (), workers)])
    keys, now = store.keys(NAME), store.now()
    for node in NODES:
        store.heartbeat(NAME, NodeDocument(node=node, host=node, boot_id="b", executor=f"{node}@h", pid=1, slots=5))
        store.client.set(
            keys.collector(node), encode(CollectorDocument(node=node, pid=2, at=now, observed=count, clock_skew=0.0))
        )
    pipe = store.client.pipeline()
    for number, worker in enumerate(workers):
        kind = FlowObserved if worker.type == "dfc_read" else Observed
        seen = kind(collected_at=now, pid=1000 + number, start_ticks=7, started_at=now - 600, config_id="c1")
        pipe.set(keys.observed(worker.place, worker.id), encode(seen))
        pipe.set(keys.status(worker.place, worker.id), encode(Status(state="running", since=now - 600, reason="up")))
        name = counted_as(label, worker.type)
        started = Lease(
            worker_id=worker.id,
            action="start",
            action_id=f"a{number}",
            token=f"{int(now * 1e6) + number}",
            stage=Stage.FREE,
            claimed_at=now - 601,
            begun_at=now - 601,
            ended_at=now - 600,
            deadline=now - 600,
            outcome="success",
            counted_as=name,
        )
        pipe.set(keys.lease(worker.place, worker.id), encode(started))
        _count(pipe, keys.counters(worker.place), name or worker.id)
    pipe.execute()


def _count(pipe: Any, counters: str, label: str) -> None:
    """Count one start, as the scripts do."""
    duration = f"supervisor_action_duration_seconds_bucket|{label}|start"
    fields = [f"supervisor_actions_enqueued_total|{label}|start"]
    fields.append(f"supervisor_actions_completed_total|{label}|start|success")
    fields += [f"{duration}|{bound}" for bound in ("1", "5", "10", "30", "60")]
    fields.append(f"supervisor_action_duration_seconds_count|{label}|start")
    for field in fields:
        pipe.hincrby(counters, field, 1)
    pipe.hincrbyfloat(counters, f"supervisor_action_duration_seconds_sum|{label}|start", 0.7)


def scrape(redis: OwnRedis, folder: Path, scrapes: int) -> tuple[list[float], httpx.Response]:
    """Run an exporter and scrape it, once to warm up; return the seconds of each scrape, and the last answer."""
    port = free_port()
    environment = {**os.environ, "FSM_REDIS_URL": redis.url, "FSM_DATA_DIR": str(folder / "data")}
    command = [sys.executable, "-c", "from supervisor.cli import main; main()", "exporter", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    took = []
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(lambda: _answers(client), "the exporter to answer", 60)
            answer = client.get("/metrics")
            for _ in range(scrapes):
                since = time.perf_counter()
                answer = client.get("/metrics")
                took.append(time.perf_counter() - since)
    finally:
        process.terminate()
        process.wait(10)
    return took, answer


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--scrapes", type=int, default=20)
    parser.add_argument("--worker-label", choices=("worker_id", "worker_type"), default="worker_type")
    asked = parser.parse_args()
    shown = machine()
    with tempfile.TemporaryDirectory() as name:
        redis = OwnRedis(Path(name))
        try:
            redis.start()
            with redis.server.connect() as client:
                fill(Store(client, "fsm"), asked.workers, asked.worker_label)
                versions = f"Redis {client.info('server')['redis_version']}"
            took, answer = scrape(redis, Path(name), asked.scrapes)
        finally:
            redis.kill()
    if "supervisor_up 1.0" not in answer.text:
        raise SystemExit(f"the exporter did not tell: {answer.text[:200]}")
    quartiles = statistics.quantiles(took, n=4) if len(took) > 1 else took * 3
    sys.stdout.write(
        f"machine   {shown}\n"
        f"versions  Python {platform.python_version()}, {versions}, "
        f"prometheus-client {version('prometheus-client')}, redis-py {version('redis')}\n"
        f"fleet     {asked.workers} workers on {len(NODES)} nodes, by {asked.worker_label}\n"
        f"page      {len(answer.content)} bytes\n"
        f"scrapes   n {len(took)}, median {statistics.median(took):.3f} s, "
        f"quartiles {quartiles[0]:.3f} - {quartiles[2]:.3f} s, least {min(took):.3f} s, most {max(took):.3f} s\n"
    )


if __name__ == "__main__":
    main()
