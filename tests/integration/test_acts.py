"""What operators do through fsmctl, on a real Redis: what changes, what is told, and that a dry run changes nothing."""

from __future__ import annotations

import dataclasses
import getpass
import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from click.testing import CliRunner, Result

from actions.model import Outcome
from supervisor import tick
from supervisor.cli import acts, fsmctl
from supervisor.clock import SystemClock
from supervisor.dispatch import Circuit
from supervisor.errors import BadDocument, NotFound, Refused, StoreUnreachable, TimedOut
from supervisor.fleet import WorkerEntry
from supervisor.keys import POOL, SUPERVISOR
from supervisor.leases import Grant
from supervisor.model import NodeDocument
from supervisor.runtime import make_runtime
from supervisor.store import Store
from supervisor.view import load_world
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, put, settings, worker
from tests.waiting import wait_until
from workers.model import Control, Desired, Status

Run = Callable[..., Result]
ME = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation on real Redis time: flow-1, of group line, runs; flow-2 is down; the broker is well."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(grouped("flow-1"), worker("flow-2"), children=[make_child()], groups={"line": 1})
    made.heartbeat()
    look(made)
    return made


def grouped(worker_id: str) -> WorkerEntry:
    """Return a worker of a fleet file in group line."""
    entry: WorkerEntry = worker(worker_id)
    return dataclasses.replace(entry, desired=msgspec.structs.replace(entry.desired, group="line"))


def look(plant: Plant) -> None:
    """Let the collector see that flow-1 and the broker run and flow-2 does not."""
    plant.observe({"flow-1": plant.up(), "flow-2": plant.down(), "child/broker": plant.child_up()})


def settle(plant: Plant) -> None:
    """Let ticks take note of what was seen, without an action: flow-1 is running, flow-2 stopped."""
    now = plant.store.now()
    put(plant, plant.keys.status(NODE, "flow-1"), Status(state="running", since=now - 60))
    put(plant, plant.keys.status(NODE, "flow-2"), Status(state="starting", since=now - 60))


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Run:
    """Return what runs fsmctl against that store; the error it ended with is the result's exception."""
    environ = {
        "FSM_REDIS_URL": redis_server.url,
        "FSM_NAMESPACE": "test",
        "FSM_DATA_DIR": str(tmp_path),
        "COLUMNS": "80",
    }

    def call(*arguments: str) -> Result:
        return CliRunner(env=environ).invoke(fsmctl, list(arguments))

    return call


def ticked(plant: Plant) -> list[tuple[str, str]]:
    """Run a tick as soon as the gate lets it; return (worker, action) of what it published."""
    sent: list[Any] = []

    plant.heartbeat()

    def started() -> Any:
        return tick.run(plant.runtime, sent.extend, NAME)

    wait_until(started, "a tick")
    return [(message.worker_id, message.action) for message in sent]


def rows(run: Run) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(run("get", "workers", "-o", "json").stdout)}


def skips(run: Run) -> dict[str, str | None]:
    return {name: row["skip"]["reason"] if row["skip"] else None for name, row in rows(run).items()}


def last_event(plant: Plant, place: str = SUPERVISOR) -> dict[str, str]:
    return plant.events(place)[-1]


def refusal(result: Result) -> str:
    """Return the sentence with which an act was refused."""
    assert isinstance(result.exception, Refused), result
    assert result.exception.exit_code == 7
    return str(result.exception)


ACTS = {
    "set": ("set", "flow-1", "stopped"),
    "set to what the file says, stopped": ("set", "flow-4", "default"),
    "pause": ("pause", "flow-1"),
    "pause a node": ("pause", "node/edge-1"),
    "pause all": ("pause", "all"),
    "resume": ("resume", "flow-1"),
    "cancel": ("cancel", "flow-2"),
    "cancel by force": ("cancel", "flow-2", "--force"),
    "circuit open": ("circuit", "open", "plant-1"),
    "circuit close": ("circuit", "close", "plant-1"),
    "circuit reset": ("circuit", "reset", "plant-1"),
    "restart": ("restart", "flow-1"),
    "restart a child": ("restart", "child/broker"),
    "observe": ("observe", "flow-1"),
    "drain": ("drain", "node/edge-1"),
    "delete a node": ("delete", "node/edge-9"),
    "delete a worker": ("delete", "worker/flow-3"),
}
ASKING = (
    "set",
    "set to what the file says, stopped",
    "pause all",
    "cancel by force",
    "circuit open",
    "restart",
    "drain",
    "delete a node",
    "delete a worker",
)


