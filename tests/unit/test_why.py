"""What comes next and why nothing is done, for each reason of the planner's, and for children, nodes and circuits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.admission import SkipReason
from supervisor.circuit import Breaker, Forced, Recovery, Verdict
from supervisor.cli.explain import lines
from supervisor.cli.plan import plan_document, plan_lines
from supervisor.decide import decide
from supervisor.model import (
    CollectorDocument,
    NodeDocument,
    Stage,
    SupervisorSettings,
)
from supervisor.nextup import _AFTER
from supervisor.orders import Order
from supervisor.plan import Subject, View
from supervisor.store import Index
from supervisor.view import Child, World
from supervisor.why import Moment, explain_child, explain_circuit, explain_node, explain_worker
from tests.factories import (
    NOW,
    make_child,
    make_child_observed,
    make_lease,
    make_snapshot,
    make_subject,
    make_view,
)
from workers.dfc_read.states import FlowObserved
from workers.model import Control, Observed, Snapshot, Transition

SETTINGS = SupervisorSettings(name="plant-1", groups={"line": 1}, recovery_rate=2.0)
OPEN = Breaker(
    state="open",
    generation=1,
    opened_at=NOW - 30,
    failed_at=NOW - 1,
    reason="broker: no answer",
    incident="1",
    children={"broker": Recovery(attempts=2, failed_at=NOW - 30, asked_at=NOW - 6)},
)
HALF_OPEN = msgspec.structs.replace(
    OPEN, state="half_open", generation=2, eased_at=NOW - 4, probes={f"p{n}": True for n in range(10)}
)
RAMP = Breaker(generation=3, opened_at=NOW - 60, closed_at=NOW - 1, ramp_at=NOW - 0.2)
RESTARTED = make_lease(worker_id="child/broker", action="restart_child", ended_at=NOW - 5, outcome="success")


def node(at: float = NOW - 1, **changes: Any) -> NodeDocument:
    document = NodeDocument(node="edge-1", host="h1", boot_id="b1", executor="edge-1@h1", pid=1, slots=5, at=at)
    return msgspec.structs.replace(document, **changes)


def collector(at: float = NOW - 1) -> CollectorDocument:
    return CollectorDocument(node="edge-1", pid=2, at=at, observed=1, clock_skew=0.0)


def broker(state: Any = "failed", **changes: Any) -> Child:
    fields = {"place": "edge-1", "generation": 1, "observed": make_child_observed(), "lease": RESTARTED}
    return Child(**{"spec": make_child(), "verdict": Verdict(state, "no answer"), **fields, **changes})


def moment(view: View, breaker: Breaker | None = None, *children: Child, **changes: Any) -> Moment:
    """Return a moment of plant-1."""
    places = {subject.id: subject.place for subject in view.subjects}
    verdicts = {**view.verdicts, **{child.spec.name: child.verdict for child in children}}
    view = msgspec.structs.replace(view, settings=SETTINGS, verdicts=verdicts)
    nodes, orders = {"edge-1": (node(), collector())}, changes.pop("orders", {})
    fields: dict[str, Any] = {"nodes": nodes, "view": view, "unreadable_children": {}, **changes}
    world = World(Index(SETTINGS, places, {}, orders=orders), NOW, breaker or Breaker(), children, **fields)
    return Moment("plant-1", world, decide(world))


def wanting(**changes: Any) -> Subject:
    """Return a worker that waits to be started."""
    return make_subject(make_snapshot(state="starting"), **changes)


def changed(**changes: Any) -> Subject:
    return make_subject(make_snapshot(state="starting", **changes))


def raising(snapshot: Snapshot, now: float) -> Transition:
    raise LookupError("no such thing")


def in_group(worker_id: str, **changes: Any) -> Subject:
    snapshot = make_snapshot(worker_id=worker_id, state="starting")
    desired = msgspec.structs.replace(snapshot.desired, group="line")
    return make_subject(msgspec.structs.replace(snapshot, desired=desired), **changes)


def depending(name: str) -> Subject:
    snapshot = make_snapshot(state="starting")
    return make_subject(
        msgspec.structs.replace(snapshot, desired=msgspec.structs.replace(snapshot.desired, depends_on=(name,)))
    )


def next_of(what: str, ahead: float | None = None, see: str | None = None) -> dict[str, Any]:
    at = None if ahead is None else NOW + ahead
    return {"what": what, "at": at, "in_seconds": ahead, "see": see}


STATUS = make_snapshot().status
QUARANTINED = msgspec.structs.replace(
    STATUS, state="starting", quarantined_at=NOW - 10, quarantined_until=NOW + 90, quarantined_for="failures: 5 in 31s"
)
CASES: dict[SkipReason, tuple[Moment, dict[str, Any]]] = {
    SkipReason.PAUSED: (
        moment(make_view(changed(control=Control(paused=True, by="me", at=NOW - 65)))),
        next_of("nothing until `fsmctl resume flow-1`"),
    ),
    SkipReason.NODE_AWAY: (
        moment(make_view(wanting(), slots={})),
        next_of("it goes on when the executor of edge-1 beats again", see="node/edge-1"),
    ),
    SkipReason.DRAINED: (
        moment(make_view(wanting(orders=(Order(kind="drain", scope="node/edge-1", by="me", ends_at=NOW + 60),)))),
        next_of("nothing but stops until `fsmctl drain node/edge-1 --undo`", 60.0, "node/edge-1"),
    ),
    SkipReason.ACTION_IN_PROGRESS: (
        moment(make_view(wanting(lease=make_lease(stage=Stage.RUNNING, begun_at=NOW - 7)))),
        next_of("the start ends by itself, else it is over its time", 23.0),
    ),
    SkipReason.CIRCUIT_OPEN: (
        moment(make_view(wanting()), OPEN, broker()),
        next_of("the restart of child/broker is tried", 2.0, "child/broker"),
    ),
    SkipReason.HALF_OPEN: (
        moment(make_view(wanting(), *(wanting(id=f"p{n}") for n in range(10))), HALF_OPEN),
        next_of("the circuit closes, at the latest unless a check fails", 6.0, "circuit/plant-1"),
    ),
    SkipReason.RAMP: (
        moment(make_view(wanting()), RAMP),
        next_of("its turn comes: 1 of 1 that wait, 2 a second", 0.5, "circuit/plant-1"),
    ),
    SkipReason.DEPENDENCY: (
        moment(make_view(depending("broker")), None, broker("unknown")),
        next_of("it goes on when child/broker is well", see="child/broker"),
    ),
    SkipReason.AWAITING_OBSERVATION: (
        moment(make_view(wanting(lease=make_lease(ended_at=NOW - 0.5)))),
        next_of("its next observation decides", 4.0, "node/edge-1"),
    ),
    SkipReason.STALE_OBSERVATION: (
        moment(make_view(make_subject(make_snapshot(state="starting", age=12.0)))),
        next_of("its next observation decides", -7.0, "node/edge-1"),
    ),
    SkipReason.BACKING_OFF: (
        moment(make_view(wanting(lease=make_lease(outcome="error", failures=2, ended_at=NOW - 1.5)))),
        next_of("its backoff ends and it is tried again", 0.5),
    ),
    SkipReason.QUARANTINED: (
        moment(make_view(changed(status=QUARANTINED))),
        next_of("its quarantine ends, or before by `fsmctl resume flow-1`", 90.0),
    ),
    SkipReason.QUEUE_FULL: (
        moment(
            make_view(
                wanting(),
                *(wanting(id=name, lease=make_lease(stage=Stage.QUEUED)) for name in ("q1", "q2")),
                slots={"edge-1": 1},
            )
        ),
        next_of("it is asked for when an executor takes what is queued before it", see="node/edge-1"),
    ),
    SkipReason.BUDGET: (
        moment(make_view(in_group("flow-1"), in_group("flow-2", lease=make_lease(stage=Stage.RUNNING)))),
        next_of("it is asked for when an action of its group ends: flow-2"),
    ),
    SkipReason.DERIVE_FAILED: (
        moment(make_view(wanting(derive=raising))),
        next_of("it goes on when the code of its type or its rule is mended; every tick tries again"),
    ),
    SkipReason.HOLD_OFF: (
        moment(make_view(wanting(), hold_until=NOW + 3)),
        next_of("leases have been renewed, and actions are asked for again", 3.0),
    ),
}


def explained(found: Moment, worker_id: str = "flow-1") -> dict[str, Any]:
    subject = next(subject for subject in found.world.view.subjects if subject.id == worker_id)
    return explain_worker(found, subject)


@pytest.mark.parametrize("reason", SkipReason)
def test_each_reason_why_nothing_is_done_says_what_comes_next_and_when(reason: SkipReason) -> None:
    found, following = CASES[reason]
    document = explained(found)
    assert document["skip"] is not None
    assert (document["skip"]["reason"], document["next"][0]) == (reason.value, following)
    assert all(len(line) <= 80 for line in lines(document))


def test_no_reason_is_forgotten() -> None:
    assert set(_AFTER) == set(SkipReason)


def test_a_floating_worker_waits_for_any_node() -> None:
    away = moment(make_view(wanting(place="pool"), slots={"pool": 0}))
    assert explained(away)["next"] == [next_of("it goes on when any node's executor beats again")]
    queued = wanting(place="pool", lease=make_lease(stage=Stage.QUEUED, claimed_at=NOW - 2))
    (one,) = explained(moment(make_view(queued, slots={"pool": 5})))["next"]
    assert one == next_of("an executor of any node begins the start, else it counts as lost", 8.0)
    stale = make_subject(make_snapshot(state="starting", age=12.0), place="pool")
    assert explained(moment(make_view(stale, slots={"pool": 5})))["next"][0]["see"] is None


def test_a_queued_action_says_which_node_is_to_begin_it() -> None:
    (one,) = explained(moment(make_view(wanting(lease=make_lease(stage=Stage.QUEUED)))))["next"]
    assert one == next_of("an executor of edge-1 begins the start, else it counts as lost", 8.0, "node/edge-1")


def test_what_the_next_tick_does_is_said_first() -> None:
    due = explained(moment(make_view(wanting())))
    assert due["would"] == {
        "action": "start",
        "state": None,
        "cancel": False,
        "leave": False,
        "reason": "desired is running and nothing runs: nothing has been started since the host booted",
    }
    assert due["next"] == [next_of("the next tick asks for start", 0.0)]
    stopped = explained(moment(make_view(make_subject())))
    assert stopped["next"] == [next_of("the next tick makes it starting", 0.0)]


def test_an_action_that_a_stop_wants_to_end_is_asked_to_give_up() -> None:
    lease = make_lease(stage=Stage.RUNNING, begun_at=NOW - 7)
    subject = make_subject(make_snapshot(state="starting", desired="stopped"), lease)
    what = [one["what"] for one in explained(moment(make_view(subject)))["next"]]
    assert what == ["the next tick asks the start to give up", "the start ends by itself, else it is over its time"]
    asked = make_subject(subject.snapshot, msgspec.structs.replace(lease, cancel="desired is stopped"))
    document = explained(moment(make_view(asked)))
    assert document["next"][1] == next_of("the start gives up, as it was asked to: desired is stopped")
    assert "It was asked to give up: desired is stopped." in " ".join(" ".join(lines(document)).split())


@pytest.mark.parametrize(("to", "what"), [("", "be forgotten"), ("edge-2", "go to edge-2")])
def test_a_worker_that_leaves_says_where_to(to: str, what: str) -> None:
    snapshot = make_snapshot(state="stopped")
    desired = msgspec.structs.replace(snapshot.desired, removed=not to, moves_to=to)
    subject = make_subject(msgspec.structs.replace(snapshot, desired=desired))
    assert explained(moment(make_view(subject)))["next"] == [next_of(f"the next tick lets it {what}", 0.0)]


def test_a_worker_that_is_as_desired_waits_for_its_next_look() -> None:
    up = Observed(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
    document = explained(moment(make_view(make_subject(make_snapshot(state="running", observed=up)))))
    assert document["next"] == [next_of("nothing, as it is as desired; its next observation is looked at", 4.0)]
    assert lines(document) == [
        "State     worker/flow-1 on edge-1 of plant-1 has been running for 50s; desired",
        "          is running.",
        "Why       Pid 42 runs.",
        "Action    None is needed.",
        "Next      Nothing, as it is as desired; its next observation is looked at, in",
        "          4.0s.",
        "Lease     Nobody holds it; no action was ever asked for.",
        "Observed  1.0s ago; the next look is due in 4.0s.",
    ]


def test_a_stop_waits_for_the_workers_that_depend_on_it() -> None:
    up = Observed(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
    first = make_subject(make_snapshot(state="stopping", desired="stopped", observed=up))
    later = make_snapshot(worker_id="flow-2", state="running", desired="stopped", observed=up)
    later = msgspec.structs.replace(later, desired=msgspec.structs.replace(later.desired, depends_on=("flow-1",)))
    document = explained(moment(make_view(first, make_subject(later))))
    assert document["skip"] == {"reason": "dependency", "detail": "worker flow-2 depends on it and stops first"}
    assert document["next"] == [next_of("it is stopped once those are, and at the latest", 10.0)]


def test_a_worker_that_waits_for_another_says_for_which() -> None:
    found = moment(make_view(depending("flow-2"), make_subject(make_snapshot(worker_id="flow-2"))))
    assert explained(found)["next"] == [next_of("it goes on when worker/flow-2 is well", see="worker/flow-2")]


def test_a_worker_that_cannot_be_read_says_so() -> None:
    document = explained(
        moment(make_view(Subject("flow-1", "edge-1", 1, None, None, raising, {}, "document at x cannot be read")))
    )
    assert (document["state"], document["reason"]) == ("unreadable", "document at x cannot be read")
    assert document["next"][0]["what"].startswith("it goes on when that document is mended")
    assert "Not yet." in " ".join(lines(document))


def test_a_forced_circuit_holds_back_until_its_reset() -> None:
    forced = msgspec.structs.replace(Breaker(), forced=Forced(state="open", by="me", at=NOW, reason="upgrade"))
    found = moment(make_view(wanting()), forced)
    assert explained(found)["next"] == [
        next_of("it goes on after `fsmctl circuit reset plant-1`", see="circuit/plant-1")
    ]
    circuit = explain_circuit(found)
    assert circuit["next"] == [next_of("it stays open until `fsmctl circuit reset plant-1`")]
    assert "Forced    By me: upgrade." in lines(circuit)
    failed = moment(make_view(), forced, broker())
    assert explain_child(failed, failed.world.children[0])["next"] == [
        next_of("nothing is restarted until `fsmctl circuit reset plant-1`")
    ]


def test_a_tick_that_opens_the_circuit_says_so_for_all() -> None:
    found = moment(make_view(wanting()), None, broker())
    opens = next_of("the next tick opens the circuit: broker: no answer", 0.0, "circuit/plant-1")
    assert explained(found)["next"] == [opens]
    assert explain_circuit(found)["next"] == [next_of("the next tick opens it: broker: no answer", 0.0)]
    assert explain_child(found, found.world.children[0])["next"] == [next_of("the next tick restarts it", 0.0)]


def test_an_open_circuit_says_when_the_next_attempt_is_due() -> None:
    found = moment(make_view(wanting()), OPEN, broker())
    document = explain_circuit(found)
    assert document["held_back"] == {"circuit_open": 1}
    assert document["next"] == [
        next_of("child/broker: attempt 3 to restart it", 2.0, "child/broker"),
        next_of("it eases when their checks pass"),
    ]
    assert lines(document) == [
        "State     circuit/plant-1 is open, down for 30s.",
        "Why       broker: no answer.",
        "Recovery  attempting_recovery: 2 of 5 attempts; incident 1.",
        "Child     child/broker is failed: no answer.",
        "Holds     1 circuit_open.",
        "Next      child/broker: attempt 3 to restart it, in 2.0s (fsmctl explain",
        "          child/broker).",
        "          It eases when their checks pass.",
    ]


def test_an_open_circuit_whose_checks_pass_waits_for_the_flap_window() -> None:
    found = moment(make_view(wanting()), OPEN, broker("ok", lease=None))
    assert explain_circuit(found)["next"] == [next_of("all checks pass; it eases unless one fails again before", 9.0)]


def test_half_open_and_ramping_circuits_say_how_far_they_are() -> None:
    trying = msgspec.structs.replace(HALF_OPEN, probes={"flow-1": True})
    half = moment(make_view(wanting(), wanting(id="flow-2")), trying)
    assert explain_circuit(half)["next"] == [
        next_of("1 of 10 workers try; it closes once they have settled, at the latest", 6.0)
    ]
    assert explain_circuit(moment(make_view(wanting()), RAMP))["next"] == [
        next_of("actions ramp at 2 a second until none is held back")
    ]
    assert explain_circuit(moment(make_view()))["next"] == [next_of("it opens when a check fails")]


def test_a_child_says_what_is_done_for_it() -> None:
    running = make_lease(action="restart_child", stage=Stage.RUNNING, begun_at=NOW - 7, timeout=60.0)
    restarted = moment(make_view(), OPEN, broker(lease=running))
    assert explain_child(restarted, restarted.world.children[0])["next"] == [
        next_of("its restart_child ends, or is over its time", 53.0)
    ]
    unknown = moment(make_view(), None, broker("unknown"))
    assert explain_child(unknown, unknown.world.children[0])["next"] == [
        next_of("its next look decides", 4.0, "node/edge-1")
    ]
    unseen = moment(make_view(), None, broker("unknown", spec=make_child(node=""), observed=None, lease=None))
    assert explain_child(unseen, unseen.world.children[0])["next"] == [next_of("its next look decides")]
    well = moment(make_view(depending("broker")), None, broker("ok"))
    document = explain_child(well, well.world.children[0])
    assert (document["next"], document["dependents"]) == ([], ["flow-1"])
    other = moment(make_view(), OPEN, broker(spec=make_child(type="supervisor", process=None)))
    assert explain_child(other, other.world.children[0])["next"] == [
        next_of("it looks after itself: see its own circuit", see="circuit/broker")
    ]


LACKING = Verdict("ok", "passes its check; lacks topics a", "topics a")
REFUSED = make_lease(
    action="create_topics", outcome="error", failures=3, ended_at=NOW - 1, detail="topic a was refused"
)
FORCED = Breaker(forced=Forced(state="open", by="me", at=NOW))
DRAIN = {"drain node/edge-1": Order(kind="drain", scope="node/edge-1", by="me", at=NOW)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            moment(make_view(), None, broker(verdict=LACKING)),
            next_of("the next tick has its topics created", 0.0),
        ),
        (
            moment(make_view(), None, broker(verdict=LACKING, lease=REFUSED)),
            next_of("its topics are created again: topic a was refused", 3.0),
        ),
        (
            moment(make_view(), None, broker(verdict=LACKING, lease=make_lease(stage=Stage.RUNNING, begun_at=NOW))),
            next_of("its start ends, or is over its time", 30.0),
        ),
        (
            moment(make_view(), FORCED, broker(verdict=LACKING)),
            next_of("nothing is created until `fsmctl circuit reset plant-1`"),
        ),
        (
            moment(make_view(), None, broker(verdict=LACKING), orders=DRAIN),
            next_of("nothing is created until the drain of edge-1 ends", see="node/edge-1"),
        ),
    ],
)
def test_a_child_that_lacks_topics_says_when_they_are_created(found: Moment, expected: dict[str, Any]) -> None:
    assert explain_child(found, found.world.children[0])["next"] == [expected]


def test_a_plan_tells_whose_topics_are_created() -> None:
    found = moment(make_view(depending("broker")), None, broker(verdict=LACKING))
    document = plan_document("plant-1", found.world, found.decided)
    assert document["creations"] == [{"child": "broker", "node": "edge-1", "reason": "lacks topics a"}]
    told = plan_lines(document)
    assert any("create_topics" in line and "child/broker" in line for line in told)
    assert any("1 creation; 1 skipped (1 dependency)" in line for line in told)


def test_a_failed_child_shows_its_runbook() -> None:
    found = moment(make_view(), OPEN, broker())
    told = lines(explain_child(found, found.world.children[0]))
    assert told[:3] == [
        "Verdict   child/broker on edge-1 of plant-1 is failed.",
        "Why       No answer. Its check is redis 127.0.0.1:7390.",
        "Restarts  2 of 5 attempts were made.",
    ]
    assert any(line.startswith("By hand") for line in told)


def test_a_node_says_whether_it_is_heard_and_what_it_does() -> None:
    running = wanting(lease=make_lease(stage=Stage.RUNNING))
    queued = wanting(id="flow-2", lease=make_lease(stage=Stage.QUEUED))
    document = explain_node(moment(make_view(running, queued, wanting(id="flow-3"))), "edge-1")
    assert (document["running"], document["queued"]) == (["start flow-1"], ["start flow-2"])
    assert document["skips_by_reason"] == {"action_in_progress": 2}
    assert document["next"] == [next_of("it counts as away, if it is not heard before", 14.0)]


@pytest.mark.parametrize(
    ("beats", "why"),
    [
        ((None, None), "no executor has ever said that it serves this node"),
        ((node(left=True), collector()), "its executor edge-1@h1 left in order 1s ago"),
        ((node(at=NOW - 20), collector(NOW - 20)), "its executor edge-1@h1 was last heard 20s ago; 15s make it away"),
    ],
)
def test_a_node_that_is_away_says_why(beats: Any, why: str) -> None:
    document = explain_node(moment(make_view(), nodes={"edge-1": beats}), "edge-1")
    assert (document["status"], document["reason"]) == ("away", why)
    assert all(len(line) <= 80 for line in lines(document))


def test_a_collector_that_is_silent_is_told() -> None:
    document = explain_node(
        moment(make_view(), nodes={"edge-1": (node(clock_skew=7200.0), collector(NOW - 12))}), "edge-1"
    )
    assert document["next"][-1]["what"] == "its collector has been silent for 12s; its executor replaces it"
    assert "Clock     7200.0s ahead of Redis'; nothing depends on it." in lines(document)


def test_a_worker_on_its_way_waits_for_what_its_next_look_says() -> None:
    seen = FlowObserved(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 5, config_id="c1")
    subject = make_subject(make_snapshot(kind="dfc_read", state="starting", observed=seen))
    assert explained(moment(make_view(subject)))["next"] == [next_of("its next observation decides", 4.0)]


def test_only_the_dependencies_that_are_not_well_are_waited_for() -> None:
    snapshot = make_snapshot(state="starting")
    desired = msgspec.structs.replace(snapshot.desired, depends_on=("plc", "broker"))
    subject = make_subject(msgspec.structs.replace(snapshot, desired=desired))
    view = make_view(subject, verdicts={"plc": Verdict("ok", "passes its check")})
    assert [one["see"] for one in explained(moment(view, None, broker("unknown")))["next"]] == ["child/broker"]


def test_a_budget_that_the_next_tick_uses_up_names_who_does() -> None:
    found = moment(make_view(in_group("flow-1"), in_group("flow-2")))
    assert explained(found, "flow-2")["next"] == [next_of("it is asked for when an action of its group ends: flow-1")]


def test_a_child_that_nobody_has_started_is_started_by_the_next_tick_unless_its_node_is_drained() -> None:
    absent = moment(make_view(), None, broker("absent", lease=None))
    assert explain_child(absent, absent.world.children[0])["next"] == [next_of("the next tick restarts it", 0.0)]
    drain = Order(kind="drain", scope="node/edge-1", by="me")
    drained = moment(make_view(), OPEN, broker(), orders={drain.name: drain})
    assert explain_child(drained, drained.world.children[0])["next"] == [
        next_of("nothing is restarted until the drain of edge-1 ends", see="node/edge-1")
    ]


def test_a_child_that_an_operator_wants_restarted_is_unless_its_restart_runs() -> None:
    asked = Control(restart_at=NOW - 1, restart_by="me")
    found = moment(make_view(), None, broker("ok", control=asked))
    assert [child.spec.name for child in found.decided.restarts] == ["broker"]
    running = make_lease(action="restart_child", stage=Stage.RUNNING, claimed_at=NOW - 30)
    assert moment(make_view(), None, broker("ok", control=asked, lease=running)).decided.restarts == ()


def test_the_next_tick_frees_what_is_over_its_deadline_but_in_a_hold_off() -> None:
    over = wanting(lease=make_lease(stage=Stage.RUNNING, deadline=NOW - 1))
    assert [item for item, _, _ in moment(make_view(over)).decided.overdue] == ["flow-1"]
    assert moment(make_view(over, hold_until=NOW + 3)).decided.overdue == ()


def test_a_claim_from_before_redis_was_replaced_is_over_when_the_hold_off_is_and_says_so() -> None:
    old = wanting(lease=make_lease(stage=Stage.QUEUED, claimed_at=NOW - 5, deadline=NOW + 25))
    assert moment(make_view(old)).decided.overdue == ()
    assert [item for item, _, _ in moment(make_view(old, data_since=NOW - 4)).decided.overdue] == ["flow-1"]
    held = moment(make_view(old, data_since=NOW - 4, hold_until=NOW + 0.3))
    assert held.decided.overdue == ()
    (following,) = explain_worker(held, old)["next"]
    assert (following["what"], following["at"]) == ("the start counts as lost, and is asked for again", NOW + 0.3)


def test_a_plan_tells_everything_that_the_tick_would_do_what_is_done_first() -> None:
    up = Observed(collected_at=NOW - 1, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
    gone = make_snapshot(worker_id="gone")
    moves = make_snapshot(worker_id="moves")
    found = moment(
        make_view(
            wanting(),
            make_subject(make_snapshot(worker_id="new")),
            make_subject(make_snapshot(worker_id="up", state="running", observed=up)),
            make_subject(
                make_snapshot(worker_id="stops", desired="stopped", state="starting"),
                make_lease(stage=Stage.RUNNING, begun_at=NOW - 7, worker_id="stops"),
            ),
            wanting(id="lost", lease=make_lease(stage=Stage.RUNNING, begun_at=NOW - 7, deadline=NOW - 1)),
            make_subject(msgspec.structs.replace(gone, desired=msgspec.structs.replace(gone.desired, removed=True))),
            make_subject(
                msgspec.structs.replace(moves, desired=msgspec.structs.replace(moves.desired, moves_to="edge-2"))
            ),
        ),
        None,
        broker("absent", lease=None),
    )
    document = plan_document("plant-1", found.world, found.decided)
    assert plan_lines(document) == [
        "plant-1: a tick now, under a circuit that is closed",
        "  restart_child       child/broker  absent: no answer",
        "  lost                lost          start running past its deadline",
        "  start               flow-1        desired is running and nothing runs: nothin…",
        "  to starting         new           desired is running and nothing runs: nothin…",
        "  cancel start        stops         desired is stopped",
        "  forget              gone          desired is stopped (removed from the fleet …",
        "  move                moves         desired is stopped (it moves to edge-2) and…",
        "  action_in_progress  lost          start running for 7s",
        "  action_in_progress  stops         start running for 7s",
        "  1 action; 1 transition; 1 restart; 2 departures; 2 skipped (2",
        "  action_in_progress); 1 of 7 workers as they are",
    ]
    assert all(len(line) <= 80 for line in plan_lines(document))
    assert document["leaves"][1]["to"] == "edge-2"


def test_a_plan_that_opens_the_circuit_says_so() -> None:
    found = moment(make_view(wanting()), None, broker())
    told = plan_lines(plan_document("plant-1", found.world, found.decided))
    assert told[0] == "plant-1: a tick now, under a circuit that is closed, which becomes open"
