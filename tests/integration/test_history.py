"""What fsmctl tells of the past of a store: events, actions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

from actions.model import Outcome
from actions.stop import Stop
from supervisor.cli import fsmctl
from supervisor.clock import SystemClock
from supervisor.errors import NotFound, TimedOut
from supervisor.runtime import make_runtime
from supervisor.store import Store
from supervisor.streams import Streams
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, settings, worker
from tests.waiting import wait_until

Run = Callable[..., Result]


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation on real Redis time whose flow-1 has been started, and whose flow-2 is being stopped."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), worker("flow-2", "stopped"), children=[make_child()])
    made.heartbeat()
    made.observe({"flow-1": made.up(), "child/broker": made.child_up()})
    index = store.index(NAME)
    assert index is not None
    assert store.begin_tick(NAME, index, "t1")[0] == "started"
    items = made.item("flow-1", action_id="a1"), made.item("flow-2", Stop(), action_id="a2")
    first, second = (grant_of(message) for message in made.write(*items, tick_id="t1").messages)
    assert made.begin(first) is None
    assert made.runtime.leases.end(first, "r1", Outcome.SUCCESS, "started as pid 42")
    assert made.begin(second, "r2") is None
    return made


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Run:
    """Return what runs fsmctl against that store."""
    environ = {"FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}

    def call(*arguments: str) -> Result:
        return CliRunner(env={**environ, "COLUMNS": "80"}).invoke(fsmctl, list(arguments))

    return call


def names(result: Result) -> list[tuple[str, str]]:
    return [(event["event"], event["worker_id"]) for event in json.loads(result.stdout)]


def test_events_are_shown_by_worker_kind_and_node(plant: Plant, run: Run) -> None:
    both = [("action.ended", "flow-1"), ("action.begun", "flow-2")]
    assert names(run("events", "-n", "2", "-o", "json")) == both
    assert names(run("events", "--worker", "flow-2", "-o", "json")) == [
        ("action.claimed", "flow-2"),
        ("action.begun", "flow-2"),
    ]
    assert names(run("events", "--kind", "action.ended", "--kind", "worker", "-o", "json")) == both[:1]
    assert len(names(run("events", "--kind", "*.begun", "--node", NODE, "-o", "json"))) == 2
    assert len(names(run("events", "--node", "pool", "-o", "json"))) == 0


def test_events_of_before_since_are_left_out(plant: Plant, run: Run) -> None:
    assert len(names(run("events", "--since", "1h", "-o", "json"))) == 5
    wait_until(lambda: names(run("events", "--since", "500ms", "-o", "json")) == [], "them to be too old")


def test_since_may_go_back_to_before_all_time(plant: Plant, run: Run) -> None:
    assert len(names(run("events", "--since", "1000000h", "-o", "json"))) == 5


def test_what_a_node_writes_into_its_own_stream_costs_no_action(plant: Plant, run: Run) -> None:
    plant.client.xadd(plant.keys.events(NODE), {"event": "action.begun", "executor": "me"})
    ended = {"event": "action.ended", "action_id": "a2", "worker_id": "flow-2", "duration": "soon"}
    plant.client.xadd(plant.keys.events(NODE), ended)
    listed = json.loads(run("actions", "-o", "json").stdout)
    assert [(row["id"], row["outcome"]) for row in listed] == [("a1", "success"), ("a2", "running")]


def test_an_event_is_a_line_with_its_age_and_what_it_says(plant: Plant, run: Run) -> None:
    ended, begun = run("events", "-n", "2").stdout.splitlines()
    assert ended.startswith("     0s  action.ended       flow-1               start success duration=0.0")
    assert ended.endswith(": started as pid 42")
    assert begun.startswith("     0s  action.begun       flow-2               stop executor=edge-1@h1 queue_wait=0.0")


def test_a_kind_that_no_event_has_is_answered_with_those_there_are(plant: Plant, run: Run) -> None:
    result = run("events", "--kind", "action.end")
    assert (result.stdout, result.stderr) == (
        "",
        "no events of that kind; there are action.begun, action.claimed, action.ended\n",
    )
    assert isinstance(run("events", "--node", "edge1").exception, NotFound)
    assert str(run("events", "--node", "edge1").exception) == "no node 'edge1'; did you mean edge-1?"


def test_following_streams_loses_and_doubles_nothing_also_of_two_in_the_same_millisecond(plant: Plant) -> None:
    streams = Streams.all_of(plant.store, {NAME: (NODE, "pool")})
    after = streams.ends()
    before = [event["id"] for event in streams.newest(100, lambda _: True, until=after)]
    found: list[dict[str, Any]] = []

    def tell() -> None:
        for number in range(200):
            for place in (NODE, "pool", "supervisor"):
                plant.client.xadd(plant.keys.events(place), {"event": "test.told", "number": number})

    telling = threading.Thread(target=tell)
    telling.start()
    wait_until(lambda: found.extend(streams.more(after, 0.2)) or len(found) >= 600, "all to be read")
    telling.join()
    assert streams.more(after, 0.01) == []
    assert sorted((event["place"], int(event["number"])) for event in found) == [
        (place, number) for place in (NODE, "pool", "supervisor") for number in range(200)
    ]
    assert len(before) == 5


def test_the_newest_events_are_found_behind_many_of_others(plant: Plant) -> None:
    with plant.client.pipeline() as pipe:
        for _ in range(2_500):
            pipe.xadd(plant.keys.events(NODE), {"event": "test.told"})
        pipe.execute()
    streams = Streams.all_of(plant.store, {NAME: (NODE,)})
    found = streams.newest(2, lambda event: event["event"] == "action.begun")
    assert [event["worker_id"] for event in found] == ["flow-1", "flow-2"]


def test_actions_are_listed_with_outcome_queue_wait_and_run_time(plant: Plant, run: Run) -> None:
    heading, ended, running = run("actions").stdout.splitlines()
    assert heading.split() == ["WORKER", "ACTION", "OUTCOME", "AGE", "WAIT", "TOOK", "EXECUTOR"]
    assert (ended.split()[:4], ended.split()[-1]) == (["flow-1", "start", "success", "0s"], "edge-1")
    assert running.split()[:3] == ["flow-2", "stop", "running"]
    (row,) = json.loads(run("actions", "--outcome", "success", "-o", "json").stdout)
    assert {key: row[key] for key in ("id", "worker_id", "action", "detail", "reason", "executor", "node")} == {
        "id": "a1",
        "worker_id": "flow-1",
        "action": "start",
        "detail": "started as pid 42",
        "reason": "test",
        "executor": "edge-1@h1",
        "node": NODE,
    }
    assert row["claimed_at"] <= row["begun_at"] <= row["ended_at"]
    assert run("actions", "--name", "reconfigure").stderr == "no actions\n"


def test_an_action_whose_end_nobody_told_is_unknown_and_one_that_has_just_ended_is_not(plant: Plant, run: Run) -> None:
    assert plant.client.xlen(plant.keys.events(NODE)) == 5
    plant.client.xadd(
        plant.keys.events(NODE),
        {"event": "action.claimed", "worker_id": "flow-1", "action": "stop", "action_id": "a0", "token": "1"}
        | {"reason": "lost with Redis"},
    )
    rows = json.loads(run("actions", "-o", "json").stdout)
    assert [(row["id"], row["outcome"]) for row in rows] == [("a1", "success"), ("a2", "running"), ("a0", "unknown")]
    (ended,) = (entry for entry in plant.client.xrange(plant.keys.events(NODE)) if entry[1]["event"] == "action.ended")
    plant.client.xdel(plant.keys.events(NODE), ended[0])
    assert json.loads(run("actions", "-o", "json").stdout)[0]["outcome"] == "success", "as its lease says"


def test_wait_ends_when_all_targets_are_as_wanted(plant: Plant, run: Run) -> None:
    assert run("wait", "--all", "--for", "no-condition=paused").stderr == "all is as wanted after 0s\n"
    assert run("wait", "--for", "circuit=closed", "--for", f"queue={NODE}").exit_code == 0
    assert run("wait", "flow-2", "--for", "action=stop").stderr == "worker/flow-2 action=stop after 0s\n"
    assert run("wait", "node/edge-1", "--for", "status=ready").exit_code == 0
    assert run("pause", "flow-1").exit_code == 0
    assert run("wait", "worker/flow-1", "--for", "condition=paused").exit_code == 0


def test_wait_tells_what_it_waits_for_and_ends_in_time(plant: Plant, run: Run) -> None:
    result = run("wait", "flow-1", "flow-2", "--for", "action=none", "--timeout", "1500ms")
    assert isinstance(result.exception, TimedOut)
    assert str(result.exception).startswith("after 1.5s: worker/flow-2 is not action=none: seen action=stop")
    assert result.stderr.startswith("   1s  worker/flow-2 is not action=none: seen action=stop")


def test_wait_for_what_there_is_not_is_an_error_at_once(plant: Plant, run: Run) -> None:
    for target, condition in (("flow-9", "state=up"), ("queue/edge-9", "empty"), ("circuit/p", "state=open")):
        assert isinstance(run("wait", target, "--for", condition).exception, NotFound), target