@pytest.fixture
def busy(plant: Plant) -> Plant:
    """Return the plant with flow-2's start queued, flow-3 that left the file, and edge-9 that is in no fleet.

    The file wants flow-4 stopped, an operator wants it running.
    """
    kept = (grouped("flow-1"), worker("flow-2"), worker("flow-4", "stopped"))
    plant.apply_fleet(*kept, worker("flow-3"), children=[make_child()], groups={"line": 1})
    plant.apply_fleet(*kept, children=[make_child()], groups={"line": 1})
    plant.store.set_override(NAME, NODE, "flow-4", "running", ME)
    plant.store.know_node("edge-9")
    settle(plant)
    assert ("flow-2", "start") in ticked(plant)
    return plant


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_dry_run_says_what_would_change_and_changes_nothing(busy: Plant, run: Run, act: tuple[str, ...]) -> None:
    before = busy.dump()
    result = run(*act, "--dry-run", "--reason", "just asking")
    assert (result.exit_code, result.stdout.startswith("would "), result.stdout.count("\n")) == (0, True, 1)
    assert busy.dump() == before


@pytest.mark.parametrize("name", ASKING)
def test_what_destroys_is_refused_without_a_yes_and_changes_nothing(busy: Plant, run: Run, name: str) -> None:
    before = busy.dump()
    assert "needs a yes, and there is no terminal to ask on: say --yes" in refusal(run(*ACTS[name]))
    assert busy.dump() == before


# -- pause and resume -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "paused"),
    [("all", ("flow-1", "flow-2")), ("node/edge-1", ("flow-1", "flow-2")), ("group/line", ("flow-1",))],
)
def test_a_scope_is_paused_by_one_document_that_every_worker_in_it_shows(
    plant: Plant, run: Run, scope: str, paused: tuple[str, ...]
) -> None:
    settle(plant)
    result = run("pause", scope, "--yes", "--for", "30m", "--reason", "new cable")
    number = "1 worker" if len(paused) == 1 else f"{len(paused)} workers"
    assert result.stderr == f"paused {scope} ({number}) for 30m00s; `fsmctl resume {scope}` ends that\n"
    assert list(plant.client.hgetall(plant.keys.orders)) == [f"pause {scope}"]
    assert plant.client.keys("*:control:*") == []
    shown = rows(run)
    for name in paused:
        (condition,) = [one for one in shown[name]["conditions"] if one["type"] == "paused"]
        assert condition["reason"].startswith(f"{scope} by {ME}: new cable; ends in 29m5")
        assert shown[name]["skip"]["reason"] == "paused"
    assert f"paused for 0s: {scope} by {ME}: new cable" in run("describe", "worker", "flow-1").stdout
    told = last_event(plant)
    assert told == {
        "event": "operator.pause",
        "scope": scope,
        "by": ME,
        "reason": "new cable",
        "seconds": "1800",
    }
    claims = ticked(plant)
    assert [name for name, _ in claims if name in paused] == []

    assert run("resume", scope, "--reason", "done").stderr == f"{scope} is resumed\n"
    assert last_event(plant) == {"event": "operator.resume", "scope": scope, "by": ME, "reason": "done"}
    assert "paused" not in skips(run).values()
    look(plant)
    assert ("flow-2", "start") in [*claims, *ticked(plant)]
    assert run("resume", scope).stderr == f"{scope} is not paused\n"


def test_a_scoped_pause_ends_by_itself(plant: Plant, run: Run) -> None:
    run("pause", "node/edge-1", "--for", "300ms")
    run("pause", "flow-1", "--for", "300ms")
    assert set(skips(run).values()) == {"paused"}
    wait_until(lambda: "paused" not in skips(run).values(), "the ends of the pauses")
    assert run("resume", "node/edge-1").stderr == "node/edge-1 is not paused\n"
    run("pause", "all", "--yes")
    assert list(plant.client.hgetall(plant.keys.orders)) == ["pause all"]


def test_a_pause_until_a_time_lasts_until_then(plant: Plant, run: Run) -> None:
    assert re.search(r"is paused for \d+d\d\dh;", run("pause", "flow-1", "--until", "2199-01-31T06:00").stderr)
    result = run("pause", "flow-1", "--until", "2001-01-01T00:00")
    assert (result.exit_code, "2001-01-01T00:00 has passed" in result.output) == (2, True)
    result = run("pause", "flow-1", "--until", "soon")
    assert (result.exit_code, "'soon' is not a time: expected a time of day" in result.output) == (2, True)
    result = run("pause", "flow-1", "--until", "18:00", "--for", "1h")
    assert (result.exit_code, "give one of them" in result.output) == (2, True)


