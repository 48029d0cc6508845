"""Whole ticks: a store, a fake clock, observations written by hand, messages kept instead of sent."""

from __future__ import annotations

import msgspec
import pytest
import structlog

from actions.model import Outcome
from actions.restart_child import RestartChild
from supervisor import tick
from supervisor.circuit import Breaker, Recovery
from supervisor.decide import Decided
from supervisor.dispatch import Message
from supervisor.keys import SUPERVISOR
from supervisor.model import Incident
from supervisor.tick import Report
from supervisor.view import World
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, put, worker

CHILD = "child/broker"


@pytest.fixture
def calm(bare_plant: Plant) -> Plant:
    """Return a plant with a broker that works and flow-1 that wants to be started; nothing was ticked yet."""
    bare_plant.apply_fleet(worker("flow-1"), children=[make_child(start_grace=0.0)])
    look(bare_plant)
    return bare_plant


def look(plant: Plant, broker: str = "ok", **workers: int) -> None:
    """Beat, and observe all as it is now: the broker "ok" or why it fails, workers by pid (0: down)."""
    plant.heartbeat()
    seen = {CHILD: plant.child_up() if broker == "ok" else plant.child_failed(broker)}
    pids = {"flow-1": 0, **{name.replace("_", "-"): pid for name, pid in workers.items()}}
    plant.observe({**seen, **{name: plant.up(pid) if pid else plant.down() for name, pid in pids.items()}})


def advance(plant: Plant, seconds: float, broker: str = "ok", **workers: int) -> tuple[Report, list[Message]]:
    """Let time pass, observe, and run a tick a second later."""
    plant.clock.advance(seconds - 1.0)
    look(plant, broker, **workers)
    return plant.must_tick()


def finish(plant: Plant, message: Message, outcome: Outcome = Outcome.SUCCESS) -> None:
    """Run an action to its end at once."""
    assert plant.begin(grant_of(message)) is None
    assert plant.runtime.leases.end(grant_of(message), "r1", outcome, "")


def circuit_events(plant: Plant) -> list[str]:
    return [event["event"] for event in plant.events(SUPERVISOR)]


def without_id(report: Report) -> Report:
    return msgspec.structs.replace(report, tick_id="")


def report(plant: Plant, **changes: object) -> Report:
    """Return the report of a tick that did nothing, but looked at all."""
    usual = Report(
        tick_id="",
        now=plant.clock.now(),
        last_action="NormalTick",
        circuit="closed",
        workers=1,
        looked_at=1,
        claimed=0,
        refused=0,
        transitions=0,
        skips={},
    )
    return msgspec.structs.replace(usual, **{"looked_at": changes.get("workers", 1), **changes})


def test_a_tick_without_a_fleet_is_none(bare_plant: Plant) -> None:
    assert tick.run(bare_plant.runtime, bare_plant.sent.extend, NAME) is None
    assert bare_plant.dump() == {}


def test_s1_a_failed_check_opens_the_circuit_ends_the_tick_and_the_last_action_is_the_childs_restart(
    calm: Plant,
) -> None:
    found, messages = advance(calm, 2, "no answer")
    assert without_id(found) == report(calm, last_action="ChildRestart", circuit="open", claimed=1)
    assert [(m.worker_id, m.action, m.params) for m in messages] == [
        (CHILD, "restart_child", {"child_name": "broker", "failed_pid": 99, "failed_start_ticks": 9})
    ]
    assert calm.store.breaker(NAME) == Breaker(
        state="open",
        generation=1,
        opened_at=calm.clock.now(),
        failed_at=calm.clock.now(),
        reason="broker: no answer",
        children={"broker": Recovery(1, calm.clock.now(), calm.clock.now())},
        incident=str(int(calm.clock.now())),
    )
    assert calm.status("flow-1") is None
    assert calm.lease("flow-1") is None
    assert circuit_events(calm) == ["circuit.opened", "circuit.restart"]
    assert calm.counters(SUPERVISOR) == {
        "supervisor_infrastructure_check_failures_total": "1",
        "supervisor_circuit_transitions_total|open": "1",
        "supervisor_ticks_total": "1",
    }
    document = calm.tick_document()
    assert msgspec.json.decode(document.report, type=Report) == found


