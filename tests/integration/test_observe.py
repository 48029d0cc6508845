"""observe.lua: what a collector saw, and its heartbeat."""

from __future__ import annotations

from supervisor.model import ChildObserved, CollectorDocument
from tests.factories import NOW, make_child
from tests.integration.plant import NODE, Plant, worker
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


def test_only_news_wake_the_tick_and_the_flag_expires(plant: Plant) -> None:
    plant.observe({"flow-1": plant.up()})
    assert plant.client.exists(plant.keys.wake(NODE)) == 0
    plant.observe({"flow-1": plant.down()}, wake=True)
    assert plant.client.get(plant.keys.wake(NODE)) == "1"
    assert 0 < plant.client.ttl(plant.keys.wake(NODE)) <= 60


def test_a_forgotten_worker_stays_forgotten_and_the_others_are_written(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"))
    assert plant.forget("flow-1")
    up = plant.up()
    plant.observe({"flow-1": up, "flow-2": up, "ghost": up})
    assert plant.client.exists(plant.keys.observed(NODE, "flow-1"), plant.keys.observed(NODE, "ghost")) == 0
    assert plant.store.read(Observed, plant.keys.observed(NODE, "flow-2")) == up
