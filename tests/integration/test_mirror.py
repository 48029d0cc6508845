"""The mirror on disk: what people wish for comes back after Redis lost it, and nothing older ever replaces it."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.keys import SUPERVISOR
from supervisor.mirror import Mirror
from tests.integration.plant import NAME, NODE, Plant, dump, worker

WISHES = ("identity", "desired", "override", "control")


def wishes(plant: Plant) -> dict[str, object]:
    """Return all that people wish for, as stored."""
    keys = plant.keys
    kept = {keys.settings, keys.index, keys.generations, keys.revision, "test:supervisors"}
    everything = plant.dump()
    return {
        key: value for key, value in everything.items() if key in kept or key.split(":")[3:4] in [[k] for k in WISHES]
    }


@pytest.fixture
def mirrored(plant: Plant) -> Plant:
    """Return a plant with an operator's override and a pause, after the tick that mirrors them."""
    plant.apply_fleet(worker("flow-1"), worker("flow-2"))
    plant.store.set_override(NAME, NODE, "flow-2", "stopped", "me")
    plant.store.set_control(NAME, NODE, "flow-1", paused=True, by="me")
    plant.must_tick()
    return plant


def empty(plant: Plant) -> None:
    plant.client.flushall()


def test_after_redis_was_emptied_the_next_tick_brings_back_all_that_was_wished_for_and_holds_off(
    mirrored: Plant,
) -> None:
    before = wishes(mirrored)
    empty(mirrored)
    mirrored.must_tick()
    assert wishes(mirrored) == before
    assert mirrored.counters(SUPERVISOR)["supervisor_store_restores_total"] == "1"
    assert "store.restored" in [event["event"] for event in mirrored.events(SUPERVISOR)]


def test_after_a_restore_nothing_is_claimed_until_the_hold_off_is_over_and_a_fresh_observation_is_in(
    mirrored: Plant,
) -> None:
    mirrored.store.set_control(NAME, NODE, "flow-1", paused=False, by="me")
    mirrored.must_tick()
    empty(mirrored)
    mirrored.must_tick()
    mirrored.heartbeat()
    held = mirrored.tick_document().hold_until
    reasons = set()
    while mirrored.clock.now() + 1 < held:
        mirrored.observe({"flow-1": mirrored.down()})
        report, messages = mirrored.must_tick()
        assert messages == []
        reasons |= set(report.skips)
    assert "hold_off" in reasons
    mirrored.observe({"flow-1": mirrored.down()})
    assert [message.worker_id for _ in range(3) for message in mirrored.must_tick()[1]] == ["flow-1"]


def test_what_was_restored_is_not_restored_again(mirrored: Plant) -> None:
    empty(mirrored)
    mirrored.must_tick()
    mirrored.must_tick()
    assert mirrored.counters(SUPERVISOR)["supervisor_store_restores_total"] == "1"


def test_a_store_that_was_rolled_back_gets_what_it_has_lost_and_loses_what_had_gone(mirrored: Plant) -> None:
    old = {key: mirrored.client.dump(key) for key in mirrored.client.keys("*")} if is_real(mirrored) else None
    if old is None:
        pytest.skip("the fake cannot dump keys; the real one does")
    mirrored.apply_fleet(worker("flow-2", config_id="c2"), worker("flow-3"))
    mirrored.store.set_override(NAME, NODE, "flow-2", None, "me")
    mirrored.must_tick()
    after = wishes(mirrored)
    empty(mirrored)
    for key, value in old.items():
        mirrored.client.restore(key, 0, value)
    mirrored.must_tick()
    assert wishes(mirrored) == after


def is_real(plant: Plant) -> bool:
    return type(plant.client).__module__.startswith("redis")


def test_a_newer_wish_is_never_replaced_by_the_mirror(mirrored: Plant) -> None:
    empty(mirrored)
    mirrored.apply_fleet(worker("flow-9"))
    mirrored.must_tick()
    index = mirrored.store.index(NAME)
    assert index is not None
    assert dict(index.places) == {"flow-9": NODE}
    assert "supervisor_store_restores_total" not in mirrored.counters(SUPERVISOR)


def test_a_mirror_of_another_host_that_is_older_changes_nothing(mirrored: Plant, tmp_path: Any) -> None:
    other = Mirror(mirrored.store, tmp_path / "other-host")
    index = mirrored.store.index(NAME)
    assert index is not None
    other.keep(NAME, index)
    mirrored.store.set_override(NAME, NODE, "flow-2", "running", "me")
    before = dump(mirrored.client)
    other.restore_all()
    assert dump(mirrored.client) == before


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', "\x00\xff", "[]"])
def test_a_mirror_that_cannot_be_read_is_told_and_ignored(mirrored: Plant, text: str) -> None:
    (file,) = mirrored.runtime.settings.data_dir.glob("mirror/*/*.json")
    file.write_bytes(text.encode("latin-1"))
    empty(mirrored)
    report, _ = mirrored.tick()
    assert report is None
    assert mirrored.dump() == {}


def test_a_mirror_that_cannot_be_read_is_mended_by_the_next_tick(mirrored: Plant) -> None:
    (file,) = mirrored.runtime.settings.data_dir.glob("mirror/*/*.json")
    whole = file.read_text()
    file.write_text("{")
    mirrored.must_tick()
    assert file.read_text() == whole


def test_the_mirror_holds_secrets_of_the_fleet_so_only_its_owner_reads_it(mirrored: Plant) -> None:
    (file,) = mirrored.runtime.settings.data_dir.glob("mirror/*/*.json")
    assert oct(file.stat().st_mode & 0o777) == "0o600"


def test_a_folder_that_cannot_be_written_costs_no_tick(plant: Plant) -> None:
    plant.runtime.settings.data_dir.mkdir(parents=True)
    (plant.runtime.settings.data_dir / "mirror").write_text("in the way")
    report, _ = plant.must_tick()
    assert report.workers == 1