def test_s2_attempts_wait_one_two_four_up_to_sixty_seconds_after_the_end_of_the_one_before(calm: Plant) -> None:
    _, messages = advance(calm, 2, "no answer")
    waited = []
    for _ in range(9):
        finish(calm, messages[0])
        ended = calm.clock.now()
        calm.clock.advance(0.0625)  # what is observed at the very end of the restart does not count
        messages = []
        while not messages:
            _, messages = advance(calm, 1, "no answer")
        waited.append(calm.clock.now() - ended - 0.0625)
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert calm.store.breaker(NAME).attempts == 10


def test_s2_no_attempt_starts_while_one_is_in_progress(calm: Plant) -> None:
    _, (message,) = advance(calm, 2, "no answer")
    assert calm.begin(grant_of(message)) is None
    for _ in range(20):
        calm.renew(grant_of(message))
        _, messages = advance(calm, 1, "no answer")
        assert messages == []
    assert calm.store.breaker(NAME).attempts == 1


def test_s3_a_check_that_passes_again_closes_the_circuit_with_attempts_at_zero_and_its_downtime(calm: Plant) -> None:
    _, (first,) = advance(calm, 2, "no answer")
    opened_at = calm.clock.now()
    finish(calm, first)
    advance(calm, 1, "no answer")
    advance(calm, 1, "no answer")
    assert calm.store.breaker(NAME).attempts == 2
    failed_at = calm.clock.now()
    finish(calm, calm.sent[-1])
    found, _ = advance(calm, 5.5)
    assert calm.store.breaker(NAME) == Breaker(
        state="closed",
        generation=3,  # half open in between, for no time: nobody waited
        opened_at=opened_at,
        failed_at=failed_at,
        eased_at=calm.clock.now(),
        closed_at=calm.clock.now(),
        reason="all checks pass",
        incident=str(int(opened_at)),
        ramp_at=calm.clock.now(),
    )
    assert (found.circuit, found.last_action) == ("closed", "NormalTick")
    assert calm.counters(SUPERVISOR)["supervisor_circuit_breaker_recoveries_total"] == "1"
    (closed,) = [event for event in calm.events(SUPERVISOR) if event["event"] == "circuit.closed"]
    assert closed == {
        "event": "circuit.closed",
        "child_name": "broker",
        "incident": str(int(opened_at)),
        "total_downtime": "7.5",
        "retry_attempt": "2",
    }
    assert calm.store.incidents(NAME) == [
        Incident(
            id=str(int(opened_at)),
            opened_at=opened_at,
            reason="broker: no answer",
            children=("broker",),
            attempts=2,
            closed_at=calm.clock.now(),
        )
    ]


def test_s4_a_healthy_tick_is_a_normal_tick_and_brings_a_worker_up_step_by_step(calm: Plant) -> None:
    found, messages = calm.must_tick()
    assert without_id(found) == report(calm, transitions=1)
    assert messages == []
    found, messages = advance(calm, 2)
    assert without_id(found) == report(calm, claimed=1)
    assert [(m.worker_id, m.action, m.queue) for m in messages] == [("flow-1", "start", "actions.edge-1")]
    finish(calm, messages[0])
    found, messages = advance(calm, 2, flow_1=42)
    assert (without_id(found), messages) == (report(calm, transitions=1), [])
    found, messages = advance(calm, 2, flow_1=42)
    assert (without_id(found), messages) == (report(calm), [])
    status = calm.status("flow-1")
    assert status is not None
    assert (status.state, status.reason) == ("running", "pid 42 runs")
    assert calm.counters(SUPERVISOR) == {"supervisor_ticks_total": "4"}
    assert circuit_events(calm) == []
    assert [event["event"] for event in calm.events()] == [
        "worker.transition",
        "action.claimed",
        "action.begun",
        "action.ended",
        "worker.transition",
    ]


