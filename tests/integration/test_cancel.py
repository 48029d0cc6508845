"""cancel.lua: a queued action is freed, a running one is asked to give up, and an operator can free it by force."""

from __future__ import annotations

import msgspec
import pytest

from actions.model import Outcome
from supervisor.model import Stage
from tests.integration.plant import NAME, NODE, Plant, held


def cancel(plant: Plant, token: str = "", force: bool = False) -> str:
    return plant.runtime.leases.cancel(NAME, NODE, "flow-1", token, "asked by me", force)


def test_a_queued_action_is_freed_at_once_and_its_message_is_refused(plant: Plant) -> None:
    grant = plant.claim()
    assert cancel(plant) == "cancelled"
    lease = plant.lease()
    assert lease is not None
    assert (lease.stage, lease.outcome, lease.detail, lease.failures) == (Stage.FREE, "cancelled", "asked by me", 0)
    assert plant.asks() == ["flow-1"]
    assert plant.counters()["supervisor_actions_completed_total|flow-1|start|cancelled"] == "1"
    assert plant.begin(grant) == "ended"


def test_a_running_action_is_asked_once_and_its_executor_sees_why(plant: Plant) -> None:
    grant = plant.running()
    lease, events = plant.lease(), plant.events()
    assert lease is not None
    assert plant.runtime.leases.asked_to_cancel([held(grant)]) == [""]
    assert [cancel(plant), cancel(plant)] == ["asked", "asked"]
    assert plant.lease() == msgspec.structs.replace(lease, cancel="asked by me")
    told = {"event": "action.cancel_asked", "worker_id": "flow-1", "action": "start", "action_id": "a1"}
    assert plant.events() == [*events, {**told, "token": grant.token, "reason": "asked by me"}]
    assert plant.runtime.leases.asked_to_cancel([held(grant)]) == ["asked by me"]


def test_an_asking_for_an_earlier_action_does_not_reach_the_next_one(plant: Plant) -> None:
    first = plant.running()
    plant.runtime.leases.end(first, "r1", Outcome.SUCCESS, "done")
    second = plant.running(action_id="a2")
    before = plant.dump()
    assert cancel(plant, first.token) == "nothing"
    assert plant.dump() == before
    assert cancel(plant, second.token) == "asked"
    assert plant.runtime.leases.asked_to_cancel([held(first)]) == [""]


def test_by_force_a_running_action_is_freed_and_its_execution_holds_nothing_any_more(plant: Plant) -> None:
    grant = plant.running()
    assert cancel(plant, force=True) == "cancelled"
    assert plant.renew(grant) == {"a1": "lost"}
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done") is False


@pytest.mark.parametrize("force", [False, True])
def test_where_nothing_is_in_progress_there_is_nothing_to_cancel(plant: Plant, force: bool) -> None:
    assert cancel(plant, force=force) == "nothing"
    grant = plant.running()
    plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    before = plant.dump()
    assert cancel(plant, force=force) == "nothing"
    assert plant.dump() == before
