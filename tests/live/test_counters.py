"""What a real Prometheus has scraped is what happened, whichever process was killed meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor.metrics import COUNTERS, HISTOGRAMS
from supervisor.model import CollectorDocument
from tests.conftest import OwnRedis, free_port
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.prometheus import Prometheus, prometheus_of
from tests.waiting import wait_until
from workers.drivers.process import look

pytestmark = [pytest.mark.live, pytest.mark.slow]
FLOWS = ("flow-1", "flow-2", "flow-3")
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"
quarantine_after = 100
"""
FLOW = """
[[workers]]
id = "{}"
type = "process"
node = "edge-1"
config = {{ command = {}, min_uptime = "0s", stop_timeout = "3s" }}
"""
DULL = '["sleep", "600"]'
STUBBORN = '["sh", "-c", "trap : TERM; while :; do sleep 1; done"]'  # its stop lasts long enough to be killed
FLEET += FLOW.format("flow-1", DULL) + FLOW.format("flow-2", STUBBORN) + FLOW.format("flow-3", DULL)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """Return a Redis that loses nothing when it is killed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    made = OwnRedis(folder, ("--save", "", "--appendonly", "yes", "--appendfsync", "always"))
    try:
        made.start()
        yield made
    finally:
        made.kill()


def test_s16_counters_are_the_events_exactly_after_kill_9_of_each_kind_of_process(
    redis: OwnRedis, tmp_path: Path
) -> None:
    port = free_port()
    with pieces_in(tmp_path, redis.url) as pieces, prometheus_of(tmp_path, [f"127.0.0.1:{port}"]) as prometheus:
        pieces.apply(FLEET)
        pieces.start_supervisor()
        pieces.start_node()
        pieces.start_exporter(port)
        wait_until(lambda: all(map(pids(pieces).get, FLOWS)), "all flows to run", 40)
        for kill in (supervised, holder, collector, pool_process, node, supervisor, beat, exporter, the_redis):
            before = pids(pieces)
            kill(pieces, redis, port)
            end(before["flow-1"])
            wait_until(lambda before=before: runs_anew(pieces, before), f"flow-1 anew after {kill.__name__}", 60)  # type: ignore[misc]
        tally = wait_until(lambda: settled(pieces), "no action to be in progress", 30)
        assert tally is not None
        wait_until(lambda: scraped(prometheus) == tally, f"Prometheus to have {tally}: {scraped(prometheus)}", 20)
        assert settled(pieces) == tally  # and nothing happened while it was compared
        for name in series():
            assert prometheus.query(f"resets({name}[1h]) > 0") == []
        assert prometheus.values("supervisor_up") == {(): 1.0}


def series() -> list[str]:
    """Return the names of all that only grows."""
    parts = [f"{one.name}_{part}" for one in HISTOGRAMS for part in ("bucket", "count", "sum")]
    return [counter.name for counter in COUNTERS] + parts


Tally = dict[tuple[str, ...], float]


def settled(pieces: Pieces) -> Tally | None:
    """Return what the events say has happened; None while an action is in progress."""
    if any(lease is not None and lease.in_progress for lease in map(pieces.lease, FLOWS)):
        return None
    tally: Counter[tuple[str, ...]] = Counter()
    for event in pieces.events():
        whose = (event.get("worker_id", ""), event.get("action", ""))
        if event["event"] == "action.claimed":
            tally["enqueued", *whose] += 1
        elif event["event"] == "action.ended":
            tally["completed", *whose, event["outcome"]] += 1
    return dict(tally)


def scraped(prometheus: Prometheus) -> Tally:
    """Return the same as Prometheus has it."""
    enqueued = prometheus.values("supervisor_actions_enqueued_total", "worker_id", "action_type")
    completed = prometheus.values("supervisor_actions_completed_total", "worker_id", "action_type", "status")
    return {
        **{("enqueued", *labels): value for labels, value in enqueued.items()},
        **{("completed", *labels): value for labels, value in completed.items() if value},
    }


def pids(pieces: Pieces) -> dict[str, int | None]:
    nodes = pieces.settings().data_dir / "nodes" / "edge-1" / NAME / "workers"
    return {flow: look(nodes / flow).pid for flow in FLOWS}


def runs_anew(pieces: Pieces, before: dict[str, int | None]) -> bool:
    """Tell whether all flows run, the first under another pid."""
    now = pids(pieces)
    return all(now.values()) and now["flow-1"] != before["flow-1"]


def end(pid: int | None) -> None:
    """Kill a process, unless it has died with another."""
    if pid is not None and psutil.pid_exists(pid):
        psutil.Process(pid).kill()


# -- each kind of process ---------------------------------------------------------------------------------------------


def supervised(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    end(pids(pieces)["flow-2"])


def holder(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    pid = pids(pieces)["flow-3"]
    assert pid is not None
    psutil.Process(pid).parent().kill()


def collector(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    document = pieces.store.read(CollectorDocument, pieces.store.keys(NAME).collector("edge-1"))
    assert document is not None
    end(document.pid)


def pool_process(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    pieces.want("flow-2", "stopped")
    pieces.pool_process("flow-2").kill()
    pieces.want("flow-2", "running")


def node(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    again(pieces, "edge-1")
    pieces.start_node()


def supervisor(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    again(pieces, "supervisor")
    again(pieces, "beat")
    pieces.start_supervisor()


def beat(pieces: Pieces, _redis: OwnRedis, _port: int) -> None:
    again(pieces, "beat")
    pieces.start("beat", "beat")


def exporter(pieces: Pieces, _redis: OwnRedis, port: int) -> None:
    again(pieces, "exporter")
    pieces.start_exporter(port)


def the_redis(_pieces: Pieces, redis: OwnRedis, _port: int) -> None:
    redis.kill()
    redis.start()


def again(pieces: Pieces, name: str) -> None:
    """Kill a piece that the test is to start again."""
    pieces.processes[name].kill()
    pieces.processes[name].wait(10)
