"""fsmctl check on a store: its stages, exit codes, and the no-op that is claimed beside every worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from supervisor import execute
from supervisor.cli import check, fsmctl
from supervisor.clock import SystemClock
from supervisor.dispatch import Message, claim_check
from supervisor.errors import NotFound, StoreUnreachable, Unhealthy
from supervisor.keys import SUPERVISOR, nodes, schema, supervisors
from supervisor.runtime import make_runtime
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, settings, worker

Run = Callable[..., Result]
ITEM = "check/edge-1"


class SoftTimeout(Exception):
    """Stands for the pool's own."""


POOL = execute.Pool("edge-1@h1", "r1", SoftTimeout, nullcontext)


def test_a_check_is_claimed_executed_and_ended_under_a_lease_of_its_own(plant: Plant) -> None:
    before = plant.lease()
    message, action_id = claim_check(plant.store, NAME, NODE, 5.0)
    assert message is not None
    assert (message.queue, message.action, message.action_id, message.timeout) == (
        "actions.edge-1",
        "noop",
        action_id,
        5.0,
    )
    queued = plant.lease(ITEM)
    assert queued is not None
    assert (queued.stage, queued.deadline - queued.claimed_at, queued.counted_as) == ("queued", 5.0, "check")
    assert execute.run(plant.runtime, grant_of(message), message.params, POOL) == "success"
    ended = plant.lease(ITEM)
    assert ended is not None
    assert (ended.stage, ended.outcome, ended.detail) == ("free", "success", "nothing to do")
    assert plant.lease() == before
    assert plant.counters()["supervisor_actions_completed_total|check|noop|success"] == "1"
    assert [event["event"] for event in plant.events()] == ["action.claimed", "action.begun", "action.ended"]


def test_two_checks_share_one_no_op_and_what_nobody_ended_is_no_obstacle(plant: Plant) -> None:
    first, action_id = claim_check(plant.store, NAME, NODE, 5.0)
    assert claim_check(plant.store, NAME, NODE, 5.0) == (None, action_id)
    plant.clock.advance(5.5)
    second, other = claim_check(plant.store, NAME, NODE, 5.0)
    assert first is not None
    assert second is not None
    assert (int(second.token) > int(first.token), other != action_id) == (True, True)
    assert execute.run(plant.runtime, grant_of(first), first.params, POOL) == "discarded"
    assert execute.run(plant.runtime, grant_of(second), second.params, POOL) == "success"


def test_what_is_no_no_op_finds_nothing_to_work_on_under_a_check(plant: Plant) -> None:
    message, _ = claim_check(plant.store, NAME, NODE, 5.0)
    assert message is not None
    grant = grant_of(message)
    forged = type(grant)(**{**vars(grant), "action": "start"})
    assert execute.run(plant.runtime, forged, {}, POOL) == "error"
    lease = plant.lease(ITEM)
    assert lease is not None
    assert lease.detail.startswith("a check starts nothing")


def test_nothing_is_claimed_in_a_hold_off(plant: Plant) -> None:
    plant.start_tick()
    tick = json.loads(plant.client.get(plant.keys.tick))
    plant.client.set(plant.keys.tick, json.dumps({**tick, "hold_until": plant.clock.now() + 3}))
    assert claim_check(plant.store, NAME, NODE, 5.0) == (None, "hold_off")
    assert plant.lease(ITEM) is None


