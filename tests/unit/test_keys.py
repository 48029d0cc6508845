"""Every key carries namespace, supervisor and place, and no two kinds share one."""

from __future__ import annotations

import inspect
from itertools import product

import pytest

from supervisor.keys import POOL, SUPERVISOR, Keys, celery_prefix, nodes, queue_of, schema, supervisors

KEYS = Keys("fsm", "plant-1")
OF_THE_LOOP = (
    *("settings", "index", "generations", "tick", "scope", "circuit", "incidents", "mismatches", "orders", "revision"),
)
OF_A_PLACE = ("node", "collector", "rejected", "wake", "asks", "events", "history", "counters", "follows")
OF_AN_ITEM = ("identity", "desired", "override", "control", "observed", "status", "lease", "output")
OF_A_PROCESS = ("refused",)
NAMES = ("a", "b", "a.b", "a-b", "a_b", "A", "node", "status", "lease", "supervisor", "pool", "settings", "wake")
ITEMS = (*NAMES, *(f"child/{name}" for name in NAMES))


def all_keys(keys: Keys, place: str, item: str) -> dict[str, str]:
    """Return every key there is for one place and one item, by kind."""
    return {
        **{kind: getattr(keys, kind) for kind in OF_THE_LOOP},
        **{kind: getattr(keys, kind)(place) for kind in OF_A_PLACE},
        **{kind: getattr(keys, kind)(place, item) for kind in (*OF_AN_ITEM, *OF_A_PROCESS)},
    }


def test_these_tests_know_every_kind_of_key() -> None:
    kinds = {name for name, _ in inspect.getmembers(Keys) if not name.startswith("_")}
    assert kinds - {"namespace", "supervisor", "of_worker"} == {*OF_THE_LOOP, *OF_A_PLACE, *OF_AN_ITEM, *OF_A_PROCESS}


def test_the_keys_of_a_worker_made_at_once_are_the_same() -> None:
    for item in ITEMS:
        assert KEYS.of_worker("edge-1", item, OF_AN_ITEM) == [
            getattr(KEYS, kind)("edge-1", item) for kind in OF_AN_ITEM
        ]


def test_the_loops_own_keys_are_at_its_own_place() -> None:
    assert {kind: getattr(KEYS, kind) for kind in OF_THE_LOOP} == {
        kind: f"fsm:plant-1:supervisor:{kind}" for kind in OF_THE_LOOP
    }


def test_a_nodes_keys_begin_with_namespace_supervisor_and_its_place() -> None:
    assert {kind: getattr(KEYS, kind)("edge-1") for kind in OF_A_PLACE} == {
        kind: f"fsm:plant-1:edge-1:{kind}" for kind in OF_A_PLACE
    }
    assert {kind: getattr(KEYS, kind)("edge-1", "child/broker") for kind in OF_AN_ITEM} == {
        kind: f"fsm:plant-1:edge-1:{kind}:child/broker" for kind in OF_AN_ITEM
    }


@pytest.mark.parametrize("place", NAMES)
def test_no_two_kinds_of_key_collide(place: str) -> None:
    for item in ITEMS:
        keys = all_keys(KEYS, place, item)
        assert len(set(keys.values())) == len(keys)


def test_a_key_belongs_to_one_namespace_supervisor_place_kind_and_item() -> None:
    owners = list(product(("a", "a.b", "node"), ("a", "a.b", "node"), NAMES, OF_AN_ITEM, ITEMS))
    keys = {
        getattr(Keys(namespace, supervisor), kind)(place, item) for namespace, supervisor, place, kind, item in owners
    }
    assert len(keys) == len(owners)


def test_the_installations_own_keys() -> None:
    made = [name("fsm") for name in (supervisors, nodes, celery_prefix, schema)]
    assert made == ["fsm:supervisors", "fsm:nodes", "fsm:celery:", "fsm:schema"]


def test_a_place_has_a_queue_and_floating_work_the_common_one() -> None:
    assert {place: queue_of(place) for place in ("edge-1", POOL, SUPERVISOR)} == {
        "edge-1": "actions.edge-1",
        "pool": "actions",
        "supervisor": "actions.supervisor",
    }
