"""How long fsmctl takes to start, and to list a large fleet: `python -m tests.benchmarks.bench_cli [--workers N]`.

Whole processes, in turn with `python -c 'import redis'`, over a real Redis that holds a fleet of workers, all observed,
running, and started once. Prints the machine, versions, and of each command the runs, median, quartiles and processor
time, and whether it is within its bar; the exit code is 1 when one is not.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from supervisor.store import Store
from tests.benchmarks.bench_scrape import fill
from tests.benchmarks.measuring import machine
from tests.conftest import OwnRedis

FSMCTL = (sys.executable, "-c", "from supervisor.cli import main; main()")


@dataclass
class Command:
    """What is run, with its bar in seconds (None: it is there to compare with), and how long it took each time."""

    name: str
    words: tuple[str, ...]
    bar: float | None = None
    took: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self, environ: dict[str, str], workers: int) -> None:
        """Run it once; it has to succeed, and a list of workers to have them all."""
        before, since = _processor(), time.perf_counter()
        done = subprocess.run(self.words, env=environ, capture_output=True, text=True, check=False)
        self.took.append(time.perf_counter() - since)
        self.processor.append(_processor() - before)
        if done.returncode or ("workers" in self.words and done.stdout.count("worker-") != workers):
            raise SystemExit(f"{self.name}: exit code {done.returncode}: {done.stdout[:200]}{done.stderr[-500:]}")

    def line(self) -> str:
        """Return what was measured."""
        median, quartiles = statistics.median(self.took), statistics.quantiles(self.took, n=4)
        spread = f"{quartiles[0]:.3f} - {quartiles[2]:.3f}"
        said = f"{self.name:<24} n {len(self.took):>3}  median {median:.3f} s  quartiles {spread} s"
        said += f"  least {min(self.took):.3f} s  processor {statistics.median(self.processor):.3f} s"
        return said if self.bar is None else f"{said}  bar {self.bar:g} s: {'ok' if self.is_ok else 'MISSED'}"

    @property
    def is_ok(self) -> bool:
        """Tell whether the median is within the bar."""
        return self.bar is None or statistics.median(self.took) <= self.bar


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def commands() -> list[Command]:
    """Return what is measured, in the order in which it is run each time."""
    return [
        Command("python -c pass", (sys.executable, "-c", "pass")),
        Command("python -c import redis", (sys.executable, "-c", "import redis")),
        Command("fsmctl --version", (*FSMCTL, "--version"), 0.3),
        Command("fsmctl --help", (*FSMCTL, "--help"), 0.3),
        Command("fsmctl get nodes", (*FSMCTL, "get", "nodes")),
        Command("fsmctl get workers", (*FSMCTL, "get", "workers"), 1.0),
        Command("get workers -o json", (*FSMCTL, "get", "workers", "-o", "json")),
    ]


def measure(redis: OwnRedis, folder: Path, workers: int, runs: int) -> list[Command]:
    """Run all commands in turn, once to warm up and then `runs` times."""
    environ = {**os.environ, "FSM_REDIS_URL": redis.url, "FSM_DATA_DIR": str(folder / "data")}
    made = commands()
    for turn in range(runs + 1):
        for command in made:
            command.run(environ, workers)
            if turn == 0:
                command.took.clear()
                command.processor.clear()
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=10)
    asked = parser.parse_args()
    shown = machine()
    with tempfile.TemporaryDirectory() as name:
        redis = OwnRedis(Path(name))
        try:
            redis.start()
            with redis.server.connect() as client:
                fill(Store(client, "fsm"), asked.workers, "worker_type")
                versions = f"Redis {client.info('server')['redis_version']}"
            made = measure(redis, Path(name), asked.workers, max(2, asked.runs))
        finally:
            redis.kill()
    sys.stdout.write(
        f"machine   {shown}\n"
        f"versions  Python {platform.python_version()}, {versions}, click {version('click')}, "
        f"redis-py {version('redis')}, msgspec {version('msgspec')}\n"
        f"fleet     {asked.workers} workers\n" + "".join(f"{command.line()}\n" for command in made)
    )
    sys.exit(0 if all(command.is_ok for command in made) else 1)


if __name__ == "__main__":
    main()