def test_a_claim_that_was_decided_before_a_scoped_pause_is_refused_after_it(plant: Plant, run: Run) -> None:
    index = plant.store.index(NAME)
    assert index is not None
    assert plant.store.begin_tick(NAME, index, "t1")[0] == "started"
    item, circuit = plant.item("flow-2"), Circuit(plant.store.breaker(NAME).generation)
    assert run("pause", "node/edge-1").exit_code == 0
    assert plant.write(item, tick_id="t1", circuit=circuit).refused == {"flow-2": "refused:circuit"}


def test_a_scoped_pause_and_a_drain_come_back_after_redis_lost_everything(plant: Plant, run: Run) -> None:
    run("pause", "group/line", "--for", "1h", "--reason", "new cable")
    run("drain", "node/edge-1", "--yes", "--no-wait")
    before = plant.store.index(NAME)
    assert before is not None
    plant.runtime.mirror.keep(NAME, before)
    plant.client.flushall()
    assert plant.runtime.mirror.restore(NAME, None)
    after = plant.store.index(NAME)
    assert after is not None
    assert after.orders == before.orders
    assert set(after.orders) == {"pause group/line", "drain node/edge-1"}


def test_resuming_a_worker_says_that_it_is_paused_still_with_its_node(plant: Plant, run: Run) -> None:
    run("pause", "node/edge-1", "--reason", "new cable")
    assert run("resume", "flow-1").stderr == (
        "worker/flow-1 is resumed, its failures are forgiven\n"
        f"worker/flow-1 is paused still: node/edge-1 by {ME} 0s ago: new cable; `fsmctl resume node/edge-1` ends that\n"
    )


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("node/edge-2", "no scope 'node/edge-2'; did you mean node/edge-1?"),
        ("group/lin", "no scope 'group/lin'; did you mean group/line?"),
        ("group/", "no scope 'group/'; did you mean group/line?"),
        ("node/somewhere", "no scope 'node/somewhere'; there are node/edge-1"),
        ("flow-9", "no worker or child 'flow-9'; did you mean flow-2?"),
    ],
)
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_scope_gets_a_suggestion(plant: Plant, run: Run, verb: str, what: str, said: str) -> None:
    result = run(verb, what)
    assert isinstance(result.exception, NotFound)
    assert str(result.exception).replace("flow-1", "flow-2") == said


# -- set, circuit, cancel ---------------------------------------------------------------------------------------------


def test_a_wish_and_a_forced_circuit_are_told_with_who_and_why(plant: Plant, run: Run) -> None:
    run("set", "flow-1", "stopped", "-y", "--reason", "no raw material")
    assert last_event(plant) == {
        "event": "operator.set",
        "worker_id": "flow-1",
        "desired": "stopped",
        "by": ME,
        "reason": "no raw material",
    }
    run("circuit", "open", "plant-1", "-y", "--reason", "upgrade")
    told = last_event(plant)
    assert (told["event"], told["forced"], told["by"], told["reason"]) == ("operator.circuit", "open", ME, "upgrade")


def test_a_wish_is_lifted_without_a_yes_where_the_file_says_running(plant: Plant, run: Run) -> None:
    run("set", "flow-1", "stopped", "-y")
    assert run("set", "flow-1", "default").stderr == "worker/flow-1 desired is default\n"
    assert plant.client.exists(plant.keys.override(NODE, "flow-1")) == 0


def acting(plant: Plant) -> Grant:
    """Let flow-2's start be queued, and return its grant."""
    settle(plant)
    assert ("flow-2", "start") in ticked(plant)
    lease = plant.lease("flow-2")
    assert lease is not None
    return Grant(NAME, NODE, "flow-2", lease.action, lease.action_id, lease.token)


def test_an_action_is_cancelled_by_its_whole_id_and_that_is_an_act_of_who_did_it(plant: Plant, run: Run) -> None:
    grant = acting(plant)
    assert isinstance(run("cancel", grant.action_id[:8]).exception, NotFound)
    result = run("cancel", grant.action_id, "--reason", "wrong wiring")
    assert result.stderr == "start of flow-2, queued for 0s, is cancelled\n"
    act, end = last_event(plant), last_event(plant, NODE)
    assert act == {
        "event": "operator.cancel",
        "worker_id": "flow-2",
        "action": "start",
        "action_id": grant.action_id,
        "forced": "0",
        "by": ME,
        "reason": "wrong wiring",
    }
    assert (end["event"], end["detail"]) == ("action.ended", f"cancelled by {ME}: wrong wiring")
    result = run("cancel", grant.action_id)
    assert isinstance(result.exception, NotFound)
    assert "nor is it the id of an action in progress" in str(result.exception)


# -- restart ----------------------------------------------------------------------------------------------------------


