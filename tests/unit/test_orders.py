"""Standing orders of operators, and restarts that they ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actions.restart import Restart
from actions.stop import Stop
from supervisor import orders
from supervisor.orders import Order
from supervisor.plan import Plan, Skip, SkipReason, Subject, make_plan
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view
from workers.model import Control, Desired, Observed, Status


def order(kind: Any = "pause", scope: str = "node/edge-1", **changes: Any) -> Order:
    return msgspec.structs.replace(Order(kind=kind, scope=scope, by="ann@ops", at=NOW - 65), **changes)


def by_name(*given: Order) -> dict[str, Order]:
    return {one.name: one for one in given}


def up(**changes: Any) -> Subject:
    observed = Observed(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 60, config_id="c1")
    return make_subject(make_snapshot(observed=observed, state="running"), **changes)


def of(subject: Subject, **changes: Any) -> Subject:
    assert subject.snapshot is not None
    return msgspec.structs.replace(subject, snapshot=msgspec.structs.replace(subject.snapshot, **changes))


ASKED = Control(restart_at=NOW - 10, restart_by="ann@ops: leaks memory")
HEEDED = Status(state="running", since=NOW - 50, reason="test", restarted_at=NOW - 10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (order(), "node/edge-1 by ann@ops 1m05s ago"),
        (order(scope="all", reason="storm"), "all by ann@ops 1m05s ago: storm"),
        (order(ends_at=NOW + 90), "node/edge-1 by ann@ops 1m05s ago; ends in 1m30s"),
        (order(scope="", reason="storm", ends_at=NOW + 9), "by ann@ops 1m05s ago: storm; ends in 9s"),
    ],
)
def test_an_order_says_its_scope_who_gave_it_why_and_when_it_ends(given: Order, said: str) -> None:
    assert given.words(NOW) == said
    assert given.words(NOW, age=False) == said.replace(" 1m05s ago", "")


def test_a_worker_is_concerned_by_the_orders_for_all_for_its_group_and_for_its_node() -> None:
    everything, group, node, drain = (
        order(scope="all"),
        order(scope="group/line"),
        order(),
        order("drain"),
    )
    given = by_name(everything, group, node, drain, order(scope="node/edge-2"), order(scope="group/"))
    assert orders.concerning(given, "edge-1", "line") == (everything, group, node, drain)
    assert orders.concerning(by_name(group), "edge-1", "") == ()


def test_an_order_ends_by_itself_and_the_one_behind_it_counts() -> None:
    short, long = order(scope="all", ends_at=NOW + 1), order()
    subject = up(orders=(short, long))
    assert (subject.pause(NOW), subject.pause(NOW + 1)) == (short, long)
    assert up(orders=(short,)).pause(NOW + 1) is None
    assert up(orders=(order("drain"),)).pause(NOW) is None


def test_a_workers_own_pause_comes_first_and_ends_as_well() -> None:
    paused = of(up(orders=(order(),)), control=Control(paused=True, by="bob", at=NOW, ends_at=NOW + 5, reason="mine"))
    assert paused.pause(NOW) == Order(kind="pause", scope="", by="bob", at=NOW, ends_at=NOW + 5, reason="mine")
    assert paused.pause(NOW + 5) == order()


def test_a_pause_holds_back_a_stop_and_a_drain_does_not() -> None:
    wanted = Desired(state="stopped", config_id="c1")
    paused = of(up(orders=(order(),)), desired=wanted)
    assert make_plan(make_view(paused), NOW) == Plan(
        (), (Skip("flow-1", SkipReason.PAUSED, "node/edge-1 by ann@ops 1m05s ago"),)
    )
    stopping = Status(state="stopping", since=NOW - 5, reason="test")
    (step,) = make_plan(make_view(of(up(orders=(order("drain"),)), desired=wanted, status=stopping)), NOW).steps
    assert step.action == Stop()


def test_a_stop_does_not_wait_for_a_dependent_that_is_paused_with_its_group() -> None:
    wanted = Desired(state="stopped", config_id="c1")
    first = of(up(), desired=wanted)
    assert first.snapshot is not None
    identity = msgspec.structs.replace(first.snapshot.identity, id="b")
    second = msgspec.structs.replace(
        of(first, identity=identity, desired=msgspec.structs.replace(wanted, depends_on=("flow-1",))),
        id="b",
        orders=(order(scope="group/line"),),
    )
    assert [step.subject.id for step in make_plan(make_view(first, second), NOW).steps] == ["flow-1"]


def test_which_nodes_are_drained() -> None:
    given = by_name(order("drain"), order("drain", "node/edge-2", ends_at=NOW), order(scope="node/edge-3"))
    assert orders.drained(given, NOW) == {"edge-1"}


def test_a_restart_that_was_asked_for_names_the_life_that_is_to_go_and_who_asked() -> None:
    (step,) = make_plan(make_view(of(up(), control=ASKED)), NOW).steps
    assert step.action == Restart(failed_pid=42, failed_start_ticks=7)
    assert step.reason == "restart asked for by ann@ops: leaks memory"
    assert step.status is None


def test_a_restart_waits_as_any_action_does() -> None:
    plan = make_plan(make_view(of(up(), control=ASKED), circuit_open=True), NOW)
    assert plan == Plan((), (Skip("flow-1", SkipReason.CIRCUIT_OPEN, "restart waits for the circuit to close"),))


@pytest.mark.parametrize("action", ["restart", "start", "reconfigure"])
def test_an_action_that_succeeded_since_is_the_restart_that_was_asked_for(action: str) -> None:
    lease = make_lease(action=action, claimed_at=NOW - 9, ended_at=NOW - 5)
    (step,) = make_plan(make_view(of(up(lease=lease), control=ASKED)), NOW).steps
    assert (step.action, step.status) == (
        None,
        HEEDED,
    )


def test_a_restart_that_was_heeded_is_not_made_again() -> None:
    heeded = of(up(), control=ASKED, status=HEEDED)
    assert make_plan(make_view(heeded), NOW) == Plan((), ())


@pytest.mark.parametrize(
    "lease",
    [
        make_lease(action="restart", claimed_at=NOW - 9, ended_at=NOW - 5, outcome="error"),
        make_lease(action="restart", claimed_at=NOW - 62, ended_at=NOW - 5),
        None,
    ],
    ids=["failed", "before", "none"],
)
def test_a_restart_is_still_wanted_after_one_that_failed_or_was_before(lease: Any) -> None:
    (step,) = make_plan(make_view(of(up(lease=lease), control=ASKED)), NOW).steps
    assert isinstance(step.action, Restart)


def test_a_restart_is_void_for_a_worker_that_is_down() -> None:
    down = of(make_subject(make_snapshot(state="stopped", desired="stopped")), control=ASKED)
    (step,) = make_plan(make_view(down), NOW).steps
    assert (step.action, step.status and step.status.restarted_at) == (None, NOW - 10)


def test_a_restart_is_none_of_what_was_never_observed_or_not_asked_for() -> None:
    blind = make_snapshot(control=ASKED)
    assert orders.restart(msgspec.structs.replace(blind, observed=None)) is None
    assert orders.restart(make_snapshot()) is None
