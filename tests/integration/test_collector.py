"""The collector of a node on a real Redis, with targets that answer, that are down, and one that hangs."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from supervisor.circuit import Breaker
from supervisor.collector import Collector
from supervisor.logs import configure
from supervisor.model import Check, ChildObserved, ChildSpec, CollectorDocument
from supervisor.probes import CheckFailed
from supervisor.readings import Rejected
from supervisor.runtime import Runtime, make_runtime
from supervisor.store import Store, encode
from supervisor.targets import folder_of
from tests.integration.observing import Observing, observed, wait_for_looks
from tests.integration.plant import NAME, NODE, fleet, settings, worked_on, worker
from tests.integration.processes import Yard
from tests.loglines import lines_of
from tests.waiting import wait_until
from workers.dfc_read.states import FlowObserved
from workers.model import Observed
from workers.target import Target


@pytest.fixture
def hung() -> Iterator[str]:
    """Return the address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def runtime(real_client: Any, tmp_path: Path) -> Iterator[Runtime]:
    """Return a runtime on a real Redis and its time; leaves no process behind."""
    made = make_runtime(settings(tmp_path / "data"), Store(real_client, "test"))
    (tmp_path / "data" / "nodes" / NODE).mkdir(parents=True)
    yield made
    yard = Yard(tmp_path)
    yard.folders = {folder_of(made.settings.data_dir, NAME, NODE, item) for item in ("flow-hung", "flow-up")}
    yard.clear()


def test_a_hung_target_delays_no_other_and_is_itself_observed_with_its_error(runtime: Runtime, hung: str) -> None:
    flow = worker("flow-hung", kind="dfc_read", http=hung)
    broker = ChildSpec(name="broker", type="tcp", node=NODE, check=Check(address=hung))
    hung_child = ChildSpec(name="stuck", type="redis", node=NODE, check=Check(kind="redis", address=hung, timeout=0.5))
    workers = [flow, worker("flow-up"), worker("flow-down")]
    runtime.store.apply_fleets([fleet(*workers, children=[broker, hung_child], observation_interval=0.1)])
    pids = {item: worked_on(runtime, item).start(1).pid for item in ("flow-hung", "flow-up")}
    with Observing(runtime):
        up, down = (wait_for_looks(runtime, item, 5) for item in ("flow-up", "flow-down"))
        # five looks at others are made before the hung one's first look has timed out
        assert observed(runtime, "flow-hung", FlowObserved) is None
        children = wait_for_looks(runtime, "child/broker", 3, ChildObserved)
        (stuck,) = wait_for_looks(runtime, "child/stuck", 1, ChildObserved)
        (first,) = wait_for_looks(runtime, "flow-hung", 1, FlowObserved)
    assert {(seen.pid, seen.error, seen.config_id) for seen in up} == {(pids["flow-up"], None, "c1")}
    assert {(seen.pid, seen.error, seen.last_exit) for seen in down} == {(None, None, None)}
    assert [seen.passes for seen in children] == sorted({seen.passes for seen in children})
    assert {(seen.failures, seen.error) for seen in children} == {(0, None)}
    assert (stuck.passes, stuck.failures, stuck.error) == (0, stuck.failures, f"no answer from {hung} within 0.5s")
    assert stuck.failures >= 1
    assert (first.pid, first.error, first.ready) == (pids["flow-hung"], None, False)
    assert first.http_error == f"no answer from {hung} within 2s"


def test_a_check_of_an_installed_package_is_asked_and_one_that_is_not_installed_is_unknown(runtime: Runtime) -> None:
    async def modbus(spec: ChildSpec) -> None:
        raise CheckFailed(f"{spec.check.address}: no unit {spec.check.options['unit']}")

    check = Check(kind="modbus", address="h:502", options={"unit": 7})
    children = [ChildSpec(name="plc", type="tcp", node=NODE, check=check)]
    children.append(msgspec.structs.replace(children[0], name="robot", check=Check(kind="profinet")))
    runtime.store.apply_fleets([fleet(children=children, observation_interval=0.1)])
    with Observing(dataclasses.replace(runtime, checks={"modbus": modbus})):
        (plc,) = wait_for_looks(runtime, "child/plc", 1, ChildObserved)
        (robot,) = wait_for_looks(runtime, "child/robot", 1, ChildObserved)
    assert (plc.failures >= 1, plc.error) == (True, "h:502: no unit 7")
    assert (robot.unknown, robot.failures) == (True, 0)
    why = "no installed package has a check of kind 'profinet' (fsm_supervisor.checks)"
    assert robot.error == f"unknown: CannotLook: {why}"


