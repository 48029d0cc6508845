"""Plain Celery beside ours: the same work and the same kills, with what its documentation advises against losing tasks.

As a module it is the Celery app: acks_late, reject_on_worker_lost, prefetch 1, visibility timeout 10 s (the default of
an hour would make a test of hours; the lease of ours is 10 s too). `Stock` runs it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from celery import Celery

from tests.faults import checker, gateway
from tests.faults.harness import ROOT, Piece, RedisPiece, now

VISIBILITY = 10  # seconds
app = Celery("stock", broker=os.environ.get("STOCK_URL", "redis://127.0.0.1:1/0"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": VISIBILITY},
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="stock.effect")
def effect(worker: str) -> None:
    """Have an effect of three seconds on a worker, and journal it as a gateway does."""
    folder, node = os.environ["STOCK_FOLDER"], os.environ["STOCK_NODE"]
    line = {"worker": worker, "verb": "start", "token": int(now() * 1e6), "pid": os.getpid(), "node": node}
    gateway.append(folder, {"do": "begin", "alone": True, **line, "time": now()})
    time.sleep(3.0)
    gateway.append(folder, {"do": "commit", "until": None, **line, "time": now()})


class Stock:
    """Two plain Celery workers on a Redis of their own; one of them is killed at a time."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Start them."""
        self.folder = folder
        folder.mkdir()
        self.random = random.Random(seed)
        self.redis = RedisPiece(folder / "redis", aof=False)
        self.redis.start()
        self.pieces = {name: self._piece(name) for name in ("stock-1", "stock-2")}
        for piece in self.pieces.values():
            piece.start()

    def _piece(self, name: str) -> Piece:
        ours = {"STOCK_URL": self.redis.url, "STOCK_FOLDER": str(self.folder), "STOCK_NODE": name}
        command = (
            sys.executable,
            "-m",
            "celery",
            "--quiet",
            "-A",
            "tests.faults.stock",
            "worker",
            "-c",
            "4",
            "-n",
            name,
        )
        return Piece(name, command, {**os.environ, **ours, "PYTHONPATH": str(ROOT)}, self.folder)

    def journal(self) -> list[checker.Line]:
        """Return the journal so far."""
        path = self.folder / "journal"
        return checker.parse(path.read_text()) if path.exists() else []

    def kill_one(self, task: int, timeout: float) -> list[float | None]:
        """Send tasks, kill a worker in the middle of some; return the seconds until each of those began again."""
        app.conf.broker_url = self.redis.url
        names = [f"task-{task + number}" for number in range(6)]
        with Celery(broker=self.redis.url) as sender:
            for name in names:
                sender.send_task("stock.effect", args=(name,))
        self._wait(lambda: len([x for x in self.journal() if x["do"] == "begin" and x["worker"] in names]) >= 6, 30)
        time.sleep(self.random.uniform(0.0, 2.0))
        node = self.random.choice(sorted(self.pieces))
        self.pieces[node].signal(signal.SIGKILL)
        fault = {"do": "fault", "what": "kill", "nodes": [node], "time": now()}
        gateway.append(str(self.folder), fault)
        self.pieces[node].kill()
        self.pieces[node].start()
        self._wait(lambda: all(found.seconds is not None for found in self._cut_off(names)), timeout)
        return [found.seconds for found in self._cut_off(names)]

    def _cut_off(self, names: list[str]) -> list[checker.Recovery]:
        return [found for found in checker.recoveries(self.journal()) if found.worker in names]

    @staticmethod
    def _wait(condition: object, timeout: float) -> None:
        """Wait for a condition, or for the time to be over: what plain Celery never does again is a figure too."""
        give_up = now() + timeout
        while not condition() and now() < give_up:  # type: ignore[operator]
            time.sleep(0.1)

    def close(self) -> None:
        """Leave nothing behind."""
        for piece in (*self.pieces.values(), self.redis.piece):
            piece.kill()
