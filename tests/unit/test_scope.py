"""Whom a tick has to look at."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.admission import Skip, SkipReason
from supervisor.circuit import Breaker, Verdict
from supervisor.keys import POOL
from supervisor.model import CollectorDocument, NodeDocument, ScopeDocument, Stage
from supervisor.plan import Plan, Step
from supervisor.scope import FEW, LARGEST, ROUND, SETTLING, VALID_FOR, Facts, Look, facts, look, next_scope, unsettled
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view

NUMBER = FEW + 1
ITEMS = [(f"w{number:03}", "edge-2" if number == 7 else POOL if number == 9 else "edge-1") for number in range(NUMBER)]
PLACES = dict(ITEMS)
FACTS = Facts("all is well", ("edge-1",))


def make_scope(**changes: Any) -> ScopeDocument:
    """Return the scope of a tick a second ago, in which all were settled."""
    scope = ScopeDocument(tick_id="t", at=NOW - 1.0, of_all=FACTS.of_all, seen=FACTS.seen, unsettled=(), turn="")
    return msgspec.structs.replace(scope, **changes)


def ids(scope: ScopeDocument | None, marks: tuple[str, ...] = (), found: Facts = FACTS) -> list[str]:
    return [item for item, _ in look(scope, marks, found, ITEMS, PLACES, NOW).items]


def test_settled_workers_are_looked_at_in_turn_and_no_others() -> None:
    seen = look(make_scope(), (), FACTS, ITEMS, PLACES, NOW)
    assert seen == Look(ITEMS[:4], "w004")  # 201 workers within 60 s
    assert look(make_scope(turn="w004"), (), FACTS, ITEMS, PLACES, NOW) == Look(ITEMS[4:8], "w008")


def test_the_turn_begins_anew_after_the_last_and_goes_on_behind_one_that_is_gone() -> None:
    assert look(make_scope(turn="w199"), (), FACTS, ITEMS, PLACES, NOW) == Look(ITEMS[199:], "")
    assert look(make_scope(turn="w003x"), (), FACTS, ITEMS, PLACES, NOW) == Look(ITEMS[4:8], "w008")


def test_a_round_takes_as_long_however_often_a_tick_is_woken_until_a_slice_is_too_large() -> None:
    few = look(make_scope(at=NOW - 0.05), (), FACTS, ITEMS, PLACES, NOW)
    assert len(few.items) == 1
    many = [(f"{number:06}", "edge-1") for number in range(100_000)]
    seen = look(make_scope(), (), FACTS, many, dict(many), NOW)
    assert len(seen.items) == LARGEST < len(many) / ROUND
    assert len(look(make_scope(at=NOW - 0.1), (), FACTS, many, dict(many), NOW).items) == LARGEST / 10


def test_the_unsettled_and_the_marked_are_looked_at_but_no_children_and_none_that_are_gone() -> None:
    scope = make_scope(unsettled=("w100", "gone"), turn="w200")
    assert ids(scope, ("w050", "child/broker", "gone")) == ["w050", "w100", "w200"]


@pytest.mark.parametrize(
    ("scope", "marks", "found"),
    [
        (None, (), FACTS),
        (make_scope(), ("w001", "*"), FACTS),
        (make_scope(), (), Facts("something else", FACTS.seen)),
        (make_scope(at=NOW - VALID_FOR), (), FACTS),
        (make_scope(at=NOW + 1.0), (), FACTS),
    ],
    ids=["no scope", "anything is marked", "a fact for all", "too old", "of the future"],
)
def test_all_are_looked_at(scope: ScopeDocument | None, marks: tuple[str, ...], found: Facts) -> None:
    assert look(scope, marks, found, ITEMS, PLACES, NOW) == Look(ITEMS, "")


def test_a_small_fleet_is_looked_at_whole() -> None:
    few = ITEMS[:FEW]
    assert look(make_scope(), (), FACTS, few, dict(few), NOW) == Look(few, "")


@pytest.mark.parametrize("now_seen", [("edge-1", "edge-2"), ("edge-2",), ()])
def test_a_node_that_comes_or_goes_brings_its_workers_and_the_floating_ones(now_seen: tuple[str, ...]) -> None:
    before = ("edge-1",) if "edge-1" in now_seen or "edge-2" not in now_seen else ("edge-1", "edge-2")
    found = set(ids(make_scope(seen=before, turn="w200"), (), Facts(FACTS.of_all, now_seen)))
    turned = set(before) ^ set(now_seen)
    assert found == {item for item, place in ITEMS if place in turned or place == POOL} | {"w200"}


# -- facts ------------------------------------------------------------------------------------------------------------


def heartbeats(at: float = NOW, oldest: float = 0.0) -> dict[str, tuple[NodeDocument | None, CollectorDocument | None]]:
    node = NodeDocument(node="edge-1", host="h", boot_id="b", executor="e", pid=1, slots=5, at=NOW)
    collector = CollectorDocument(node="edge-1", pid=2, at=at, observed=1, clock_skew=0.0, oldest=oldest)
    return {"edge-1": (node, collector), "edge-2": (node, None)}


def found(breaker: Breaker = Breaker(), nodes: Any = None, drained: tuple[str, ...] = (), **changes: Any) -> Facts:  # noqa: B008 - frozen
    view = make_view(**{"slots": {"edge-1": 5, "edge-2": 5, "edge-3": 0, POOL: 10}, **changes})
    return facts(breaker, view, nodes or heartbeats(), drained, NOW)


def test_the_same_world_has_the_same_facts() -> None:
    assert found() == found(verdicts={})
    assert found().seen == ("edge-1",)


def test_whatever_concerns_all_is_a_fact() -> None:
    bad = {"broker": Verdict("failed", "no answer")}
    others = [
        found(Breaker(state="open", opened_at=NOW - 1)),
        found(Breaker(opened_at=NOW - 1)),
        found(drained=("edge-1",)),
        found(verdicts=bad),
        found(verdicts={"broker": Verdict("ok", "")}),
        found(data_since=NOW - 5),
        found(hold_until=NOW + 5),
    ]
    assert len({one.of_all for one in [found(), *others]}) == len(others) + 1
    assert found(verdicts=bad) == found(verdicts={"broker": Verdict("failed", "in other words")})


def test_a_node_is_seen_while_even_its_oldest_look_is_fresh() -> None:
    assert found(nodes=heartbeats(oldest=NOW - 9.9)).seen == ("edge-1",)
    assert found(nodes=heartbeats(oldest=NOW - 10)).seen == ()
    assert found(nodes=heartbeats(at=NOW - 10)).seen == ()
    assert found(slots={"edge-1": 0}).seen == ()


# -- settled ----------------------------------------------------------------------------------------------------------


def left(subject: Any, plan: Plan = Plan((), ()), mismatches: tuple[str, ...] = ()) -> tuple[str, ...]:  # noqa: B008 - frozen
    return unsettled(FACTS, [subject], plan, mismatches, NOW)


def test_a_node_that_does_not_look_at_all_in_time_settles_none_of_its_workers() -> None:
    away = Facts(FACTS.of_all, ())
    assert unsettled(away, [make_settled()], Plan((), ()), (), NOW) == ("flow-1",)


def make_settled(**status: Any) -> Any:
    snapshot = make_snapshot(state="running")
    return make_subject(
        msgspec.structs.replace(
            snapshot, status=msgspec.structs.replace(snapshot.status, **{"since": NOW - SETTLING, **status})
        )
    )


def test_a_worker_that_needs_nothing_is_settled_some_time_after_its_last_change() -> None:
    assert left(make_settled()) == ()
    assert left(make_settled(since=NOW - SETTLING + 0.1)) == ("flow-1",)


@pytest.mark.parametrize(
    "status",
    [{"early_exits": 1}, {"fault": "rule: no output"}, {"quarantined_for": "failures: 5"}],
    ids=str,
)
def test_what_is_counted_about_a_worker_keeps_it_unsettled(status: dict[str, Any]) -> None:
    assert left(make_settled(**status)) == ("flow-1",)


def test_an_action_in_progress_keeps_a_worker_unsettled_and_one_that_has_ended_does_not() -> None:
    settled = make_settled()
    running = msgspec.structs.replace(settled, lease=make_lease(stage=Stage.RUNNING))
    assert left(running) == ("flow-1",)
    assert left(msgspec.structs.replace(settled, lease=make_lease())) == ()


def test_steps_skips_mismatches_and_what_cannot_be_read_keep_a_worker_unsettled() -> None:
    settled = make_settled()
    assert left(settled, Plan((Step(settled, "why"),), ())) == ("flow-1",)
    assert left(settled, Plan((), (Skip("flow-1", SkipReason.PAUSED, "why"),))) == ("flow-1",)
    assert left(settled, mismatches=("flow-1",)) == ("flow-1",)
    assert left(msgspec.structs.replace(settled, snapshot=None, unreadable="bad")) == ("flow-1",)


def test_the_next_scope_holds_what_this_tick_knew() -> None:
    young = make_settled(since=NOW)
    scope = next_scope("t2", FACTS, Look(ITEMS, "w004"), [young], Plan((), ()), (), NOW)
    assert scope == ScopeDocument(
        tick_id="t2", at=NOW, of_all=FACTS.of_all, seen=FACTS.seen, unsettled=("flow-1",), turn="w004"
    )
