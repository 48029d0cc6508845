"""What a tick costs that has nothing to do: `python -m tests.benchmarks.bench_tick [--workers N] [--large N]`.

A look at all of a quiet fleet, for each worker; a tick over a large quiet fleet of which nobody is marked; what Redis
keeps for each worker; the memory of a process that ticks a large fleet. Prints machine, versions, n, median, spread.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

from supervisor import tick
from supervisor.keys import SUPERVISOR
from supervisor.store import WORKER_KINDS
from tests.benchmarks.yard import NAME, NODES, Yard, about, environment, line, say, yard

KINDS = ("process", "dfc_read")
_PROGRAM = """
import psutil, sys
from supervisor import tick
from supervisor.celery import publisher, runtime
from tests.waiting import wait_until
for _ in range({ticks}):
    runtime().store.client.delete({scope!r})
    wait_until(lambda: tick.run(runtime(), publisher(), {name!r}), "the gate to let a tick start")
print(psutil.Process().memory_info().rss)
"""


def scan_costs(workers: int, rounds: int = 1) -> list[float]:
    """Return the seconds for each worker of ticks that look at all of a quiet fleet."""
    with yard(workers) as made:
        runtime, costs = made.runtime(), []
        for _ in range(rounds + 1):
            made.settle()
            made.store.client.delete(made.store.keys(NAME).scope)
            began = time.perf_counter()
            report = tick.run(runtime, _nothing, NAME)
            costs.append((time.perf_counter() - began) / workers)
            if report is None or report.looked_at != workers or report.skips or report.transitions:
                raise SystemExit(f"expected a look at {workers} quiet workers: {report}")
        return costs[1:]  # the first has read the index, and written the mirror


def scan_cost(workers: int) -> float:
    """Return the seconds for each worker of a tick that looks at all of a quiet fleet, the best of five."""
    return min(scan_costs(workers, 5))


def quiet_ticks(workers: int, rounds: int = 1) -> list[float]:
    """Return the seconds of ticks over a quiet fleet of which nobody is marked, one second after the other."""
    with yard(workers) as made:
        runtime, took = made.runtime(), []
        made.look()
        tick.run(runtime, _nothing, NAME)  # looks at all
        for _ in range(rounds):
            made.look()
            tick.run(runtime, _nothing, NAME)  # its slice is of all the time that the looks took
            _wait_for_turn(made)
            began = time.perf_counter()
            report = tick.run(runtime, _nothing, NAME)
            took.append(time.perf_counter() - began)
            if report is None or not 0 < report.looked_at < workers or report.skips:
                raise SystemExit(f"expected a look at a slice of {workers} quiet workers: {report}")
        return took


def quiet_tick(workers: int) -> float:
    """Return the seconds of a tick over a quiet fleet of which nobody is marked, the best of five."""
    return min(quiet_ticks(workers, 5))


def _wait_for_turn(made: Yard) -> None:
    """Wait until a tick is due: as long as between two ticks of a plant, as its slice grows with that."""
    last = made.store.last_tick(NAME)
    assert last is not None
    while made.store.now() - last.started_at < 1.0:
        time.sleep(0.01)


def memory_per_worker(workers: int, type_: str) -> float:
    """Return the bytes that Redis keeps for each worker but for history: documents, index, marks, counters."""
    with yard(0, type_) as empty:
        before = _used(empty)
    with yard(workers, type_) as made:
        keys, client = made.store.keys(NAME), made.store.client
        for first in range(0, workers, 1000):
            chunk = made.ids[first : first + 1000]
            for node in NODES:
                if marked := [item for item, place in chunk if place == node]:
                    client.sadd(keys.wake(node), *marked)
        tick.run(made.runtime(), _nothing, NAME)  # leaves a report and a scope
        client.delete(*(keys.events(place) for place in (SUPERVISOR, *NODES)), *(keys.history(node) for node in NODES))
        there = sum(
            1 for item, place in made.ids[:100] for kind in WORKER_KINDS if client.exists(_key(made, kind, place, item))
        )
        if there < 5 * min(workers, 100):
            raise SystemExit(f"expected identity, desired, status, observed and lease of each worker, found {there}")
        return (_used(made) - before) / workers


def _key(made: Yard, kind: str, place: str, item: str) -> str:
    return str(getattr(made.store.keys(NAME), kind)(place, item))


def _used(made: Yard) -> int:
    memory = made.store.memory()
    assert memory is not None
    return memory.used


def supervisor_rss(workers: int, ticks: int = 3) -> float:
    """Return the MiB that a process holds after ticks that have looked at all of a fleet: its resident memory."""
    with yard(workers) as made:
        program = _PROGRAM.format(ticks=ticks, scope=made.store.keys(NAME).scope, name=NAME)
        command = [sys.executable, "-c", program]
        found = subprocess.run(
            command, env=environment(made.redis.url, made.folder), capture_output=True, text=True, check=False
        )
        if found.returncode:
            raise SystemExit(found.stderr[-2000:])
        return int(found.stdout) / 2**20


def _nothing(messages: Sequence[object]) -> None:
    """Publish nothing, of which there is nothing."""
    assert not messages


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000, help="workers of the large fleet")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    say(about())
    scans = [cost * 1e6 for cost in scan_costs(asked.workers, asked.rounds)]
    say(line(f"a look at all of {asked.workers}", scans, "µs/worker", "bar 10"))
    quiet = [took * 1e3 for took in quiet_ticks(asked.large, asked.rounds)]
    say(line(f"a tick over {asked.large} quiet", quiet, "ms", "bar 20"))
    for kind in KINDS:
        say(f"{f'memory of a {kind} worker':<34} {memory_per_worker(asked.workers, kind):.0f} bytes  bar 2048\n")
    say(f"{f'resident memory, {asked.large} workers':<34} {supervisor_rss(asked.large):.1f} MiB  bar 250\n")


if __name__ == "__main__":
    main()
