"""What counters, histograms, events and logs cost: `python -m tests.benchmarks.telemetry [ACTIONS [ROUNDS]]`.

The same no-op actions, claimed, published, begun and ended by a real executor on a real Redis each: as it is, without
our counters and events, without Celery's events, with a log of errors alone, and without all of these; in turn, round
by round. Prints actions per second and the medians of the rounds' ratios.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from actions.noop import Noop
from supervisor import scripts
from supervisor.dispatch import Circuit, Claim, Item, Publish, apply
from supervisor.keys import POOL, celery_prefix, queue_of
from supervisor.model import Lease
from supervisor.store import Store, decode
from tests.benchmarks import bare
from tests.conftest import OwnRedis
from tests.live.pieces import EXECUTOR, NAME, Pieces, pieces_in
from tests.waiting import wait_until

SLOTS = 2
ROOT = Path(__file__).parent.parent.parent
BAR = 0.90  # of the throughput without
WITHOUT: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "without ours": ("scripts",),
    "without Celery's events": ("celery",),
    "without logs": ("logs",),
    "with nothing": ("scripts", "celery", "logs"),
}


class Side:
    """An installation with one executor for floating workers, which nobody ticks but `run`."""

    def __init__(self, pieces: Pieces, store: Store, publish: Publish, number: int) -> None:
        """Have `number` workers."""
        self.pieces, self.store, self.publish = pieces, store, publish
        pieces.apply(fleet(number))
        self.ids = [f"worker-{one}" for one in range(number)]
        self._queue = celery_prefix(pieces.settings().namespace) + queue_of(POOL)

    def run(self) -> float:
        """Let every worker do nothing once; return actions per second, from the first claim to the last end."""
        index = self.store.index(NAME)
        assert index is not None
        items = [
            Item(one, POOL, claim=Claim(Noop(), "benchmark", lease.token if lease else "", index.generations[one]))
            for one, lease in zip(self.ids, self.leases(), strict=True)
        ]
        tick = str(uuid.uuid4())
        wait_until(lambda: self.store.begin_tick(NAME, index, tick).answer == "started", "a tick to begin")
        began = self.store.now()
        applied = apply(self.store, NAME, tick, Circuit(0), items)
        assert not applied.refused, applied
        self.publish(applied.messages)
        self.store.finish_tick(NAME, tick, "{}", {})
        wait_until(self.is_idle, "all actions to end", 60)
        ends = [lease.ended_at for lease in self.leases() if lease is not None and lease.outcome == "success"]
        assert len(ends) == len(self.ids)
        return len(ends) / (max(end for end in ends if end is not None) - began)

    def is_idle(self) -> bool:
        """Tell whether no action is in progress; while some wait in the queue, by a question that costs nothing."""
        if self.store.client.llen(self._queue):
            return False
        return not any(lease is not None and lease.in_progress for lease in self.leases())

    def leases(self) -> list[Lease | None]:
        """Return all leases."""
        keys = self.store.keys(NAME)
        texts = self.store.client.mget([keys.lease(POOL, one) for one in self.ids])
        return [None if text is None else decode(text, Lease, "a lease") for text in texts]


def fleet(number: int) -> str:
    """Return a fleet of floating workers."""
    one = """
[[workers]]
id = "worker-{}"
type = "command"
config = {{ start = ["true"], stop = ["true"], status = ["true"] }}
"""
    return f'[supervisor]\nname = "{NAME}"\n' + "".join(one.format(number) for number in range(number))


@contextmanager
def side(folder: Path, number: int, without: Collection[str]) -> Iterator[Side]:
    """Yield an installation without some of what it tells."""
    folder.mkdir()
    redis = OwnRedis(folder)
    redis.start()
    environ = {"PYTHONPATH": str(ROOT), "BENCH_WITHOUT": ",".join(without)}
    if "logs" in without:
        environ["FSM_LOG_LEVEL"] = "error"
    try:
        with pieces_in(folder, redis.url, **environ) as pieces:
            options = ("-Q", "actions", "-n", "pool@%h", "-c", str(SLOTS))
            pieces.start_python("executor", "-m", "tests.benchmarks.bare", "-A", "supervisor", *EXECUTOR, *options)
            scripts.source = bare.source if "scripts" in without else bare.whole  # type: ignore[assignment]
            yield Side(pieces, pieces.store, publisher(pieces), number)
    finally:
        redis.kill()


def publisher(pieces: Pieces) -> Publish:
    """Return what publishes for an installation; its address is not this process' own."""
    from celery import Celery

    from supervisor.broker import CeleryPublisher
    from supervisor.celery import EXECUTE, Broker

    app = Celery(amqp=Broker, set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.broker_url = pieces.url
    prefix = celery_prefix(pieces.settings().namespace)
    app.conf.broker_transport_options = {**app.conf.broker_transport_options, "global_keyprefix": prefix}
    return CeleryPublisher(app, EXECUTE)


def main(actions: int = 1000, rounds: int = 7) -> int:
    """Print the table; return 0 when what all of it costs is within the bar, else 1."""
    os.environ.setdefault("FSM_REDIS_URL", "redis://127.0.0.1:1/0")  # the app has to have one
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sides = {
            name: stack.enter_context(side(Path(folder) / name.replace(" ", "-"), actions, without))
            for name, without in WITHOUT.items()
        }
        for one in sides.values():
            one.run()  # to warm up
        rates = [{name: one.run() for name, one in sides.items()} for _ in range(rounds)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("celery", "kombu", "redis"))
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    say(f"{os.cpu_count()} cores, {system}, {versions}")
    say(f"{actions} no-op actions a round, {SLOTS} slots, {rounds} rounds of each in turn; actions per second")
    say(f"{'':24}{'median':>8}{'least':>8}{'most':>8}   as it is / this, median")
    for name in sides:
        values = [rate[name] for rate in rates]
        ratio = statistics.median(rate["as it is"] / rate[name] for rate in rates)
        say(f"{name:24}{statistics.median(values):8.0f}{min(values):8.0f}{max(values):8.0f}{ratio:12.3f}")
    verdict = "ok" if ratio >= BAR else "short"
    say(f"with all against with nothing: {ratio:.3f}, bar {BAR:.2f}: {verdict}")
    return 0 if ratio >= BAR else 1


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
