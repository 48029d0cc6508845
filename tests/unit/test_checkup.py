"""What is well and what is not, judged by what the parts have stored."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.checkup import Finding, action_of, collectors_of, executors_of, places_of, queues_of, summary, tick_of
from supervisor.circuit import Breaker
from supervisor.model import CollectorDocument, Lease, NodeDocument, Stage, SupervisorSettings, TickDocument
from supervisor.store import Index
from supervisor.view import World
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view

SETTINGS = SupervisorSettings(name="plant-1", tick_interval=1.0, nodes=("edge-1",))


def node(age: float, left: bool = False) -> NodeDocument:
    return NodeDocument(
        node="edge-1", host="h1", boot_id="b1", executor="edge-1@h1", pid=1, slots=5, at=NOW - age, left=left
    )


def collector(age: float) -> CollectorDocument:
    return CollectorDocument(node="edge-1", pid=2, at=NOW - age, observed=1, clock_skew=0.0)


def world(nodes: dict[str, Any], *leases: Lease) -> World:
    subjects = [make_subject(make_snapshot(), lease) for lease in leases]
    index = Index(SETTINGS, {"flow-1": "edge-1"}, {})
    return World(index, NOW, Breaker(), (), nodes, make_view(*subjects), {})


@pytest.mark.parametrize(
    ("age", "expected"),
    [(4.9, Finding("plant-1", True, "ticked 4.9s ago")), (300.0, Finding("plant-1", False, "ticked 5m00s ago"))],
)
def test_a_tick_is_late_after_five_intervals(age: float, expected: Finding) -> None:
    tick = TickDocument(id="t1", started_at=NOW - age, deadline=0.0)
    assert tick_of("plant-1", SETTINGS, tick, NOW) == expected


def test_a_supervisor_that_has_never_ticked_is_not_well() -> None:
    never = TickDocument(id="", started_at=0.0, deadline=0.0)
    assert {tick_of("plant-1", SETTINGS, tick, NOW) for tick in (None, never)} == {
        Finding("plant-1", False, "has never ticked")
    }


@pytest.mark.parametrize(
    ("heartbeat", "expected"),
    [
        (None, Finding("edge-1", False, "was never heard of")),
        (node(3.0), Finding("edge-1", True, "heard 3.0s ago")),
        (node(15.0), Finding("edge-1", False, "heard 15.0s ago")),
        (node(3.0, left=True), Finding("edge-1", False, "has left 3s ago")),
    ],
)
def test_an_executor_is_judged_by_its_heartbeat(heartbeat: NodeDocument | None, expected: Finding) -> None:
    assert list(executors_of(world({"edge-1": (heartbeat, None)}), ["edge-1"])) == [expected]


@pytest.mark.parametrize(
    ("heartbeat", "expected"),
    [
        (None, Finding("edge-1", False, "was never heard of")),
        (collector(0.25), Finding("edge-1", True, "heard 0.250s ago")),
        (collector(10.0), Finding("edge-1", False, "heard 10.0s ago")),
    ],
)
def test_a_collector_is_judged_by_its_heartbeat(heartbeat: CollectorDocument | None, expected: Finding) -> None:
    assert list(collectors_of(world({"edge-1": (None, heartbeat)}), ["edge-1"])) == [expected]


def test_a_queue_is_judged_by_its_oldest_claim() -> None:
    def seen(*ages: float, stage: Stage = Stage.QUEUED) -> list[Finding]:
        leases = [msgspec.structs.replace(make_lease(stage=stage), claimed_at=NOW - age) for age in ages]
        return list(queues_of(world({}, *leases), ["edge-1"]))

    assert seen(2.0, 9.5) == [Finding("actions.edge-1", True, "2 wait, the oldest for 9.5s")]
    assert seen(2.0, 10.0) == [Finding("actions.edge-1", False, "2 wait, the oldest for 10.0s")]
    assert seen(60.0, stage=Stage.RUNNING) == [Finding("actions.edge-1", True, "nothing waits")]


def test_the_pool_s_queue_counts_when_workers_float_and_no_single_node_is_meant() -> None:
    floating = world({})
    floating = World(**{**vars(floating), "index": Index(SETTINGS, {"flow-1": "pool"}, {})})
    assert (places_of(floating, ["edge-1"], False), places_of(floating, ["edge-1"], True)) == (
        ["edge-1", "pool"],
        ["edge-1"],
    )
    assert places_of(world({}), ["edge-1"], False) == ["edge-1"]


NOOP = Lease(
    worker_id="check/edge-1",
    action="noop",
    action_id="a1",
    token="1",
    stage=Stage.QUEUED,
    claimed_at=NOW - 2,
    deadline=NOW + 3,
)


def lease(**changes: Any) -> Lease:
    return msgspec.structs.replace(NOOP, **changes)


@pytest.mark.parametrize(
    ("noop", "busy", "ok", "seen"),
    [
        (None, 0, False, "its no-op is gone from Redis"),
        (NOOP, 0, False, "not begun within 5s"),
        (NOOP, 2, False, "not begun within 5s: 2 of 2 slots are busy"),
        (lease(stage=Stage.RUNNING, begun_at=NOW - 1), 1, False, "begun, and not ended within 5s"),
        (
            lease(stage=Stage.FREE, begun_at=NOW - 1.5, ended_at=NOW - 0.8, outcome="success"),
            *(0, True, "ended 1.2s after its claim, 0.500s in the queue"),
        ),
        (
            lease(stage=Stage.FREE, begun_at=NOW - 1.5, ended_at=NOW, outcome="error", detail="disk full"),
            *(0, False, "ended with error: disk full"),
        ),
        (lease(stage=Stage.FREE, ended_at=NOW, outcome="cancelled"), 0, False, "not begun within 5s"),
    ],
)
def test_a_node_is_judged_by_what_became_of_its_no_op(noop: Lease | None, busy: int, ok: bool, seen: str) -> None:
    assert action_of("edge-1", noop, 5.0, busy, 2) == Finding("edge-1", ok, seen)


def test_a_summary_names_what_failed_else_all_of_few() -> None:
    well, ill = Finding("edge-1", True, "heard 1s ago"), Finding("edge-2", False, "was never heard of")
    assert summary([well]) == "edge-1 heard 1s ago"
    assert summary([well] * 4) == "all 4 are well"
    assert summary([well, ill]) == "edge-2 was never heard of (1 of 2 are well)"
    assert summary([ill]) == "edge-2 was never heard of"
    assert summary([]) == "all 0 are well"
