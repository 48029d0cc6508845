"""How soon a change is acted on: `python -m tests.benchmarks.bench_reaction [--changes N] [--pulse SECONDS]`.

A real installation that has nothing to do (a Redis, a beat, a supervisor's executor, a node's executor with its
collector) at the default tick interval and pulse. Somebody asks for a restart of a worker; what is measured is from
just before that is written until the action begins, by Redis' clock. Prints n, median, 99th percentile and spread.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measuring import digits, machine, say, versions
from tests.conftest import OwnRedis
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers.model import Status

NODE, WORKERS = "edge-1", 5
HALF, MOST = 50.0, 250.0  # milliseconds: the bars of the median and of the 99th percentile
_PERIOD = 1.0  # seconds: changes come at any time of a tick interval


def fleet() -> str:
    """Return workers that start and stop at once."""
    worker = '\n[[workers]]\nid = "worker-{}"\ntype = "process"\nnode = "{}"\n'
    config = 'config = {{ command = ["sleep", "100000"], min_uptime = "0s" }}\n'
    head = f'[supervisor]\nname = "{NAME}"\n'
    return head + "".join((worker + config).format(number, NODE) for number in range(WORKERS))


def measure(changes: int, pulse: float = 1.0) -> list[float]:
    """Return the seconds from each change to the begin of its action."""
    with tempfile.TemporaryDirectory() as name:
        own = OwnRedis(Path(name))
        own.start()
        try:
            with pieces_in(Path(name), own.url, FSM_PULSE=str(pulse)) as pieces:
                pieces.apply(fleet())
                pieces.start_supervisor()
                pieces.start_node(NODE)
                return [_change(pieces, number) for number in range(-WORKERS, changes)][WORKERS:]
        finally:
            own.kill()


def _change(pieces: Pieces, number: int) -> float:
    """Ask for a restart of a worker that runs and rests; return how long that takes to begin."""
    worker = f"worker-{number % WORKERS}"
    wait_until(lambda: _rests(pieces, worker), f"{worker} to rest", 60)
    time.sleep(random.random() * _PERIOD)
    wished = pieces.store.now()
    pieces.store.ask_for_restart(NAME, NODE, worker, "benchmark", "")

    def begun() -> float | None:
        lease = pieces.lease(worker, NODE)
        return lease.begun_at if lease is not None and (lease.begun_at or 0.0) >= wished else None

    at = wait_until(begun, f"an action of {worker} to begin", 60)
    assert at is not None
    return at - wished


def _rests(pieces: Pieces, worker: str) -> bool:
    store, lease = pieces.store, pieces.lease(worker, NODE)
    status = store.read(Status, store.keys(NAME).status(NODE, worker))
    return lease is not None and not lease.in_progress and status is not None and status.state == "running"


def main() -> int:
    """Print; return 0 when within the bars, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--pulse", type=float, default=1.0, help="seconds between two pulses of beat (1)")
    asked = parser.parse_args()
    os.environ.setdefault("FSM_REDIS_URL", "redis://127.0.0.1:1/0")
    shown = machine()
    took = sorted(one * 1e3 for one in measure(asked.changes, asked.pulse))
    percentiles = statistics.quantiles(took, n=100, method="inclusive")
    half, most = percentiles[49], percentiles[98]
    is_ok = half <= HALF and most <= MOST
    say(shown, versions(), f"n {len(took)}, pulse {asked.pulse:g} s, from the wish to the begin of its action, in ms")
    say(f"half of them within {digits(half)}, bar {HALF:g}; 99 % within {digits(most)}, bar {MOST:g}")
    say(f"least {digits(took[0])}, most {digits(took[-1])}: {'ok' if is_ok else 'short'}")
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
