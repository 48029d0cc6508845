"""The peers beside each other: `python -m tests.benchmarks.bench_peers --python PYTHON`, one that has peers.txt.

Naive Celery (a lock of redis-py and `apply_async`), celery-singleton, dramatiq and huey, each in the same run on a
Redis of its own: how many tasks a second one process enqueues, and one worker of two slots runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import digits, machine, say
from tests.conftest import OwnRedis

PEERS = ("celery", "celery-singleton", "dramatiq", "huey")
PROGRAM = Path(__file__).with_name("peers.py")


@dataclass(frozen=True)
class Peer:
    """A peer's version and its rates, tasks per second."""

    name: str
    version: str
    enqueued: float
    ran: float


def measure(python: str, messages: int) -> list[Peer]:
    """Return what each peer does with so many tasks."""
    return [_measure(python, peer, messages) for peer in PEERS]


def _measure(python: str, peer: str, messages: int) -> Peer:
    with tempfile.TemporaryDirectory() as name:
        own = OwnRedis(Path(name))
        own.start()
        try:
            environ = {**os.environ, "PEER": peer, "PEER_REDIS_URL": own.url}
            words = [python, str(PROGRAM), str(messages)]
            done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        finally:
            own.kill()
    if done.returncode:
        raise SystemExit(f"{peer}: exit code {done.returncode}: {done.stderr[-500:]}")
    told = json.loads(done.stdout)
    return Peer(peer, told["version"], told["enqueued"], told["ran"])


def table(peers: list[Peer]) -> list[str]:
    """Return the lines that say what each does."""
    rows = [(f"{one.name} {one.version}", digits(one.enqueued), digits(one.ran)) for one in peers]
    return [
        f"{name:<24}{enqueued:>12}{ran:>10}" for name, enqueued, ran in [("tasks a second", "enqueued", "run"), *rows]
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="of an environment that has peers.txt installed")
    parser.add_argument("--messages", type=int, default=2000)
    asked = parser.parse_args()
    say(machine(), *table(measure(asked.python, asked.messages)))


if __name__ == "__main__":
    main()
