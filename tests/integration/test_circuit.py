"""The circuit in the store: an operator's word, and who wins when a tick and an operator write at once."""

from __future__ import annotations

import pytest

from supervisor.breaker import Breaker
from supervisor.dispatch import Circuit
from supervisor.keys import SUPERVISOR
from supervisor.store import Store
from tests.integration.plant import NAME, Plant


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
