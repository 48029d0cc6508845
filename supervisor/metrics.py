"""Every counter and histogram that scripts keep in Redis: names, help, labels, buckets (SPEC 5). Pure.

A counter is a field "name|label|…" of a place's counters; a histogram has `_bucket|…|bound`, `_count|…` and `_sum|…`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counter:
    """A counter; every series carries `supervisor` besides `labels`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """A histogram with its upper bounds in seconds."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()


COUNTERS = (
    Counter("supervisor_infrastructure_check_failures_total", "Total infrastructure health check failures"),
    Counter("supervisor_circuit_breaker_recoveries_total", "Total successful circuit closes after failure"),
    Counter("supervisor_escalations_total", "Total escalations (max retry attempts exceeded)"),
    Counter("supervisor_actions_enqueued_total", "Total actions enqueued", ("worker_id", "action_type")),
    Counter("supervisor_actions_completed_total", "Total actions completed", ("worker_id", "action_type", "status")),
    Counter("supervisor_actions_discarded_total", "Executions refused at the lease", ("reason",)),
    Counter("supervisor_claims_refused_total", "Claims refused because something had moved", ("reason",)),
    Counter("supervisor_skips_total", "Workers for which a tick did nothing, by reason", ("reason",)),
    Counter("supervisor_observations_rejected_total", "Readings of collectors that were not believed", ("reason",)),
    Counter("supervisor_quarantines_total", "Workers put into quarantine", ("reason",)),
    Counter("supervisor_actions_during_circuit_total", "Actions that completed after circuit opened"),
    Counter("supervisor_store_restores_total", "Times that Redis had lost the fleet and a mirror brought it back"),
    Counter("supervisor_ticks_total", "Ticks that ran to their end"),
    Counter("supervisor_tick_overruns_total", "Ticks that were due while the one before still ran"),
)
HISTOGRAMS = (
    Histogram(
        "supervisor_action_duration_seconds",
        "Action execution duration",
        (0.1, 0.5, 1, 5, 10, 30, 60),
        ("worker_id", "action_type"),
    ),
    Histogram(
        "supervisor_action_post_circuit_duration_seconds",
        "Duration actions ran after circuit opened",
        (1, 5, 10, 30, 60),
    ),
)

_OF_WORKERS = frozenset(
    [counter.name for counter in COUNTERS if "worker_id" in counter.labels]
    + [f"{one.name}_{part}" for one in HISTOGRAMS if "worker_id" in one.labels for part in ("bucket", "count", "sum")]
)


def is_of_worker(field: str, worker_id: str) -> bool:
    """Tell whether a field of the counters belongs to a worker: its first label is always `worker_id`."""
    name, _, labels = field.partition("|")
    return name in _OF_WORKERS and labels.split("|")[0] == worker_id
