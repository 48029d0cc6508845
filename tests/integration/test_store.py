"""The store: applying fleets, overrides, forgetting, bad documents, namespaces."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actions.model import Outcome
from supervisor.errors import BadDocument, Refused
from supervisor.fleet import Fleet, WorkerEntry
from supervisor.keys import SUPERVISOR
from supervisor.model import ChildSpec, NodeDocument, SupervisorSettings
from supervisor.store import Applied, Store, encode
from supervisor.view import load_world
from tests.factories import NOW, make_child
from tests.integration.plant import NAME, NODE, Plant, dump, fleet, grant_of, worker
from workers.model import Desired, Identity, Override, Snapshot


def generations(plant: Plant) -> dict[str, int]:
    index = plant.store.index(NAME)
    assert index is not None
    return dict(index.generations)


def snapshot(plant: Plant, worker_id: str = "flow-1") -> Snapshot:
    """Return a worker as a tick sees it."""
    index = plant.store.index(NAME)
    assert index is not None
    world = load_world(plant.runtime, NAME, index, plant.clock.now())
    found = {subject.id: subject.snapshot for subject in world.view.subjects}[worker_id]
    assert found is not None
    return found


def test_a_first_apply_writes_everything_and_wakes_the_tick(bare_plant: Plant) -> None:
    applied = bare_plant.apply_fleet(worker("flow-1"), children=[make_child()], source="fleet.toml")
    assert applied == Applied(added=["flow-1", "child/broker"])
    store, keys = bare_plant.store, bare_plant.keys
    index = store.index(NAME)
    assert index is not None
    assert store.supervisors() == [NAME]
    assert (index.settings.source, index.settings.applied_at) == ("fleet.toml", NOW)
    assert (index.workers, index.children, index.nodes) == ([("flow-1", NODE)], [("child/broker", NODE)], (NODE,))
    assert index.generations == {"flow-1": 1, "child/broker": 1}
    assert store.read(Identity, keys.identity(NODE, "flow-1")) == Identity(
        id="flow-1", type="process", supervisor=NAME, node=NODE, created_at=NOW
    )
    assert store.read(Desired, keys.desired(NODE, "flow-1")) == worker("flow-1").desired
    assert store.read(ChildSpec, keys.desired(NODE, "child/broker")) == make_child()
    assert bare_plant.client.smembers(keys.wake(SUPERVISOR)) == {"*"}


def test_an_apply_tells_what_it_added_changed_removed_and_left(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-2"), worker("flow-3"))
    applied = plant.apply_fleet(worker("flow-1"), worker("flow-2", "stopped"), worker("flow-4"))
    assert applied == Applied(added=["flow-4"], changed=["flow-2"], removed=["flow-3"], unchanged=["flow-1"])
    assert generations(plant) == {"flow-1": 1, "flow-2": 2, "flow-3": 2, "flow-4": 1}
    removed = plant.store.read(Desired, plant.keys.desired(NODE, "flow-3"))
    assert removed == msgspec.structs.replace(worker("flow-3").desired, removed=True)


def test_a_repeated_apply_changes_nothing_but_when_it_was_applied(plant: Plant) -> None:
    before = plant.dump()
    plant.clock.advance(5)
    assert plant.apply_fleet(worker("flow-1")) == Applied(unchanged=["flow-1"])
    after = plant.dump()
    assert {key for key in {*before, *after} if before.get(key) != after.get(key)} == {
        plant.keys.settings,
        plant.keys.revision,
    }


def test_a_worker_that_was_removed_and_comes_back_is_wanted_again_under_its_identity(plant: Plant) -> None:
    identity = plant.client.get(plant.keys.identity(NODE, "flow-1"))
    plant.apply_fleet()
    plant.clock.advance(5)
    assert plant.apply_fleet(worker("flow-1")) == Applied(changed=["flow-1"])
    assert snapshot(plant).desired.removed is False
    assert plant.client.get(plant.keys.identity(NODE, "flow-1")) == identity


def test_a_child_that_left_the_file_leaves_no_key_behind(plant: Plant) -> None:
    before = plant.dump()
    plant.apply_fleet(worker("flow-1"), children=[make_child()])
    assert plant.apply_fleet(worker("flow-1")) == Applied(unchanged=["flow-1"], removed=["child/broker"])
    assert {**plant.dump(), plant.keys.revision: before[plant.keys.revision]} == before


def test_a_worker_of_another_type_is_refused_and_nothing_changes(plant: Plant) -> None:
    before = plant.dump()
    other = worker("flow-1", kind="dfc_read", http="h:1")
    with pytest.raises(Refused, match="worker 'flow-1' is a process and cannot become a dfc_read"):
        plant.apply_fleet(worker("flow-0"), other, children=[make_child()], source="other.toml")
    assert plant.dump() == before


def moves_to(plant: Plant) -> tuple[str, int]:
    """Return where flow-1 moves to, and the generation of its desired."""
    return snapshot(plant).desired.moves_to, generations(plant)["flow-1"]


def test_a_worker_on_another_node_is_marked_as_moving_there_redirected_and_called_back(plant: Plant) -> None:
    identity = plant.client.get(plant.keys.identity(NODE, "flow-1"))
    assert plant.apply_fleet(worker("flow-1", node="edge-2")) == Applied(moving=["flow-1"])
    assert moves_to(plant) == ("edge-2", 2)
    assert plant.apply_fleet(worker("flow-1", node="edge-2")) == Applied(unchanged=["flow-1"])
    assert plant.apply_fleet(worker("flow-1", node="edge-3")) == Applied(moving=["flow-1"])
    assert moves_to(plant) == ("edge-3", 3)
    assert plant.apply_fleet(worker("flow-1")) == Applied(changed=["flow-1"])
    assert moves_to(plant) == ("", 4)
    assert plant.client.hgetall(plant.keys.index) == {"flow-1": NODE}
    assert plant.client.get(plant.keys.identity(NODE, "flow-1")) == identity
    assert [key for key in plant.client.keys("*:flow-1") if f":{NODE}:" not in key] == []


def test_a_worker_that_leaves_the_file_while_it_moves_goes_nowhere(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1", node="edge-2"))
    assert plant.apply_fleet() == Applied(removed=["flow-1"])
    assert (snapshot(plant).desired.removed, moves_to(plant)) == (True, ("", 3))
    assert plant.apply_fleet(worker("flow-1", node="edge-2")) == Applied(moving=["flow-1"])
    assert (snapshot(plant).desired.removed, moves_to(plant)) == (False, ("edge-2", 4))


def meanwhile(monkeypatch: pytest.MonkeyPatch, store: Store, act: Callable[[], object]) -> None:
    """Let `act` happen once, after the next wish has read what is stored and before it is written."""
    queue, acted = store.scripts.queue, []

    def late(*arguments: Any) -> None:
        queue(*arguments)
        if not acted:
            acted.append(True)
            act()

    monkeypatch.setattr(type(store.scripts), "queue", lambda _, *arguments: late(*arguments))


def test_an_apply_that_a_move_overtakes_is_written_where_the_worker_is_now(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.apply_fleet(worker("flow-1", node="edge-2"))
    meanwhile(monkeypatch, plant.store, plant.leave)
    assert plant.apply_fleet(worker("flow-1", node="edge-2", config_id="c2")) == Applied(changed=["flow-1"])
    assert plant.client.hgetall(plant.keys.index) == {"flow-1": "edge-2"}
    assert (snapshot(plant).desired.config_id, snapshot(plant).identity.node) == ("c2", "edge-2")
    assert plant.client.keys(f"*:{NODE}:*:flow-1") == []


def test_an_apply_that_a_forgetting_overtakes_begins_anew(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, plant.store, plant.leave)
    assert plant.apply_fleet(worker("flow-1", config_id="c2")) == Applied(added=["flow-1"])
    assert (snapshot(plant).desired.config_id, generations(plant)) == ("c2", {"flow-1": 1})


WORDS: dict[str, Callable[[Store], None]] = {
    "set": lambda store: store.set_override(NAME, NODE, "flow-1", "stopped", "me"),
    "pause": lambda store: store.set_control(NAME, NODE, "flow-1", True, "me"),
}


@pytest.mark.parametrize("say", WORDS.values(), ids=WORDS.keys())
def test_an_operators_word_that_a_move_overtakes_is_refused_and_leaves_nothing(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, say: Callable[[Store], None]
) -> None:
    plant.apply_fleet(worker("flow-1", node="edge-2"))
    meanwhile(monkeypatch, plant.store, plant.leave)
    with pytest.raises(Refused, match="worker 'flow-1' has left edge-1 meanwhile"):
        say(plant.store)
    assert plant.client.keys(f"*:{NODE}:*:flow-1") == []
    assert generations(plant) == {"flow-1": 3}


def test_a_child_on_another_node_is_refused_and_nothing_changes(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), children=[make_child()])
    before = plant.dump()
    with pytest.raises(Refused, match="child 'broker' is on edge-1 and cannot move to edge-2"):
        plant.apply_fleet(worker("flow-1", "stopped"), worker("flow-2"), children=[make_child(node="edge-2")])
    assert plant.dump() == before


def test_an_override_lies_over_the_file_survives_an_apply_and_is_lifted(plant: Plant) -> None:
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "alice")
    assert plant.store.read(Override, plant.keys.override(NODE, "flow-1")) == Override(
        state="stopped", by="alice", at=NOW
    )
    assert (snapshot(plant).desired.state, snapshot(plant).overridden) == ("stopped", True)
    assert plant.apply_fleet(worker("flow-1", config_id="c2")) == Applied(changed=["flow-1"])
    assert (snapshot(plant).desired.state, snapshot(plant).desired.config_id) == ("stopped", "c2")
    plant.store.set_override(NAME, NODE, "flow-1", None, "bob")
    assert (snapshot(plant).desired.state, snapshot(plant).overridden) == ("running", False)
    assert plant.client.exists(plant.keys.override(NODE, "flow-1")) == 0
    assert generations(plant) == {"flow-1": 4}
    assert plant.events(SUPERVISOR) == [
        {"event": "operator.set", "worker_id": "flow-1", "desired": "stopped", "by": "alice"},
        {"event": "operator.set", "worker_id": "flow-1", "desired": "default", "by": "bob"},
    ]


def live_fully(plant: Plant) -> None:
    """Give flow-1 one of every document and counter."""
    plant.store.set_override(NAME, NODE, "flow-1", "running", "me")
    plant.observe({"flow-1": plant.down()})
    for _ in range(2):
        plant.heartbeat()
        plant.must_tick()
    grant = plant.sent[-1]
    lease = plant.lease()
    assert lease is not None
    assert plant.begin(grant_of(grant)) is None
    assert plant.runtime.leases.end(grant_of(grant), "r1", Outcome.SUCCESS, "done")


def test_forget_leaves_no_key_field_or_counter_of_the_worker_behind_but_its_events(plant: Plant) -> None:
    plant.apply_fleet(worker("flow-1"), worker("flow-10"))
    plant.running("flow-10", action_id="other")
    live_fully(plant)
    kinds = {key.split(":")[3] for key in plant.client.keys("*") if key.endswith(":flow-1")}
    assert kinds == {"identity", "desired", "override", "observed", "status", "lease"}
    others = {key: value for key, value in plant.dump().items() if key.endswith(":flow-10")}
    events = plant.events()
    assert plant.leave() is True
    assert [key for key in plant.client.keys("*") if key.endswith(":flow-1")] == []
    assert generations(plant) == {"flow-10": 1}
    assert plant.client.hgetall(plant.keys.index) == {"flow-10": NODE}
    assert plant.counters() == {"supervisor_actions_enqueued_total|flow-10|start": "1"}
    assert {key: value for key, value in plant.dump().items() if key.endswith(":flow-10")} == others
    assert plant.events() == [*events, {"event": "worker.forgotten", "worker_id": "flow-1"}]


def test_a_worker_that_was_forgotten_may_come_back_as_a_new_one(plant: Plant) -> None:
    live_fully(plant)
    assert plant.leave() is True
    plant.clock.advance(5)
    assert plant.apply_fleet(worker("flow-1")) == Applied(added=["flow-1"])
    fresh = snapshot(plant)
    assert (fresh.identity.created_at, fresh.observed, fresh.overridden, fresh.status.state) == (
        plant.clock.now(),
        None,
        False,
        "stopped",
    )


def test_an_observation_that_arrives_after_forget_leaves_no_key_behind(plant: Plant) -> None:
    assert plant.leave() is True
    plant.observe({"flow-1": plant.up()})
    assert plant.client.exists(plant.keys.observed(NODE, "flow-1")) == 0


@pytest.mark.parametrize(
    ("name", "counter"),
    [
        ("ended", "supervisor_actions_discarded_total|ended"),
        ("5", "supervisor_action_post_circuit_duration_seconds_bucket|5"),
    ],
)
def test_forget_leaves_counters_alone_whose_label_is_no_worker(plant: Plant, name: str, counter: str) -> None:
    plant.client.hset(plant.keys.counters(NODE), counter, 3)
    plant.apply_fleet(worker("flow-1"), worker(name))
    assert plant.leave(name) is True
    assert plant.counters() == {counter: "3"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not json", "JSON is malformed"),
        ('{"schema":2,"state":"running"}', "Invalid enum value 2"),
        ('{"schema":1,"state":"dancing"}', "Invalid enum value 'dancing'"),
        ('{"schema":1}', "missing required field `state`"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_with_its_key_and_what_was_seen(
    plant: Plant, text: str, why: str
) -> None:
    key = plant.keys.desired(NODE, "flow-1")
    plant.client.set(key, text)
    with pytest.raises(BadDocument, match=f"{re.escape(key)} cannot be read: .*{re.escape(why)}") as error:
        plant.store.read(Desired, key)
    assert text in str(error.value)


def test_what_is_not_there_is_none(plant: Plant) -> None:
    assert plant.store.read(Desired, plant.keys.desired(NODE, "flow-9")) is None
    assert plant.store.index("plant-9") is None


def test_two_namespaces_on_one_redis_do_not_mix(plant: Plant) -> None:
    other = Store(plant.client, "other", plant.clock.now)
    before = dump(plant.client)
    other.apply_fleets([fleet(worker("flow-1", "stopped", node="edge-2"))])
    other.heartbeat(NAME, NodeDocument(node=NODE, host="elsewhere", boot_id="b9", executor="e", pid=1, slots=1))
    other.set_override(NAME, "edge-2", "flow-1", "running", "me")
    assert other.leave(NAME, "edge-2", "flow-1", 2) is True
    mine = {key: value for key, value in dump(plant.client).items() if key.startswith("test:")}
    assert mine == before
    assert [key for key in plant.client.keys("*") if not key.startswith(("test:", "other:"))] == []
    assert {key for key in plant.client.keys("other:*") if not key.startswith("other:plant-1:")} == {
        "other:supervisors",
        "other:nodes",
        "other:schema",
    }


def test_more_workers_than_fit_one_read_are_read_whole_and_in_order(plant: Plant) -> None:
    names = [f"flow-{number:03d}" for number in range(450)]
    plant.apply_fleet(*(worker(name) for name in names))
    index = plant.store.index(NAME)
    assert index is not None
    found = [(item, texts["identity"]) for item, _, texts in plant.store.read_worker(NAME, index.workers)]
    assert [item for item, _ in found] == sorted([*names, "flow-1"])
    for item, text in found:
        assert text is not None
        assert f'"id":"{item}"' in text


def test_an_asked_observation_is_waited_for_and_given_once(plant: Plant) -> None:
    plant.client.rpush(plant.keys.asks(NODE), "flow-1")
    assert plant.store.wait_for_ask([(NAME, NODE)], 0.1) == (NAME, "flow-1")
    assert plant.store.wait_for_ask([(NAME, NODE)], 0.1) is None
    assert plant.store.wait_for_ask([], 0.1) is None


def test_events_of_all_places_come_in_order_and_after_an_id(plant: Plant) -> None:
    for number, place in enumerate((SUPERVISOR, NODE, SUPERVISOR, NODE), start=1):
        plant.client.xadd(plant.keys.events(place), {"event": str(number)}, id=f"{number}-0")
    found = plant.store.events(NAME, [NODE], 3)
    assert found == [("2-0", {"event": "2"}), ("3-0", {"event": "3"}), ("4-0", {"event": "4"})]
    assert plant.store.events(NAME, [NODE], 10, after="3-0") == [("4-0", {"event": "4"})]


def test_an_event_that_a_node_has_made_up_has_a_name_and_none_of_the_fields_that_readers_add(plant: Plant) -> None:
    plant.client.xadd(plant.keys.events(NODE), {"id": "9-9", "time": "never", "supervisor": "x", "n": "1"}, id="1-0")
    assert plant.store.events(NAME, [NODE], 3) == [("1-0", {"event": "unknown", "n": "1"})]


def test_counters_of_all_places_are_added_up(plant: Plant) -> None:
    plant.client.hset(plant.keys.counters(SUPERVISOR), mapping={"a": "1", "b": "2"})
    plant.client.hset(plant.keys.counters(NODE), mapping={"b": "0.5"})
    assert plant.store.counters(NAME, [NODE]) == {"a": 1.0, "b": 2.5}


def test_an_encoded_document_reads_back_the_same(plant: Plant) -> None:
    child = make_child()
    plant.client.set("test:x", encode(child))
    assert plant.store.read(ChildSpec, "test:x") == child


def site(name: str, *workers: WorkerEntry) -> Fleet:
    """Return what one of a file's supervisors has."""
    return Fleet(SupervisorSettings(name=name, nodes=(NODE,)), (), workers)


