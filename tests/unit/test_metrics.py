"""The metrics that scripts keep have the names, labels and buckets that SPEC 5 fixes."""

from __future__ import annotations

import pytest

from supervisor.metrics import COUNTERS, HISTOGRAMS, is_of_worker

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
    assert {histogram.name: (histogram.buckets, histogram.labels) for histogram in HISTOGRAMS} == {
        "supervisor_action_duration_seconds": ((0.1, 0.5, 1, 5, 10, 30, 60), ("worker_id", "action_type")),
        "supervisor_action_post_circuit_duration_seconds": ((1, 5, 10, 30, 60), ()),
    }


def test_every_metric_has_a_name_of_its_own_and_a_help() -> None:
    metrics = [*COUNTERS, *HISTOGRAMS]
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
