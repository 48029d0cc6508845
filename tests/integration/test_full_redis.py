"""A Redis that has reached its maxmemory: what holds, ends and sees goes on, the rest is refused, nothing half done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner
from prometheus_client.core import Metric

from actions.model import Outcome
from supervisor.cli import fsmctl
from supervisor.clock import FakeClock
from supervisor.collector import Collector
from supervisor.connection import trouble_with
from supervisor.dispatch import Item
from supervisor.errors import StoreUnreachable
from supervisor.exporter import StoreCollector
from supervisor.keys import SUPERVISOR
from supervisor.logs import configure
from supervisor.model import Stage
from supervisor.store import Store
from tests.conftest import OwnRedis
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, fleet, make_plant, worker
from workers.model import Status

Act = Callable[[], object]


@pytest.fixture
def client(own_redis: OwnRedis) -> Iterator[redis.Redis]:
    """Return a Redis of this test's own, whose limit it may set."""
    with own_redis.server.connect() as made:
        yield made


def fill(client: Any) -> None:
    """Let Redis be full, whatever it holds."""
    client.config_set("maxmemory", 1)
    with pytest.raises(redis.OutOfMemoryError):
        client.set("more", "1")


def make_room(client: Any) -> None:
    client.config_set("maxmemory", 0)


def contents(plant: Plant) -> dict[str, object]:
    """Return every key with its whole value; of events all but their ids, which are of Redis' real time."""
    found = plant.dump()
    streams = {key: [fields for _, fields in value] for key, value in found.items() if key.endswith(":events")}  # type: ignore[attr-defined]
    return {**found, **streams}


def status(plant: Plant, state: str = "starting") -> Status:
    return Status(state=state, since=plant.clock.now())


def generation(plant: Plant) -> int:
    index = plant.store.index(NAME)
    assert index is not None
    return index.generations["flow-1"]


# Each prepares a plant and returns what is to be done while Redis is full.


def begin(plant: Plant) -> Act:
    grant = plant.claim()
    return lambda: plant.begin(grant)


def discard(plant: Plant) -> Act:
    grant = plant.claim()
    plant.clock.advance(31)
    return lambda: plant.begin(grant)


def renew(plant: Plant) -> Act:
    grants = plant.running("flow-1"), plant.running("flow-2")
    plant.clock.advance(3)
    return lambda: plant.renew(*grants)


def recreate(plant: Plant) -> Act:
    grant = plant.running()
    plant.client.delete(plant.keys.lease(NODE, "flow-1"))
    return lambda: plant.renew(grant)


def renew_nothing(plant: Plant) -> Act:
    return plant.renew


def end(plant: Plant) -> Act:
    grant = plant.running()
    plant.clock.advance(2)
    return lambda: plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")


def end_late(plant: Plant) -> Act:
    grant = plant.running()
    return lambda: plant.runtime.leases.end(grant, "another", Outcome.ERROR, "no")


def cancel_queued(plant: Plant) -> Act:
    plant.claim()
    return lambda: plant.runtime.leases.cancel(NAME, NODE, "flow-1", "", "test")


def cancel_running(plant: Plant) -> Act:
    plant.running()
    return lambda: plant.runtime.leases.cancel(NAME, NODE, "flow-1", "", "test")


def cancel_by_force(plant: Plant) -> Act:
    plant.running()
    return lambda: plant.runtime.leases.cancel(NAME, NODE, "flow-1", "", "test", force=True)


def reap(plant: Plant) -> Act:
    grant = plant.running()
    plant.clock.advance(11)
    return lambda: plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token)


def observe(plant: Plant) -> Act:
    plant.observe({"flow-1": plant.up()})
    plant.clock.advance(1)
    return lambda: plant.observe({"flow-1": plant.down(), "flow-2": plant.up()}, wake=True)


def observe_the_future(plant: Plant) -> Act:
    seen = plant.up(collected_at=plant.clock.now() + 60)
    return lambda: plant.observe({"flow-1": seen})


def heartbeat(plant: Plant) -> Act:
    plant.store.know_node(NODE)
    plant.clock.advance(2)

    def beat() -> None:
        plant.store.know_node(NODE)
        plant.heartbeat()

    return beat


def forget(plant: Plant) -> Act:
    plant.client.hset(plant.keys.counters(NODE), "supervisor_actions_enqueued_total|flow-1|start", 1)
    return lambda: plant.store.leave(NAME, NODE, "flow-1", generation(plant))


