"""No-op actions through one executor, and tasks through stock Celery: `python -m tests.benchmarks.bench_executor`.

Ours are claimed, published, begun under their leases, ended, counted and told, with events on; the peer's are
published in the same way (in one batch, which is faster than Celery's own) and run by a worker with Celery's defaults
and the same pool. In turn, round by round, on a Redis each. Prints actions per second and the rounds' ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.benchmarks.measuring import machine, say, spread, versions
from tests.benchmarks.telemetry import ROOT, SLOTS, side
from tests.conftest import OwnRedis

BAR = 0.85  # of stock Celery's throughput
POLL = 0.003  # seconds between looks at a queue that nothing announces
PATIENCE = 60.0  # seconds for a round


class Stock:
    """A stock worker on a Redis of its own."""

    def __init__(self, client: redis.Redis, app: Any) -> None:
        """Publish through `app`."""
        self._client, self._app = client, app
        self._producer = app.amqp.Producer(app.connection_for_write())

    def run(self, number: int) -> float:
        """Let it run as many no-op tasks; return tasks per second, from the first published to the last done."""
        from tests.benchmarks.stock import QUEUE

        since = time.perf_counter()
        with self._producer.batch():
            for _ in range(number):
                task = self._app.amqp.as_task_v2(str(uuid.uuid4()), "noop", args=(), kwargs={}, ignore_result=True)
                self._producer.publish(
                    task.body,
                    exchange="",
                    routing_key=QUEUE,
                    headers=task.headers,
                    serializer="json",
                    **task.properties,
                )
        while not self._is_idle():
            if time.perf_counter() - since > PATIENCE:
                raise SystemExit(f"stock Celery did not run {number} tasks within {PATIENCE:g} s")
            time.sleep(POLL)
        return number / (time.perf_counter() - since)

    def _is_idle(self) -> bool:
        from tests.benchmarks.stock import QUEUE

        with self._client.pipeline(transaction=False) as pipe:
            waiting, held = pipe.llen(QUEUE).hlen("unacked").execute()
        return not waiting and not held


@contextmanager
def stock(folder: Path) -> Iterator[Stock]:
    """Yield a stock worker that runs."""
    folder.mkdir()
    own = OwnRedis(folder)
    own.start()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "STOCK_REDIS_URL": own.url}
    options = ("worker", "-c", str(SLOTS), "-n", "stock@%h", "--without-gossip", "--without-mingle", "-l", "error")
    command = (sys.executable, "-m", "celery", "--quiet", "-A", "tests.benchmarks.stock", *options)
    with (folder / "stock.out").open("ab") as output:
        process = subprocess.Popen(
            command, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    from tests.benchmarks.stock import app

    app.conf.broker_url = own.url
    try:
        with own.server.connect() as client:
            yield Stock(client, app)
    finally:
        process.terminate()
        process.wait(20)
        own.kill()


def measure(actions: int, rounds: int) -> tuple[list[float], list[float]]:
    """Return the rates of each round, actions per second: ours and stock Celery's."""
    os.environ.setdefault("FSM_REDIS_URL", "redis://127.0.0.1:1/0")  # the app has to have one
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        ours = stack.enter_context(side(folder / "ours", actions, ()))
        peer = stack.enter_context(stock(folder / "stock"))
        ours.run()  # to warm up
        peer.run(actions)
        rates = [(ours.run(), peer.run(actions)) for _ in range(rounds)]
    return [mine for mine, _ in rates], [theirs for _, theirs in rates]


def main() -> int:
    """Print; return 0 when the median ratio is within the bar, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", type=int, default=1000, help="in each round (1000)")
    parser.add_argument("--rounds", type=int, default=7, help="of each (7)")
    asked = parser.parse_args()
    shown = machine()
    ours, theirs = measure(asked.actions, asked.rounds)
    ratios = [mine / peer for mine, peer in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    say(
        shown,
        versions(),
        f"{asked.actions} no-op actions a round, {SLOTS} slots, {asked.rounds} rounds of each in turn",
    )
    say(f"ours           {spread(ours, '/s')}", f"stock Celery   {spread(theirs, '/s')}")
    say(f"ours / stock   {spread(ratios)}, bar {BAR}: {'ok' if ratio >= BAR else 'short'}")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
