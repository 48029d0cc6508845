"""The whole system while its Redis is away, hangs, comes back empty, is full: it waits, says so once, and goes on."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor.keys import celery_prefix
from supervisor.model import HOLD_OFF
from supervisor.pulse import MOST_WAITING
from tests.conftest import OwnRedis
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
PASSWORD = "s3cret-of-this-test"
WORK_WITHIN = 5.0  # seconds after Redis is back; what a hold-off holds back comes that much later
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "1s"

[[workers]]
id = "one"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "1000"], stop_timeout = "1s" }}
"""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """Return a Redis with a password, which keeps a log of what it was told."""
    folder = tmp_path / "redis"
    folder.mkdir()
    made = OwnRedis(folder, ("--save", "", "--appendonly", "yes", "--requirepass", PASSWORD), password=PASSWORD)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def pieces(redis: OwnRedis, tmp_path: Path) -> Iterator[Pieces]:
    """Return an installation whose worker runs."""
    with pieces_in(tmp_path, redis.url) as made:
        made.apply(FLEET)
        made.start_supervisor()
        made.start_node()
        wait_until(lambda: made.events(to="running", worker_id="one"), "one to run", 30)
        yield made


def acts(pieces: Pieces, timeout: float) -> float:
    """Ask for a change, and return the seconds until an action for it begins."""
    clock = pieces.runtime().clock
    asked = clock.monotonic()
    known = {event["action_id"] for event in pieces.events(event="action.begun")}
    row = pieces.store.read_worker(NAME, [("one", "edge-1")])
    stopped = any('"stopped"' in (texts["override"] or "") for _, _, texts in row)
    pieces.want("one", None if stopped else "stopped")
    wait_until(
        lambda: {event["action_id"] for event in pieces.events(event="action.begun")} - known, "an action", timeout
    )
    return clock.monotonic() - asked


def said(pieces: Pieces) -> str:
    return "".join(pieces.said(name) for name in pieces.processes)


def alive(pieces: Pieces) -> dict[str, int]:
    """Return the pieces that live, by name."""
    return {name: process.pid for name, process in pieces.processes.items() if process.poll() is None}


def test_after_an_outage_longer_than_any_pause_between_tries_work_goes_on_within_five_seconds(
    pieces: Pieces, redis: OwnRedis
) -> None:
    before = alive(pieces)
    clock = pieces.runtime().clock
    redis.kill()
    clock.sleep(40)
    redis.start()
    back = clock.monotonic()
    ticks = pieces.store.last_tick(NAME)
    assert ticks is not None
    wait_until(lambda: pieces.store.last_tick(NAME).id != ticks.id, "a tick", 30)  # type: ignore[union-attr]
    ticked = clock.monotonic() - back
    acts(pieces, 30)
    acted = clock.monotonic() - back
    assert ticked < WORK_WITHIN
    assert acted < WORK_WITHIN + HOLD_OFF
    assert alive(pieces) == before
    assert PASSWORD not in said(pieces)
    for name in pieces.processes:
        about = ("annot connect", "silent", "does not answer", "lost", "Deprecation")
        lines = [line for line in pieces.said(name).splitlines() if any(words in line for words in about)]
        assert len(lines) <= 8, lines  # at first, once more after 30 s, and that it is over


@pytest.mark.parametrize("seconds", [3, 20])
def test_a_hung_redis_ends_nobody_and_work_goes_on_within_five_seconds(
    pieces: Pieces, redis: OwnRedis, seconds: int
) -> None:
    before = alive(pieces)
    redis.signal(signal.SIGSTOP)
    pieces.runtime().clock.sleep(seconds)
    redis.signal(signal.SIGCONT)
    took = acts(pieces, 30)
    assert took < WORK_WITHIN
    assert alive(pieces) == before


def test_an_emptied_redis_gets_the_fleet_and_the_override_back_and_the_process_runs_on(
    pieces: Pieces, redis: OwnRedis
) -> None:
    acts(pieces, 30)
    wait_until(lambda: pieces.events(event="action.ended", action="stop"), "the stop to end", 30)
    with redis.server.connect() as client:
        client.flushall()
    wait_until(lambda: pieces.events(event="store.restored"), "the fleet to come back", 30)
    rows = [texts for _, _, texts in pieces.store.read_worker(NAME, [("one", "edge-1")])]
    assert '"stopped"' in (rows[0]["override"] or "")
    acts(pieces, 30)
    wait_until(lambda: pieces.events(to="running", worker_id="one"), "one to run again", 30)


def test_pulses_that_nobody_takes_do_not_pile_up(pieces: Pieces, redis: OwnRedis) -> None:
    supervisor = pieces.processes["supervisor"]
    supervisor.terminate()
    supervisor.wait(30)
    queue = celery_prefix("pieces") + "supervisor"
    with redis.server.connect() as client:
        wait_until(lambda: "nobody takes them" in pieces.said("beat"), "beat to notice", 30)
        assert client.llen(queue) == MOST_WAITING
        pieces.runtime().clock.sleep(2)
        assert client.llen(queue) == MOST_WAITING
    pieces.start("supervisor", "worker", "--without-gossip", "--without-mingle", "-Q", "supervisor", "-c", "1")
    wait_until(lambda: "beat.silent.over" in pieces.said("beat"), "pulses to be published again", 30)
    acts(pieces, 30)


def test_an_executor_whose_only_slot_was_busy_takes_work_again(redis: OwnRedis, tmp_path: Path) -> None:
    """No connection of its breaks: it waits for its slot, not for messages, and for no remote control.

    Without heartbeats, which may or may not find out at that very moment.
    """
    with pieces_in(tmp_path, redis.url, FSM_REMOTE_CONTROL="off") as pieces:
        pieces.apply(FLEET)
        pieces.start_supervisor("--without-heartbeat")
        pieces.start_node()
        wait_until(lambda: pieces.events(to="running", worker_id="one"), "one to run", 60)
        (slot,) = psutil.Process(pieces.processes["supervisor"].pid).children()
        slot.suspend()
        with redis.server.connect() as client:
            waiting = f"{celery_prefix('pieces')}supervisor"
            wait_until(lambda: client.llen(waiting) >= 2, "the slot to be busy, so that pulses wait", 30)
        redis.kill()
        slot.resume()
        wait_until(lambda: "Connection to broker lost" in pieces.said("supervisor"), "the executor to notice", 60)
        redis.start()
        acts(pieces, 60)