def test_s9_a_worker_whose_action_is_in_progress_is_skipped_and_the_others_go_on(calm: Plant) -> None:
    calm.apply_fleet(worker("flow-1"), worker("flow-2"), worker("flow-3"), children=[make_child()])
    held = calm.running("flow-2")
    before = calm.lease("flow-2")
    advance(calm, 2, flow_2=0, flow_3=0)
    found, messages = advance(calm, 2, flow_2=0, flow_3=0)
    assert [m.worker_id for m in messages] == ["flow-1", "flow-3"]
    assert without_id(found) == report(calm, workers=3, claimed=2, skips={"action_in_progress": 1})
    assert calm.lease("flow-2") == before
    assert calm.renew(held) == {"a1": "renewed"}


def test_s11_when_infrastructure_fails_while_an_action_is_in_progress_infrastructure_wins(calm: Plant) -> None:
    calm.apply_fleet(worker("flow-1"), worker("flow-2"), children=[make_child()])
    held = calm.running("flow-1")
    found, messages = advance(calm, 2, "no answer", flow_2=0)
    assert [m.action for m in messages] == ["restart_child"]
    assert without_id(found) == report(calm, workers=2, claimed=1, circuit="open", last_action="ChildRestart")
    assert (calm.status("flow-1"), calm.status("flow-2")) == (None, None)
    assert calm.runtime.leases.end(held, "r1", Outcome.SUCCESS, "done") is True
    assert calm.counters()["supervisor_actions_during_circuit_total"] == "1"


def test_s13_s14_what_was_observed_while_the_circuit_was_open_is_acted_on_at_once_when_it_closes(calm: Plant) -> None:
    advance(calm, 2)
    _, (message,) = advance(calm, 2, "no answer")
    finish(calm, message)
    for _ in range(3):
        found, messages = advance(calm, 30, "no answer")
        assert [m.action for m in messages] in ([], ["restart_child"])
        for restart in messages:
            finish(calm, restart)
    assert found.circuit == "open"
    assert found.skips == {"circuit_open": 1}
    found, messages = advance(calm, 2)
    assert [(m.worker_id, m.action) for m in messages] == [("flow-1", "start")]
    assert without_id(found) == report(calm, claimed=1)


def test_a_stop_passes_an_open_circuit(calm: Plant) -> None:
    calm.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    advance(calm, 2, "no answer", flow_1=42)
    _, first = advance(calm, 2, "no answer", flow_1=42)
    found, second = advance(calm, 2, "no answer", flow_1=42)
    assert found.circuit == "open"
    assert [m.action for m in [*first, *second] if m.worker_id == "flow-1"] == ["stop"]


@pytest.mark.parametrize("kind", ["identity", "desired", "override", "observed", "status", "lease"])
def test_a_worker_document_that_cannot_be_read_costs_that_worker_only(calm: Plant, kind: str) -> None:
    calm.apply_fleet(worker("flow-1"), worker("flow-2"), children=[make_child()])
    key = getattr(calm.keys, kind)(NODE, "flow-1")
    advance(calm, 2, flow_2=0)
    look(calm, flow_2=0)
    calm.client.set(key, '{"schema": 99}')
    calm.store.touch(NAME)  # as who changes what is wished for does
    found, messages = calm.must_tick()
    assert [m.worker_id for m in messages] == ["flow-2"]
    assert without_id(found) == report(calm, workers=2, claimed=1, skips={"derive_failed": 1})
    assert calm.client.get(key) == '{"schema": 99}'


