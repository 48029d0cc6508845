"""Marks ring, and beat hears them: what is published, and what an ear makes of it, on a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from supervisor.clock import SystemClock
from supervisor.dispatch import Circuit, Item, apply
from supervisor.keys import SUPERVISOR, rings
from supervisor.pulse import Ear
from supervisor.settings import Settings
from supervisor.store import Store
from tests.conftest import OwnRedis, RedisServer
from tests.integration.plant import NAME, NODE, fleet, worker
from tests.waiting import wait_until
from workers.model import Status


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[Store]:
    """Return the store of a fleet of one worker, with no mark."""
    with redis_server.connect() as client:
        client.flushdb()
        made = Store(client, "fsm")
        made.apply_fleets([fleet(worker("flow-1"))])
        client.delete(made.keys(NAME).wake(SUPERVISOR))
        yield made


def ear_at(url: str, folder: Path) -> Ear:
    """Return an ear that listens already."""
    ear = Ear(
        Settings.from_env({"FSM_REDIS_URL": url, "FSM_NAMESPACE": "fsm", "FSM_DATA_DIR": str(folder)}), SystemClock()
    )
    ear.wait(0.2)
    return ear


def heard_by(client: redis.Redis) -> Any:
    """Return a subscription to all rings, which is in force."""
    heard: Any = client.pubsub(ignore_subscribe_messages=False)
    heard.psubscribe(rings("fsm"))
    wait_until(lambda: heard.get_message(timeout=1.0), "the subscription")
    return heard


def test_the_first_mark_rings_and_others_do_not_until_it_was_taken(store: Store) -> None:
    heard = heard_by(store.client)
    for wish in ("stopped", "running", "stopped"):
        store.set_override(NAME, NODE, "flow-1", wish, "test")  # type: ignore[arg-type]
    wake = store.keys(NAME).wake(SUPERVISOR)
    message = wait_until(lambda: heard.get_message(timeout=1.0), "a ring")
    assert (message["type"], message["channel"]) == ("pmessage", wake)
    assert heard.get_message(timeout=0.3) is None
    store.client.delete(wake)  # as the gate does
    store.set_override(NAME, NODE, "flow-1", "running", "test")
    assert wait_until(lambda: heard.get_message(timeout=1.0), "the next ring")["channel"] == wake
    heard.close()


def test_the_end_of_a_tick_rings_for_what_was_marked_while_it_ran(store: Store) -> None:
    """The ring of the mark itself has met a tick that runs, which no pulse can hurry."""
    assert begin(store, "t1")
    store.set_override(NAME, NODE, "flow-1", "stopped", "test")
    heard = heard_by(store.client)
    assert store.finish_tick(NAME, "t1", "{}", {}, places=(SUPERVISOR, NODE))
    assert wait_until(lambda: heard.get_message(timeout=1.0), "a ring")["channel"] == store.keys(NAME).wake(SUPERVISOR)
    heard.close()


def test_a_tick_that_was_overtaken_or_has_nothing_marked_does_not_ring(store: Store) -> None:
    heard = heard_by(store.client)
    assert begin(store, "t1")
    assert store.finish_tick(NAME, "t1", "{}", {}, places=(SUPERVISOR, NODE))
    store.client.sadd(store.keys(NAME).wake(NODE), "flow-1")
    assert not store.finish_tick(NAME, "other", "{}", {}, places=(SUPERVISOR, NODE))
    assert heard.get_message(timeout=0.3) is None
    heard.close()


def test_a_tick_marks_what_it_moves_quietly_and_rings_at_its_end(store: Store) -> None:
    assert begin(store, "t1")
    heard = heard_by(store.client)
    apply(store, NAME, "t1", Circuit(0), [Item("flow-1", NODE, Status(state="starting", since=1.0), moved=True)])
    assert store.client.smembers(store.keys(NAME).wake(NODE)) == {"flow-1"}
    assert heard.get_message(timeout=0.3) is None
    assert store.finish_tick(NAME, "t1", "{}", {}, places=(SUPERVISOR, NODE))
    assert wait_until(lambda: heard.get_message(timeout=1.0), "a ring")["channel"] == store.keys(NAME).wake(NODE)
    heard.close()


def begin(store: Store, tick_id: str) -> bool:
    """Let a tick start."""
    index = store.index(NAME)
    assert index is not None
    return store.begin_tick(NAME, index, tick_id).answer == "started"


def test_who_may_mark_but_not_ring_marks_all_the_same(store: Store, redis_server: RedisServer) -> None:
    store.client.acl_setuser(
        "quiet", enabled=True, nopass=True, keys="*", commands=["+@all", "-publish"], channels="", reset=True
    )
    url = f"redis://quiet:any@{redis_server.host}:{redis_server.port}/0"
    with redis.Redis.from_url(url, decode_responses=True) as client:
        Store(client, "fsm").set_override(NAME, NODE, "flow-1", "stopped", "test")
    assert store.client.smembers(store.keys(NAME).wake(SUPERVISOR)) == {"flow-1"}
    store.client.acl_deluser("quiet")


def test_an_ear_hears_a_mark_long_before_it_would_have_waited(
    store: Store, redis_server: RedisServer, tmp_path: Path
) -> None:
    ear = ear_at(redis_server.url, tmp_path)
    store.set_override(NAME, NODE, "flow-1", "stopped", "test")
    began = time.monotonic()
    assert ear.wait(60.0)
    assert time.monotonic() - began < 30.0
    ear.hang_up()


def test_an_ear_whose_redis_goes_away_waits_and_hears_again_when_it_is_back(tmp_path: Path) -> None:
    own = OwnRedis(tmp_path)
    own.start()
    try:
        ear = ear_at(own.url, tmp_path)
        own.kill()
        began = time.monotonic()
        assert not ear.wait(0.3)
        assert time.monotonic() - began >= 0.3
        own.start()

        def heard() -> bool:
            with own.server.connect() as client:
                client.publish("fsm:plant:supervisor:wake", "")
            return ear.wait(0.2)

        wait_until(heard, "a ring to be heard again", 30)
        ear.hang_up()
    finally:
        own.kill()
