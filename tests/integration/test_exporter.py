"""The exporter tells what the scripts have counted."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from actions.model import Outcome
from supervisor.dispatch import Item
from supervisor.exporter import StoreCollector
from supervisor.fleet import Fleet
from supervisor.keys import POOL, SUPERVISOR
from supervisor.metrics import COUNTERS, GAUGES, HISTOGRAMS, Counter, counted_as
from supervisor.model import SupervisorSettings
from tests.factories import TYPES, make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, worker
from workers.model import Phase

OF_STORE = {gauge.name for gauge in GAUGES if gauge.of_store}


def scrape(plant: Plant) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, but for the supervisor's, which most carry."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(plant.runtime))
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert sample.name in OF_STORE or labels.pop("supervisor") == NAME
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


def test_every_series_of_a_bounded_label_exists_from_the_start_at_0(plant: Plant) -> None:
    samples = scrape(plant)
    for metric in (*COUNTERS, *HISTOGRAMS):
        name = metric.name if isinstance(metric, Counter) else f"{metric.name}_count"
        assert {key[1:]: value for key, value in samples.items() if key[0] == name} == dict.fromkeys(
            [()] if not metric.labels else [(value,) for value in metric.values], 0
        )
    assert samples["supervisor_skips_total", "paused"] == 0
    assert samples["supervisor_circuit_transitions_total", "half_open"] == 0
    phases = {key[1]: value for key, value in samples.items() if key[0] == "supervisor_workers"}
    assert phases == {**dict.fromkeys(Phase, 0), Phase.UNKNOWN: 1}
    states = {key[1]: value for key, value in samples.items() if key[0] == "supervisor_fleet_workers"}
    assert states == {**dict.fromkeys(TYPES.get("process").machine.phases, 0), "stopped": 1}


def test_every_gauge_that_is_declared_is_told(plant: Plant) -> None:
    plant.observe({"flow-1": plant.down()})
    told = {key[0] for key in scrape(plant)}
    redis_tells = plant.store.memory() is not None
    absent = {gauge.name for gauge in GAUGES} - told
    assert absent == (set() if redis_tells else {"supervisor_store_memory_bytes", "supervisor_redis_acl_denied"})


def test_a_place_counts_what_is_there_and_nothing_of_others_or_of_the_control_loop(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2", node="edge-2"))
    for field in (
        "supervisor_actions_enqueued_total|flow-1|start",
        "supervisor_actions_enqueued_total|flow-2|start",
        "supervisor_actions_enqueued_total|nobody|start",
        "supervisor_actions_enqueued_total|flow-1|start|more",
        "supervisor_actions_enqueued_total",
        "supervisor_ticks_total",
        "made_up_total",
        "supervisor_actions_discarded_total|ended",
    ):
        plant.client.hset(plant.keys.counters(NODE), field, 7)
    samples = scrape(plant)
    assert {key: value for key, value in samples.items() if value == 7} == {
        ("supervisor_actions_enqueued_total", "start", "flow-1"): 7,
        ("supervisor_actions_discarded_total", "ended"): 7,
    }


def test_a_worker_that_is_not_as_desired_counts_from_the_tick_that_found_it_until_it_is(plant: Plant) -> None:
    def told() -> tuple[float, float]:
        samples = scrape(plant)
        oldest = samples["supervisor_oldest_mismatch_timestamp_seconds",]
        return samples["supervisor_desired_mismatch", "process"], oldest

    assert told() == (1, 0)
    plant.observe({"flow-1": plant.down()})
    plant.must_tick()
    since = plant.clock.now()
    plant.must_tick()
    assert told() == (1, since)
    grant = grant_of(plant.sent[-1])
    assert plant.begin(grant) is None
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    plant.clock.advance(1)
    plant.observe({"flow-1": plant.up()})
    for _ in range(3):
        plant.must_tick()
    assert told() == (0, 0)
    plant.apply_fleet(worker("flow-1", "stopped"))
    assert told() == (1, 0)
    plant.must_tick()
    assert told() == (1, plant.clock.now())


def test_a_queued_action_is_told_with_its_age_and_a_begun_one_with_its_wait(plant: Plant) -> None:
    grant = plant.claim()
    plant.clock.advance(0.75)
    samples = scrape(plant)
    assert {stage: samples["supervisor_leases", stage] for stage in ("queued", "running")} == {
        "queued": 1,
        "running": 0,
    }
    queues = {key[1]: value for key, value in samples.items() if key[0] == "supervisor_queue_depth"}
    assert queues == {"actions": 0, "actions.edge-1": 1}
    assert samples["supervisor_queue_oldest_age_seconds", "actions.edge-1"] == 0.75
    assert plant.begin(grant) is None
    assert plant.begin(grant) is None
    samples = scrape(plant)
    assert {stage: samples["supervisor_leases", stage] for stage in ("queued", "running")} == {
        "queued": 0,
        "running": 1,
    }
    assert samples["supervisor_queue_oldest_age_seconds", "actions.edge-1"] == 0
    name = "supervisor_action_queue_wait_seconds"
    waits = {key[2]: value for key, value in samples.items() if key[:2] == (f"{name}_bucket", "start")}
    assert waits == {
        **dict.fromkeys(("0.01", "0.05", "0.1", "0.25", "0.5"), 0),
        **dict.fromkeys(("1", "5", "10", "30", "+Inf"), 1),
    }
    assert samples[f"{name}_sum", "start"] == 0.75


def test_observations_ticks_and_nodes_are_told_with_their_ages(plant: Plant) -> None:
    plant.clock.advance(3)
    assert scrape(plant)["supervisor_observation_age_seconds", NODE] == 3
    plant.heartbeat()
    plant.observe({"flow-1": plant.down()})
    plant.must_tick()
    started = plant.clock.now()
    plant.clock.advance(2)
    samples = scrape(plant)
    assert samples["supervisor_observation_age_seconds", NODE] == 3
    assert samples["supervisor_last_tick_timestamp_seconds",] == started
    assert samples["supervisor_tick_duration_seconds_count",] == 1
    assert (samples["supervisor_nodes", "here"], samples["supervisor_nodes", "away"]) == (1, 0)
    assert samples["supervisor_node_away", NODE] == 0
    plant.clock.advance(20)
    samples = scrape(plant)
    assert (samples["supervisor_nodes", "here"], samples["supervisor_nodes", "away"]) == (0, 1)
    assert samples["supervisor_node_away", NODE] == 1


def circuit(samples: dict[tuple[str, ...], float], name: str) -> dict[str, float]:
    """Return a metric of the circuit by its only label."""
    return {key[1]: value for key, value in samples.items() if key[0] == name}


def test_the_circuit_tells_its_state_its_transitions_and_what_an_operator_forced(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1"), children=[make_child()])
    plant.heartbeat()
    plant.observe({"child/broker": plant.child_failed()})
    plant.must_tick()
    samples = scrape(plant)
    assert circuit(samples, "supervisor_circuit_state") == {"closed": 0, "open": 1, "half_open": 0}
    assert circuit(samples, "supervisor_circuit_transitions_total") == {"closed": 0, "open": 1, "half_open": 0}
    assert circuit(samples, "supervisor_circuit_forced") == {"open": 0, "closed": 0}
    plant.store.force_circuit(NAME, "closed", "me", "")
    samples = scrape(plant)
    assert circuit(samples, "supervisor_circuit_state") == {"closed": 1, "open": 0, "half_open": 0}
    assert circuit(samples, "supervisor_circuit_forced") == {"open": 0, "closed": 1}
    plant.store.force_circuit(NAME, "", "me", "")
    plant.clock.advance(20)
    for _ in range(2):
        plant.observe({"child/broker": plant.child_up(), "flow-1": plant.up()})
        plant.must_tick()
    transitions = circuit(scrape(plant), "supervisor_circuit_transitions_total")
    told = [event["event"] for event in plant.events(SUPERVISOR)]
    assert transitions == {
        "closed": told.count("circuit.closed"),
        "open": told.count("circuit.opened"),
        "half_open": told.count("circuit.half_opened"),
    }
    assert transitions == {"closed": 1, "open": 1, "half_open": 1}


def test_a_worker_or_child_that_leaves_takes_its_series_along(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1"), worker("flow-2"), children=[make_child()])
    for item in ("flow-1", "flow-2", "child/broker"):
        grant = plant.running(item, action_id=item)
        assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    assert {key[-1] for key in scrape(plant)} > {"flow-1", "flow-2", "child/broker"}
    plant.apply_fleet(worker("flow-2"))
    assert plant.leave("flow-1")
    assert {key[-1] for key in scrape(plant)} & {"flow-1", "flow-2", "child/broker"} == {"flow-2"}


def test_a_worker_that_cannot_be_read_is_told_as_such(plant: Plant) -> None:
    plant.client.set(plant.keys.identity(NODE, "flow-1"), "{")
    samples = scrape(plant)
    assert samples["supervisor_workers", "unknown", "unreadable"] == 1
    assert samples["supervisor_fleet_workers", "unreadable", "unreadable"] == 1
    assert samples["supervisor_desired_mismatch", "unreadable"] == 1


def series(samples: dict[tuple[str, ...], float], name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples by their labels."""
    return {key[1:]: value for key, value in samples.items() if key[0] == name}


