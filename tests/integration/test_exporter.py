"""The exporter tells what the scripts have counted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actions.model import Outcome
from supervisor.dispatch import Item
from supervisor.exporter import StoreCollector
from supervisor.metrics import COUNTERS, HISTOGRAMS
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, worker

OF_REDIS = ("supervisor_up", "supervisor_store_memory_ratio")


def scrape(plant: Plant) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, but for the supervisor's, which all but two carry."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(plant.runtime))
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert sample.name in OF_REDIS or labels.pop("supervisor") == NAME
            found[sample.name, *(labels[name] for name in sorted(labels))] = sample.value
    return found


def test_an_action_is_counted_once_and_timed_under_the_fixed_names(plant: Plant) -> None:
    grant = plant.running()
    plant.clock.advance(0.75)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")

    samples = scrape(plant)

    assert samples["supervisor_up",] == 1
    assert samples["supervisor_actions_enqueued_total", "start", "flow-1"] == 1
    assert samples["supervisor_actions_completed_total", "start", "success", "flow-1"] == 1
    buckets = {key[2]: value for key, value in samples.items() if key[0] == "supervisor_action_duration_seconds_bucket"}
    assert buckets == {"0.1": 0, "0.5": 0, "1": 1, "5": 1, "10": 1, "30": 1, "60": 1, "+Inf": 1}
    assert samples["supervisor_action_duration_seconds_count", "start", "flow-1"] == 1
    assert samples["supervisor_action_duration_seconds_sum", "start", "flow-1"] == 0.75


def test_every_metric_without_labels_exists_from_the_start_at_0(plant: Plant) -> None:
    samples = scrape(plant)
    names = [counter.name for counter in COUNTERS if not counter.labels]
    names += [f"{histogram.name}_count" for histogram in HISTOGRAMS if not histogram.labels]
    assert {name: samples[name,] for name in names} == {**dict.fromkeys(names, 0.0), "supervisor_ticks_total": 0.0}
    assert samples["supervisor_circuit_breaker_open",] == 0
    assert samples["supervisor_workers", "unknown", "process"] == 1


def test_an_open_circuit_and_its_recovery_are_told(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1"), children=[make_child()])
    plant.heartbeat()
    plant.observe({"child/broker": plant.child_failed()})
    plant.must_tick()
    samples = scrape(plant)
    assert samples["supervisor_circuit_breaker_open",] == 1
    assert samples["supervisor_infrastructure_check_failures_total",] == 1

    plant.clock.advance(10.0)
    plant.observe({"child/broker": plant.child_up()})
    plant.must_tick()
    samples = scrape(plant)
    assert samples["supervisor_circuit_breaker_open",] == 0
    assert samples["supervisor_circuit_breaker_recoveries_total",] == 1


def test_readiness_wants_a_fresh_tick(plant: Plant) -> None:
    collector = StoreCollector(plant.runtime)
    assert collector.ready() == f"supervisor {NAME} has never ticked"
    plant.must_tick()
    assert collector.ready() is None
    plant.clock.advance(6.0)
    assert collector.ready() == f"supervisor {NAME} has not ticked for 6.0s"


def test_conditions_stuck_actions_and_quarantines_are_told(plant: Plant) -> None:
    plant.observe({"flow-1": plant.down()})
    samples = scrape(plant)
    names = ("paused", "quarantined", "stuck", "inconsistent", "unknown", "stale", "derive_failed")
    assert {name: samples["supervisor_worker_conditions", name] for name in names} == dict.fromkeys(names, 0)
    assert samples["supervisor_actions_stuck",] == 0

    plant.running()
    plant.store.set_control(NAME, NODE, "flow-1", paused=True, by="me")
    plant.write(Item("flow-1", NODE, counters=["supervisor_quarantines_total|poison"]))
    plant.clock.advance(65.0)
    samples = scrape(plant)
    held = {name: samples["supervisor_worker_conditions", name] for name in names}
    assert held == {**dict.fromkeys(names, 0), "paused": 1, "stuck": 1, "unknown": 1}
    assert samples["supervisor_actions_stuck",] == 1
    assert samples["supervisor_quarantines_total", "poison"] == 1
