"""The peers, each as its own documentation says: `PEER=… PEER_REDIS_URL=… python peers.py MESSAGES`.

Prints JSON: the peer's version, how many tasks a second one process enqueues, each at most once at a time where the
peer can do that, and how many no-op tasks a second one worker of two slots runs, from the first enqueued to the last
run.
Stand-alone: `bench_peers` runs it with the Python that has the peers (peers.txt).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis

URL = os.environ["PEER_REDIS_URL"]
SLOTS = 2
RAN = "ran"  # counts what has run
PATIENCE = 120.0  # seconds for a worker to start, or to run all
client = redis.Redis.from_url(URL)


def ran() -> None:
    """Count one task that has run: one INCR for each peer alike."""
    client.incr(RAN)


def celery_app() -> Any:
    """Return a Celery app as its first steps show it."""
    from celery import Celery

    return Celery("peers", broker=URL, set_as_current=False)


if os.environ.get("PEER") in ("celery", "celery-singleton"):
    app = celery_app()
    options: dict[str, Any] = {"ignore_result": True}
    if os.environ["PEER"] == "celery-singleton":
        from celery_singleton import Singleton

        app.conf.singleton_backend_url = URL
        options |= {"base": Singleton, "lock_expiry": 60}

    @app.task(name="noop", **options)
    def celery_noop(number: int) -> None:
        """Do nothing."""
        ran()

elif os.environ.get("PEER") == "dramatiq":
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker

    dramatiq.set_broker(RedisBroker(url=URL))

    @dramatiq.actor
    def dramatiq_noop(number: int) -> None:
        """Do nothing."""
        ran()

elif os.environ.get("PEER") == "huey":
    from huey import RedisHuey

    huey = RedisHuey("peers", url=URL, results=False)

    @huey.task()
    def huey_noop(number: int) -> None:
        """Do nothing."""
        ran()


def send_celery(number: int) -> None:
    """Enqueue under a lock of its own, as people do to have a task once at a time."""
    if client.lock(f"lock:{number}", timeout=60).acquire(blocking=False):
        celery_noop.apply_async((number,))


def send_singleton(number: int) -> None:
    """Enqueue; the library holds the lock."""
    celery_noop.apply_async((number,))


def send_dramatiq(number: int) -> None:
    """Enqueue; it has no lock before a task runs."""
    dramatiq_noop.send(number)


def send_huey(number: int) -> None:
    """Enqueue; it has no lock before a task runs."""
    huey_noop(number)


HERE = Path(__file__)
WORKERS: dict[str, tuple[str, ...]] = {
    "celery": ("-m", "celery", "--quiet", "-A", "peers", "worker", "-c", str(SLOTS), "-l", "error"),
    "celery-singleton": ("-m", "celery", "--quiet", "-A", "peers", "worker", "-c", str(SLOTS), "-l", "error"),
    "dramatiq": ("-m", "dramatiq", "peers", "--processes", str(SLOTS), "--threads", "1"),
    "huey": (str(Path(sys.executable).with_name("huey_consumer")), "peers.huey", "-w", str(SLOTS), "-k", "process"),
}
SENDERS: dict[str, Callable[[int], None]] = {
    "celery": send_celery,
    "celery-singleton": send_singleton,
    "dramatiq": send_dramatiq,
    "huey": send_huey,
}


@contextmanager
def worker(peer: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the peer's worker; it is ended with its process group."""
    environ = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, *WORKERS[peer]],
        env=environ,
        cwd=HERE.parent,
        stdout=quiet,
        stderr=quiet,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait(10)


def wait_for(process: subprocess.Popen[bytes], number: int) -> float:
    """Wait until as many tasks have run; return the time. A worker that ends or takes too long is an error."""
    until = time.monotonic() + PATIENCE
    while int(client.get(RAN) or 0) < number:  # type: ignore[arg-type]
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"{process.args}: ended with {process.poll()}, {client.get(RAN)!r} of {number} tasks ran")
        time.sleep(0.002)  # a poll of another program's counter, which nothing announces
    return time.perf_counter()


def main(peer: str, messages: int) -> None:
    """Measure."""
    send = SENDERS[peer]
    client.flushdb()
    send(-1)  # connects
    since = time.perf_counter()
    for number in range(messages):
        send(number)
    enqueued = messages / (time.perf_counter() - since)
    client.flushdb()
    with worker(peer) as process:
        send(-1)
        wait_for(process, 1)
        since = time.perf_counter()
        for number in range(messages):
            send(number)
        ended = messages / (wait_for(process, messages + 1) - since)
    told = {"version": version(peer), "enqueued": enqueued, "ran": ended}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    import peers  # a task is known by its module's name, which workers call by this one, not __main__

    peers.main(os.environ["PEER"], int(sys.argv[1]))