def test_s14_observations_go_on_while_the_circuit_is_open(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-down"), observation_interval=0.2)])
    keys = runtime.store.keys(NAME)
    opened_at = runtime.store.now()
    circuit = encode(Breaker(state="open", generation=1, opened_at=opened_at, reason="broker: no answer"))
    runtime.store.client.set(keys.circuit, circuit)
    with Observing(runtime):
        seen = wait_for_looks(runtime, "flow-down", 4)
        heartbeat = runtime.store.read(CollectorDocument, keys.collector(NODE))
    assert runtime.store.client.get(keys.circuit) == circuit
    assert min(one.collected_at for one in seen) > opened_at
    assert heartbeat is not None
    assert (heartbeat.node, heartbeat.observed) == (NODE, 1)


def test_what_is_asked_for_is_observed_long_before_it_is_due(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-down"), worker("flow-other"), observation_interval=9.0)])
    with Observing(runtime):
        wait_for_looks(runtime, "flow-down", 1)
        other = wait_for_looks(runtime, "flow-other", 1)[0]
        before = observed(runtime, "flow-down").collected_at
        runtime.store.client.rpush(runtime.store.keys(NAME).asks(NODE), "flow-down")
        wait_until(lambda: observed(runtime, "flow-down").collected_at > before, "it is observed again", 5)
        assert observed(runtime, "flow-other") == other


def test_a_change_wakes_the_tick_and_a_repetition_does_not(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-up"), observation_interval=0.2)])
    wake = runtime.store.keys(NAME).wake(NODE)
    with Observing(runtime):
        wait_until(lambda: runtime.store.client.delete(wake), "the first observation wakes the tick")
        wait_for_looks(runtime, "flow-up", 4)
        assert runtime.store.client.exists(wake) == 0
        worked_on(runtime, "flow-up").start(1)
        wait_until(lambda: runtime.store.client.exists(wake), "the started process wakes the tick")


def test_a_worker_that_is_added_is_observed_and_one_that_is_forgotten_is_not_any_more(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"), observation_interval=0.1)])
    keys = runtime.store.keys(NAME)
    with Observing(runtime):
        wait_for_looks(runtime, "flow-1", 1)
        runtime.store.apply_fleets([fleet(worker("flow-1"), worker("flow-2"), observation_interval=0.1)])
        wait_for_looks(runtime, "flow-2", 1)
        assert runtime.store.leave(NAME, NODE, "flow-1", 1)

        def one_is_left() -> bool:
            heartbeat = runtime.store.read(CollectorDocument, keys.collector(NODE))
            return heartbeat is not None and heartbeat.observed == 1

        wait_until(one_is_left, "the collector has noticed")
        wait_for_looks(runtime, "flow-2", 3)
        assert runtime.store.client.exists(keys.observed(NODE, "flow-1")) == 0


def test_a_document_that_cannot_be_read_is_a_fresh_observation_that_says_so(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"), worker("flow-2"), observation_interval=0.2)])
    keys = runtime.store.keys(NAME)
    runtime.store.client.set(keys.desired(NODE, "flow-1"), '{"schema": 99}')
    with Observing(runtime):
        bad = wait_for_looks(runtime, "flow-1", 2)
        good = wait_for_looks(runtime, "flow-2", 2)
    assert all(seen.error.startswith(f"BadDocument: document at {keys.desired(NODE, 'flow-1')}") for seen in bad)
    assert {seen.error for seen in good} == {None}
    counted = int(runtime.store.counters(NAME, [NODE])["supervisor_observations_rejected_total|unreadable"])
    assert counted >= 2
    assert '"id":"flow-1"' in runtime.store.client.get(keys.rejected(NODE))


def test_an_absurd_reading_is_unknown_and_kept_aside(runtime: Runtime) -> None:
    class Absurd:
        """Stands for a type whose observer reads nonsense."""

        @staticmethod
        async def observe(target: Target, previous: Observed | None, collected_at: float) -> Observed:
            return Observed(collected_at=collected_at, pid=-7)

    kind = dataclasses.replace(runtime.workers.get("process"), name="absurd", observe=Absurd.observe)
    runtime.workers.register(kind)
    runtime.store.apply_fleets([fleet(worker("flow-1", kind="absurd"), observation_interval=0.2)])
    with Observing(runtime):
        (seen,) = wait_for_looks(runtime, "flow-1", 1)
    assert (seen.pid, seen.error) == (None, "pid is -7")
    kept = msgspec.json.decode(runtime.store.client.get(runtime.store.keys(NAME).rejected(NODE)))
    assert (kept["id"], kept["reason"], "pid=-7" in kept["text"]) == ("flow-1", "absurd", True)


def test_settings_that_cannot_be_read_do_not_end_the_observation_of_what_is_known(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"), observation_interval=0.2)])
    with Observing(runtime):
        wait_until(lambda: observed(runtime, "flow-1"), "a first look")
        runtime.store.client.set(runtime.store.keys(NAME).settings, '{"schema":99}')
        damaged_at = runtime.store.now()
        wait_until(
            # two rereads later: the index is read once a second
            lambda: observed(runtime, "flow-1").collected_at > damaged_at + 2,
            "a look after the settings were damaged",
        )


def test_readings_that_cannot_be_believed_are_said_once_and_that_they_are_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"), observation_interval=0.1)])
    configure("json", "info")
    looks: list[int] = []

    def absurd(_: object) -> Rejected | None:
        looks.append(1)
        return Rejected("absurd", f"look {len(looks)}", "{}") if len(looks) <= 5 else None

    monkeypatch.setattr("supervisor.collector.check", absurd)
    with Observing(runtime):
        wait_until(lambda: len(looks) > 6, "a look that is believed")
    told = [
        (line["level"], line["event"], line["worker_id"], line["count"], line.get("error"))
        for line in lines_of(capsys.readouterr().err)
    ]
    assert told == [
        ("warning", "observation.rejected", "flow-1", 1, "look 1"),
        ("info", "observation.rejected.over", "flow-1", 5, None),
    ]


def test_a_redis_that_answers_reads_and_refuses_writes_is_said_once_with_the_reason(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"), observation_interval=0.1)])
    configure("json", "info")
    refused: list[int] = []

    def full(*_: object, **__: object) -> bool:
        refused.append(1)
        raise redis.ResponseError("MISCONF Errors writing to the AOF file: No space left on device")

    with Observing(runtime):
        wait_for_looks(runtime, "flow-1", 1)
        with monkeypatch.context() as patch:
            patch.setattr(runtime.store, "save_observations", full)
            # a read of what is placed here comes once a second, and succeeds
            wait_until(lambda: len(refused) >= 5, "five writes to be refused")
        wait_for_looks(runtime, "flow-1", 2)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["level"], line["event"], line.get("reason")) for line in lines if line["event"].startswith("store.")]
    assert told == [("warning", "store.away", "disk"), ("info", "store.away.over", None)]


def test_what_is_wished_for_is_read_again_when_it_has_changed_and_not_before(runtime: Runtime) -> None:
    runtime.store.apply_fleets([fleet(worker("flow-1"))])
    collector = Collector(runtime, NODE)
    collector._read()
    first = collector._watched[NAME].items["flow-1"]
    collector._read()
    assert collector._watched[NAME].items["flow-1"] is first
    runtime.store.set_override(NAME, NODE, "flow-1", "stopped", "test")
    collector._read()
    wanted = collector._watched[NAME].items["flow-1"].texts["override"]
    assert wanted is not None
    assert '"stopped"' in wanted