@pytest.mark.parametrize(("kind", "skips"), [("node", {"node_away": 1}), ("collector", {})])
def test_a_heartbeat_that_cannot_be_read_does_not_end_the_tick(calm: Plant, kind: str, skips: dict[str, int]) -> None:
    calm.client.set(getattr(calm.keys, kind)(NODE), '{"schema": 99}')
    found, messages = calm.must_tick()
    assert (found.workers, found.circuit, found.skips, messages) == (1, "closed", skips, [])


def test_a_child_that_cannot_be_read_holds_back_the_workers_that_depend_on_it(calm: Plant) -> None:
    calm.apply_fleet(worker("flow-1", depends_on=["broker"]), children=[make_child()])
    advance(calm, 2)
    look(calm)
    calm.client.set(calm.keys.observed(NODE, CHILD), '{"schema": 99}')
    found, messages = calm.must_tick()
    assert messages == []
    assert found.skips == {"dependency": 1}


def test_a_lost_message_is_reaped_after_thirty_seconds_and_its_action_is_tried_again(calm: Plant) -> None:
    advance(calm, 2)
    _, (lost,) = advance(calm, 2)
    claimed_at = calm.clock.now()
    while calm.clock.now() < claimed_at + 30:
        found, messages = advance(calm, 1)
        assert (messages, found.skips) == ([], {"action_in_progress": 1})
    advance(calm, 1)
    lease = calm.lease()
    assert lease is not None
    assert (lease.action_id, lease.outcome, lease.failures) == (lost.action_id, "lost", 1)
    assert calm.counters()["supervisor_actions_completed_total|flow-1|start|lost"] == "1"
    messages = []
    while not messages:
        assert calm.clock.now() < claimed_at + 40
        _, messages = advance(calm, 1)
    assert [(m.worker_id, m.action) for m in messages] == [("flow-1", "start")]
    assert int(messages[0].token) > int(lost.token)
    assert messages[0].action_id != lost.action_id
    assert calm.begin(grant_of(lost)) == "other_token"
    assert calm.begin(grant_of(messages[0])) is None