def test_the_supervisors_of_one_file_are_applied_together_each_with_its_own(bare_plant: Plant) -> None:
    applied = bare_plant.store.apply_fleets([site("north", worker("a")), site("south", worker("b"))])
    assert {name: one.added for name, one in applied.items()} == {"north": ["a"], "south": ["b"]}
    indexes = {name: bare_plant.store.index(name) for name in ("north", "south")}
    assert {name: index and dict(index.places) for name, index in indexes.items()} == {
        "north": {"a": NODE},
        "south": {"b": NODE},
    }
    assert all(index and index.revision for index in indexes.values())


def test_a_worker_that_would_change_its_supervisor_is_refused_and_nothing_is_changed(bare_plant: Plant) -> None:
    bare_plant.store.apply_fleets([site("north", worker("a")), site("south")])
    before = bare_plant.dump()
    with pytest.raises(Refused, match="worker 'a' is north's and cannot become south's; take it out of the file"):
        bare_plant.store.apply_fleets([site("north", worker("c")), site("south", worker("a"))])
    assert bare_plant.dump() == before


def test_a_refusal_of_the_last_supervisor_leaves_the_first_as_it_was(bare_plant: Plant) -> None:
    bare_plant.store.apply_fleets([site("north", worker("a")), site("south", worker("b"))])
    before = bare_plant.dump()
    with pytest.raises(Refused, match="worker 'b' is a process and cannot become a dfc_read"):
        bare_plant.store.apply_fleets([site("north", worker("c")), site("south", worker("b", kind="dfc_read"))])
    assert bare_plant.dump() == before