def acts(plant: Plant, item: str, took: float) -> None:
    """Let the next tick start a worker that is down, and the start succeed."""
    plant.heartbeat()
    plant.clock.advance(1)
    plant.observe({item: plant.down()})
    plant.must_tick()
    plant.must_tick()
    grant = grant_of(plant.sent[-1])
    assert (grant.worker_id, plant.begin(grant)) == (item, None)
    plant.clock.advance(took)
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")


def test_by_worker_type_actions_add_up_over_workers_those_that_are_gone_included(bare_plant: Plant) -> None:
    plant = bare_plant
    flows = {name: worker(name) for name in ("flow-1", "flow-2")}
    plant.apply_fleet(*flows.values(), worker_label="worker_type")
    acts(plant, "flow-1", 0.25)
    acts(plant, "flow-2", 0.75)
    samples = scrape(plant)
    assert series(samples, "supervisor_actions_enqueued_total") == {("start", "process"): 2}
    assert series(samples, "supervisor_actions_completed_total") == {("start", "success", "process"): 2}
    duration = "supervisor_action_duration_seconds"
    assert {key[1]: value for key, value in series(samples, f"{duration}_bucket").items()} == {
        **{"0.1": 0, "0.5": 1},
        **dict.fromkeys(("1", "5", "10", "30", "60", "+Inf"), 2),
    }
    assert series(samples, f"{duration}_sum") == {("start", "process"): 1}
    plant.apply_fleet(flows["flow-2"], worker_label="worker_type")
    assert plant.leave("flow-1")
    assert series(scrape(plant), "supervisor_actions_enqueued_total") == {("start", "process"): 2}
    assert [field for field in plant.counters() if "flow-" in field] == []


