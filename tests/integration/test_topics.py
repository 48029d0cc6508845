"""Topics that flows need: a tick has them created before the flows may start, and nothing ever deletes one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from actions.create_topics import CreateTopics, Topic
from actions.model import ActionError, Outcome
from supervisor import execute
from supervisor.dispatch import Message
from supervisor.model import Check, ChildObserved, ChildSpec
from supervisor.redpanda import brokers_of
from tests.factories import make_child
from tests.integration.plant import NAME, Plant, grant_of, worked_on, worker
from tests.kafka_peer import KafkaPeer, running
from workers.drivers.kafka import Topics, ask

CHILD = "child/broker"
TOPICS = (Topic(name="a"), Topic(name="b"))


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPeer]:
    with running(tmp_path_factory.mktemp("kafka")) as made:
        yield made


def broker(address: str = "127.0.0.1:1", topics: tuple[Topic, ...] = TOPICS) -> ChildSpec:
    check = Check(kind="redpanda", brokers=(address,), timeout=5.0)
    return make_child(type="redpanda", process=None, topics=topics, check=check, start_grace=0.0)


def applied(plant: Plant, child: ChildSpec) -> Plant:
    plant.apply_fleet(worker("flow-1", depends_on=("broker",)), children=[child])
    return plant


def tick(plant: Plant, *missing: str, seconds: float = 1.0, failed: str = "") -> list[Message]:
    """Let time pass, observe the broker and flow-1, which is down, and run a tick a second later."""
    plant.clock.advance(seconds - 1.0)
    plant.heartbeat()
    seen: ChildObserved = plant.child_failed(failed) if failed else plant.child_up(missing=missing)
    plant.observe({CHILD: seen, "flow-1": plant.down()})
    return plant.must_tick()[1]


def finish(plant: Plant, message: Message, outcome: Outcome = Outcome.SUCCESS) -> None:
    assert plant.begin(grant_of(message)) is None
    assert plant.runtime.leases.end(grant_of(message), "r1", outcome, "")


def acted(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.worker_id, message.action) for message in messages]


def run(plant: Plant, message: Message) -> tuple[Outcome, str]:
    """Run an action as an executor does; return its outcome, and the detail in its lease."""
    pool = execute.Pool("edge-1@h1", "r1", TimeoutError, nullcontext)
    outcome = execute.run(plant.runtime, grant_of(message), message.params, pool)
    lease = plant.lease(CHILD)
    assert lease is not None
    return outcome, lease.detail


def test_missing_topics_are_created_before_a_flow_that_depends_on_them_starts(bare_plant: Plant) -> None:
    plant = applied(bare_plant, broker())
    (create,) = tick(plant, "a", "b")  # and the flow goes from stopped to starting
    assert (create.worker_id, create.action, create.params) == (CHILD, "create_topics", {"child_name": "broker"})
    assert create.reason == "lacks topics a, b"
    assert acted(tick(plant, "a", "b")) == []  # one at a time, and the flow waits
    finish(plant, create)
    assert acted(tick(plant, seconds=2.0)) == [("flow-1", "start")]


def test_a_creation_that_fails_is_tried_again_later_and_the_circuit_stays_closed(bare_plant: Plant) -> None:
    plant = applied(bare_plant, broker())
    waited = []
    (message,) = tick(plant, "a")
    for _ in range(4):
        finish(plant, message, Outcome.ERROR)
        ended, messages = plant.clock.now(), []
        plant.clock.advance(0.0625)  # what is observed at the very end does not count
        while not messages:
            messages = tick(plant, "a")
        (message,) = messages
        waited.append(plant.clock.now() - ended - 0.0625)
    assert waited == [1, 2, 4, 8]
    assert not plant.store.is_circuit_open(NAME)


def test_a_broker_that_failed_is_restarted_and_no_topic_is_created_meanwhile(bare_plant: Plant) -> None:
    plant = applied(bare_plant, broker())
    assert acted(tick(plant, failed="no answer")) == [(CHILD, "restart_child")]


def test_nothing_is_created_while_an_operator_holds_the_circuit_open(bare_plant: Plant) -> None:
    plant = applied(bare_plant, broker())
    plant.store.force_circuit(NAME, "open", "me", "")
    assert acted(tick(plant, "a")) == []
    plant.store.force_circuit(NAME, "", "me", "")
    assert acted(tick(plant, "a")) == [(CHILD, "create_topics")]


def test_on_a_real_kafka_topics_are_created_once_as_they_are_wished_for(bare_plant: Plant, peer: KafkaPeer) -> None:
    one, two = (f"{name}-{uuid.uuid4().hex}" for name in ("one", "two"))
    wanted = (Topic(name=one), Topic(name=two, partitions=3, replication=1, config={"retention.ms": "60000"}))
    plant = applied(bare_plant, broker(peer.address, wanted))
    (message,) = tick(plant, one, two)
    assert run(plant, message) == (Outcome.SUCCESS, f"created {one}, {two}")
    assert ask(peer.brokers, [one, two]).partitions == {one: 1, two: 3}
    (again,) = tick(plant, one, two, seconds=2.0)  # as one that looked before would ask
    assert run(plant, again) == (Outcome.SUCCESS, "all topics are there already")
    raced = Topics(peer.brokers, wanted).create(wanted)  # as one that another was faster than
    assert raced == {}
    assert ask(peer.brokers, [one, two]).partitions == {one: 1, two: 3}


def test_on_a_real_kafka_a_topic_that_is_refused_is_told_with_the_reason(bare_plant: Plant, peer: KafkaPeer) -> None:
    wanted = (Topic(name="wide", replication=3), Topic(name="odd", config={"no.such": "x"}), Topic(name="good"))
    plant = applied(bare_plant, broker(peer.address, wanted))
    (message,) = tick(plant, "wide", "odd", "good")
    outcome, detail = run(plant, message)
    assert outcome is Outcome.ERROR
    assert "topic odd was refused: Unknown topic config name: no.such" in detail
    assert "topic wide was refused: Unable to replicate the partition 3 time(s)" in detail
    assert ask(peer.brokers, ["wide", "odd", "good"]).partitions == {"good": 1}


def test_a_topic_with_other_partitions_than_wished_is_never_changed(peer: KafkaPeer) -> None:
    narrow, wide = Topic(name="kept", partitions=2), Topic(name="kept", partitions=6)
    assert Topics(peer.brokers, (narrow,)).create((narrow,)) == {}
    assert Topics(peer.brokers, (wide,)).missing() == ()
    assert Topics(peer.brokers, (wide,)).create((wide,)) == {}
    assert ask(peer.brokers, ["kept"]).partitions == {"kept": 2}


def test_brokers_that_do_not_answer_end_the_action_in_an_error(bare_plant: Plant) -> None:
    plant = applied(bare_plant, broker())
    component = worked_on(plant.runtime, CHILD, CreateTopics.name)
    topics = Topics(brokers_of(Check(kind="redpanda", brokers=("127.0.0.1:1",), timeout=0.3)), TOPICS)
    with pytest.raises(ActionError, match=r"^127\.0\.0\.1:1: "):
        topics.missing()
    with pytest.raises(ActionError, match=r"^127\.0\.0\.1:1: "):
        topics.create(TOPICS)
    assert component.current() is None
    for effect in (component.start, component.stop):
        with pytest.raises(ActionError, match="nothing"):
            effect(7)


def test_the_sources_of_this_package_delete_no_topic() -> None:
    root = Path(__file__).parent.parent.parent
    found = [
        file
        for folder in ("actions", "workers", "supervisor")
        for file in (root / folder).rglob("*.py")
        if "delete_topics" in file.read_text() or "delete_records" in file.read_text()
    ]
    assert found == []
