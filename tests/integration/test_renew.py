"""renew.lua: leases of running actions are kept alive, others are not."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from actions.model import Outcome
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant, worker


def test_a_running_lease_gets_ten_seconds_from_now_and_nothing_else_changes(plant: Plant) -> None:
    grant = plant.running()
    lease, counters, events = plant.lease(), plant.counters(), plant.events()
    assert lease is not None
    plant.clock.advance(4)
    assert plant.runtime.leases.renew([grant]) == {"a1": "renewed"}
    assert plant.lease() == msgspec.structs.replace(lease, deadline=NOW + 15)
    assert (plant.counters(), plant.events()) == (counters, events)


def test_a_queued_lease_keeps_its_deadline(plant: Plant) -> None:
    grant = plant.claim()
    before = plant.dump()
    plant.clock.advance(4)
    assert plant.runtime.leases.renew([grant]) == {"a1": "queued"}
    assert plant.dump() == before


def test_an_ended_a_foreign_and_a_missing_lease_are_lost_and_left_alone(plant: Plant) -> None:
    plant.apply_fleet(*(worker(f"flow-{number}") for number in (1, 2, 3, 4)))
    ended = plant.running("flow-1", action_id="a1")
    plant.runtime.leases.end(ended, "r1", Outcome.SUCCESS, "done")
    other_token = replace(plant.running("flow-2", action_id="a2"), token="1")
    other_id = replace(plant.running("flow-3", action_id="a3"), action_id="a33")
    missing = replace(ended, worker_id="flow-4", action_id="a4")
    before = plant.dump()
    answers = plant.runtime.leases.renew([ended, other_token, other_id, missing])
    assert answers == {"a1": "lost", "a2": "lost", "a33": "lost", "a4": "lost"}
    assert plant.dump() == before


def test_each_of_an_executors_leases_gets_its_own_answer(plant: Plant) -> None:
    plant.apply_fleet(*(worker(f"flow-{number}") for number in (1, 2, 3)))
    ended, queued, running = (plant.claim(f"flow-{number}", action_id=f"a{number}") for number in (1, 2, 3))
    assert plant.begin(ended) is None
    plant.runtime.leases.end(ended, "r1", Outcome.SUCCESS, "done")
    assert plant.begin(running) is None
    assert plant.runtime.leases.renew([ended, queued, running]) == {"a1": "lost", "a2": "queued", "a3": "renewed"}
    assert plant.runtime.leases.renew([]) == {}


def test_a_lease_past_its_deadline_lives_on_when_it_is_renewed_before_it_is_reaped(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(12)
    assert plant.runtime.leases.renew([grant]) == {"a1": "renewed"}
    before = plant.dump()
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token) is False
    assert plant.dump() == before
