"""The circuit in the store: an operator's word, and who wins when a tick and an operator write at once."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from actions.model import Outcome
from supervisor.circuit import Breaker, Verdict
from supervisor.dispatch import Circuit
from supervisor.fleet import Fleet
from supervisor.keys import SUPERVISOR
from supervisor.model import ChildSpec, SupervisorSettings
from supervisor.store import Store
from supervisor.view import load_world
from tests.factories import make_child
from tests.integration.plant import NAME, Plant, grant_of, put
from tests.waiting import wait_until


@pytest.mark.parametrize(("word", "is_open"), [("open", True), ("closed", False)])
def test_an_operators_word_counts_until_it_is_reset(plant: Plant, word: str, is_open: bool) -> None:
    opened = Breaker(state="open", generation=1, opened_at=plant.clock.now(), escalated=True)
    plant.write(circuit=Circuit(0, opened))
    plant.store.force_circuit(NAME, word, "me@h1", "because")
    forced = plant.store.breaker(NAME)
    assert (forced.effective, forced.is_open, forced.state, forced.generation) == (word, is_open, "open", 2)
    assert forced.forced is not None
    assert (forced.forced.by, forced.forced.reason, forced.forced.at) == ("me@h1", "because", plant.clock.now())
    assert plant.store.is_circuit_open(NAME) is is_open
    plant.store.force_circuit(NAME, "", "me@h1", "")
    reset = plant.store.breaker(NAME)
    assert (reset.forced, reset.effective, reset.children, reset.escalated) == (None, "open", {}, True)
    told = [event for event in plant.events(SUPERVISOR) if event["event"] == "operator.circuit"]
    assert [(event["forced"], event["by"], event["reason"]) for event in told] == [
        (word, "me@h1", "because"),
        ("", "me@h1", ""),
    ]


def test_a_circuit_that_was_never_written_can_be_forced(plant: Plant) -> None:
    plant.store.force_circuit(NAME, "open", "me@h1", "")
    assert plant.store.breaker(NAME).is_open


def test_what_a_tick_decided_before_an_operators_word_is_refused(plant: Plant) -> None:
    tick_id = plant.start_tick()
    item = plant.item()
    plant.store.force_circuit(NAME, "open", "me@h1", "")
    applied = plant.write(item, tick_id=tick_id, circuit=Circuit(0))
    assert (applied.messages, applied.refused) == ([], {"flow-1": "refused:circuit"})
    late = plant.write(tick_id=tick_id, circuit=Circuit(0, Breaker(state="open", generation=1)))
    assert late.late
    assert plant.store.breaker(NAME).forced is not None


def test_a_forced_circuit_comes_back_from_the_mirror(plant: Plant) -> None:
    plant.store.force_circuit(NAME, "open", "me@h1", "upgrade")
    index = plant.store.index(NAME)
    assert index is not None
    plant.runtime.mirror.keep(NAME, index)
    plant.client.flushall()
    assert plant.runtime.mirror.restore(NAME, None)
    restored = plant.store.breaker(NAME).forced
    assert restored is not None
    assert (restored.state, restored.by, restored.reason) == ("open", "me@h1", "upgrade")


def test_a_word_that_was_taken_back_does_not_come_back(plant: Plant, store: Store) -> None:
    plant.store.force_circuit(NAME, "open", "me@h1", "")
    before = plant.client.get(plant.keys.circuit)
    plant.store.force_circuit(NAME, "", "me@h1", "")
    index = store.index(NAME)
    assert index is not None
    plant.runtime.mirror.keep(NAME, index)
    plant.client.set(plant.keys.revision, "1")  # Redis came back as it was before
    plant.client.set(plant.keys.circuit, before)
    assert plant.runtime.mirror.restore(NAME, store.index(NAME))
    assert store.breaker(NAME).forced is None


# -- other supervisors as children ------------------------------------------------------------------------------------


def verdict_on_plant(plant: Plant) -> Verdict:
    """Return the verdict of a parent on plant-1."""
    parent = Fleet(SupervisorSettings(name="parent"), (ChildSpec(name=NAME, type="supervisor", node=""),), ())
    plant.store.apply_fleets([parent])
    index = plant.store.index("parent")
    assert index is not None
    assert not index.floats
    (child,) = load_world(plant.runtime, "parent", index, plant.clock.now()).children
    return child.verdict


def test_a_parent_sees_anothers_circuit_and_whether_it_ticks(plant: Plant) -> None:
    assert verdict_on_plant(plant) == Verdict("unknown", "no such supervisor, or it has never ticked")
    plant.write()
    assert verdict_on_plant(plant) == Verdict("ok", "its circuit is closed")
    put(plant, plant.keys.circuit, Breaker(state="open", generation=1, opened_at=1.0, reason="broker: no answer"))
    assert verdict_on_plant(plant) == Verdict("failed", "its circuit is open: broker: no answer")
    put(plant, plant.keys.circuit, Breaker(state="half_open", generation=2, opened_at=1.0))
    assert verdict_on_plant(plant) == Verdict("ok", "its circuit is half_open")
    plant.client.set(plant.keys.circuit, "[]")
    assert verdict_on_plant(plant).state == "unknown"
    plant.clock.advance(12)
    assert verdict_on_plant(plant) == Verdict("unknown", "has not ticked for 12s")


# -- the command that calls a person ----------------------------------------------------------------------------------


def test_an_escalation_runs_its_command_once_with_what_a_person_needs(plant: Plant, tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = '"$FSM_SUPERVISOR" "$FSM_CHILD" "$FSM_INCIDENT" "$FSM_RUNBOOK_URL"'
    script = f'printf "%s|%s|%s|%s\\n" {words} >> {shlex.quote(str(told))}'
    plant.apply_fleet(children=[make_child()], max_attempts=1, escalation_command=("sh", "-c", script))
    plant.heartbeat()
    for _ in range(8):
        plant.clock.advance(2)
        plant.observe({"child/broker": plant.child_failed()})
        for message in plant.tick()[1]:
            assert plant.begin(grant_of(message)) is None
            assert plant.runtime.leases.end(grant_of(message), "r1", Outcome.SUCCESS, "")
    wait_until(told.exists, "the command to run")
    incident = plant.store.breaker(NAME).incident
    wait_until(lambda: told.read_text() == f"{NAME}|broker|{incident}|docs/runbooks.md#redis\n", "all of it to be told")
    wait_until(lambda: plant.runtime.hooks.look() is None and plant.runtime.hooks._running == [], "it to end")


def test_a_command_that_hangs_or_cannot_be_run_hurts_no_tick(plant: Plant) -> None:
    plant.runtime.hooks.call(("sleep", "300"), {}, 0.3)
    plant.runtime.hooks.call(("no-such-command",), {}, 5.0)
    assert len(plant.runtime.hooks._running) == 2
    wait_until(lambda: plant.runtime.hooks.look() is None and plant.runtime.hooks._running == [], "both to end")