def test_a_tick_that_lost_its_lease_while_it_decided_publishes_nothing_and_says_that_it_was_late(
    calm: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance(calm, 2)
    look(calm)
    decide = tick.decide

    def paused(world: World) -> Decided:
        calm.clock.advance(60)
        return decide(world)

    monkeypatch.setattr(tick, "decide", paused)
    found, messages = calm.must_tick()
    assert (found.late, messages) == (True, [])
    assert (calm.lease(), calm.counters()) == (None, {})


def test_an_observation_from_before_the_end_of_the_last_action_is_not_acted_on(calm: Plant) -> None:
    advance(calm, 2)
    _, (message,) = advance(calm, 2)
    calm.clock.advance(1)
    finish(calm, message)
    found, messages = calm.must_tick()
    assert (messages, found.skips) == ([], {"awaiting_observation": 1})


def test_a_removed_worker_is_stopped_forgotten_and_may_come_back(calm: Plant) -> None:
    advance(calm, 2, flow_1=42)
    calm.apply_fleet(children=[make_child()])
    advance(calm, 2, flow_1=42)
    advance(calm, 2, flow_1=42)
    assert [m.action for m in calm.sent] == ["stop"]
    finish(calm, calm.sent[0])
    for _ in range(2):
        advance(calm, 2)
    assert [key for key in calm.client.keys("*:flow-1") if ":observed:" not in key] == []
    assert calm.apply_fleet(worker("flow-1"), children=[make_child()]).added == ["flow-1"]
    for _ in range(2):
        advance(calm, 2)
    assert [m.action for m in calm.sent] == ["stop", "start"]


def test_a_worker_that_comes_back_while_a_tick_is_about_to_forget_it_is_kept(calm: Plant) -> None:
    calm.apply_fleet(children=[make_child()])
    look(calm)
    calm.clock.advance(1)
    tick.run(calm.runtime, lambda _: calm.apply_fleet(worker("flow-1"), children=[make_child()]), NAME)
    index = calm.store.index(NAME)
    assert index is not None
    assert index.workers == [("flow-1", NODE)]


def test_an_attempt_is_a_restart_that_was_started(calm: Plant) -> None:
    action = RestartChild(child_name="broker")
    calm.running(CHILD, action=action)
    _, messages = advance(calm, 2, "no answer")
    assert messages == []
    assert calm.store.breaker(NAME).is_open
    assert calm.store.breaker(NAME).attempts == 0


def test_a_child_that_nobody_has_started_is_started_without_opening_the_circuit(calm: Plant) -> None:
    calm.heartbeat()
    absent = calm.child_up(pid=None, start_ticks=0, started_at=None, passes=0, failures=1, started=False)
    calm.observe({CHILD: absent, "flow-1": calm.down()})
    found, messages = calm.must_tick()
    assert [(m.worker_id, m.action) for m in messages] == [(CHILD, "restart_child")]
    assert found.circuit == "closed"
    assert circuit_events(calm) == []


def test_a_node_that_is_away_opens_no_circuit_and_nothing_is_sent_there(calm: Plant) -> None:
    calm.observe({CHILD: calm.child_failed(), "flow-1": calm.down()})
    calm.clock.advance(15)
    found, messages = calm.must_tick()
    assert messages == []
    assert without_id(found) == report(calm, skips={"node_away": 1})


def test_s20_what_concerns_infrastructure_and_what_concerns_one_worker_can_be_told_apart_in_the_log(
    calm: Plant,
) -> None:
    with structlog.testing.capture_logs() as logs:
        advance(calm, 2, "no answer")
        advance(calm, 1, "no answer")
        advance(calm, 1, "no answer")
    scopes = {(line["event_name"], line.get("error_scope"), line.get("impact")) for line in logs}
    circuit = ("infrastructure.check_failed", "circuit.opened", "circuit.restart", "circuit.heartbeat")
    assert {(name, "infrastructure", "all_workers") for name in circuit} <= scopes
    assert ("worker.skipped", "worker", "single_worker") in scopes
    assert {scope for name, scope, _ in scopes if name.startswith(("circuit.", "infrastructure."))} == {
        "infrastructure"
    }


def test_a_ramp_goes_on_while_a_full_queue_holds_workers_back_instead_of_it(bare_plant: Plant) -> None:
    plant, flows = bare_plant, [f"flow-{number}" for number in range(6)]
    plant.apply_fleet(*(worker(flow) for flow in flows), recovery_rate=100.0)
    plant.heartbeat(slots=1)  # two may be queued
    plant.observe({flow: plant.down() for flow in flows})
    plant.must_tick()  # they are to start
    put(plant, plant.keys.circuit, Breaker(generation=3, closed_at=plant.clock.now(), ramp_at=plant.clock.now()))
    report, messages = plant.must_tick()
    assert (len(messages), report.skips) == (2, {"queue_full": 4})
    assert plant.store.breaker(NAME).ramp_at > 0
    plant.heartbeat(slots=5)
    plant.must_tick()
    assert plant.store.breaker(NAME).ramp_at == 0.0


def test_a_tick_asks_for_stops_before_starts_and_for_starts_before_housekeeping(bare_plant: Plant) -> None:
    plant = bare_plant
    plant.apply_fleet(worker("flow-1", config_id="c2"), worker("flow-2"), worker("flow-3", "stopped"))
    plant.heartbeat()
    for _ in range(2):
        plant.observe({"flow-1": plant.up(), "flow-2": plant.down(), "flow-3": plant.up()})
        _, messages = plant.must_tick()
    assert [(m.worker_id, m.action, m.first) for m in messages] == [
        ("flow-3", "stop", True),
        ("flow-2", "start", False),
        ("flow-1", "reconfigure", False),
    ]
