"""What an apply would change, key by key."""

from __future__ import annotations

from typing import Any

import msgspec

from supervisor.diff import Change, Changed, Stored, difference, whose
from supervisor.fleet import Fleet, WorkerEntry
from supervisor.model import SupervisorSettings
from supervisor.store import Applied
from tests.factories import make_child
from workers.model import Desired

SETTINGS = SupervisorSettings(name="plant-1", source="a.toml", applied_at=1.0)
DESIRED = Desired(state="running", config={"command": ["sleep"], "env": {"A": "1", "B": "2"}}, config_id="c1")


def entry(worker_id: str, node: str = "edge-1", **changes: Any) -> WorkerEntry:
    return WorkerEntry(worker_id, "process", node, msgspec.structs.replace(DESIRED, **changes))


def stored(**layers: Any) -> Stored:
    """Return what plant-1 has, all of it on edge-1."""
    return Stored(SETTINGS, layers, dict.fromkeys(layers, "edge-1"))


def test_what_is_the_same_is_no_difference_wherever_the_file_lies() -> None:
    moved = msgspec.structs.replace(SETTINGS, source="b.toml", applied_at=0.0)
    found = difference(Fleet(moved, (), (entry("a"),)), Applied(unchanged=["a"]), stored(a=DESIRED))
    assert (found.differs, found.unchanged) == (False, 1)


def test_a_new_supervisor_is_a_difference_without_old_settings() -> None:
    found = difference(Fleet(SETTINGS, (), (entry("a"),)), Applied(added=["a"]), Stored(None, {}, {}))
    assert (found.differs, found.is_new, found.settings, found.added) == (True, True, (), (("a", "edge-1"),))


def test_settings_are_compared_key_by_key_tables_too() -> None:
    new = msgspec.structs.replace(SETTINGS, tick_interval=2.0, groups={"line": 1})
    found = difference(Fleet(new, (), ()), Applied(), Stored(SETTINGS, {}, {}))
    assert found.settings == (Change("tick_interval", 1.0, 2.0), Change("groups.line", None, 1))


def test_a_changed_worker_shows_old_and_new_of_each_key_and_no_digest() -> None:
    config = {"command": ["sleep", "1"], "env": {"A": "1", "C": "3"}}
    new = entry("a", config=config, config_id="c2", depends_on=("broker",))
    found = difference(Fleet(SETTINGS, (), (new,)), Applied(changed=["a"]), stored(a=DESIRED))
    assert found.changed == (
        Changed(
            "a",
            "edge-1",
            (
                Change("config.command", ["sleep"], ["sleep", "1"]),
                Change("config.env.B", "2", None),
                Change("config.env.C", None, "3"),
                Change("depends_on", [], ["broker"]),
            ),
        ),
    )


def test_secrets_are_told_to_differ_and_not_shown() -> None:
    before = msgspec.structs.replace(DESIRED, config={"env": {"DB_PASSWORD": "old"}, "url": "redis://:old@h:1"})
    new = entry("a", config={"env": {"DB_PASSWORD": "new"}, "url": "redis://:new@h:1"})
    found = difference(Fleet(SETTINGS, (), (new,)), Applied(changed=["a"]), stored(a=before))
    assert found.changed[0].changes == (
        Change("config.env.DB_PASSWORD", "***", "***"),
        Change("config.url", "redis://:***@h:1", "redis://:***@h:1"),
    )


def test_a_table_of_secrets_is_not_gone_into() -> None:
    before = msgspec.structs.replace(DESIRED, config={"env": {"secrets": {"db": {"user": "a", "word": "old"}}}})
    new = entry("a", config={"env": {"secrets": {"db": {"user": "a", "word": "new"}}}})
    found = difference(Fleet(SETTINGS, (), (new,)), Applied(changed=["a"]), stored(a=before))
    assert found.changed[0].changes == (Change("config.env.secrets", "***", "***"),)


def test_a_worker_that_moves_says_where_to_with_what_changes() -> None:
    new = entry("a", node="edge-2", state="stopped")
    found = difference(Fleet(SETTINGS, (), (new,)), Applied(moving=["a"]), stored(a=DESIRED))
    assert found.moving == (Changed("a", "edge-1", (Change("state", "running", "stopped"),), "edge-2"),)


def test_what_is_removed_is_told_once_until_it_is_forgotten() -> None:
    leaving = msgspec.structs.replace(DESIRED, removed=True)
    has = Stored(
        SETTINGS,
        {"a": DESIRED, "b": leaving, "child/broker": make_child()},
        dict.fromkeys(("a", "b", "child/broker"), "edge-1"),
    )
    found = difference(Fleet(SETTINGS, (), ()), Applied(removed=["child/broker", "b", "a"]), has)
    assert found.removed == (("a", "edge-1"), ("child/broker", "edge-1"))


def test_a_removed_worker_that_comes_back_says_so() -> None:
    leaving = msgspec.structs.replace(DESIRED, removed=True)
    found = difference(Fleet(SETTINGS, (), (entry("a"),)), Applied(changed=["a"]), stored(a=leaving))
    assert found.changed[0].changes == (Change("removed", old=True, new=False),)


def test_a_layer_that_cannot_be_read_is_written_anew() -> None:
    has = Stored(SETTINGS, {}, {"a": "edge-1"})
    found = difference(Fleet(SETTINGS, (), (entry("a"),)), Applied(changed=["a"]), has)
    assert found.changed[0].changes == (Change("(all)", "cannot be read", "as the file says"),)


def test_children_are_compared_and_named_as_children() -> None:
    new = make_child(start_grace=9.0)
    fleet = Fleet(SETTINGS, (new,), ())
    has = Stored(SETTINGS, {"child/broker": make_child()}, {"child/broker": "edge-1"})
    found = difference(fleet, Applied(changed=["child/broker"]), has)
    assert found.changed == (Changed("child/broker", "edge-1", (Change("start_grace", 5.0, 9.0),)),)
    added = difference(fleet, Applied(added=["child/broker"]), Stored(SETTINGS, {}, {}))
    assert added.added == (("child/broker", "edge-1"),)
    assert (whose("child/broker"), whose("a")) == ("child/broker", "worker/a")