def test_a_worker_is_restarted_by_the_next_tick_once(plant: Plant, run: Run) -> None:
    settle(plant)
    run("set", "flow-2", "stopped", "-y")
    result = run("restart", "worker/flow-1", "--yes", "--reason", "leaks memory")
    assert result.stderr == "worker/flow-1 is to be restarted by the next tick that may; see `fsmctl events`\n"
    assert last_event(plant) == {
        "event": "operator.restart",
        "worker_id": "flow-1",
        "by": ME,
        "reason": "leaks memory",
    }
    assert ticked(plant) == [("flow-1", "restart")]
    lease = plant.lease("flow-1")
    assert lease is not None
    assert lease.reason == f"restart asked for by {ME}: leaks memory"
    grant = Grant(NAME, NODE, "flow-1", lease.action, lease.action_id, lease.token)
    assert plant.begin(grant) is None
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "restarted")
    for _ in range(2):
        plant.observe({"flow-1": plant.up(pid=43), "flow-2": plant.down(), "child/broker": plant.child_up()})
        assert ticked(plant) == []
    status = plant.status("flow-1")
    assert status is not None
    assert status.restarted_at > 0


def test_a_restart_survives_a_pause_and_is_made_after_it(plant: Plant, run: Run) -> None:
    settle(plant)
    run("set", "flow-2", "stopped", "-y")
    run("pause", "flow-1")
    run("restart", "flow-1", "-y")
    look(plant)
    assert ticked(plant) == []
    run("resume", "flow-1")
    look(plant)
    assert ticked(plant) == [("flow-1", "restart")]


def test_a_restart_is_not_made_again_after_redis_lost_what_became_of_it(plant: Plant, run: Run) -> None:
    settle(plant)
    run("set", "flow-2", "stopped", "-y")
    run("restart", "flow-1", "child/broker", "-y")
    assert sorted(ticked(plant)) == [("child/broker", "restart_child"), ("flow-1", "restart")]
    plant.client.flushall()
    wait_until(lambda: tick.run(plant.runtime, plant.sent.extend, NAME), "the tick that restores")
    beat(plant)
    look(plant)
    settle(plant)
    index = plant.store.index(NAME)
    assert index is not None
    world = load_world(plant.runtime, NAME, index, plant.store.now())
    assert [subject.snapshot.control.restart_at for subject in world.view.subjects if subject.snapshot] == [0.0, 0.0]
    assert [child.wants_restart for child in world.children] == [False]
    assert plant.store.client.get(plant.keys.control(NODE, "flow-1")) is not None


def test_a_restart_of_a_time_that_redis_clock_has_not_reached_is_void(plant: Plant) -> None:
    settle(plant)
    ahead = plant.store.now() + 3600
    for item in ("flow-1", "child/broker"):
        put(plant, plant.keys.control(NODE, item), Control(restart_at=ahead, restart_by=ME))
    assert [claim for claim in ticked(plant) if claim[0] != "flow-2"] == []


def test_a_child_is_restarted_now_though_nothing_is_wrong_with_it(plant: Plant, run: Run) -> None:
    run("set", "flow-1", "stopped", "-y")
    run("pause", "all", "-y")
    assert run("restart", "child/broker", "-y", "--reason", "new certificate").exit_code == 0
    assert ticked(plant) == [("child/broker", "restart_child")]
    lease = plant.lease("child/broker")
    assert lease is not None
    assert lease.reason == f"asked for by {ME}: new certificate; ok: pid 99 passes its check"
    assert "child/broker is being restarted" in refusal(run("restart", "child/broker", "-y"))
    grant = Grant(NAME, NODE, "child/broker", lease.action, lease.action_id, lease.token)
    assert plant.begin(grant) is None
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "restarted")
    look(plant)
    assert ticked(plant) == []


def test_what_cannot_be_restarted_is_refused_with_all_the_others(plant: Plant, run: Run) -> None:
    settle(plant)
    run("set", "flow-2", "stopped", "-y")
    before = plant.dump()
    assert refusal(run("restart", "flow-1", "flow-2", "-y")) == (
        "worker/flow-2 does not run, stopped is desired: nothing to restart; `fsmctl set flow-2 running` starts it"
    )
    assert plant.dump() == before
    plant.apply_fleet(worker("flow-1"), children=[make_child(process=None)])
    assert "it has to be restarted by hand" in refusal(run("restart", "child/broker", "-y"))
    plant.apply_fleet(worker("flow-1"), children=[make_child()])
    run("circuit", "open", "plant-1", "-y")
    assert "circuit/plant-1 is forced open, and restarts no child" in refusal(run("restart", "child/broker", "-y"))


# -- observe ----------------------------------------------------------------------------------------------------------


