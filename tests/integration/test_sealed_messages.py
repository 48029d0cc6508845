"""Sealed messages on a real broker, replay at the lease, and how refusals are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from celery import Celery

from actions.model import Outcome
from actions.registry import built_in
from supervisor.broker import CeleryPublisher
from supervisor.clock import FakeClock
from supervisor.dispatch import Message
from supervisor.envelope import Reason, Untrusted
from supervisor.exporter import StoreCollector
from supervisor.guard import Guard
from supervisor.keyring import make_keys
from supervisor.model import QUEUED_TTL
from supervisor.refusals import Refusals, counted_at
from tests.conftest import RedisServer
from tests.integration.plant import NAME, NODE, Plant, fleet, grant_of, worker
from tests.sealing import guard_of, publisher_of, received

PREFIX = "sealed:celery:"
NODES = {node: ("actions", f"actions.{node}") for node in ("edge-1", "edge-2")}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a folder with a key."""
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def app(redis_server: RedisServer) -> Celery:
    """Return a Celery app on the tests' Redis."""
    made = Celery("sealed", broker=redis_server.url, set_as_current=False)
    made.conf.broker_transport_options = {"global_keyprefix": PREFIX}
    return made


def claim(plant: Plant, action_id: str = "a1") -> Message:
    """Claim an action and return its message, which is not published yet."""
    (message,) = plant.write(plant.item(action_id=action_id)).messages
    return message


def taken(client: Any, queue: str) -> dict[str, Any]:
    """Take a message out of its queue, as anybody with Redis' password can."""
    raw: dict[str, Any] = json.loads(client.rpop(f"{PREFIX}{queue}"))
    return raw


def guards(keys: Path, clock: FakeClock) -> dict[str, Guard]:
    """Return the guards of two nodes that have measured the time."""
    made = {node: guard_of(keys, clock, queues) for node, queues in NODES.items()}
    for guard in made.values():
        guard.measured(clock.now(), clock.monotonic(), clock.monotonic())
    return made


def test_a_message_is_sealed_from_its_claim_until_its_lease_would_end(
    plant: Plant, keys: Path, app: Celery, real_client: Any
) -> None:
    message = claim(plant)
    lease = plant.lease()
    assert lease is not None
    assert (message.issued, message.expires) == (lease.claimed_at, lease.deadline)
    publisher_of(app, keys)([message])
    got = received(taken(real_client, "actions.edge-1"))
    sealed = got.decode()[1]["seal"]
    assert (sealed["queue"], sealed["expires"] - sealed["issued"]) == ("actions.edge-1", QUEUED_TTL * 1000)
    assert sealed["expires"] == round(lease.deadline * 1000)
    assert guards(keys, plant.clock)["edge-1"].admit(got)


def test_without_a_key_messages_are_what_they_were(plant: Plant, app: Celery, real_client: Any) -> None:
    CeleryPublisher(app, "supervisor.execute")([claim(plant)])
    assert set(received(taken(real_client, "actions.edge-1")).decode()[1]) == {
        "supervisor", "place", "worker_id", "action", "token", "params"
    }  # fmt: skip


def test_a_replayed_message_begins_once_and_never_again(
    plant: Plant, keys: Path, app: Celery, real_client: Any
) -> None:
    message = claim(plant)
    publisher_of(app, keys)([message])
    raw = taken(real_client, "actions.edge-1")
    edge_1, edge_2 = guards(keys, plant.clock).values()
    grant = grant_of(message)

    assert edge_1.admit(received(raw))
    assert plant.begin(grant, "r1") is None
    assert edge_1.admit(received(raw)), "within its time the seal is right: the lease knows that it runs"
    assert plant.begin(grant, "r2") == "running_elsewhere"
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert plant.begin(grant, "r1") == "ended"
    plant.clock.advance(1)
    plant.running(action_id="a2")
    assert plant.begin(grant, "r1") == "other_token"

    assert not edge_2.admit(received(raw)), "it was sealed for another node's queue"
    assert dict(edge_2.refusals.uncounted()) == {"other_node": 1}
    plant.clock.advance(QUEUED_TTL + 1)
    assert not edge_1.admit(received(raw)), "it has expired"
    assert dict(edge_1.refusals.uncounted()) == {"expired": 1}


def test_a_message_is_not_begun_after_redis_has_forgotten_its_lease(plant: Plant) -> None:
    message = claim(plant)
    plant.client.delete(plant.keys.lease(NODE, "flow-1"))
    assert plant.begin(grant_of(message)) == "no_lease"
    assert plant.counters()["supervisor_actions_discarded_total|no_lease"] == "1"
    later = claim(plant, "a2")
    assert plant.begin(grant_of(message)) == "other_token"
    assert plant.begin(replace(grant_of(later), action_id="a1")) == "other_token"


