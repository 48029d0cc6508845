"""begin.lua: who may run a claimed action."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from actions.model import Outcome
from supervisor.leases import Grant
from supervisor.model import HOLD_OFF, Stage, TickDocument
from supervisor.store import decode
from supervisor.targets import wished_at
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant, held, put, queued

CLAIMED = {"supervisor_actions_enqueued_total|flow-1|start": "1"}


def discarded(plant: Plant, grant: Grant, runner: str, why: str) -> None:
    """See that a begin is refused for `why`, that it is counted and told once, and changes nothing else."""
    before, counters, events = plant.lease(grant.worker_id), plant.counters(), plant.events()
    assert plant.begin(grant, runner) == why
    assert plant.lease(grant.worker_id) == before
    name = f"supervisor_actions_discarded_total|{why}"
    assert plant.counters() == {**counters, name: str(int(counters.get(name, 0)) + 1)}
    told = {
        "event": "action.discarded",
        "worker_id": grant.worker_id,
        "action": "start",
        "action_id": grant.action_id,
        "token": grant.token,
        "reason": why,
        "executor": "edge-1@h1",
    }
    assert plant.events() == [*events, told]


def test_a_begun_action_has_a_runner_an_executor_and_ten_seconds(plant: Plant) -> None:
    grant = plant.claim()
    claimed = queued(plant, grant)
    plant.clock.advance(2.5)
    assert plant.begin(grant) is None
    now = NOW + 3.5
    assert plant.lease() == msgspec.structs.replace(
        claimed, stage=Stage.RUNNING, begun_at=now, runner="r1", executor="edge-1@h1", deadline=now + 10
    )
    assert plant.counters() == CLAIMED
    assert plant.events()[1:] == [
        {
            "event": "action.begun",
            "worker_id": "flow-1",
            "action": "start",
            "action_id": "a1",
            "token": grant.token,
            "executor": "edge-1@h1",
            "queue_wait": "2.500",
        }
    ]


def test_the_same_runner_may_ask_again_and_gets_the_first_answer(plant: Plant) -> None:
    grant = plant.claim()
    where = [plant.keys.lease(NODE, "flow-1"), plant.keys.counters(NODE), plant.keys.events(NODE), plant.keys.tick]
    arguments = ["flow-1", grant.token, "a1", "r1", "edge-1@h1", 10, "start"]
    first = plant.store.scripts.run("begin", where, arguments)
    assert first[0] == "begun"
    assert float(first[1]) == NOW + 1
    before = plant.dump()
    plant.clock.advance(3)
    assert plant.store.scripts.run("begin", where, arguments) == first
    assert plant.dump() == before


def test_who_begins_is_given_the_documents_that_it_asks_for_as_they_are_then(plant: Plant) -> None:
    grant = plant.claim()
    where = [*wished_at(plant.keys, NODE, "flow-1"), plant.keys.desired(NODE, "nobody")]
    leases, texts = plant.runtime.leases, tuple(plant.store.client.mget(where))
    assert None not in texts[:2]
    assert leases.begin(grant, "r1", "edge-1@h1", where) == (None, texts)
    assert leases.begin(grant, "r1", "edge-1@h1", where) == (None, texts), "to the same runner again"
    assert leases.begin(grant, "r2", "edge-1@h1", where) == ("running_elsewhere", ())


def test_another_runner_of_the_same_message_is_discarded_as_running_elsewhere(plant: Plant) -> None:
    grant = plant.running()
    discarded(plant, grant, "r2", "running_elsewhere")
    discarded(plant, grant, "r3", "running_elsewhere")


@pytest.mark.parametrize("runner", ["r1", "r2"])
def test_an_action_that_has_ended_does_not_begin_again(plant: Plant, runner: str) -> None:
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    discarded(plant, grant, runner, "ended")


def test_an_action_without_a_claim_is_discarded(plant: Plant) -> None:
    discarded(plant, Grant(NAME, NODE, "flow-1", "start", "a1", "1"), "r1", "no_lease")


@pytest.mark.parametrize("wrong", [{"token": "1"}, {"action_id": "a2"}])
def test_an_action_with_another_token_or_id_is_discarded(plant: Plant, wrong: dict[str, str]) -> None:
    discarded(plant, replace(plant.claim(), **wrong), "r1", "other_token")


def test_a_message_that_arrives_after_its_deadline_is_discarded(plant: Plant) -> None:
    grant = plant.claim()
    plant.clock.advance(30.0625)
    discarded(plant, grant, "r1", "past_deadline")


def test_a_message_that_arrives_exactly_at_its_deadline_still_begins(plant: Plant) -> None:
    grant = plant.claim()
    plant.clock.advance(30)
    assert plant.begin(grant) is None


def test_the_message_of_a_lease_that_was_reaped_and_claimed_anew_is_discarded(plant: Plant) -> None:
    old = plant.claim()
    plant.clock.advance(31)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", old.token)
    plant.claim(action_id="a2")
    discarded(plant, old, "r1", "other_token")


def on_another_redis(plant: Plant) -> None:
    """Let the stored tick be one that began on another Redis."""
    key = plant.keys.tick
    document = decode(plant.client.get(key), TickDocument, key)
    put(plant, key, msgspec.structs.replace(document, run_id="another"))


def test_what_was_claimed_before_redis_was_replaced_never_begins_as_it_may_have_ended_there(plant: Plant) -> None:
    grant = plant.claim()
    on_another_redis(plant)
    discarded(plant, grant, "r1", "other_redis")
    tick_id = plant.start_tick()
    assert plant.store.finish_tick(NAME, tick_id, "{}", {})
    discarded(plant, grant, "r1", "other_redis")
    plant.clock.advance(HOLD_OFF + 1)
    discarded(plant, grant, "r1", "other_redis")


def test_who_has_begun_it_where_redis_has_forgotten_that_has_the_hold_off_to_say_so(plant: Plant) -> None:
    grant = plant.claim()
    on_another_redis(plant)
    plant.start_tick()
    renewals = [held(grant, "about to ask", begun_ago=1), held(grant, "begun before", begun_ago=4)]
    assert plant.runtime.leases.renew("edge-1@h1", renewals) == ["queued", "recreated"]
    assert plant.begin(grant, "about to ask") == "running_elsewhere"


def test_in_a_hold_off_an_action_that_was_begun_and_lost_it_is_its_first_executors(plant: Plant) -> None:
    grant = plant.claim()
    on_another_redis(plant)
    plant.start_tick()
    assert plant.runtime.leases.renew("edge-1@h1", [held(grant, "r1", begun_ago=20)]) == ["recreated"]
    assert plant.begin(grant, "r2") == "running_elsewhere"
    assert plant.begin(grant, "r1") is None


def test_what_is_claimed_after_a_hold_off_begins_at_once(plant: Plant) -> None:
    grant = plant.claim()
    on_another_redis(plant)
    plant.start_tick()
    plant.clock.advance(40)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token)
    assert plant.begin(plant.claim(action_id="a2")) is None
