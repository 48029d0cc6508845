"""Output that is followed from another host, and a check end to end, on real executors and collectors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import psutil
import pytest

from tests.conftest import RedisServer
from tests.live.pieces import FSMCTL, NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
LINES = 15_000  # of 90 bytes: more than one rotation's megabyte, and less than two
CHATTY = f"""
import pathlib, sys, time
print("ready", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
for number in range({LINES}):
    print(f"line {{number:06}} {{'x' * 76}}", flush=number % 100 == 99)
    if number % 100 == 99:
        time.sleep(0.05)
print("done", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    """Return an installation whose worker chatty waits for a file `go`, and then prints."""
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        (tmp_path / "chatty.py").write_text(CHATTY)
        made.apply(f"""
            supervisor = {{ name = "{NAME}", tick_interval = "200ms", observation_interval = "1s" }}
            [[workers]]
            id = "chatty"
            type = "process"
            node = "edge-1"
            config = {{ command = ["{sys.executable}", "chatty.py"], cwd = "{tmp_path}", min_uptime = "1s" }}
        """)
        made.start_supervisor()
        made.start_node()
        wait_until(lambda: made.events(to="running", worker_id="chatty"), "chatty to run", 60)
        yield made


def elsewhere(pieces: Pieces) -> dict[str, str]:
    """Return the environment of a host that has nothing of the node's files."""
    return {**pieces._environ(), "FSM_DATA_DIR": str(pieces.folder / "elsewhere")}


def fsmctl(pieces: Pieces, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run fsmctl on that host."""
    command = [sys.executable, *FSMCTL, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=elsewhere(pieces), cwd=pieces.folder, timeout=90, check=False
    )


@contextmanager
def following(pieces: Pieces) -> Iterator[tuple[list[str], list[str]]]:
    """Follow chatty from that host; yield the lines of stdout and stderr, which grow."""
    command = [sys.executable, *FSMCTL, "logs", "chatty", "-f"]
    shown: tuple[list[str], list[str]] = ([], [])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=elsewhere(pieces), cwd=pieces.folder
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        readers = [Thread(target=to.extend, args=(of,)) for to, of in zip(shown, (run.stdout, run.stderr), strict=True)]
        for reader in readers:
            reader.start()
        try:
            yield shown
        finally:
            run.terminate()
            for reader in readers:
                reader.join(10)


def collector_of(pieces: Pieces) -> psutil.Process:
    _, document = pieces.store.nodes(NAME, ["edge-1"])["edge-1"]
    assert document is not None
    return psutil.Process(document.pid)


def test_output_is_followed_from_another_host_whole_and_once_though_the_collector_is_killed(pieces: Pieces) -> None:
    expected = ["ready\n", *(f"line {number:06} {'x' * 76}\n" for number in range(LINES)), "done\n"]
    with following(pieces) as (shown, _):
        wait_until(lambda: shown, "the first line", 30)
        (pieces.folder / "go").touch()
        wait_until(lambda: len(shown) > LINES / 4, "a quarter of it", 60)
        collector_of(pieces).kill()
        wait_until(lambda: shown[-1] == "done\n", "the last line", 90)
        assert shown == expected
    rotated = list((pieces.folder / "data").rglob("chatty/output.log.1"))
    assert len(rotated) == 1, "it was rotated meanwhile"
    assert fsmctl(pieces, "logs", "chatty", "-n", "2").stdout == "".join(expected[-2:])


def test_a_collector_that_does_not_answer_is_named(pieces: Pieces) -> None:
    frozen = collector_of(pieces)
    frozen.suspend()
    with following(pieces) as (shown, said):
        wait_until(lambda: said, "a word about it", 30)
        assert said[0].startswith("-- the output is on node edge-1, whose collector was last heard ")
        wait_until(lambda: shown, "the executor to replace it", 60)
        assert said[-1] == "-- the collector of edge-1 answers --\n"


def test_a_check_has_a_no_op_run_on_each_node_and_finds_a_frozen_executor(pieces: Pieces) -> None:
    before = pieces.lease("chatty")
    well = fsmctl(pieces, "check", "--timeout", "20s")
    assert well.returncode == 0, well.stdout + well.stderr
    assert [line.split()[:2] for line in well.stdout.splitlines() if not line.startswith(" ")] == [
        [stage, "ok"] for stage in ("store", "tick", "executors", "collectors", "queues", "action")
    ]
    executor = pieces.processes["edge-1"]
    os.kill(executor.pid, signal.SIGSTOP)
    ill = fsmctl(pieces, "check", "--stage", "action", "--timeout", "2s", "-o", "json")
    assert (ill.returncode, ill.stderr) == (3, "error: failed: action\n")
    (stage,) = json.loads(ill.stdout)
    assert (stage["ok"], stage["seen"]) == (False, "edge-1 not begun within 2s")
    os.kill(executor.pid, signal.SIGCONT)
    again = fsmctl(pieces, "check", "--stage", "action", "--node", "edge-1", "--timeout", "30s")
    assert again.returncode == 0, again.stdout + again.stderr
    outcomes = [event["outcome"] for event in pieces.events(event="action.ended", worker_id="check/edge-1")]
    assert outcomes == ["success", "cancelled", "success"]
    assert pieces.lease("chatty") == before, "no worker was disturbed"
