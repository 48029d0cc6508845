"""What a node may write into its own place costs nobody else anything: the scripts that a tick runs there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.connection import connect
from supervisor.dispatch import claim_check
from supervisor.keys import CHECK_PREFIX
from supervisor.settings import Settings
from tests.conftest import RedisServer
from tests.integration.plant import NAME, NODE, Plant, worker

LAST = "18446744073709551615-18446744073709551615"  # the largest id: a stream that has it takes no more
UNUSABLE = {
    "no JSON": "nonsense",
    "no object": "[]",
    "too deep": '{"x":' + "[" * 2_000 + "]" * 2_000 + "}",
    "a token that is no number": {"token": "words"},
    "no number at all": {"token": "nan"},
    "the last token": {"token": "9007199254740991"},
    "a token beyond all": {"token": "9" * 300},
    "a fence beyond all": {"fence": "inf"},
}


def spoil(plant: Plant, how: str | dict[str, Any], item: str = "flow-1") -> None:
    """Write a lease as only a hostile node does."""
    document = {"schema": 1, "worker_id": item, "action": "start", "action_id": "a1", "token": "1", "stage": "free"}
    text = how if isinstance(how, str) else json.dumps({**document, **how})
    plant.client.set(plant.keys.lease(NODE, item), text)


@pytest.mark.parametrize("how", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_lease_that_cannot_be_worked_with_costs_its_own_claim_and_not_the_batch(
    plant: Plant, how: str | dict[str, Any]
) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"))
    token = "" if isinstance(how, str) else str(how.get("token", "1"))
    items = plant.item("flow-1", last_token=token), plant.item("flow-2", action_id="a2")
    spoil(plant, how)
    applied = plant.write(*items)
    assert applied.refused in [{"flow-1": "refused:unreadable"}, {"flow-1": "refused:in_progress"}]
    assert [message.worker_id for message in applied.messages] == ["flow-2"]


@pytest.mark.parametrize("how", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_check_of_a_node_with_such_a_lease_is_refused_or_begins_anew(plant: Plant, how: str | dict[str, Any]) -> None:
    spoil(plant, how, f"{CHECK_PREFIX}{NODE}")
    assert claim_check(plant.store, NAME, NODE, 5.0) == (None, "unreadable")


def test_a_lease_that_lacks_what_its_end_is_told_with_is_not_reaped_and_no_error(plant: Plant) -> None:
    plant.client.set(plant.keys.lease(NODE, "flow-1"), '{"token":"1","stage":"running","deadline":0}')
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", "1") is False


def test_history_and_counters_that_take_no_more_keep_nothing_from_happening(plant: Plant) -> None:
    plant.client.xadd(plant.keys.events(NODE), {"event": "made up"}, id=LAST)
    plant.client.hset(plant.keys.counters(NODE), "supervisor_actions_enqueued_total|flow-1|start", 2**63 - 1)
    grant = plant.claim()
    assert plant.begin(grant) is None
    plant.clock.advance(60)
    assert plant.runtime.leases.reap(NAME, NODE, "flow-1", grant.token) is True
    assert [event["event"] for event in plant.events()] == ["made up"]


def test_a_worker_leaves_a_place_whose_lease_and_history_are_spoilt(plant: Plant) -> None:
    plant.client.xadd(plant.keys.events(NODE), {"event": "made up"}, id=LAST)
    spoil(plant, "nonsense")
    assert plant.leave() is True
    index = plant.store.index(NAME)
    assert index is not None
    assert index.places == {}


def test_bytes_that_are_no_text_are_read_as_something_that_cannot_be_decoded(redis_server: RedisServer) -> None:
    with connect(Settings.from_env({"FSM_REDIS_URL": redis_server.url})) as client:
        client.set("test:bytes", b"\xff{")
        assert client.get("test:bytes") == "\N{REPLACEMENT CHARACTER}{"
        client.delete("test:bytes")