def test_a_child_is_counted_as_a_child_by_worker_type(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(children=[make_child()], worker_label="worker_type")
    plant.heartbeat()
    plant.observe({"child/broker": plant.child_failed()})
    plant.must_tick()
    assert series(scrape(plant), "supervisor_actions_enqueued_total") == {("restart_child", "child"): 1}


def test_the_label_that_workers_had_before_is_not_shown_any_more_nor_kept(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1"))
    acts(plant, "flow-1", 0.25)
    assert series(scrape(plant), "supervisor_actions_enqueued_total") == {("start", "flow-1"): 1}
    in_flight = plant.claim(action_id="a2")
    plant.apply_fleet(worker("flow-1"), worker_label="worker_type")
    assert [field for field in plant.counters() if "flow-1" in field] == []
    assert plant.begin(in_flight) is None
    assert plant.runtime.leases.end(in_flight, "r1", Outcome.SUCCESS, "")
    assert series(scrape(plant), "supervisor_actions_completed_total") == {}
    plant.clock.advance(5)
    acts(plant, "flow-1", 0.25)
    assert series(scrape(plant), "supervisor_actions_completed_total") == {("start", "success", "process"): 1}
    plant.apply_fleet(worker("flow-1"))
    assert series(scrape(plant), "supervisor_actions_completed_total") == {}


def test_each_supervisor_of_a_store_has_its_own_label_for_workers(plant: Plant) -> None:
    plant.store.apply_fleets([Fleet(SupervisorSettings(name="other", worker_label="worker_type"), (), ())])
    for name, label, place in ((NAME, "flow-1", NODE), ("other", counted_as("worker_type", "process"), POOL)):
        counters = plant.store.keys(name).counters(place)
        plant.client.hset(counters, f"supervisor_actions_enqueued_total|{label}|start", 1)
        plant.client.hset(counters, f"supervisor_action_duration_seconds_count|{label}|start", 1)
    registry = CollectorRegistry()
    registry.register(StoreCollector(plant.runtime))
    told = {
        sample.labels["supervisor"]: sample.labels
        for family in registry.collect()
        for sample in family.samples
        if sample.name in ("supervisor_actions_enqueued_total", "supervisor_action_duration_seconds_count")
    }
    assert told == {
        NAME: {"supervisor": NAME, "worker_id": "flow-1", "action_type": "start"},
        "other": {"supervisor": "other", "worker_type": "process", "action_type": "start"},
    }