def test_an_action_that_was_begun_cannot_be_begun_again_by_its_message_after_redis_was_emptied(plant: Plant) -> None:
    grant = plant.running()
    plant.client.delete(plant.keys.lease(NODE, "flow-1"))
    assert plant.renew(grant) == {"a1": "recreated"}
    assert plant.begin(grant, "r2") == "running_elsewhere"


def refusals(plant: Plant, *reasons: Reason) -> Refusals:
    """Return what an executor has refused."""
    made = Refusals(plant.clock.monotonic)
    for reason in reasons:
        made.add(Untrusted(reason, "test"), {"action_id": "a1"})
    return made


def counted(plant: Plant, place: str = NODE) -> dict[str, str]:
    prefix = "supervisor_messages_refused_total|"
    found = plant.client.hgetall(plant.keys.counters(place))
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def test_refusals_are_counted_by_reason_and_added_up(plant: Plant) -> None:
    one = refusals(plant, Reason.UNSIGNED, Reason.UNSIGNED, Reason.EXPIRED)
    one.count(plant.store, NODE)
    one.count(plant.store, NODE)
    assert counted(plant) == {"unsigned": "2", "expired": "1"}
    one.add(Untrusted(Reason.UNSIGNED, "test"), {"action_id": "a1"})
    one.count(plant.store, NODE)
    refusals(plant, Reason.UNSIGNED).count(plant.store, NODE)
    assert counted(plant) == {"unsigned": "4", "expired": "1"}
    assert plant.events() == []


def test_a_batch_whose_answer_was_lost_is_counted_once(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    made = refusals(plant, Reason.UNSIGNED)
    run = type(plant.store.scripts).run

    def lose_refuse(self: Any, name: str, *arguments: Any) -> Any:
        answer = run(self, name, *arguments)
        if name == "refuse":
            raise redis.ConnectionError("the answer was lost")
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(type(plant.store.scripts), "run", lose_refuse)
        with pytest.raises(redis.ConnectionError):
            made.count(plant.store, NODE)
    made.add(Untrusted(Reason.UNSIGNED, "meanwhile"), {"action_id": "a1"})
    made.add(Untrusted(Reason.PARAMS, "meanwhile"), {"action_id": "a1"})
    made.count(plant.store, NODE)
    assert counted(plant) == {"unsigned": "1"}
    made.count(plant.store, NODE)
    assert counted(plant) == {"unsigned": "2", "params": "1"}


def test_what_guards_against_counting_twice_goes_away_by_itself(plant: Plant) -> None:
    made = refusals(plant, Reason.UNSIGNED)
    made.count(plant.store, NODE)
    assert 0 < plant.client.ttl(plant.keys.refused(NODE, made.process)) <= 3600


def test_refusals_wait_for_a_fleet_to_be_counted_under(bare_plant: Plant) -> None:
    made = refusals(bare_plant, Reason.UNSIGNED)
    made.count(bare_plant.store, NODE)
    assert dict(made.uncounted()) == {"unsigned": 1}
    bare_plant.apply_fleet(worker("flow-1"))
    made.count(bare_plant.store, NODE)
    assert counted(bare_plant) == {"unsigned": "1"}


def test_they_are_counted_under_a_supervisor_that_has_the_place_not_under_one_that_a_message_names(
    plant: Plant,
) -> None:
    other = fleet(worker("flow-9", node="edge-9"))
    settings = msgspec.structs.replace(other.settings, name="a-first", nodes=("edge-9",))
    plant.store.apply_fleets([replace(other, settings=settings)])
    places = ("edge-1", "edge-9", "pool", "supervisor", "edge-7")
    assert {place: counted_at(plant.store, place) for place in places} == {
        "edge-1": (NAME, "edge-1"),
        "edge-9": ("a-first", "edge-9"),
        "pool": ("a-first", "pool"),
        "supervisor": ("a-first", "supervisor"),
        "edge-7": ("a-first", "pool"),
    }


def test_the_exporter_shows_every_reason_from_the_start_and_what_was_counted(plant: Plant) -> None:
    def shown() -> dict[str, float]:
        families = {family.name: family for family in StoreCollector(plant.runtime).collect()}
        return {sample.labels["reason"]: sample.value for sample in families["supervisor_messages_refused"].samples}

    assert shown() == dict.fromkeys((reason.value for reason in Reason), 0.0)
    refusals(plant, Reason.PARAMS).count(plant.store, NODE)
    refusals(plant, Reason.PARAMS, Reason.UNKNOWN_TASK).count(plant.store, "supervisor")
    refusals(plant, Reason.PARAMS).count(plant.store, "pool")
    assert {reason: value for reason, value in shown().items() if value} == {"params": 3.0, "unknown_task": 1.0}


def test_actions_known_to_a_guard_are_those_of_the_registry(keys: Path, clock: FakeClock) -> None:
    assert guard_of(keys, clock).actions.names() == built_in().names()
