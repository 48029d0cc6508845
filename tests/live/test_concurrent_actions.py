"""Actions of several workers at once, on a real executor with five slots."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from supervisor.runtime import make_runtime
from supervisor.settings import Settings
from supervisor.store import Store
from tests.live.system import System
from tests.waiting import wait_until

pytestmark = pytest.mark.live
STUBBORN = tuple(f"stubborn-{number}" for number in range(1, 6))
STOP_TIMEOUT = 8  # seconds that each stop takes: these processes ignore SIGTERM; fsmctl has to look meanwhile


@pytest.fixture
def stubborn(running: System) -> Iterator[System]:
    """Add five workers on edge-1 whose stop takes STOP_TIMEOUT seconds; remove them again."""
    table = (
        '\n[[workers]]\nid = "{}"\ntype = "process"\nnode = "edge-1"\n'
        'config = {{ command = ["sh", "-c", "trap : TERM; while :; do sleep 1; done"], stop_timeout = "{}s" }}\n'
    )
    path = running.folder / "stubborn.toml"
    path.write_text(running.fleet.read_text() + "".join(table.format(name, STOP_TIMEOUT) for name in STUBBORN))
    running.fsmctl("apply", "-f", str(path))
    for name in STUBBORN:
        running.wait_for(f"worker/{name}", "state=running")
    yield running
    running.fsmctl("apply", "-f", str(running.fleet), "--yes")
    wait_until(lambda: not set(STUBBORN) & {row["id"] for row in running.json("get", "workers")}, "them to go", 60)


def store_of(system: System) -> Store:
    return make_runtime(Settings.from_env({"FSM_DATA_DIR": str(system.data)})).store


def in_progress(store: Store) -> set[str]:
    return {name for name in STUBBORN if store.has_action_in_progress("plant-1", name)}


def running_stops(system: System) -> list[dict[str, object]]:
    rows = system.json("get", "actions")
    return [
        row for row in rows if row["worker_id"] in STUBBORN and row["action"] == "stop" and row["stage"] == "running"
    ]


def test_s8_five_actions_run_at_the_same_time_and_are_in_progress_until_they_end(stubborn: System) -> None:
    store = store_of(stubborn)
    assert in_progress(store) == set()
    for name in STUBBORN:  # at once: five calls of fsmctl take seconds on a busy machine
        store.set_override("plant-1", "edge-1", name, "stopped", "test")

    wait_until(lambda: len(running_stops(stubborn)) == 5, "five stops to run at the same time", STOP_TIMEOUT * 2)
    assert in_progress(store) == set(STUBBORN)

    for name in STUBBORN:
        stubborn.wait_for(f"worker/{name}", "state=stopped")
    assert in_progress(store) == set()
    ended = [row for row in stubborn.json("get", "actions") if row["worker_id"] in STUBBORN]
    assert {(row["action"], row["outcome"]) for row in ended} == {("stop", "success")}
    assert all(row["duration_seconds"] >= STOP_TIMEOUT for row in ended)


def test_s9_a_worker_in_action_is_skipped_and_the_tick_goes_on_with_the_others(stubborn: System) -> None:
    stubborn.fsmctl("set", STUBBORN[0], "stopped", "--yes")
    wait_until(lambda: running_stops(stubborn), "the stop to run", 10)
    held = stubborn.worker(STUBBORN[0])
    assert held["skip"]["reason"] == "action_in_progress"
    assert (held["action"]["name"], held["action"]["phase"]) == ("stop", "running")

    other = stubborn.worker(STUBBORN[1])["pid"]
    os.kill(other, signal.SIGKILL)
    wait_until(
        lambda: any(
            event["event"] == "action.claimed" and str(other) in event["reason"]
            for event in stubborn.json("events", "--worker", STUBBORN[1])
        ),
        "the next action of the other worker",
        20,
    )
    assert stubborn.new_pid(STUBBORN[1], other, 20) != other
