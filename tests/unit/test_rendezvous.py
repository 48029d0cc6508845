"""Who observes a floating worker: all agree, shares are fair, and only what a lost node had changes hands."""

from __future__ import annotations

from collections import Counter

import pytest

from supervisor.model import CollectorDocument, NodeDocument
from supervisor.rendezvous import is_away, observers, winner
from tests.factories import NOW

NODES = ("edge-1", "edge-2", "edge-3")
ITEMS = [f"gateway-{number}" for number in range(300)]
FIXED = ["edge-2", "edge-2", "edge-2", "edge-1", "edge-3", "edge-3"]


def node(age: float = 1.0, *, left: bool = False) -> NodeDocument:
    return NodeDocument(node="n", host="h", boot_id="b", executor="n@h", pid=1, slots=5, at=NOW - age, left=left)


def collector(age: float = 1.0) -> CollectorDocument:
    return CollectorDocument(node="n", pid=2, at=NOW - age, observed=0, clock_skew=0.0)


def test_all_agree_in_whatever_order_they_know_the_nodes() -> None:
    assert [winner(NODES, item) for item in ITEMS] == [winner(reversed(NODES), item) for item in ITEMS]


def test_the_choice_is_the_same_in_every_process_and_version() -> None:
    assert [winner(NODES, item) for item in ITEMS[:6]] == FIXED


def test_each_node_has_a_fair_share() -> None:
    shares = Counter(winner(NODES, item) for item in ITEMS)
    assert sum(shares.values()) == 300
    assert min(shares[name] for name in NODES) > 70


def test_only_what_a_lost_node_had_changes_hands() -> None:
    before = {item: winner(NODES, item) for item in ITEMS}
    after = {item: winner(NODES[:2], item) for item in ITEMS}
    assert {item for item in ITEMS if before[item] != after[item]} == {
        item for item in ITEMS if before[item] == "edge-3"
    }


def test_without_nodes_nobody_wins() -> None:
    assert winner([], "gateway-1") is None


def test_those_observe_whose_executor_and_collector_live() -> None:
    heartbeats = {
        "z-lives": (node(), collector()),
        "a-lives": (node(14.9), collector(14.9)),
        "silent": (node(15), collector()),
        "left": (node(left=True), collector()),
        "never-there": (None, collector()),
        "blind": (node(), None),
        "hung": (node(), collector(15)),
    }
    assert observers(heartbeats, NOW) == ["a-lives", "z-lives"]


@pytest.mark.parametrize(
    ("document", "away"),
    [(None, True), (node(), False), (node(14.9), False), (node(15), True), (node(left=True), True)],
)
def test_a_node_is_away_when_it_left_or_is_silent_for_too_long(document: NodeDocument | None, away: bool) -> None:
    assert is_away(document, NOW) is away
