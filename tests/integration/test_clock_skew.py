"""A node's clock of day that is wrong: it is measured against Redis', told, and nothing goes by it."""

from __future__ import annotations

import json
import queue
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from supervisor.attendant import NodeAttendant
from supervisor.cli import fsmctl
from supervisor.clock import SystemClock
from supervisor.collector import Collector
from supervisor.dispatch import Message
from supervisor.exporter import StoreCollector
from supervisor.keyring import make_keys
from supervisor.logs import configure
from supervisor.model import NodeDocument
from supervisor.runtime import Runtime, make_runtime
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.integration.observing import Observing, wait_for_looks
from tests.integration.plant import NAME, NODE, fleet, settings, worker
from tests.sealing import Wire, guard_of, received


class WrongClock(SystemClock):
    """A clock of day that is `ahead` by seconds; the monotonic clock is right, as on a real host."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


@pytest.fixture
def clock() -> WrongClock:
    return WrongClock()


@pytest.fixture
def runtime(real_client: Any, tmp_path: Path, clock: WrongClock) -> Runtime:
    """Return a runtime on Redis' time, of a host with that clock, and a fleet."""
    made = make_runtime(settings(tmp_path), Store(real_client, "test"), clock)
    made.store.apply_fleets([fleet(worker("flow-1"), observation_interval=0.2)])
    (tmp_path / "nodes" / NODE).mkdir(parents=True)
    return made


def beat(runtime: Runtime, node: str | None = NODE) -> None:
    """Send an executor's heartbeat."""
    NodeAttendant(runtime, node, "edge-1@h1", 2, lambda: [], queue.SimpleQueue(), lambda: False).begin()


def shown(server: RedisServer, folder: Path, *options: str) -> str:
    environ = {"FSM_REDIS_URL": server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(folder)}
    return CliRunner(env=environ).invoke(fsmctl, ["get", "nodes", *options]).stdout


def skews(runtime: Runtime) -> dict[str, float]:
    """Return what the exporter says, by node."""
    families = {family.name: family for family in StoreCollector(runtime).collect()}
    samples = families["supervisor_node_clock_skew_seconds"].samples
    assert {sample.labels["supervisor"] for sample in samples} <= {NAME}
    return {sample.labels["node"]: sample.value for sample in samples}


@pytest.mark.parametrize(
    ("ahead", "told"), [(7200.0, "+2h00m"), (-7200.0, "-2h00m"), (7199.8, "+2h00m"), (-1.9, "-2s"), (0.5, "-")]
)
def test_a_nodes_heartbeat_carries_the_skew_of_its_clock_and_people_are_shown_it_above_a_second(
    runtime: Runtime, clock: WrongClock, redis_server: RedisServer, tmp_path: Path, ahead: float, told: str
) -> None:
    clock.ahead = ahead
    beat(runtime)
    table = shown(redis_server, tmp_path).splitlines()
    (row,) = json.loads(shown(redis_server, tmp_path, "-o", "json"))
    (node, _) = runtime.store.nodes(NAME, [NODE])[NODE]
    assert node is not None
    assert node.clock_skew == pytest.approx(ahead, abs=0.3)
    assert abs(node.at - runtime.store.now()) < 5
    assert skews(runtime) == {NODE: node.clock_skew}
    assert (row["clock_skew_seconds"], "clock_skew" in row) == (node.clock_skew, False)
    assert [line.split()[-1] for line in table] == ["SKEW", told]
    assert max(len(line) for line in table) <= 80


def test_the_skew_of_a_node_that_has_left_is_no_metric_any_more(runtime: Runtime, clock: WrongClock) -> None:
    clock.ahead = 7200.0
    attendant = NodeAttendant(runtime, NODE, "edge-1@h1", 2, lambda: [], queue.SimpleQueue(), lambda: False)
    attendant.begin()
    assert list(skews(runtime)) == [NODE]
    attendant.end()
    assert skews(runtime) == {}


def test_a_heartbeat_of_an_older_executor_has_no_skew_and_the_collectors_is_shown(
    runtime: Runtime, clock: WrongClock
) -> None:
    old = NodeDocument(node=NODE, host="h1", boot_id="b1", executor="edge-1@h1", pid=1, slots=5)
    runtime.store.heartbeat(NAME, old)
    assert skews(runtime) == {}
    clock.ahead = 60.0
    with Observing(runtime):
        wait_for_looks(runtime, "flow-1", 2)
    assert skews(runtime) == {NODE: pytest.approx(60.0, abs=0.3)}


def test_a_supervisors_executor_has_no_node_and_no_skew(runtime: Runtime, clock: WrongClock) -> None:
    clock.ahead = 7200.0
    beat(runtime, node=None)
    assert skews(runtime) == {}


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
def test_s21_a_collector_whose_clock_is_two_hours_off_observes_by_the_time_of_redis(
    runtime: Runtime, clock: WrongClock, ahead: float
) -> None:
    clock.ahead = ahead
    before = runtime.store.now()
    with Observing(runtime):
        looks = wait_for_looks(runtime, "flow-1", 3)
    after = runtime.store.now()
    assert [look.collected_at for look in looks if not before <= look.collected_at <= after] == []


def test_a_skew_of_over_a_second_is_said_once_and_its_end_once(
    runtime: Runtime, clock: WrongClock, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("json", "info")
    collector = Collector(runtime, NODE)
    for ahead in (0.5, 7200.0, 7200.0, 7300.0, -90.0, 0.0, 0.0):
        clock.ahead = ahead
        collector._read()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["level"], line["event"], line.get("reason"), line.get("was")) for line in lines]
    assert told == [
        ("warning", "node.clock_skew", "ahead of Redis", None),
        ("warning", "node.clock_skew", "behind Redis", None),
        ("info", "node.clock_skew.over", None, "behind Redis"),
    ]
    assert lines[0]["node"] == NODE
    assert lines[0]["skew_seconds"] == pytest.approx(7200.0, abs=0.3)


@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_sealed_messages_expire_by_redis_time(
    runtime: Runtime, clock: WrongClock, tmp_path: Path, ahead: float
) -> None:
    clock.ahead = ahead
    make_keys(tmp_path / "keys")
    guard = guard_of(tmp_path / "keys", clock)
    attendant = NodeAttendant(runtime, NODE, "edge-1@h1", 2, lambda: [], queue.SimpleQueue(), lambda: False)
    attendant.guard = guard
    attendant.begin()
    now = runtime.store.now()
    raws = Wire().publish(tmp_path / "keys", message(now, 30.0), message(now, 1.0), message(now, -2.0))
    assert [guard.admit(received(raw)) for raw in raws] == [True, True, False]
    attendant.end()
    counted = runtime.store.counters(NAME, [NODE])
    assert {name: value for name, value in counted.items() if "refused" in name} == {
        "supervisor_messages_refused_total|expired": 1.0
    }


def message(now: float, lasts: float) -> Message:
    """Return an action that was claimed a while ago and may be begun for `lasts` seconds from now."""
    return Message(
        supervisor=NAME,
        place=NODE,
        worker_id="flow-1",
        action="start",
        action_id="a1",
        token="1",
        params={},
        timeout=30.0,
        queue=f"actions.{NODE}",
        issued=now - 30 + lasts,
        expires=now + lasts,
    )
