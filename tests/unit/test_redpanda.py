"""What of a Redpanda is well: judged from its admin API's replies and from Kafka's Metadata."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from supervisor.model import Check
from supervisor.redpanda import Admin, Broker, Cluster, Health, Ready, fault, words
from tests.redpanda_admin import broker, health
from workers.drivers.kafka import Seen


def admin(*brokers: dict[str, Any], status: str = "ready", **changes: Any) -> Admin:
    """Return what an admin API says, read as the probe reads it."""

    def read(value: Any, kind: Any) -> Any:
        return msgspec.json.decode(json.dumps(value), type=kind)

    found = brokers or (broker(0), broker(1), broker(2))
    return Admin(Ready(status), tuple(read(one, Broker) for one in found), read(health(**changes), Health))


def check(**changes: Any) -> Check:
    return msgspec.structs.replace(Check(kind="redpanda", admin="http://h:9644"), **changes)


DOWN = broker(2, is_alive=False)
DRAINED = {"draining": True, "finished": True}


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (admin(), "3 of 3 brokers alive; no leaderless partitions; no under-replicated partitions"),
        (
            admin(
                broker(0),
                broker(1),
                DOWN,
                is_healthy=False,
                unhealthy_reasons=["nodes_down", "leaderless_partitions"],
                nodes_down=[2],
                leaderless_partitions=["kafka/a/0"],
                leaderless_count=4,
                under_replicated_count=1,
            ),
            "2 of 3 brokers alive; 4 leaderless partitions; 1 under-replicated partition; "
            "unhealthy: nodes_down, leaderless_partitions",
        ),
        (
            admin(broker(0, membership_status="draining"), broker(1, maintenance_status=DRAINED)),
            "2 of 2 brokers alive; no leaderless partitions; no under-replicated partitions; broker 0 is draining; "
            "broker 1 is in maintenance",
        ),
        (
            admin(broker(0), is_healthy=False),
            "1 of 1 brokers alive; no leaderless partitions; no under-replicated partitions; "
            "unhealthy: no reason given",
        ),
    ],
)
def test_a_cluster_is_told_with_its_numbers(seen: Admin, said: str) -> None:
    assert words(Cluster(admin=seen)) == said


@pytest.mark.parametrize(
    ("changes", "seen", "wrong"),
    [
        ({}, admin(), ""),
        ({"nodes": 3}, admin(), ""),
        ({}, admin(broker(0), broker(1), DOWN), ""),
        ({"nodes": 3}, admin(broker(0), broker(1), DOWN), "2 of 3 brokers alive, expected at least 3"),
        ({}, admin(status="booting"), "is booting, expected ready"),
        ({}, admin(controller_id=-1), "no controller is elected"),
        ({}, admin(leaderless_count=4), "4 leaderless partitions, expected at most 0"),
        ({"leaderless": 4}, admin(leaderless_count=4), ""),
        ({}, admin(under_replicated_count=4), ""),
        ({"under_replicated": 3}, admin(under_replicated_count=3), ""),
        (
            {"under_replicated": 3},
            admin(under_replicated_count=4),
            "4 under-replicated partitions, expected at most 3",
        ),
        ({}, admin(broker(0, maintenance_status=DRAINED), broker(1)), ""),
        (
            {"nodes": 2},
            admin(DOWN, status="booting", leaderless_count=1),
            "is booting, expected ready; 0 of 1 brokers alive, expected at least 2; "
            "1 leaderless partition, expected at most 0",
        ),
    ],
)
def test_a_cluster_beyond_the_tolerances_is_at_fault(changes: dict[str, Any], seen: Admin, wrong: str) -> None:
    assert fault(check(**changes), Cluster(admin=seen)) == wrong


def test_an_older_redpanda_that_gives_no_counts_has_its_lists_counted() -> None:
    older = health(leaderless_partitions=["kafka/a/0", "kafka/a/1"], under_replicated_partitions=["kafka/b/0"])
    del older["leaderless_count"], older["under_replicated_count"]
    read = msgspec.json.decode(json.dumps(older), type=Health)
    assert (read.leaderless, read.under_replicated) == (2, 1)


@pytest.mark.parametrize(
    ("seen", "nodes", "wrong", "said"),
    [
        (Seen(1, {"a": 3}, 0), 1, "", "1 broker alive; no leaderless partitions"),
        (
            Seen(2, {"a": 3}, 1),
            3,
            "2 brokers alive, expected at least 3; 1 leaderless partition, expected at most 0",
            "2 brokers alive; 1 leaderless partition",
        ),
    ],
)
def test_a_plain_kafka_is_judged_by_its_metadata(seen: Seen, nodes: int, wrong: str, said: str) -> None:
    cluster = Cluster(kafka=seen)
    assert fault(check(nodes=nodes, admin=""), cluster) == wrong
    assert words(cluster) == said


def test_of_what_nobody_was_asked_nothing_is_known() -> None:
    assert (Cluster().alive, Cluster().leaderless) == (0, 0)
