"""forget.lua: a worker is forgotten only if nobody has changed what is wanted of it since."""

from __future__ import annotations

from supervisor.store import Applied
from tests.integration.plant import NAME, NODE, Plant, worker


def test_a_worker_whose_desired_has_changed_since_is_not_forgotten_and_nothing_changes(plant: Plant) -> None:
    plant.apply_fleet()
    assert plant.apply_fleet(worker("flow-1")) == Applied(changed=["flow-1"])
    before = plant.dump()
    assert plant.store.forget(NAME, NODE, "flow-1", 2) is False
    assert plant.dump() == before


def test_a_worker_that_is_not_known_leaves_no_document_behind(plant: Plant) -> None:
    before = plant.dump()
    assert plant.store.forget(NAME, NODE, "flow-9", 7) is False
    assert plant.dump() == before


def test_a_repeated_forget_changes_nothing_more(plant: Plant) -> None:
    assert plant.store.forget(NAME, NODE, "flow-1", 1) is True
    before = plant.dump()
    assert plant.store.forget(NAME, NODE, "flow-1", 1) is False
    assert plant.dump() == before