def move(plant: Plant) -> Act:
    plant.client.hset(plant.keys.counters(NODE), "supervisor_actions_enqueued_total|flow-1|start", 1)
    plant.apply_fleet(worker("flow-1", node="edge-2"), worker("flow-2"))
    return lambda: plant.store.leave(NAME, NODE, "flow-1", generation(plant))


def gate(plant: Plant) -> Act:
    return plant.start_tick


def finish(plant: Plant) -> Act:
    tick_id = plant.start_tick()
    return lambda: plant.store.finish_tick(NAME, tick_id, '{"a": 1}', {"paused": 2})


def apply_without_claims(plant: Plant) -> Act:
    grant, tick_id = plant.running(), plant.start_tick()
    event = ("event", "worker.transition", "worker_id", "flow-1")
    item = Item("flow-1", NODE, status(plant), [event], ["some|counter"], cancel=(grant.token, "stop"))
    return lambda: plant.write(item, tick_id=tick_id).late


GO_ON = (
    begin,
    discard,
    renew,
    recreate,
    renew_nothing,
    end,
    end_late,
    cancel_queued,
    cancel_running,
    cancel_by_force,
    reap,
    observe,
    observe_the_future,
    heartbeat,
    forget,
    move,
    gate,
    finish,
    apply_without_claims,
)


def set_up(client: Any, folder: Path) -> Plant:
    """Return a plant in an empty Redis, at the same time as every other of these."""
    client.flushall()
    clock = FakeClock()
    made = make_plant(Store(client, "test", clock.now), clock, folder)
    made.apply_fleet(worker("flow-1"), worker("flow-2"))
    made.heartbeat()
    return made


@pytest.mark.parametrize("prepare", GO_ON, ids=lambda one: one.__name__)
def test_it_is_done_in_a_full_redis_as_in_one_with_room(
    client: redis.Redis, tmp_path: Path, prepare: Callable[[Plant], Act]
) -> None:
    plant = set_up(client, tmp_path / "room")
    answer, left = prepare(plant)(), contents(plant)

    plant = set_up(client, tmp_path / "full")
    act = prepare(plant)
    fill(client)

    assert act() == answer
    assert contents(plant) == left


def touch(plant: Plant) -> Act:
    return lambda: plant.store.touch(NAME)


def apply_a_fleet(plant: Plant) -> Act:
    return lambda: plant.store.apply_fleets([fleet(worker("flow-1", "stopped"), children=[make_child()])])


def set_an_override(plant: Plant) -> Act:
    return lambda: plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")


def lift_an_override(plant: Plant) -> Act:
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    return lambda: plant.store.set_override(NAME, NODE, "flow-1", None, "me")


def pause(plant: Plant) -> Act:
    return lambda: plant.store.set_control(NAME, NODE, "flow-1", paused=True, by="me")


def restore(plant: Plant) -> Act:
    index = plant.store.index(NAME)
    assert index is not None
    plant.runtime.mirror.keep(NAME, index)
    plant.client.delete(plant.keys.revision)
    return lambda: plant.runtime.mirror.restore(NAME, plant.store.index(NAME))


@pytest.mark.parametrize(
    "prepare", [touch, apply_a_fleet, set_an_override, lift_an_override, pause, restore], ids=lambda one: one.__name__
)
def test_a_wish_is_refused_whole_by_a_full_redis(
    client: redis.Redis, tmp_path: Path, prepare: Callable[[Plant], Act]
) -> None:
    plant = set_up(client, tmp_path)
    act = prepare(plant)
    fill(client)
    before = plant.dump()
    with pytest.raises(redis.RedisError) as raised:
        act()
    assert trouble_with(raised.value) == "full"
    assert plant.dump() == before


def test_nothing_is_claimed_in_a_full_redis_and_all_else_of_the_plan_is_written(
    client: redis.Redis, tmp_path: Path
) -> None:
    plant = set_up(client, tmp_path)
    claim, tick_id = plant.item("flow-1"), plant.start_tick()
    fill(client)
    applied = plant.write(claim, Item("flow-2", NODE, status(plant)), tick_id=tick_id)
    assert (applied.messages, applied.refused, applied.late) == ([], {"flow-1": "refused:full"}, False)
    assert plant.lease("flow-1") is None
    assert plant.status("flow-2") == status(plant)
    assert plant.counters(SUPERVISOR)["supervisor_claims_refused_total|full"] == "1"


