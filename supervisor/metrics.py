"""Every metric: names, help, labels, buckets (SPEC 5). Pure.

Counters and histograms are kept in Redis by the script that makes the change, gauges are read off at each scrape. A
counter is a field "name|label|…" of a place's counters; a histogram has `_bucket|…|bound`, `_count|…` and `_sum|…`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import actions.registry
from supervisor.admission import SkipReason
from supervisor.circuit import State
from supervisor.envelope import Reason
from supervisor.keys import SUPERVISOR
from supervisor.model import WorkerLabel

REFUSALS = (
    "hold_off",
    "full",
    "in_progress",
    "token",
    "generation",
    "circuit",
    "unreadable",
)  # of apply.lua
DISCARDS = (
    "no_lease",
    "other_token",
    "ended",
    "running_elsewhere",
    "past_deadline",
    "other_redis",
    "late_end",
)  # of begin.lua, end.lua
REJECTIONS = ("unreadable", "absurd", "future", "older")  # of readings.py and observe.lua
QUARANTINES = ("failures", "poison")  # of failures.py


@dataclass(frozen=True)
class Counter:
    """A counter; every series carries `supervisor` besides `labels`.

    `values` are all that its only label can have: these series exist from the start at 0. `of_loop`: only the control
    loop counts it, no place does.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    of_loop: bool = False


@dataclass(frozen=True)
class Histogram:
    """A histogram with its upper bounds in seconds; `values` and `of_loop` as of a counter."""

    name: str
    help: str
    buckets: tuple[float, ...]
    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    of_loop: bool = False


