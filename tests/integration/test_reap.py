"""reap.lua: leases that ran out."""

from __future__ import annotations

import msgspec

from actions.model import Outcome
from supervisor.failures import not_before
from supervisor.model import Stage
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant
from workers.model import Status


def reap(plant: Plant, token: str) -> bool:
    return plant.runtime.leases.reap(NAME, NODE, "flow-1", token)


def test_a_queued_lease_is_reaped_after_its_deadline_counted_once_and_told(plant: Plant) -> None:
    grant = plant.claim()
    lease, events = plant.lease(), plant.events()
    assert lease is not None
    plant.clock.advance(30.5)
    assert reap(plant, grant.token) is True
    now = NOW + 31.5
    detail = "never begun by any executor"
    lost = {"stage": Stage.FREE, "outcome": "lost", "detail": detail, "ended_at": now, "failures": 1}
    assert plant.lease() == msgspec.structs.replace(lease, **lost)
    assert plant.counters() == {
        "supervisor_actions_enqueued_total|flow-1|start": "1",
        "supervisor_actions_completed_total|flow-1|start|lost": "1",
    }
    told = {
        "event": "action.ended",
        "worker_id": "flow-1",
        "action": "start",
        "action_id": "a1",
        "token": grant.token,
        "outcome": "lost",
        "detail": detail,
        "duration": "30.500",
    }
    assert plant.events() == [*events, told]
    assert plant.asks() == ["flow-1"]
    assert plant.client.smembers(plant.keys.wake(NODE)) == {"flow-1"}
    before = plant.dump()
    assert reap(plant, grant.token) is False
    assert plant.dump() == before


def test_a_running_lease_is_reaped_after_its_deadline_with_its_run_time_and_its_executor(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(10.5)
    assert reap(plant, grant.token) is True
    lease = plant.lease()
    assert lease is not None
    assert (lease.outcome, lease.detail, lease.ended_at) == ("lost", "lease ran out on edge-1@h1", NOW + 11.5)
    assert plant.counters()["supervisor_action_duration_seconds_count|flow-1|start"] == "1"
    assert float(plant.counters()["supervisor_action_duration_seconds_sum|flow-1|start"]) == 10.5


def test_a_lease_is_not_reaped_before_nor_exactly_at_its_deadline(plant: Plant) -> None:
    grant = plant.claim()
    before = plant.dump()
    plant.clock.advance(30)
    assert reap(plant, grant.token) is False
    assert plant.dump() == before


def test_a_lease_that_moved_on_is_not_reaped(plant: Plant) -> None:
    old = plant.running()
    assert plant.runtime.leases.end(old, "r1", Outcome.SUCCESS, "done")
    plant.clock.advance(100)
    before = plant.dump()
    assert reap(plant, old.token) is False
    assert plant.dump() == before
    plant.claim(action_id="a2")
    plant.clock.advance(100)
    before = plant.dump()
    assert reap(plant, old.token) is False
    assert plant.dump() == before


def test_where_there_is_no_lease_nothing_is_reaped(plant: Plant) -> None:
    before = plant.dump()
    assert reap(plant, "1") is False
    assert plant.dump() == before


def test_executors_lost_in_a_row_make_a_worker_wait_no_longer_than_the_first(plant: Plant) -> None:
    for number in range(3):
        grant = plant.running(action_id=f"a{number}")
        plant.clock.advance(10.5)
        assert reap(plant, grant.token) is True
    lease, status = plant.lease(), Status(state="", since=0.0)
    assert lease is not None
    assert not_before("flow-1", status, lease, 0.0, plant.store.now()) == NOW + 35.0
