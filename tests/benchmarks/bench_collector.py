"""What a node's collector costs, and whether hung targets delay others: `python -m tests.benchmarks.bench_collector`.

A real collector process observes data flows on one node, a tenth of which accept requests and never answer. All flows'
HTTP interfaces are served by one process, which stands for the process of each; so what is measured is what the
collector itself does: reading the process, two HTTP requests, and writing to Redis. Prints the share of a core, and how
old the observations of the flows that answer grew between two looks.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from supervisor.fleet import Fleet, WorkerEntry
from supervisor.model import SupervisorSettings
from supervisor.store import Store, decode
from supervisor.targets import folder_of
from tests.benchmarks.measuring import digits, machine, say, versions
from tests.conftest import OwnRedis
from tests.waiting import wait_until
from workers import holder
from workers.dfc_read.states import FlowObserved
from workers.model import Desired

NAME, NODE = "plant-1", "edge-1"
INTERVAL = SupervisorSettings(name=NAME).observation_interval
BAR = 0.20  # of a core
OLDEST = INTERVAL + 0.5  # seconds: an interval, and what a look and its writing take
FSMCTL = (sys.executable, "-c", "from supervisor.cli import main; main()")


@dataclass(frozen=True)
class Figures:
    """`share` of a core, and of Redis' thread the seconds for each observation that is written (`redis`).

    Of `answering` flows the oldest observation was `oldest` seconds old; `hung_told` of the others were told as such.
    """

    share: float
    redis: float
    answering: int
    oldest: float
    hung_told: int


@contextmanager
def _flows(answering: int, hung: int) -> Iterator[tuple[int, list[int]]]:
    """Yield the process id and the ports of running flows."""
    words = [sys.executable, "-m", "tests.benchmarks.flows", str(answering), str(hung)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.pid, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def _entry(number: int, port: int) -> WorkerEntry:
    config = {"command": ["flow"], "cwd": "/", "min_uptime": 10.0, "http": f"127.0.0.1:{port}"}
    return WorkerEntry(f"flow-{number:04}", "dfc_read", NODE, Desired(state="running", config=config, config_id="c1"))


def _as_held(folder: Path, pid: int) -> None:
    """Write what a holder would: this process runs here."""
    stat = holder.stat_of(pid)
    assert stat is not None
    folder.mkdir(parents=True)
    state = {"boot_id": holder.boot_id(), "pid": pid, "start_ticks": stat[1], "config_id": "c1", "exit": None}
    started = time.clock_gettime(time.CLOCK_BOOTTIME)
    (folder / "state.json").write_text(json.dumps({**state, "started_boot": started}))


def measure(workers: int, seconds: float) -> Figures:
    """Observe for so long, a tenth of the flows hung, and return what was seen."""
    hung = workers // 10
    with tempfile.TemporaryDirectory() as name, _flows(workers - hung, hung) as (pid, ports):
        folder = Path(name)
        own = OwnRedis(folder)
        own.start()
        try:
            with own.server.connect() as client:
                store = Store(client, "fsm")
                entries = tuple(_entry(number, port) for number, port in enumerate(ports))
                store.apply_fleets([Fleet(SupervisorSettings(name=NAME, nodes=(NODE,)), (), entries)])
                for entry in entries:
                    _as_held(folder_of(folder / "data", NAME, NODE, entry.id), pid)
                return _observe(store, own, folder, [entry.id for entry in entries], hung, seconds)
        finally:
            own.kill()


def _observe(store: Store, own: OwnRedis, folder: Path, ids: list[str], hung: int, seconds: float) -> Figures:
    environ = {**os.environ, "FSM_REDIS_URL": own.url, "FSM_NAMESPACE": "fsm", "FSM_DATA_DIR": str(folder / "data")}
    with (folder / "collector.out").open("ab") as output:
        collector = subprocess.Popen([*FSMCTL, "collector", NODE], env=environ, stdout=output, stderr=output)
    answering = ids[: len(ids) - hung]
    try:
        wait_until(lambda: all(_seen(store, answering)), "all that answer to be seen once", 120)
        process = psutil.Process(collector.pid)
        used, since, scripts = sum(process.cpu_times()[:2]), time.monotonic(), _in_scripts(store)
        oldest = 0.0
        while time.monotonic() - since < seconds:
            now, seen = store.now(), _seen(store, answering)
            oldest = max([oldest, *(now - one.collected_at for one in seen if one is not None)])
            time.sleep(0.5)  # between two samples, which nothing announces
        took = time.monotonic() - since
        share = (sum(process.cpu_times()[:2]) - used) / took
        redis = (_in_scripts(store) - scripts) / (len(ids) * took / INTERVAL)
        wrong = [one for one in _seen(store, answering) if one is None or one.http_error or not one.ready]
        assert not wrong, f"{len(wrong)} of the flows that answer were not seen to, such as {wrong[0]}"
        told = sum(one is not None and one.http_error is not None for one in _seen(store, ids[len(ids) - hung :]))
        return Figures(share, redis, len(answering), oldest, told)
    finally:
        collector.terminate()
        collector.wait(20)


def _in_scripts(store: Store) -> float:
    """Return the seconds that Redis has run scripts for: the collector's own, which write what was seen."""
    return float(store.client.info("commandstats")["cmdstat_evalsha"]["usec"]) / 1e6


def _seen(store: Store, ids: list[str]) -> list[FlowObserved | None]:
    """Return what was seen last of each."""
    names = [store.keys(NAME).observed(NODE, item) for item in ids]
    texts = store.client.mget(names)
    return [None if text is None else decode(text, FlowObserved, name) for name, text in zip(names, texts, strict=True)]


def main() -> int:
    """Print; return 0 when within the bars, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000, help="on the node, a tenth of them hung (1000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of measuring (30)")
    asked = parser.parse_args()
    say(machine(), versions())
    found = measure(asked.workers, asked.seconds)
    is_ok = found.share <= BAR and found.oldest <= OLDEST
    say(
        f"{asked.workers} flows, {asked.workers - found.answering} of them hung, looked at every {INTERVAL:g} s",
        f"share of a core      {digits(found.share)}, bar {BAR:g}",
        f"Redis' thread        {digits(found.redis * 1e6)} µs for each observation",
        f"oldest observation   {digits(found.oldest)} s of the {found.answering} that answer",
        f"told as not answering {found.hung_told}",
        "ok" if is_ok else "short",
    )
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