@dataclass(frozen=True)
class Gauge:
    """A gauge; one that is not `of_store` as a whole carries `supervisor` besides `labels`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    of_store: bool = False


GAUGES = (
    Gauge("supervisor_up", "1 if the store answers", of_store=True),
    Gauge("supervisor_build_info", "1; what is installed here", ("version", "python"), of_store=True),
    Gauge("supervisor_store_memory_bytes", "Memory that Redis uses for its data", of_store=True),
    Gauge("supervisor_store_memory_ratio", "Part of its maxmemory that Redis uses; 0 without a limit", of_store=True),
    Gauge(
        "supervisor_redis_acl_denied",
        "What Redis has denied its users, as far as it remembers; not there where the exporter may not ask",
        of_store=True,
    ),
    Gauge("supervisor_workers", "Workers by type and phase", ("worker_type", "phase")),
    Gauge("supervisor_fleet_workers", "Workers by type and state of its table", ("worker_type", "state")),
    Gauge("supervisor_worker_conditions", "Workers by condition", ("condition",)),
    Gauge("supervisor_quarantined_workers", "Workers in quarantine"),
    Gauge("supervisor_desired_mismatch", "Workers that are not (yet) as desired", ("worker_type",)),
    Gauge(
        "supervisor_oldest_mismatch_timestamp_seconds",
        "Since when ticks have found the longest of them not as desired; 0 when all are",
    ),
    Gauge("supervisor_observation_age_seconds", "Age of the oldest of a place's observations of workers", ("place",)),
    Gauge("supervisor_last_tick_timestamp_seconds", "When the last tick started; 0 when none ever did"),
    Gauge("supervisor_leases", "Actions in progress by stage", ("stage",)),
    Gauge("supervisor_actions_stuck", "Actions that run for twice their timeout"),
    Gauge("supervisor_queue_depth", "Actions claimed and not yet begun, by the queue of their place", ("queue",)),
    Gauge("supervisor_queue_oldest_age_seconds", "For how long the oldest of them has waited; 0 for none", ("queue",)),
    Gauge("supervisor_circuit_breaker_open", "1 if circuit is open, 0 if closed"),
    Gauge("supervisor_circuit_state", "1 for the state of the circuit that counts", ("state",)),
    Gauge("supervisor_circuit_forced", "1 for the state that an operator has forced", ("state",)),
    Gauge("supervisor_escalations_active", "1 while an incident is escalated"),
    Gauge("supervisor_nodes", "Nodes by whether their executor lives", ("status",)),
    Gauge("supervisor_node_away", "1 if a node's executor is gone or silent for too long", ("node",)),
    Gauge(
        "supervisor_node_clock_skew_seconds",
        "Seconds by which a node's clock is ahead of Redis', of nodes that are not away",
        ("node",),
    ),
)
COUNTERS = (
    Counter(
        "supervisor_infrastructure_check_failures_total", "Total infrastructure health check failures", of_loop=True
    ),
    Counter(
        "supervisor_circuit_breaker_recoveries_total", "Total successful circuit closes after failure", of_loop=True
    ),
    Counter("supervisor_escalations_total", "Total escalations (max retry attempts exceeded)", of_loop=True),
    Counter("supervisor_actions_enqueued_total", "Total actions enqueued", ("worker_id", "action_type")),
    Counter("supervisor_actions_completed_total", "Total actions completed", ("worker_id", "action_type", "status")),
    Counter("supervisor_actions_discarded_total", "Executions refused at the lease", ("reason",), DISCARDS),
    Counter(
        "supervisor_messages_refused_total",
        "Messages that executors did not run, as they are not what a supervisor has sealed for them",
        ("reason",),
        tuple(reason.value for reason in Reason),
    ),
    Counter(
        "supervisor_claims_refused_total",
        "Claims refused because something had moved",
        ("reason",),
        REFUSALS,
        of_loop=True,
    ),
    Counter(
        "supervisor_skips_total",
        "Workers for which a tick did nothing, by reason",
        ("reason",),
        tuple(reason.value for reason in SkipReason),
        of_loop=True,
    ),
    Counter(
        "supervisor_observations_rejected_total",
        "Readings of collectors that were not believed",
        ("reason",),
        REJECTIONS,
    ),
    Counter("supervisor_quarantines_total", "Workers put into quarantine", ("reason",), QUARANTINES),
    Counter(
        "supervisor_circuit_transitions_total",
        "Changes of the circuit by its checks, by the state they led to",
        ("to",),
        get_args(State),
        of_loop=True,
    ),
    Counter("supervisor_actions_during_circuit_total", "Actions that completed after circuit opened"),
    Counter(
        "supervisor_store_restores_total",
        "Times that Redis had lost the fleet and a mirror brought it back",
        of_loop=True,
    ),
    Counter("supervisor_ticks_total", "Ticks that ran to their end", of_loop=True),
    Counter("supervisor_tick_overruns_total", "Ticks that were due while the one before still ran", of_loop=True),
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
    Histogram(
        "supervisor_action_queue_wait_seconds",
        "From an action's claim until it was begun",
        (0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 30),
        ("action_type",),
        actions.registry.built_in().names(),
    ),
    Histogram(
        "supervisor_tick_duration_seconds",
        "From a tick's start to its end, by Redis' clock",
        (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        of_loop=True,
    ),
)

_TYPE = "type/"  # begins the label of what is counted by type; no worker's id holds a slash but a child's
_CHECK = "check"  # what the no-ops of `fsmctl check` are counted as
_CHILD = "child"  # the type that actions for children are counted under
_PARTS = ("bucket", "count", "sum")  # of a histogram
_OF_WORKERS = frozenset(
    [counter.name for counter in COUNTERS if "worker_id" in counter.labels]
    + [f"{one.name}_{part}" for one in HISTOGRAMS if "worker_id" in one.labels for part in _PARTS]
)


_LABELS = {one.name: (len(one.labels), one.of_loop) for one in COUNTERS} | {
    f"{one.name}_{part}": (len(one.labels) + (part == "bucket"), one.of_loop) for one in HISTOGRAMS for part in _PARTS
}


def is_counted_by(field: str, place: str, places: Mapping[str, str]) -> bool:
    """Tell whether a field of a place's counters is one that is counted there.

    A node can write any number under any name into its own. Those of a worker count at the place where the worker is,
    by `places`; those of all workers of a type anywhere.
    """
    name, *labels = field.split("|")
    known, of_loop = _LABELS.get(name, (-1, False))
    if known != len(labels) or (of_loop and place != SUPERVISOR):
        return False
    return (
        name not in _OF_WORKERS or labels[0] == _CHECK or labels[0].startswith(_TYPE) or places.get(labels[0]) == place
    )


def is_of_worker(field: str, worker_id: str = "") -> bool:
    """Tell whether a field of the counters, by its first label, is of that worker or child; without an id, of any."""
    name, _, labels = field.partition("|")
    return name in _OF_WORKERS and worker_id in ("", labels.split("|")[0])


def counted_as(worker_label: WorkerLabel, worker_type: str = _CHILD) -> str:
    """Return what a worker's or child's actions are counted as instead of its id; empty: as its id."""
    return _TYPE + worker_type if worker_label == "worker_type" else ""


def label_for(worker_label: WorkerLabel, label: str) -> str | None:
    """Return how a worker's label in the counters is shown; None for one from before the setting was changed."""
    by_type = label.startswith(_TYPE)
    return label.removeprefix(_TYPE) if by_type is (worker_label == "worker_type") else None