@pytest.fixture
def real(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation on real Redis time whose parts have all just been heard of."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), children=[make_child()])
    made.heartbeat()
    made.observe({"flow-1": made.up(), "child/broker": made.child_up()})
    index = store.index(NAME)
    assert index is not None
    assert store.begin_tick(NAME, index, "t1")[0] == "started"
    return made


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Run:
    """Return what runs fsmctl against that store."""
    environ = {"FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}

    def call(*arguments: str, **changes: str) -> Result:
        return CliRunner(env={**environ, "COLUMNS": "80", **changes}).invoke(fsmctl, list(arguments))

    return call


def test_a_quick_check_of_what_is_well_is_a_line_for_each_stage_and_writes_nothing(real: Plant, run: Run) -> None:
    before = real.dump()
    result = run("check", "--quick")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [
        [stage, "ok"] for stage in ("store", "tick", "executors", "collectors", "queues")
    ]
    assert real.dump() == before
    stages = [found["stage"] for found in json.loads(run("check", "--quick", "--node", NODE, "-o", "json").stdout)]
    assert stages == ["store", "executors", "collectors", "queues"]


def test_what_has_failed_is_said_with_what_to_do_and_exit_code_3(real: Plant, run: Run) -> None:
    real.client.delete(real.keys.node(NODE))
    result = run("check", "--stage", "executors", "--stage", "store")
    assert isinstance(result.exception, Unhealthy)
    assert (result.exception.exit_code, str(result.exception)) == (3, "failed: executors")
    assert result.stdout.splitlines()[1:] == [
        "executors   failed  edge-1 was never heard of. Start the node's executor again,",
        "                    or kill one that hangs",
    ]
    (stage,) = json.loads(run("check", "--stage", "executors", "-o", "json").stdout)
    assert stage == {
        "stage": "executors",
        "ok": False,
        "seen": "edge-1 was never heard of",
        "hint": "Start the node's executor again, or kill one that hangs",
        "findings": [{"subject": NODE, "ok": False, "seen": "was never heard of"}],
    }


def test_a_store_that_cannot_be_reached_is_exit_code_5_and_still_a_line(real: Plant, run: Run) -> None:
    result = run("check", FSM_REDIS_URL="redis://127.0.0.1:1/0")
    assert isinstance(result.exception, StoreUnreachable)
    assert result.stdout.startswith("store       failed  Redis cannot be reached.")


def test_an_unknown_node_is_said_so(real: Plant, run: Run) -> None:
    error = run("check", "--node", "edge-9").exception
    assert isinstance(error, NotFound)
    assert str(error) == "no node 'edge-9': expected one of edge-1"


def test_a_node_is_checked_with_the_rights_of_a_node(real: Plant, run: Run, redis_server: RedisServer) -> None:
    """As health checks of containers do: nothing of others is read, and a large fleet costs them nothing."""
    store = real.store
    real.apply_fleet(worker("flow-1"), worker("flow-2", node="edge-2"), children=[make_child()])
    names = [supervisors(store.namespace), nodes(store.namespace), schema(store.namespace)]
    rights = [
        *(f"~{name}" for name in names),
        f"~{store.namespace}:{NAME}:{SUPERVISOR}:*",
        f"~*:{NODE}:*",
        f"~*:{NODE}",
    ]
    real.client.execute_command("ACL", "SETUSER", "node", "on", ">secret", "+@all", *rights)
    try:
        address = f"redis://node:secret@{redis_server.host}:{redis_server.port}/0"
        assert run("check", "--quick", "--node", NODE, FSM_REDIS_URL=address).exit_code == 0
        assert "no permissions" in str(run("check", "--quick", FSM_REDIS_URL=address).exception)
    finally:
        real.client.execute_command("ACL", "DELUSER", "node")


@pytest.mark.parametrize("whose", ["another check's", "its own"])
def test_a_check_that_gives_up_takes_back_its_own_no_op_alone(
    real: Plant, run: Run, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    sent: list[Message] = []
    monkeypatch.setattr(check, "_publisher", lambda _: sent.extend)
    if whose == "another check's":
        claim_check(real.store, NAME, NODE, 30.0)
    result = run("check", "--stage", "action", "--timeout", "100ms")
    assert isinstance(result.exception, Unhealthy)
    lease = real.lease(ITEM)
    assert lease is not None
    assert (len(sent), lease.stage.value) == ((0, "queued") if whose == "another check's" else (1, "free"))


def test_a_store_without_a_fleet_is_well_as_a_store(run: Run, redis_server: RedisServer) -> None:
    empty = {"FSM_NAMESPACE": "nobody"}
    assert run("check", "--stage", "store", **empty).exit_code == 0
    assert isinstance(run("check", "--quick", **empty).exception, NotFound)
