"""How many actions a tick asks for in a second: `python -m tests.benchmarks.bench_dispatch [--workers N] [--rounds N]`.

One whole tick, from the gate to the last message in its queue, over a fleet of which every worker is down and needs a
start: loaded, derived, claimed and published through Celery's own messages. Beside it the usual way: a lock of redis-py
and an `apply_async` for each worker. Ramp and signing are off. Prints machine, versions, n, median and spread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery

from supervisor import tick
from supervisor.broker import BrokerConnection, CeleryPublisher
from supervisor.keys import EXECUTE, celery_prefix, queue_of
from tests.benchmarks.yard import NAME, NODES, Yard, about, line, say, yard

BAR = 12_000.0  # actions per second
TIMES = 10.0  # as many as the usual way


def app_of(url: str) -> Any:
    """Return a Celery app over our connections, with our settings."""
    from celery.app.amqp import AMQP

    broker = type("Broker", (AMQP,), {"Connection": BrokerConnection})
    app = Celery(broker=url, amqp=broker, set_as_current=False)
    app.conf.update(
        task_ignore_result=True,
        broker_transport_options={"global_keyprefix": celery_prefix("fsm"), "priority_steps": [0]},
    )
    return app


def dispatch_rates(workers: int, rounds: int = 1) -> list[float]:
    """Return the actions per second of ticks that each ask for an action of every worker, after a first one."""
    with yard(workers) as made:
        runtime, publish = made.runtime(), CeleryPublisher(app_of(made.redis.url), EXECUTE)
        return [_dispatch(made, runtime, publish) for _ in range(rounds + 1)][
            1:
        ]  # the first reads all wishes, and connects


def dispatch_rate(workers: int) -> float:
    """Return the actions per second of the best of three ticks that ask for an action of every worker."""
    return max(dispatch_rates(workers, 3))


def _dispatch(made: Yard, runtime: Any, publish: Any) -> float:
    queues = [celery_prefix("fsm") + queue_of(node) for node in NODES]
    made.store.client.delete(*queues, made.store.keys(NAME).scope)
    made.settle(pid=None, start_ticks=0, started_at=None)
    began = time.perf_counter()
    report = tick.run(runtime, publish, NAME)
    took = time.perf_counter() - began
    there = sum(made.store.client.llen(queue) for queue in queues)
    if report is None or report.claimed != len(made.ids) or there != len(made.ids):
        raise SystemExit(f"expected {len(made.ids)} actions: {report}, {there} in the queues")
    return len(made.ids) / took


def naive_rates(number: int, rounds: int = 1) -> list[float]:
    """Return the actions per second of the usual way: a lock and an `apply_async` for each worker."""
    with yard(1) as made:
        app = app_of(made.redis.url)
        client = redis.Redis.from_url(made.redis.url)
        return [_naive(app, client, number, f"{round_}") for round_ in range(rounds)]


def naive_rate(n: int) -> float:
    """Return the actions per second of the usual way, the best of three."""
    return max(naive_rates(n, 3))


def _naive(app: Any, client: Any, number: int, round_: str) -> float:
    @app.task(name=EXECUTE, shared=False)  # type: ignore[untyped-decorator]  # celery ships no types
    def task(**_: object) -> None:
        """Do nothing."""

    began = time.perf_counter()
    for one in range(number):
        lock = client.lock(f"lock:{round_}:{one}", timeout=30, blocking=False)
        if not lock.acquire():
            raise SystemExit("nobody else has these locks")
        task.apply_async(kwargs={"worker_id": f"worker-{one}", "action": "start"}, queue=queue_of(NODES[one % 10]))
    return number / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--naive", type=int, default=2_000, help="workers of the usual way")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    say(about())
    ours = dispatch_rates(asked.workers, asked.rounds)
    say(line(f"a tick that starts {asked.workers}", ours, "actions/s", f"bar {BAR:g}"))
    usual = naive_rates(asked.naive, asked.rounds)
    say(line(f"lock and apply_async for {asked.naive}", usual, "actions/s"))
    say(f"{'best of ours by best of theirs':<34} {max(ours) / max(usual):.1f} times  bar {TIMES:g}\n")


if __name__ == "__main__":
    main()
