"""What ticks keep of their decisions, and what fsmctl replay makes of it, on a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result

import workers.process.states
import workers.registry
from supervisor.cli import fsmctl
from supervisor.clock import SystemClock
from supervisor.dispatch import Circuit, Item
from supervisor.errors import NotFound, Refused
from supervisor.keys import HISTORY_CAP
from supervisor.runtime import make_runtime
from supervisor.store import Store
from supervisor.tick import run as run_tick
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, settings, worker
from workers.model import Snapshot, Transition

Replay = Callable[..., Result]


@pytest.fixture
def lived(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation on real time whose flow-1 two ticks have brought to its start; flow-2 stays as it is."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), worker("flow-2", "stopped"), children=[make_child()])
    made.heartbeat()
    for _ in range(2):
        made.observe({"flow-1": made.down(), "flow-2": made.down(), "child/broker": made.child_up()}, wake=True)
        report = None
        while report is None:  # until the gate lets it start
            real_client.sadd(made.keys.wake(NODE), "*")
            report = run_tick(made.runtime, made.sent.extend, NAME)
    return made


@pytest.fixture
def replay(redis_server: RedisServer, tmp_path: Path) -> Replay:
    """Return what runs fsmctl replay on that store."""
    environ = {"FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    return lambda *arguments: CliRunner(env=environ).invoke(fsmctl, ["replay", *arguments])


def frames(plant: Plant) -> list[dict[str, Any]]:
    """Return what is kept, oldest first."""
    return [json.loads(fields["frame"]) for _, fields in plant.client.xrange(plant.keys.history(NODE))]


def test_a_decision_is_kept_with_what_it_was_made_on_when_something_changes(lived: Plant) -> None:
    found = [(frame["identity"]["id"], frame["status"]["state"], frame["outcome"]) for frame in frames(lived)]
    why = "desired is running and nothing runs: nothing has been started since the host booted"
    assert found == [
        ("flow-1", "stopped", {"state": "starting", "reason": why}),
        ("flow-1", "starting", {"action": "start", "reason": why}),
    ]


def test_what_would_be_decided_again_says_so_with_exit_code_0(lived: Plant, replay: Replay) -> None:
    result = replay("worker/flow-1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ("worker/flow-1: 2 decisions recorded in the last 1h00m; all would be made again\n")
    shown = replay("flow-1", "--all").stdout.splitlines()
    assert [line.split()[1:4] for line in shown] == [
        ["STATE", "DECIDED", "WOULD"],
        ["stopped", "to", "starting"],
        ["starting", "start", "the"],
    ]


def test_code_that_decides_otherwise_is_shown_where_with_exit_code_1(
    lived: Plant, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = workers.process.states.derive

    def changed(snapshot: Snapshot, now: float) -> Transition:
        """Give up before the start."""
        if snapshot.status.state == "starting":
            return Transition(reason="this version waits", state="failed")
        return before(snapshot, now)

    monkeypatch.setattr(workers.process.states, "derive", changed)
    result = replay("flow-1")
    assert (result.exit_code, result.stderr.endswith("; 1 would be made otherwise now\n")) == (1, True)
    heading, line = result.stdout.splitlines()
    assert line[heading.index("STATE") :] == "starting  start    to failed  this version waits"
    document = json.loads(replay("flow-1", "-o", "json").stdout)
    assert [(one["then"]["action"], one["now"]["state"], one["same"]) for one in document["decisions"]] == [
        (None, "starting", True),
        ("start", "failed", False),
    ]


def test_one_change_that_two_processes_kept_is_shown_once(lived: Plant, replay: Replay) -> None:
    (_, first), *_ = lived.client.xrange(lived.keys.history(NODE))
    frame = json.loads(first["frame"])
    lived.client.delete(lived.keys.history(NODE))
    for later in (0.0, 0.5):
        text = json.dumps({**frame, "at": frame["at"] + later})
        lived.client.xadd(lived.keys.history(NODE), {"worker_id": "flow-1", "frame": text})
    assert json.loads(replay("flow-1", "-o", "json").stdout)["recorded"] == 1


@pytest.mark.parametrize("fields", [{"frame": "no JSON"}, {"frame": '{"schema": 99}'}, {}])
def test_a_record_that_cannot_be_read_is_counted_and_costs_no_other(
    lived: Plant, replay: Replay, fields: dict[str, str]
) -> None:
    lived.client.xadd(lived.keys.history(NODE), {"worker_id": "flow-1", **fields})
    lived.client.xadd(lived.keys.history(NODE), {"frame": "nobody's"})
    result = replay("flow-1")
    assert (result.exit_code, result.stderr.splitlines()[1:]) == (
        1,
        ["1 of its records cannot be read by this version, and are left out"],
    )
    document = json.loads(replay("flow-1", "-o", "json").stdout)
    assert (document["recorded"], document["unreadable"], document["differ"]) == (2, 1, 0)


def test_only_what_is_recent_enough_is_replayed(lived: Plant, replay: Replay) -> None:
    result = replay("flow-1", "--since", "1ms")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing was recorded in the last 0s" in result.stderr


def test_a_worker_without_changes_a_child_and_an_unknown_one(lived: Plant, replay: Replay) -> None:
    assert "nothing was recorded" in replay("flow-2").stderr
    assert isinstance(replay("child/broker").exception, Refused)
    assert isinstance(replay("flow-9").exception, NotFound)
    assert replay("flow-1", "--since", "soon").exit_code == 2


def test_history_stays_capped(plant: Plant) -> None:
    with plant.client.pipeline() as pipe:
        for number in range(HISTORY_CAP + 500):
            pipe.xadd(plant.keys.history(NODE), {"worker_id": "x", "frame": str(number)})
        pipe.execute()
    plant.write(Item("flow-1", NODE, frame="{}"), circuit=Circuit(0))
    assert HISTORY_CAP <= plant.client.xlen(plant.keys.history(NODE)) <= 1.1 * HISTORY_CAP
    ((_, newest),) = plant.client.xrevrange(plant.keys.history(NODE), count=1)
    assert newest == {"worker_id": "flow-1", "frame": "{}"}


def test_quiet_workers_cost_no_item_and_no_round_trip(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1", "stopped"))
    plant.observe({"flow-1": plant.down()})
    plant.must_tick()
    plant.observe({"flow-1": plant.down()})
    plant.must_tick()
    assert plant.client.exists(plant.keys.history(NODE)) == 0


def test_the_history_reads_back_in_pages(plant: Plant) -> None:
    with plant.client.pipeline() as pipe:
        for number in range(1201):
            pipe.xadd(plant.keys.history(NODE), {"worker_id": f"w{number % 2}", "frame": str(number)})
        pipe.execute()
    found = [int(text) for _, text in plant.store.history(NAME, NODE, "w0")]
    assert found == list(range(1200, -1, -2))
