"""What is written to stderr from an outage's first failed check to its end, and around an action (S17, S20)."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import pytest

from actions.model import Outcome
from actions.noop import Noop
from supervisor import execute
from supervisor.dispatch import Message
from supervisor.keys import CHILD_PREFIX
from supervisor.logs import configure
from supervisor.model import Runbook
from supervisor.runbooks import runbook_of
from tests.factories import make_child
from tests.integration.plant import Plant, grant_of, worker
from tests.loglines import faults_in, lines_of

BROKER = make_child(start_grace=0.0, runbook=Runbook(url="https://example.com/broker", steps=("Look", "Restart it")))
# level, message and fields of each log statement of the plan, by task. Tasks 1.1 and 4.2 word the same moments twice,
# as do 3.4, 3.5 and 4.2 the escalation: the longest wording stands, with the fields of all; `attempt` is retry_attempt
PLAN = {
    "3.2 check failed": ("warning", "Infrastructure check failed", "error error_scope impact child_name"),
    "1.1 4.2 opening": (
        "warning",
        "Infrastructure check failed, opening circuit breaker",
        "error circuit_open child_name retry_attempt backoff_delay",
    ),
    "3.1 heartbeat": (
        "warning",
        "Circuit breaker open, retrying infrastructure checks",
        "retry_attempt max_attempts elapsed_downtime next_retry_in recovery_status",
    ),
    "3.4 one left": (
        "warning",
        "WARNING: One retry attempt remaining before escalation",
        "child_name attempts_remaining total_downtime",
    ),
    "1.1 3.4 3.5 4.2 escalation": (
        "error",
        "ESCALATION REQUIRED: Infrastructure failure after max retry attempts. Manual intervention needed.",
        "child_name max_attempts total_downtime runbook_url manual_steps",
    ),
    "1.1 4.2 closing": (
        "info",
        "Infrastructure recovered, closing circuit breaker",
        "child_name total_downtime",
    ),
    "4.2 enqueued": ("debug", "Action enqueued for execution", "worker_id action_type"),
    "4.2 completed": ("info", "Action completed", "worker_id action_type duration success"),
    "3.2 in progress": (
        "debug",
        "Worker action in progress, skipping derivation",
        "worker_id error_scope impact",
    ),
}


def look_and_tick(plant: Plant, broker: str = "ok") -> list[Message]:
    """Observe the broker, "ok" or why it fails, and flow-1, which is down; tick a second later."""
    plant.heartbeat()
    seen = plant.child_up() if broker == "ok" else plant.child_failed(broker)
    plant.observe({BROKER.id: seen, "flow-1": plant.down()})
    _, messages = plant.must_tick()
    return messages


def live_through_an_outage(plant: Plant) -> None:
    """Act for flow-1, fail until a person is called, recover."""
    plant.apply_fleet(worker("flow-1"), children=[BROKER])
    pool = execute.Pool("edge-1@h1", "r1", TimeoutError, nullcontext)
    assert execute.run(plant.runtime, plant.claim(action=Noop()), {}, pool) is Outcome.SUCCESS
    plant.clock.advance(0.0625)  # what is observed at the very end of an action does not count
    messages: list[Message] = []
    while not messages:
        messages = look_and_tick(plant)
    look_and_tick(plant)  # its action is in progress
    escalated = False
    while not escalated:
        for message in look_and_tick(plant, "no answer"):
            assert plant.begin(grant_of(message)) is None
            assert plant.runtime.leases.end(grant_of(message), "r1", Outcome.SUCCESS, "")
            plant.clock.advance(0.0625)
        escalated = plant.store.breaker("plant-1").escalated
    for _ in range(3):
        look_and_tick(plant, "no answer")
    while plant.store.breaker("plant-1").state != "closed":
        look_and_tick(plant)


@pytest.fixture
def text(bare_plant: Plant, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was written to stderr."""
    configure("json", "debug")
    live_through_an_outage(bare_plant)
    return capsys.readouterr().err


def test_s17_every_log_line_of_the_plan_is_written_with_its_level_message_and_fields(text: str) -> None:
    lines = lines_of(text)
    assert len(lines) == len(text.splitlines())
    assert faults_in(text) == []
    for of_task, (level, message, fields) in PLAN.items():
        found = [line for line in lines if line["message"] == message]
        assert found, of_task
        assert {line["level"] for line in found} == {level}, of_task
        assert [set(fields.split()) - line.keys() for line in found] == [set()] * len(found), of_task


def test_s17_the_lines_of_an_outage_have_the_values_that_a_person_needs(text: str) -> None:
    lines = lines_of(text)

    def said(event: str) -> list[dict[str, Any]]:
        return [line for line in lines if line["event"] == event]

    (opened,) = said("circuit.opened")
    assert opened["error"] == "broker: no answer"
    assert (opened["child_name"], opened["circuit_open"], opened["retry_attempt"]) == ("broker", True, 0)
    assert [line["retry_attempt"] for line in said("circuit.restart")] == [1, 2, 3, 4, 5]
    assert [line["backoff_delay"] for line in said("circuit.restart")] == [1, 2, 4, 8, 16]
    beats = said("circuit.heartbeat")
    assert {(line["retry_attempt"], line["recovery_status"]) for line in beats} == {
        (1, "attempting_recovery"),
        (2, "attempting_recovery"),
        (3, "persistent_failure"),
        (4, "persistent_failure"),
        (5, "escalation_imminent"),
    }
    downtimes = [line["elapsed_downtime"] for line in beats]
    assert all(later > earlier for earlier, later in itertools.pairwise(downtimes))
    (one_left,) = said("circuit.one_attempt_left")
    assert one_left["attempts_remaining"] == 1
    (escalated,) = said("circuit.escalated")
    book = runbook_of(BROKER)
    assert (escalated["runbook_url"], escalated["manual_steps"]) == (book.url, list(book.steps))
    (closed,) = said("circuit.closed")
    assert closed["total_downtime"] > downtimes[-1]
    assert closed["circuit_open"] is False
    (ended,) = said("action.ended")
    assert (ended["worker_id"], ended["action_type"], ended["success"]) == ("flow-1", "noop", True)


def test_a_check_that_fails_at_every_tick_is_said_once_and_in_the_end_how_often(text: str) -> None:
    lines = lines_of(text)
    beats = [line for line in lines if line["event"] == "circuit.heartbeat"]
    told = [(line["event"], line["count"]) for line in lines if line["event"].startswith("infrastructure.check_failed")]
    assert told == [
        ("infrastructure.check_failed", 1),
        ("infrastructure.check_failed.over", 1 + len(beats)),  # the first one opened the circuit
    ]


def test_s20_every_line_says_whether_infrastructure_or_one_worker_is_concerned(text: str) -> None:
    impacts = {"infrastructure": "all_workers", "worker": "single_worker"}
    for line in lines_of(text):
        assert line["impact"] == impacts[line["error_scope"]], line
        about_a_worker = "worker_id" in line and not line["worker_id"].startswith(CHILD_PREFIX)
        assert (line["error_scope"] == "worker") == about_a_worker, line