def test_observe_waits_for_a_look_that_began_after_it_was_asked_for(plant: Plant, run: Run) -> None:
    def collector() -> None:
        wait_until(lambda: plant.asks() == ["flow-1"], "the ask")
        plant.observe({"flow-1": plant.up(pid=77)})

    thread = threading.Thread(target=collector)
    thread.start()
    result = run("observe", "flow-1", "-o", "json", "--reason", "to be sure")
    thread.join()
    assert (result.exit_code, json.loads(result.stdout)["pid"]) == (0, 77)
    assert last_event(plant) == {
        "event": "operator.observe",
        "worker_id": "flow-1",
        "by": ME,
        "reason": "to be sure",
    }


def test_observe_says_so_when_nobody_looks(plant: Plant, run: Run) -> None:
    result = run("observe", "flow-1", "--timeout", "200ms")
    assert isinstance(result.exception, TimedOut)
    assert str(result.exception).startswith(
        "the collector on edge-1 has not looked at flow-1 within 200ms; its last sign is "
    )


# -- drain ------------------------------------------------------------------------------------------------------------


def beat(plant: Plant, node: str = NODE, **changes: Any) -> None:
    fields = {"host": "h1", "boot_id": "b1", "executor": f"{node}@h1", "pid": 1, "slots": 5, **changes}
    plant.store.know_node(node)
    plant.store.heartbeat(NAME, NodeDocument(node=node, **fields))


def test_a_drained_node_begins_nothing_but_stops_and_restarts_no_child(plant: Plant, run: Run) -> None:
    settle(plant)
    result = run("drain", "node/edge-1", "--yes", "--no-wait", "--reason", "new kernel")
    assert result.stderr == "node/edge-1 takes no new actions; `fsmctl drain node/edge-1 --undo` ends that\n"
    assert last_event(plant) == {"event": "operator.drain", "scope": "node/edge-1", "by": ME, "reason": "new kernel"}
    assert skips(run) == {"flow-1": None, "flow-2": "drained"}
    run("set", "flow-1", "stopped", "-y")
    now = plant.store.now()
    put(plant, plant.keys.status(NODE, "flow-1"), Status(state="stopping", since=now))
    look(plant)
    plant.observe({"child/broker": plant.child_failed()})
    assert ticked(plant) == []
    assert plant.store.breaker(NAME).is_open
    assert ticked(plant) == [("flow-1", "stop")]
    assert plant.store.breaker(NAME).attempts == 0
    assert json.loads(run("get", "nodes", "-o", "json").stdout)[0]["status"] == "draining"
    beat(plant, drained=True)
    assert json.loads(run("get", "nodes", "-o", "json").stdout)[0]["status"] == "drained"
    assert run("drain", "node/edge-1", "--undo").stderr == "node/edge-1 takes actions again\n"
    assert last_event(plant)["event"] == "operator.undrain"
    look(plant)
    plant.observe({"child/broker": plant.child_failed()})
    assert ("child/broker", "restart_child") in ticked(plant)
    assert run("drain", "node/edge-1", "--undo").stderr == "node/edge-1 is not drained\n"


def test_drain_waits_until_no_action_runs_there_and_says_what_it_waits_for(plant: Plant, run: Run) -> None:
    grant = acting(plant)
    assert plant.begin(grant) is None

    def executor() -> None:
        wait_until(lambda: plant.store.index(NAME).orders, "the drain")  # type: ignore[union-attr]
        beat(plant, drained=True)
        plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "started")

    thread = threading.Thread(target=executor)
    thread.start()
    result = run("drain", "node/edge-1", "--yes", "--timeout", "30s")
    thread.join()
    assert result.exit_code == 0, result
    lines = result.stderr.splitlines()
    assert lines[0].startswith("node/edge-1 takes no new actions")
    assert lines[-1].startswith("node/edge-1 is drained after ")


def test_a_drain_that_takes_too_long_says_what_it_waits_for_and_stays(plant: Plant, run: Run) -> None:
    acting(plant)
    result = run("drain", "node/edge-1", "--yes", "--timeout", "100ms")
    assert isinstance(result.exception, TimedOut)
    assert str(result.exception) == (
        "node/edge-1 is not drained within 100ms, it goes on with start of flow-2, the executor of edge-1 to take no "
        "more floating work; see `fsmctl get actions`"
    )
    assert skips(run)["flow-1"] is None
    index = plant.store.index(NAME)
    assert index is not None
    assert set(index.orders) == {"drain node/edge-1"}


def test_floating_work_goes_to_the_nodes_that_are_not_drained(plant: Plant, run: Run) -> None:
    plant.apply_fleet(worker("gateway", node=None))  # type: ignore[arg-type]
    beat(plant)
    beat(plant, "edge-2", slots=3, host="h2")

    def pool() -> int:
        index = plant.store.index(NAME)
        assert index is not None
        return load_world(plant.runtime, NAME, index, plant.store.now()).view.slots[POOL]

    assert pool() == 8
    run("drain", "node/edge-2", "--yes", "--no-wait")
    assert pool() == 5


