"""renew.lua: leases of running actions are kept alive, others are not."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from actions.model import Outcome
from supervisor.model import Lease, Stage
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant, held, worker


def test_a_running_lease_gets_ten_seconds_from_now_and_nothing_else_changes(plant: Plant) -> None:
    grant = plant.running()
    lease, counters, events = plant.lease(), plant.counters(), plant.events()
    assert lease is not None
    plant.clock.advance(4)
    assert plant.renew(grant) == {"a1": "renewed"}
    assert plant.lease() == msgspec.structs.replace(lease, deadline=NOW + 15)
    assert (plant.counters(), plant.events()) == (counters, events)


def test_a_queued_lease_keeps_its_deadline(plant: Plant) -> None:
    grant = plant.claim()
    before = plant.dump()
    plant.clock.advance(4)
    assert plant.renew(grant) == {"a1": "queued"}
    assert plant.dump() == before


def test_ended_foreign_and_forgotten_leases_are_not_renewed_and_left_alone(plant: Plant) -> None:
    plant.apply_fleet(*(worker(f"flow-{number}") for number in (1, 2, 3)))
    ended = plant.running("flow-1", action_id="a1")
    plant.runtime.leases.end(ended, "r1", Outcome.SUCCESS, "done")
    other_token = replace(plant.running("flow-2", action_id="a2"), token="1")
    other_id = replace(plant.running("flow-3", action_id="a3"), action_id="a33")
    forgotten = replace(ended, worker_id="flow-4", action_id="a4")
    before = plant.dump()
    answers = plant.renew(ended, other_token, other_id, forgotten)
    assert answers == {"a1": "ended", "a2": "lost", "a33": "lost", "a4": "lost"}
    assert plant.dump() == before


def test_each_of_an_executors_leases_gets_its_own_answer(plant: Plant) -> None:
    plant.apply_fleet(*(worker(f"flow-{number}") for number in (1, 2, 3)))
    ended, queued, running = (plant.claim(f"flow-{number}", action_id=f"a{number}") for number in (1, 2, 3))
    assert plant.begin(ended) is None
    plant.runtime.leases.end(ended, "r1", Outcome.SUCCESS, "done")
    assert plant.begin(running) is None
    assert plant.renew(ended, queued, running) == {"a1": "ended", "a2": "queued", "a3": "renewed"}
    assert plant.renew() == {}


def test_a_lease_past_its_deadline_lives_on_when_it_is_renewed_before_it_is_reaped(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(12)
    assert plant.renew(grant) == {"a1": "renewed"}
    before = plant.dump()
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token) is False
    assert plant.dump() == before


def test_a_lease_that_was_reaped_or_belongs_to_another_execution_is_lost(plant: Plant) -> None:
    grant = plant.running()
    assert plant.runtime.leases.renew("edge-1@h1", [held(grant, runner="r2")]) == ["lost"]
    plant.clock.advance(11)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token)
    assert plant.renew(grant) == {"a1": "lost"}


@pytest.mark.parametrize("emptied", ["lease", "all"])
def test_a_lease_that_redis_has_lost_is_written_again_and_can_be_ended(plant: Plant, emptied: str) -> None:
    grant = plant.running()
    plant.client.flushall() if emptied == "all" else plant.client.delete(plant.keys.lease(NODE, "flow-1"))
    plant.clock.advance(3)
    assert plant.renew(grant, begun_ago=3.0) == {"a1": "recreated"}
    now = plant.clock.now()
    assert plant.lease() == Lease(
        worker_id="flow-1",
        action="start",
        action_id="a1",
        token=grant.token,
        stage=Stage.RUNNING,
        claimed_at=now - 3,
        begun_at=now - 3,
        deadline=now + 10,
        reason="written again by its executor",
        runner="r1",
        executor="edge-1@h1",
    )
    assert plant.renew(grant) == {"a1": "renewed"}
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")


def test_a_rolled_back_lease_is_written_again_over_the_older_one(plant: Plant) -> None:
    older = plant.running()
    plant.runtime.leases.end(older, "r1", Outcome.ERROR, "no")
    past = plant.client.get(plant.keys.lease(NODE, "flow-1"))
    newer = plant.running(action_id="a2")
    plant.client.set(plant.keys.lease(NODE, "flow-1"), past)
    assert plant.renew(newer) == {"a2": "recreated"}
    lease = plant.lease()
    assert lease is not None
    assert (lease.token, lease.stage, lease.failures) == (newer.token, Stage.RUNNING, 1)


def test_a_newer_lease_is_never_replaced_by_an_older_one(plant: Plant) -> None:
    older = plant.running()
    plant.clock.advance(11)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", older.token)
    plant.running(action_id="a2")
    before = plant.dump()
    assert plant.renew(older) == {"a1": "lost"}
    assert plant.dump() == before


def test_a_begin_that_redis_has_lost_is_made_up_for_once_the_process_must_have_begun(plant: Plant) -> None:
    grant = plant.claim()
    claimed = plant.lease()
    assert claimed is not None
    assert plant.renew(grant, begun_ago=2.9) == {"a1": "queued"}
    assert plant.renew(grant, begun_ago=4.0) == {"a1": "recreated"}
    now = plant.clock.now()
    running = {"stage": Stage.RUNNING, "begun_at": now - 4, "deadline": now + 10}
    assert plant.lease() == msgspec.structs.replace(claimed, runner="r1", executor="edge-1@h1", **running)
    assert plant.begin(grant) is None
