"""What operators do to an installation that runs: pauses that end, restarts, looks, drains, what is forgotten."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from supervisor.keys import POOL
from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
FLEET = """
[supervisor]
name = "{name}"
tick_interval = "200ms"
observation_interval = "1s"
nodes = ["edge-1", "edge-2"]

[[workers]]
id = "flow"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}

[[workers]]
id = "slow"
type = "command"
node = "edge-1"
desired = "stopped"
config = {{ start = ["sleep", "8"], stop = ["true"], status = ["sh", "-c", "exit 3"] }}

[[workers]]
id = "gateway"
type = "command"
config = {{ start = ["touch", "{up}"], stop = ["rm", "-f", "{up}"], status = ["sh", "-c", "test -e {up} || exit 3"] }}
"""
OLD = """
[[workers]]
id = "old"
type = "process"
node = "{node}"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}
"""
LONG = 60  # seconds: the machine may be busy


@pytest.fixture(scope="module")
def pieces(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pieces]:
    """Return an installation of two nodes: flow runs on edge-1, gateway anywhere; shared by the tests."""
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path_factory.mktemp("acts"), redis_server.url) as made:
        made.apply(fleet(made))
        made.start_supervisor()
        made.start_node("edge-1")
        made.start_node("edge-2")
        for name in ("flow", "gateway"):
            wait_until(lambda name=name: worker(made, name)["state"] == "running", f"{name} to run", LONG)  # type: ignore[misc]
        yield made


def fleet(pieces: Pieces, more: str = "") -> str:
    """Return the fleet, and a worker more."""
    return FLEET.format(name=NAME, up=pieces.folder / "up") + more


def worker(pieces: Pieces, name: str) -> dict[str, Any]:
    """Return a worker as fsmctl shows it; nothing for one that is not there."""
    found = [row for row in json.loads(pieces.fsmctl("get", "workers", "-o", "json")) if row["id"] == name]
    return found[0] if found else {"state": None, "pid": None, "skip": None}


def new_pid(pieces: Pieces, name: str, before: int) -> int:
    """Wait until a worker runs in another process than before."""

    def pid() -> int | None:
        row = worker(pieces, name)
        return row["pid"] if row["pid"] not in (None, before) and row["state"] == "running" else None

    found = wait_until(pid, f"{name} to run anew, pid {before} before", LONG)
    assert found is not None
    return found


def acts(pieces: Pieces, event: str) -> list[dict[str, str]]:
    """Return the operators' acts of one kind."""
    return [told for _, told in pieces.store.events(NAME, ["edge-1", "edge-2", POOL], 10_000) if told["event"] == event]


def test_what_is_paused_with_its_node_stays_down_until_the_pause_ends_by_itself(pieces: Pieces) -> None:
    pid = worker(pieces, "flow")["pid"]
    paused_at = pieces.store.now()
    pieces.fsmctl("pause", "node/edge-1", "--for", "15s", "--reason", "new cable")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid), "flow to die")
    pieces.fsmctl("observe", "flow", "--timeout", "60s")
    new_pid(pieces, "flow", pid)
    lease = pieces.lease("flow")
    assert lease is not None
    assert lease.claimed_at >= paused_at + 15
    (told,) = acts(pieces, "operator.pause")
    assert (told["scope"], told["reason"], told["seconds"]) == ("node/edge-1", "new cable", "15")
    (asked,) = acts(pieces, "operator.observe")
    assert asked["worker_id"] == "flow"


def test_a_worker_that_runs_gets_a_new_life_once(pieces: Pieces) -> None:
    pid = worker(pieces, "flow")["pid"]
    pieces.fsmctl("restart", "flow", "--yes", "--reason", "leaks")
    after = new_pid(pieces, "flow", pid)
    assert not psutil.pid_exists(pid)
    restarts = pieces.events(event="action.ended", worker_id="flow", action="restart")
    assert [end["outcome"] for end in restarts] == ["success"]
    pieces.fsmctl("observe", "flow", "--timeout", "60s")
    assert worker(pieces, "flow")["pid"] == after


def floating_node(pieces: Pieces) -> str:
    """Restart gateway, wait until that has ended, and return the node whose executor did it."""
    ended = len(pieces.events(event="action.ended", worker_id="gateway"))
    pieces.fsmctl("restart", "gateway", "--yes")
    wait_until(lambda: len(pieces.events(event="action.ended", worker_id="gateway")) > ended, "gateway's restart", LONG)
    lease = pieces.lease("gateway", POOL)
    assert lease is not None
    assert (lease.action, lease.outcome) == ("restart", "success")
    wait_until(lambda: worker(pieces, "gateway")["state"] == "running", "gateway to be seen running", LONG)
    return lease.executor.partition("@")[0]


@pytest.mark.parametrize(("drained", "other"), [("edge-1", "edge-2"), ("edge-2", "edge-1")])
def test_floating_work_goes_where_no_node_is_drained_and_comes_back_after(
    pieces: Pieces, drained: str, other: str
) -> None:
    pieces.fsmctl("drain", f"node/{drained}", "--yes", "--timeout", "60s", "--reason", "kernel")
    assert {floating_node(pieces) for _ in range(3)} == {other}
    pieces.fsmctl("drain", f"node/{drained}", "--undo")
    document, _ = pieces.store.nodes(NAME, [drained])[drained]
    assert document is not None

    def takes_again() -> bool:
        node, _ = pieces.store.nodes(NAME, [drained])[drained]
        return node is not None and not node.drained and node.at > document.at

    wait_until(takes_again, f"{drained} to take floating work again", LONG)


def test_a_drain_lets_what_runs_end_begins_nothing_and_stops_what_is_to_stop(pieces: Pieces) -> None:
    pieces.fsmctl("set", "slow", "running")
    pieces.pool_process("slow")
    pieces.fsmctl("drain", "node/edge-1", "--yes", "--timeout", "60s")
    (end, *_) = pieces.events(event="action.ended", worker_id="slow", action="start")
    assert end["outcome"] != "cancelled"
    lease = pieces.lease("slow")
    assert lease is not None
    assert not lease.in_progress
    wait_until(lambda: (worker(pieces, "slow")["skip"] or {}).get("reason") == "drained", "slow to be held back", LONG)
    pid = worker(pieces, "flow")["pid"]
    pieces.fsmctl("set", "flow", "stopped", "--yes")
    wait_until(lambda: not psutil.pid_exists(pid), "flow to stop", LONG)
    pieces.fsmctl("set", "slow", "default", "--yes")
    pieces.fsmctl("set", "flow", "default", "--yes")
    pieces.fsmctl("drain", "node/edge-1", "--undo")
    new_pid(pieces, "flow", pid)


def test_what_left_the_file_is_forgotten_by_itself_or_by_delete_when_its_node_is_gone(pieces: Pieces) -> None:
    pieces.apply(fleet(pieces, OLD.format(node="edge-1")))
    pid = new_pid(pieces, "old", 0)
    pieces.apply(fleet(pieces))
    wait_until(lambda: worker(pieces, "old")["state"] is None, "old to be forgotten", LONG)
    assert not psutil.pid_exists(pid)

    pieces.apply(fleet(pieces, OLD.format(node="edge-2")))
    new_pid(pieces, "old", pid)
    pieces.processes["edge-2"].terminate()
    pieces.processes["edge-2"].wait(60)
    pieces.apply(fleet(pieces))
    pieces.fsmctl("delete", "worker/old", "--yes", "--timeout", "60s", "--reason", "host is gone")
    assert worker(pieces, "old")["state"] is None
    assert acts(pieces, "operator.delete")[-1]["reason"] == "host is gone"
