"""Every end of an action frees its worker at once where a process can know it; the executor's drain (S10)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.model import LEASE_TTL
from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.loglines import lines_of
from tests.waiting import wait_until

pytestmark = pytest.mark.live
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "1s"
"""
WORKER = """
[[workers]]
id = "{}"
type = "process"
node = "edge-1"
config = {{ command = ["sh", "-c", "trap : TERM; while :; do sleep 1; done"], stop_timeout = "{}s" }}
"""
QUICK, SLOW = "quick", "slow"  # their stops take 2 and 15 seconds: drain_timeout is 5


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    """Return an installation whose two workers run; a stop of theirs takes as long as its timeout."""
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        made.apply(FLEET + WORKER.format(QUICK, 2) + WORKER.format(SLOW, 15))
        made.start_supervisor()
        made.start_node()
        for worker in (QUICK, SLOW):
            wait_until(lambda worker=worker: made.events(to="running", worker_id=worker), f"{worker} to run", 30)  # type: ignore[misc]
        yield made


def ended(pieces: Pieces, worker: str, timeout: float = 30) -> dict[str, str]:
    """Return the end of a worker's first stop."""
    found = wait_until(
        lambda: pieces.events(event="action.ended", worker_id=worker, action="stop"), f"{worker}'s stop to end", timeout
    )
    assert found is not None
    return found[0]


def lines(pieces: Pieces, event: str) -> list[dict[str, Any]]:
    """Return what the node's executor has logged of an event."""
    return [line for line in lines_of(pieces.said("edge-1")) if line["event"] == event]


def test_a_killed_pool_process_frees_its_worker_long_before_the_lease_runs_out(pieces: Pieces) -> None:
    pieces.want(SLOW, "stopped")
    process = pieces.pool_process(SLOW)
    process.kill()
    end = ended(pieces, SLOW, LEASE_TTL / 2)
    assert end["outcome"] == "lost"
    assert "its pool process died" in end["detail"]
    assert "signal 9" in end["detail"]
    lease = pieces.lease(SLOW)
    assert lease is not None
    assert lease.kills == 1 or lease.in_progress
    wait_until(lambda: pieces.events(event="action.begun", worker_id=SLOW, action="stop")[1:], "it to be tried again")


def test_an_action_that_is_cancelled_gives_up_and_its_slot_takes_the_next_one(pieces: Pieces) -> None:
    pieces.want(SLOW, "stopped")
    process = pieces.pool_process(SLOW)
    lease = pieces.lease(SLOW)
    assert lease is not None
    pieces.want(SLOW, None)
    pieces.runtime().leases.cancel(NAME, "edge-1", SLOW, lease.token, "asked by a test")
    end = ended(pieces, SLOW, LEASE_TTL / 2)
    assert (end["outcome"], end["detail"]) == ("cancelled", "asked by a test")
    assert process.is_running()  # it gave up by itself
    pieces.want(QUICK, "stopped")
    assert ended(pieces, QUICK)["outcome"] == "success"


def test_s10_a_drain_waits_for_actions_in_flight_and_says_that_all_of_them_ended(pieces: Pieces) -> None:
    node = pieces.processes["edge-1"]
    pieces.want(QUICK, "stopped")
    pieces.pool_process(QUICK)
    collector = pieces.store.nodes(NAME, ["edge-1"])["edge-1"][1]
    assert collector is not None
    node.send_signal(signal.SIGTERM)
    wait_until(lambda: lines(pieces, "executor.draining"), "the drain to begin", 10)
    assert psutil.pid_exists(collector.pid)  # it observes until the drain is over
    assert node.wait(30) == 0, pieces.said("edge-1")
    assert ended(pieces, QUICK)["outcome"] == "success"
    assert [line["in_flight"] for line in lines(pieces, "executor.draining")] == [1]
    assert [line["in_flight"] for line in lines(pieces, "executor.drained")] == [1]
    assert not psutil.pid_exists(collector.pid)
    document = pieces.store.nodes(NAME, ["edge-1"])["edge-1"][0]
    assert document is not None
    assert document.left


@pytest.mark.slow
def test_s10_a_drain_gives_up_cleanly_on_what_does_not_end_in_time(pieces: Pieces) -> None:
    node = pieces.processes["edge-1"]
    pieces.want(SLOW, "stopped")
    pieces.pool_process(SLOW)
    node.send_signal(signal.SIGTERM)
    assert node.wait(30) == 6, pieces.said("edge-1")
    end = ended(pieces, SLOW)
    assert (end["outcome"], end["detail"]) == ("cancelled", "told to give up")
    assert 5 <= float(end["duration"]) < 15
    assert [line["cancelled"] for line in lines(pieces, "executor.cut_short")] == [1]
    assert "Traceback" not in pieces.said("edge-1")


@pytest.mark.slow
def test_s10_told_twice_an_executor_leaves_at_once_and_what_ran_is_reaped(pieces: Pieces) -> None:
    node = pieces.processes["edge-1"]
    pieces.want(SLOW, "stopped")
    pool = pieces.pool_process(SLOW)
    collector = pieces.store.nodes(NAME, ["edge-1"])["edge-1"][1]
    assert collector is not None
    node.send_signal(signal.SIGTERM)
    wait_until(lambda: lines(pieces, "executor.draining"), "the drain to begin", 10)
    node.send_signal(signal.SIGTERM)
    assert node.wait(3) == 143, pieces.said("edge-1")
    assert not pool.is_running() or pool.status() == psutil.STATUS_ZOMBIE
    wait_until(lambda: not psutil.pid_exists(collector.pid), "its collector to end", 10)
    assert ended(pieces, SLOW, 2 * LEASE_TTL)["outcome"] == "lost"


@pytest.mark.slow
def test_told_to_quit_an_executor_kills_what_runs_and_frees_it(pieces: Pieces) -> None:
    node = pieces.processes["edge-1"]
    pieces.want(SLOW, "stopped")
    pieces.pool_process(SLOW)
    node.send_signal(signal.SIGQUIT)
    node.wait(20)
    end = ended(pieces, SLOW, LEASE_TTL / 2)
    assert end["outcome"] == "cancelled"


@pytest.mark.slow
def test_an_action_whose_lease_cannot_be_renewed_is_given_up_before_another_can_be_claimed(
    pieces: Pieces, redis_server: RedisServer
) -> None:
    pieces.want(SLOW, "stopped")
    pieces.pool_process(SLOW)
    with redis_server.connect() as client:
        pid = int(client.info("server")["process_id"])  # type: ignore[index]  # redis-py's union of sync and async
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: "its lease was not renewed for" in pieces.said("edge-1"), "it to be given up", LEASE_TTL)
    finally:
        os.kill(pid, signal.SIGCONT)
    end = ended(pieces, SLOW, 2 * LEASE_TTL)
    assert end["outcome"] in ("cancelled", "lost")
    wait_until(lambda: pieces.events(event="action.begun", worker_id=SLOW, action="stop")[1:], "it to be tried again")