# -- delete -----------------------------------------------------------------------------------------------------------


def test_a_worker_that_the_applied_file_names_is_not_deleted(plant: Plant, run: Run) -> None:
    assert refusal(run("delete", "worker/flow-1", "-y")) == (
        "worker/flow-1 is in the fleet file as it was applied: take it out there, then `fsmctl apply` that"
    )


def test_a_worker_that_left_the_file_and_whose_node_is_gone_is_forgotten_at_once(plant: Plant, run: Run) -> None:
    plant.apply_fleet(worker("flow-2"), children=[make_child()])
    beat(plant, left=True)
    result = run("delete", "worker/flow-1", "-y", "--reason", "scrapped")
    assert (result.exit_code, result.stderr) == (0, "worker/flow-1 is forgotten\n")
    assert set(rows(run)) == {"flow-2"}
    assert plant.client.keys("*:flow-1") == []
    acts = [event for event in plant.events(SUPERVISOR) if event["event"] == "operator.delete"]
    assert acts == [{"event": "operator.delete", "what": "worker/flow-1", "by": ME, "reason": "scrapped"}]


def test_a_worker_that_left_the_file_and_is_paused_is_waited_for_in_vain(plant: Plant, run: Run) -> None:
    run("pause", "flow-1")
    plant.apply_fleet(worker("flow-2"), children=[make_child()])
    result = run("delete", "worker/flow-1", "-y", "--timeout", "100ms")
    assert isinstance(result.exception, TimedOut)
    assert str(result.exception) == "worker/flow-1 is not forgotten within 100ms: paused"
    assert "flow-1" in rows(run)


def test_a_node_is_forgotten_with_all_its_keys_once_it_is_away_and_in_no_fleet(plant: Plant, run: Run) -> None:
    assert refusal(run("delete", "node/edge-1", "-y")).startswith("node/edge-1 is in the fleet of plant-1")
    beat(plant, "edge-7")
    assert refusal(run("delete", "node/edge-7", "-y")).startswith("node/edge-7 lives: edge-7@h1 was heard of 0s ago")
    beat(plant, "edge-7", left=True)
    assert run("delete", "node/edge-7", "-y").stderr == "node/edge-7 is forgotten\n"
    assert plant.client.keys("*:edge-7:*") == []
    assert "edge-7" not in plant.store.known_nodes()
    assert last_event(plant) == {"event": "operator.delete", "what": "node/edge-7", "by": ME}
    assert isinstance(run("delete", "node/edge-7", "-y").exception, NotFound)
    result = run("delete", "child/broker", "-y")
    assert (result.exit_code, "expected worker/ID or node/NAME" in result.output) == (2, True)


# -- apply, through fsmctl --------------------------------------------------------------------------------------------

FILE = """
supervisor = {{ name = "plant-1", nodes = ["edge-1"] }}
groups = [{{ name = "line", max_in_action = 1 }}]
workers = [{workers}]
"""
ENTRY = '{{ id = "{}", type = "process", node = "edge-1", group = "line", config = {{ command = ["sleep", "{}"] }} }}'


def apply_workers(run: Run, file: Path, **workers: str) -> str:
    """Apply a file with these workers of group line, each sleeping for its number; return what fsmctl says of it."""
    entries = ", ".join(ENTRY.format(name.replace("_", "-"), seconds) for name, seconds in workers.items())
    file.write_text(FILE.format(workers=entries))
    result = run("apply", "-f", str(file), "--yes")
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_was_confirmed_is_applied_though_the_file_changes_meanwhile(
    plant: Plant, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FILE.format(workers=ENTRY.format("flow-1", "300")))

    def confirm(what: str, yes: bool) -> None:
        assert (what, yes) == ("remove child/broker, worker/flow-2", False)
        file.write_text(FILE.format(workers=ENTRY.format("flow-9", "300")))

    monkeypatch.setattr(acts, "confirm", confirm)
    assert run("apply", "-f", str(file)).stdout == "changed    flow-1\nremoved    child/broker, flow-2\n"


