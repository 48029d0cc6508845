"""A fleet in a real Redis of its own, as a tick finds it: what the benchmarks of ticks and dispatch measure on."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from supervisor.fleet import Fleet, WorkerEntry
from supervisor.keys import SUPERVISOR
from supervisor.logs import configure
from supervisor.model import CollectorDocument, Lease, NodeDocument, Stage, SupervisorSettings
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.store import Store, encode
from tests.benchmarks.bench_scrape import CONFIGS
from tests.benchmarks.measuring import machine
from tests.conftest import OwnRedis
from workers.model import Desired, Status
from workers.registry import built_in

NAME = "plant-1"
NODES = tuple(f"edge-{number}" for number in range(1, 11))
SLOTS = 10_000  # of each node: more than is ever queued, so that no limit holds an action back
QUIET_FOR = 600.0  # seconds since a quiet worker's start
_FLOWS: dict[str, dict[str, Any]] = {  # what is observed of a type beside its process
    "dfc_read": {
        "ready": True,
        "input_connected": True,
        "output_connected": True,
        "messages_in": 1_234_567,
        "messages_out": 1_234_560,
        "messages_in_per_second": 123.4,
        "messages_out_per_second": 123.4,
    }
}
_CHUNK = 1_000


@dataclass
class Yard:
    """A supervisor's fleet, and a process' way to it."""

    redis: OwnRedis
    folder: Path
    store: Store
    ids: Sequence[tuple[str, str]]
    kind: str

    def runtime(self) -> Runtime:
        """Return the runtime of a process that ticks, as it is made for one."""
        return make_runtime(settings_of(self.redis.url, self.folder))

    def settle(self, **changes: Any) -> None:
        """Write every worker as it is long after its start: it runs, was just observed, and nothing is to be done.

        `changes`: fields of the observation that differ, such as pid=None.
        """
        keys, since = self.store.keys(NAME), self.store.now() - QUIET_FOR
        places = (SUPERVISOR, *NODES)
        self.store.client.delete(*(keys.wake(place) for place in places), *(keys.events(place) for place in places))
        for chunk in self._chunks():
            texts: dict[str, str] = {}
            for number, item, place in chunk:
                texts[keys.status(place, item)] = encode(_status(number, changes.get("pid", number), since))
                texts[keys.lease(place, item)] = encode(_lease(number, item, place, since))
            self.store.client.mset(texts)
        self.look(**changes)

    def look(self, **changes: Any) -> None:
        """Observe all workers anew, as they run, but for `changes`."""
        keys, kind = self.store.keys(NAME), built_in().get(self.kind).observed_type
        now = self.store.now()
        self.beat()
        for chunk in self._chunks():
            texts = {}
            for number, item, place in chunk:
                up = {"pid": number, "start_ticks": 700_000 + number, "started_at": now - QUIET_FOR, "config_id": "c1"}
                told = {**up, **_FLOWS.get(self.kind, {}), **changes}
                texts[keys.observed(place, item)] = encode(kind(collected_at=now, **told))
            self.store.client.mset(texts)

    def _chunks(self) -> Iterator[list[tuple[int, str, str]]]:
        """Yield the workers as (number, id, place), some at a time."""
        for first in range(0, len(self.ids), _CHUNK):
            part = self.ids[first : first + _CHUNK]
            yield [(1000 + number, item, place) for number, (item, place) in enumerate(part, first)]

    def beat(self) -> None:
        """Let all nodes live."""
        now = self.store.now()
        for node in NODES:
            alive = NodeDocument(node=node, host=node, boot_id="b", executor=f"{node}@h", pid=1, slots=SLOTS)
            self.store.heartbeat(NAME, alive)
            watching = CollectorDocument(node=node, pid=2, at=now, observed=len(self.ids), clock_skew=0.0, oldest=now)
            self.store.client.set(self.store.keys(NAME).collector(node), encode(watching))


def _status(number: int, pid: int | None, since: float) -> Status:
    if pid is None:
        return Status(state="starting", since=since, reason="desired is running and nothing runs")
    return Status(state="running", since=since, reason=f"pid {number} runs")


def _lease(number: int, item: str, place: str, began: float) -> Lease:
    """Return what is left of a worker's start."""
    return Lease(
        worker_id=item,
        action="start",
        action_id=f"00000000-0000-4000-8000-{number:012}",
        token=f"{int(began * 1e6) + number}",
        stage=Stage.FREE,
        claimed_at=began - 1,
        begun_at=began - 1,
        ended_at=began,
        deadline=began,
        runner=f"00000000-0000-4000-8000-{number:012}/1234",
        executor=f"{place}@host",
        outcome="success",
        detail=f"started as pid {number}",
        reason="desired is running and nothing runs",
    )


@contextmanager
def yard(workers: int, kind: str = "process") -> Iterator[Yard]:
    """Yield a fleet of `workers` of a type on ten nodes, as `settle` leaves it; no ramp, no seals."""
    configure("json", "warning")
    with tempfile.TemporaryDirectory() as name:
        redis = OwnRedis(Path(name), ("--save", "", "--appendonly", "no"))
        redis.start()
        try:
            with redis.server.connect() as client:
                store = Store(client, "fsm")
                entries = tuple(_entry(number, kind) for number in range(workers))
                settings = SupervisorSettings(
                    name=NAME, nodes=NODES, worker_label="worker_type", tick_interval=0.01, recovery_rate=0.0
                )
                store.apply_fleets([Fleet(settings, (), entries)])
                made = Yard(redis, Path(name), store, [(entry.id, entry.place) for entry in entries], kind)
                made.settle()
                yield made
        finally:
            redis.kill()


def _entry(number: int, kind: str) -> WorkerEntry:
    config = msgspec.to_builtins(CONFIGS[kind])
    desired = Desired(state="running", config=config, config_id="c1")
    return WorkerEntry(f"worker-{number:06}", kind, NODES[number % len(NODES)], desired)


def settings_of(url: str, folder: Path) -> Settings:
    """Return the settings of an installation that has nothing but the address of its Redis."""
    return Settings.from_env({"FSM_REDIS_URL": url, "FSM_NAMESPACE": "fsm", "FSM_DATA_DIR": str(folder / "data")})


def about() -> str:
    """Return machine and versions, two lines."""
    packages = ("celery", "kombu", "redis", "hiredis", "msgspec")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"machine   {machine()}\nversions  Python {platform.python_version()}, {versions}\n"


def line(name: str, values: Sequence[float], unit: str, bar: str = "") -> str:
    """Return n, median, least and most of what was measured, in a line."""
    spread = f"least {min(values):.4g}, most {max(values):.4g} {unit}"
    return f"{name:<34} n {len(values)}, median {statistics.median(values):.4g} {unit}, {spread}  {bar}\n"


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(text)
    sys.stdout.flush()


def environment(url: str, folder: Path) -> dict[str, str]:
    """Return the environment of a process of this installation."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FSM_")}
    return {**clean, "FSM_REDIS_URL": url, "FSM_NAMESPACE": "fsm", "FSM_DATA_DIR": str(folder / "data")}