def test_decisions_kept_for_replay_give_way_first_and_are_kept_again_once_there_is_room(
    client: redis.Redis, tmp_path: Path
) -> None:
    plant = set_up(client, tmp_path)
    history = plant.keys.history(NODE)
    for number in range(300):
        client.xadd(history, {"worker_id": "flow-1", "frame": str(number)})
    fill(client)
    plant.write(Item("flow-1", NODE, frame="{}"))
    assert client.xlen(history) == 0
    make_room(client)
    plant.write(Item("flow-1", NODE, frame="{}"))
    assert client.xlen(history) == 1


def test_ticks_go_on_while_redis_is_full_and_claim_once_there_is_room(client: redis.Redis, tmp_path: Path) -> None:
    plant = set_up(client, tmp_path)
    plant.running("flow-2")
    plant.clock.advance(12)
    plant.heartbeat()
    plant.observe({"flow-1": plant.down(), "flow-2": plant.up()})
    fill(client)
    assert plant.must_tick()[0].transitions == 1  # to starting, which asks for a start at the next tick
    report, messages = plant.must_tick()
    assert (report.claimed, report.refused, messages) == (0, 1, [])
    lease = plant.lease("flow-2")
    assert lease is not None
    assert (lease.stage, lease.outcome) == (Stage.FREE, "lost")
    make_room(client)
    report, (message,) = plant.must_tick()
    assert (report.claimed, message.worker_id) == (1, "flow-1")


def test_the_history_of_a_place_gives_way_to_its_observations_but_for_the_newest(
    client: redis.Redis, tmp_path: Path
) -> None:
    plant = set_up(client, tmp_path)
    events = plant.keys.events(NODE)
    for number in range(3000):
        client.xadd(events, {"event": "test", "number": number})
    plant.observe({"flow-1": plant.up()})
    assert client.xlen(events) == 3000
    fill(client)
    for _ in range(3):
        plant.observe({"flow-1": plant.up()})
    assert 1000 <= client.xlen(events) < 1200
    assert plant.events()[-1] == {"event": "test", "number": "2999"}


def test_a_collector_says_once_that_redis_is_full_and_once_that_it_has_had_room_for_a_while(
    client: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plant = set_up(client, tmp_path)
    configure("json", "info")
    collector = Collector(plant.runtime, NODE)
    collector._read()
    for seconds, change in ((1, fill), (1, make_room), (1, fill), (1, make_room), (29, None), (2, None), (1, None)):
        if change is not None:
            change(client)
        plant.clock.advance(seconds)
        collector._save()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["level"], line["event"], line.get("reason"), line.get("node")) for line in lines]
    assert told == [("warning", "store.full", "maxmemory", NODE), ("info", "store.full.over", None, None)]


def test_a_persons_wish_that_a_full_redis_refuses_is_one_sentence_with_what_to_do(
    client: redis.Redis, own_redis: OwnRedis, tmp_path: Path
) -> None:
    set_up(client, tmp_path)
    fill(client)
    environ = {"FSM_REDIS_URL": own_redis.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    result = CliRunner(env=environ).invoke(fsmctl, ["set", "flow-1", "stopped", "--yes"])
    assert isinstance(result.exception, StoreUnreachable)
    assert result.exception.exit_code == 5
    assert "has reached its maxmemory" in str(result.exception)
    assert "docs/runbooks.md#redis-is-full" in str(result.exception)
    assert CliRunner(env=environ).invoke(fsmctl, ["get", "workers"]).exit_code == 0


@pytest.mark.parametrize(("limit", "ratio"), [(0.0, 0.0), (2.0, 0.5), (0.5, 2.0)])
def test_the_exporter_says_how_full_redis_is(client: redis.Redis, tmp_path: Path, limit: float, ratio: float) -> None:
    plant = set_up(client, tmp_path)
    client.config_set("maxmemory", int(limit * client.info("memory")["used_memory"]))
    families: dict[str, Metric] = {family.name: family for family in StoreCollector(plant.runtime).collect()}
    (sample,) = families["supervisor_store_memory_ratio"].samples
    assert (sample.labels, sample.value) == ({}, pytest.approx(ratio, rel=0.3))
