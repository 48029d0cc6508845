"""The metrics that scripts keep have the names, labels and buckets that SPEC 5 fixes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from supervisor.metrics import COUNTERS, GAUGES, HISTOGRAMS, counted_as, is_of_worker, label_for

FIXED_COUNTERS = {
    "supervisor_infrastructure_check_failures_total": (),
    "supervisor_circuit_breaker_recoveries_total": (),
    "supervisor_escalations_total": (),
    "supervisor_actions_enqueued_total": ("worker_id", "action_type"),
    "supervisor_actions_completed_total": ("worker_id", "action_type", "status"),
    "supervisor_actions_during_circuit_total": (),
}


def test_the_fixed_counters_have_their_labels() -> None:
    assert FIXED_COUNTERS.items() <= {counter.name: counter.labels for counter in COUNTERS}.items()


def test_the_fixed_histograms_have_their_buckets_and_labels() -> None:
    found = {histogram.name: (histogram.buckets, histogram.labels) for histogram in HISTOGRAMS}
    assert {
        "supervisor_action_duration_seconds": ((0.1, 0.5, 1, 5, 10, 30, 60), ("worker_id", "action_type")),
        "supervisor_action_post_circuit_duration_seconds": ((1, 5, 10, 30, 60), ()),
    }.items() <= found.items()


def scripts() -> str:
    return "\n".join(path.read_text() for path in (files("supervisor") / "lua").iterdir() if path.name.endswith(".lua"))


def test_the_scripts_keep_the_histograms_that_are_declared_with_the_same_buckets() -> None:
    observed = re.findall(r"observe\([^'{]*'(supervisor_\w+)'[^{]*\{([^}]*)\}", scripts())
    kept = {name: tuple(float(bound) for bound in bounds.split(",")) for name, bounds in observed}
    assert kept == {histogram.name: histogram.buckets for histogram in HISTOGRAMS}


def test_the_scripts_count_what_is_declared() -> None:
    counted = set(re.findall(r"count\([^,]*, '(supervisor_\w+)", scripts()))
    assert "supervisor_ticks_total" in counted
    assert counted <= {counter.name for counter in COUNTERS}


def test_every_reason_that_a_script_gives_is_a_series_from_the_start() -> None:
    values = {counter.name: set(counter.values) for counter in COUNTERS}
    refused = set(re.findall(r"return 'refused:(\w+)'", scripts()))
    discarded = set(re.findall(r"discard\('(\w+)'\)|discarded_total\|(\w+)'", scripts()))
    rejected = set(re.findall(r"reject\(id, '(\w+)'", scripts()))
    assert refused == values["supervisor_claims_refused_total"]
    assert {one or other for one, other in discarded} == values["supervisor_actions_discarded_total"]
    assert rejected | {"absurd", "unreadable"} == values["supervisor_observations_rejected_total"]


def test_only_what_has_one_label_can_exist_from_the_start() -> None:
    assert [metric.name for metric in (*COUNTERS, *HISTOGRAMS) if metric.values and len(metric.labels) != 1] == []


def test_every_metric_has_a_name_of_its_own_and_a_help() -> None:
    metrics = [*COUNTERS, *HISTOGRAMS, *GAUGES]
    assert len({metric.name for metric in metrics}) == len(metrics)
    assert [metric.name for metric in metrics if not metric.help] == []


@pytest.mark.parametrize(
    ("field", "belongs"),
    [
        ("supervisor_actions_enqueued_total|flow-1|start", True),
        ("supervisor_action_duration_seconds_bucket|flow-1|start|0.1", True),
        ("supervisor_action_duration_seconds_sum|flow-1|start", True),
        ("supervisor_action_duration_seconds_count|flow-1|start", True),
        ("supervisor_actions_enqueued_total|flow-10|start", False),
        ("supervisor_actions_enqueued_total|start|flow-1", False),
        ("supervisor_actions_discarded_total|flow-1", False),
        ("supervisor_ticks_total", False),
    ],
)
def test_a_counters_field_belongs_to_the_worker_that_its_first_label_names(field: str, belongs: bool) -> None:
    assert is_of_worker(field, "flow-1") is belongs


def test_without_an_id_any_workers_field_is_meant() -> None:
    assert is_of_worker("supervisor_actions_enqueued_total|flow-1|start")
    assert not is_of_worker("supervisor_action_queue_wait_seconds_count|start")


def test_a_worker_is_counted_as_its_id_or_its_type_and_shown_as_what_it_is_counted_as_now() -> None:
    assert (counted_as("worker_id", "process"), counted_as("worker_id")) == ("", "")
    by_type = counted_as("worker_type", "process")
    assert (label_for("worker_type", by_type), label_for("worker_id", by_type)) == ("process", None)
    assert (label_for("worker_type", "flow-1"), label_for("worker_id", "flow-1")) == (None, "flow-1")
    assert label_for("worker_type", counted_as("worker_type")) == "child"
    assert label_for("worker_id", "child/broker") == "child/broker"
    assert not is_of_worker(f"supervisor_actions_enqueued_total|{by_type}|start", "process")
