"""What sealing costs: `python -m tests.benchmarks.bench_sealing [--messages N] [--rounds N]`.

Publishes a tick's messages to a real Redis, with and without seals, and lets a guard judge them. Prints the processor
time of this process for each message, in microseconds, as median and least of the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from celery import Celery

from supervisor.broker import CeleryPublisher, make_sealer
from supervisor.clock import SystemClock
from supervisor.dispatch import Message
from supervisor.keyring import SIGNING_KEY, make_keys
from tests.benchmarks.bench_scrape import machine
from tests.conftest import OwnRedis
from tests.sealing import Wire, guard_of, publisher_of, received, settings_with


def message(number: int, now: float) -> Message:
    """Return a message as a tick sends it."""
    return Message(
        supervisor="plant-1",
        place="edge-1",
        worker_id=f"line-{number}-temperature",
        action="restart_child",
        action_id=f"5aa69b4-b037-44fc-bd7a-{number:012}",
        token="1800000000000000",
        params={"child_name": "broker", "failed_pid": number},
        timeout=60.0,
        queue="actions.edge-1",
        issued=now,
        expires=now + 30,
        reason="is down",
    )


def spent(rounds: int, number: int, work: Callable[[], object]) -> str:
    """Return the processor time of some work for each of `number` messages."""
    work()
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append((time.process_time() - began) / number * 1e6)
    return f"median {statistics.median(took):.0f} us, least {min(took):.0f} us"


def measure(folder: Path, redis: OwnRedis, number: int, rounds: int) -> str:
    """Return what each part costs."""
    make_keys(folder / "keys")
    app = Celery("bench", broker=redis.url, set_as_current=False)
    clock = SystemClock()
    messages = [message(one, clock.now()) for one in range(number)]
    plain, sealed = CeleryPublisher(app, "supervisor.execute"), publisher_of(app, folder / "keys")
    sealer = make_sealer(settings_with(folder, signing_key=folder / "keys" / SIGNING_KEY))
    assert sealer is not None
    guard, raws = guard_of(folder / "keys", clock), Wire().publish(folder / "keys", *messages)
    guard.measured(clock.now(), clock.monotonic(), clock.monotonic())

    def judge() -> None:
        assert all(guard.admit(received(raw)) for raw in raws)

    parts: dict[str, Callable[[], object]] = {
        "published": lambda: plain(messages),
        "sealed and published": lambda: sealed(messages),
        "sealed": lambda: [sealer(one) for one in messages],
        "taken": lambda: [received(raw) for raw in raws],
        "taken and judged": judge,
    }
    return "".join(f"{name:<22}{spent(rounds, number, work)}\n" for name, work in parts.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        redis = OwnRedis(Path(name))
        try:
            redis.start()
            found = measure(Path(name), redis, asked.messages, asked.rounds)
        finally:
            redis.kill()
    sys.stdout.write(
        f"machine   {machine()}\n{asked.messages} messages, {asked.rounds} rounds; of each message:\n{found}"
    )


if __name__ == "__main__":
    main()
