"""observe.lua: what a collector saw, and its heartbeat."""

from __future__ import annotations

import msgspec
import pytest

from supervisor.model import ChildObserved, CollectorDocument
from supervisor.readings import Rejected
from supervisor.store import encode
from tests.factories import NOW, make_child
from tests.integration.plant import NAME, NODE, Plant, put, worker
from workers.model import Observed


def test_observations_of_workers_and_children_are_written_with_the_heartbeat(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"), children=[make_child()])
    up, child = plant.up(), plant.child_up()
    plant.observe({"flow-1": up, "child/broker": child})
    store, keys = plant.store, plant.keys
    assert store.read(Observed, keys.observed(NODE, "flow-1")) == up
    assert store.read(ChildObserved, keys.observed(NODE, "child/broker")) == child
    assert store.read(Observed, keys.observed(NODE, "flow-2")) is None
    heartbeat = CollectorDocument(node=NODE, pid=2, at=NOW, observed=2, clock_skew=0.0)
    assert store.read(CollectorDocument, keys.collector(NODE)) == heartbeat


def test_only_news_wake_the_tick_and_the_mark_expires(plant: Plant) -> None:
    plant.observe({"flow-1": plant.up()})
    assert plant.client.exists(plant.keys.wake(NODE)) == 0
    plant.observe({"flow-1": plant.down()}, wake=True)
    assert plant.client.smembers(plant.keys.wake(NODE)) == {"flow-1"}
    assert 0 < plant.client.ttl(plant.keys.wake(NODE)) <= 60


def test_a_forgotten_worker_stays_forgotten_and_the_others_are_written(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"))
    assert plant.leave("flow-1")
    up = plant.up()
    plant.observe({"flow-1": up, "flow-2": up, "ghost": up})
    assert plant.client.exists(plant.keys.observed(NODE, "flow-1"), plant.keys.observed(NODE, "ghost")) == 0
    assert plant.store.read(Observed, plant.keys.observed(NODE, "flow-2")) == up


def rejected(plant: Plant) -> tuple[dict[str, str], dict[str, object] | None]:
    """Return the counters of rejected observations, and what was kept aside last."""
    name = "supervisor_observations_rejected_total|"
    counted = {key.removeprefix(name): value for key, value in plant.counters().items() if key.startswith(name)}
    text = plant.client.get(plant.keys.rejected(NODE))
    return counted, None if text is None else msgspec.json.decode(text)


def stored(plant: Plant) -> Observed | None:
    return plant.store.read(Observed, plant.keys.observed(NODE, "flow-1"))


def test_an_older_observation_never_replaces_a_newer_one(plant: Plant) -> None:
    older = plant.up()
    plant.clock.advance(2)
    newer = plant.down()
    plant.observe({"flow-1": newer})
    plant.observe({"flow-1": older})
    assert stored(plant) == newer
    assert rejected(plant) == (
        {"older": "1"},
        {"schema": 1, "at": NOW + 2, "id": "flow-1", "reason": "older", "text": encode(older)},
    )


def test_the_same_observation_may_be_written_again(plant: Plant) -> None:
    seen = plant.up(collected_at=NOW + 0.1234564)  # as fine as a float is: rounded, it would seem older than itself
    plant.observe({"flow-1": seen})
    plant.observe({"flow-1": seen})
    assert (stored(plant), rejected(plant)) == (seen, ({}, None))


def test_an_observation_of_the_future_is_rejected_and_one_that_is_a_little_ahead_is_not(plant: Plant) -> None:
    ahead = plant.up(collected_at=NOW + 0.9)
    plant.observe({"flow-1": ahead})
    assert stored(plant) == ahead
    future = plant.up(collected_at=NOW + 1.1)
    plant.observe({"flow-1": future})
    assert stored(plant) == ahead
    counted, kept = rejected(plant)
    assert (counted, kept and kept["text"]) == ({"future": "1"}, encode(future))


def test_after_redis_clock_was_set_back_what_it_wrote_before_is_replaced(plant: Plant) -> None:
    put(plant, plant.keys.observed(NODE, "flow-1"), plant.up(collected_at=NOW + 3600))
    now = plant.down()
    plant.observe({"flow-1": now})
    assert (stored(plant), rejected(plant)) == (now, ({}, None))


@pytest.mark.parametrize("text", ["garbage", "[1]", '{"collected_at":"soon"}', "null", "7"])
def test_a_stored_document_that_cannot_be_read_is_replaced(plant: Plant, text: str) -> None:
    plant.client.set(plant.keys.observed(NODE, "flow-1"), text)
    seen = plant.up()
    plant.observe({"flow-1": seen})
    assert stored(plant) == seen


def test_a_reading_that_was_not_believed_is_counted_and_kept_aside_with_what_stands_for_it_stored(plant: Plant) -> None:
    unknown = plant.down(error="pid is -4")
    heartbeat = CollectorDocument(node=NODE, pid=2, at=NOW, observed=1, clock_skew=0.0)
    aside = {"flow-1": Rejected("absurd", "pid is -4", "Observed(pid=-4)"), "flow-2": Rejected("absurd", "", "")}
    plant.store.save_observations(NAME, NODE, {"flow-1": unknown}, heartbeat, rejected=aside)
    assert stored(plant) == unknown
    assert rejected(plant) == (
        {"absurd": "1"},
        {"schema": 1, "at": NOW, "id": "flow-1", "reason": "absurd", "text": "Observed(pid=-4)"},
    )


def test_what_is_at_another_place_now_is_not_written_here(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2", node="edge-2"))
    plant.observe({"flow-2": plant.up()})
    assert plant.client.exists(plant.keys.observed(NODE, "flow-2")) == 0