def test_an_apply_that_changes_only_settings_is_told_and_one_that_changes_nothing_is_not(
    plant: Plant, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.toml"
    apply_workers(run, file, flow_1="300", flow_2="300")
    before = plant.events(SUPERVISOR)
    (tmp_path / "copy.toml").write_text(file.read_text())
    run("apply", "-f", str(tmp_path / "copy.toml"))
    assert plant.events(SUPERVISOR) == before
    file.write_text(file.read_text().replace("max_in_action = 1", "max_in_action = 2"))
    run("apply", "-f", str(file), "--reason", "more hands")
    told = {"event": "operator.apply", "settings": "changed", "by": ME, "reason": "more hands"}
    assert plant.events(SUPERVISOR) == [*before, told]


def test_settings_that_cannot_be_read_are_replaced_by_an_apply_which_says_so(
    plant: Plant, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.toml"
    apply_workers(run, file, flow_1="300", flow_2="300")
    good = plant.client.get(plant.keys.settings)
    plant.client.set(plant.keys.settings, '{"schema":1,"name":')
    plant.store.touch(NAME)
    with pytest.raises(BadDocument):
        tick.run(plant.runtime, plant.sent.extend, NAME)
    diff = run("diff", "-f", str(file))
    assert '(all)  "cannot be read" -> "as the file says"' in diff.stdout
    result = run("apply", "-f", str(file), "--yes")
    assert (result.exit_code, result.stdout) == (0, "unchanged  flow-1, flow-2\n")
    where = f"document at {plant.keys.settings} cannot be read: "
    assert result.stderr.startswith(f"replaced the settings of plant-1, which could not be read: {where}")
    assert plant.events(SUPERVISOR)[-1] == {"event": "operator.apply", "settings": "replaced", "by": ME}
    assert settings_of(plant.client.get(plant.keys.settings)) == settings_of(good)
    assert run("apply", "-f", str(file), "--yes").stderr == ""


def settings_of(text: Any) -> dict[str, Any]:
    """Return stored settings but for when they were applied."""
    return {**json.loads(text), "applied_at": 0}


def test_a_new_supervisor_is_told_though_it_has_nothing_yet(plant: Plant, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('supervisor = { name = "plant-2" }')
    run("apply", "-f", str(file))
    (told,) = plant.client.xrange(plant.store.keys("plant-2").events(SUPERVISOR))
    assert told[1] == {"event": "operator.apply", "settings": "new", "by": ME}


def test_a_file_that_stops_a_worker_needs_a_yes(plant: Plant, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    entries = [ENTRY.format(name, "300") for name in ("flow-1", "flow-2")]
    file.write_text(FILE.format(workers=", ".join(entries)))
    run("apply", "-f", str(file), "--yes")
    stopped = entries[0].replace('group = "line"', 'group = "line", desired = "stopped"')
    file.write_text(FILE.format(workers=", ".join([stopped, entries[1]])))
    before = plant.dump()
    assert refusal(run("apply", "-f", str(file))).startswith("to stop worker/flow-1 needs a yes")
    assert plant.dump() == before
    assert run("apply", "-f", str(file), "--yes").stdout == "changed    flow-1\nunchanged  flow-2\n"
    file.write_text(FILE.format(workers=", ".join(entries)))
    assert run("apply", "-f", str(file)).stdout == "changed    flow-1\nunchanged  flow-2\n"


def config_of(plant: Plant, name: str) -> str:
    desired = plant.store.read(Desired, plant.keys.desired(NODE, name))
    assert desired is not None
    return desired.config_id


def carry_out(plant: Plant, name: str) -> None:
    """Let a worker's action begin and succeed."""
    lease = plant.lease(name)
    assert lease is not None
    grant = Grant(NAME, NODE, name, lease.action, lease.action_id, lease.token)
    assert plant.begin(grant) is None
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")


def test_a_changed_configuration_that_is_applied_rolls_out_under_the_budget(
    plant: Plant, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "fleet.toml"
    apply_workers(run, file, flow_1="300", flow_2="300")
    old = {name: config_of(plant, name) for name in ("flow-1", "flow-2")}
    settle(plant)
    put(plant, plant.keys.status(NODE, "flow-2"), Status(state="running", since=plant.store.now() - 60))
    running = dict(old)

    def seen() -> None:
        plant.observe({name: plant.up(config_id=config) for name, config in running.items()})

    seen()
    assert ticked(plant) == []
    assert apply_workers(run, file, flow_1="301", flow_2="301") == "changed    flow-1, flow-2\n"
    rolled = []
    for _ in range(2):
        ((name, action),) = ticked(plant)
        held = ["action_in_progress"] if rolled else ["action_in_progress", "budget"]
        assert (action, sorted(filter(None, skips(run).values()))) == ("reconfigure", held)
        carry_out(plant, name)
        running[name] = config_of(plant, name)
        seen()
        rolled.append(name)
    assert sorted(rolled) == ["flow-1", "flow-2"]
    assert ticked(plant) == []
    assert running["flow-1"] != old["flow-1"]


def test_what_left_the_file_that_is_applied_is_stopped_then_forgotten(plant: Plant, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    apply_workers(run, file, flow_1="300", flow_2="300")
    settle(plant)
    put(plant, plant.keys.status(NODE, "flow-2"), Status(state="running", since=plant.store.now() - 60))
    kept = plant.up(config_id=config_of(plant, "flow-2"))
    assert apply_workers(run, file, flow_2="300") == "removed    flow-1\nunchanged  flow-2\n"
    plant.observe({"flow-1": plant.up(config_id=config_of(plant, "flow-1")), "flow-2": kept})
    claims: list[tuple[str, str]] = []

    def stop() -> bool:
        claims.extend(ticked(plant))
        return bool(claims)

    wait_until(stop, "the stop")
    assert claims == [("flow-1", "stop")]
    carry_out(plant, "flow-1")
    plant.observe({"flow-1": plant.down(), "flow-2": kept})

    def forgotten() -> bool:
        seen = {"flow-1": plant.down(), "flow-2": msgspec.structs.replace(kept, collected_at=plant.store.now())}
        plant.observe({name: look for name, look in seen.items() if name in rows(run)})
        claims.extend(ticked(plant))
        return set(rows(run)) == {"flow-2"}

    wait_until(forgotten, "flow-1 to be forgotten", 30)
    assert claims == [("flow-1", "stop")]
    assert plant.client.keys("*:flow-1") == []


# -- config -----------------------------------------------------------------------------------------------------------


def test_config_says_what_counts_and_where_it_came_from(
    plant: Plant, run: Run, redis_server: RedisServer, tmp_path: Path
) -> None:
    run("pause", "node/edge-1", "--reason", "new cable")
    run("circuit", "open", "plant-1", "-y", "--reason", "upgrade")
    found = {(row["supervisor"], row["name"]): row for row in json.loads(run("config", "-o", "json").stdout)}
    assert found[None, "namespace"] == {
        "name": "namespace",
        "value": "test",
        "from": "environment, FSM_NAMESPACE",
        "supervisor": None,
    }
    assert found[None, "slots"]["from"] == "default"
    assert found[None, "data_dir"]["value"] == str(tmp_path)
    assert found[NAME, "groups"]["value"] == {"line": 1}
    assert found[NAME, "groups"]["from"].startswith("fleet file")
    assert (found[NAME, "tick_interval"]["value"], found[NAME, "tick_interval"]["from"]) == (1.0, "default")
    assert found[NAME, "circuit"]["value"] == "open: upgrade"
    assert found[NAME, "pause node/edge-1"]["from"] == f"store, by {ME}"


def test_config_says_what_comes_from_a_context(redis_server: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "contexts.toml"
    file.write_text(f'[contexts.line]\nurl = "{redis_server.url}"\nnamespace = "elsewhere"\n')
    environ = {"FSM_CONTEXTS": str(file), "FSM_DATA_DIR": str(tmp_path), "FSM_REDIS_URL": "", "FSM_NAMESPACE": ""}
    result = CliRunner(env=environ).invoke(fsmctl, ["--context", "line", "config", "-o", "json"])
    found = {row["name"]: (row["value"], row["from"]) for row in json.loads(result.stdout)}
    assert found["redis_url"] == (redis_server.url, "context line")
    assert found["namespace"] == ("elsewhere", "context line")


def test_a_context_decides_all_that_it_could_name_whatever_the_environment_has(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    file = tmp_path / "contexts.toml"
    file.write_text('[contexts.line]\nurl = "redis://127.0.0.1:1/0"\npassword_file = "password"\n')
    names = ("FSM_REDIS_URL", "FSM_SENTINEL_PASSWORD_FILE", "FSM_REDIS_CA", "FSM_REDIS_CERT", "FSM_REDIS_KEY")
    elsewhere = {
        "FSM_NAMESPACE": "other",
        "FSM_REDIS_PASSWORD_FILE": str(tmp_path / "theirs"),
        **dict.fromkeys(names, ""),
    }
    environ = {"FSM_CONTEXTS": str(file), "FSM_DATA_DIR": str(tmp_path), **elsewhere}
    result = CliRunner(env=environ).invoke(fsmctl, ["--context", "line", "config", "-o", "json"])
    found = {row["name"]: (row["value"], row["from"]) for row in json.loads(result.stdout)}
    assert found["namespace"] == ("fsm", "default")
    assert found["redis_password_file"] == (str(tmp_path / "password"), "context line")


def test_config_shows_no_password_and_what_is_known_without_the_store(tmp_path: Path) -> None:
    environ = {"FSM_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0", "FSM_DATA_DIR": str(tmp_path)}
    result = CliRunner(env=environ).invoke(fsmctl, ["config"])
    assert isinstance(result.exception, StoreUnreachable)
    assert "hunter2" not in result.output
    assert "redis_url" in result.stdout
    assert "environment, FSM_REDIS_URL" in result.stdout
