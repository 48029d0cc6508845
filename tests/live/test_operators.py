"""What operators do about workers that keep failing, and about actions in progress, on a whole installation."""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

import httpx
import pytest

from tests.live.system import System
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

FLEET = """
[supervisor]
name = "plant-1"
observation_interval = "1s"
quarantine_after = 3
quarantine_for = "1h"

[[workers]]
id = "dies-young"
type = "process"
node = "edge-1"
config = { command = ["sh", "-c", "sleep 1; exit 1"] }

[[workers]]
id = "steady"
type = "process"
node = "edge-1"
config = { command = ["sleep", "1000"], min_uptime = "1s" }

[[workers]]
id = "slow"
type = "command"
config = { start = ["sleep", "25"], stop = ["true"], status = ["sh", "-c", "exit 3"] }
"""


@pytest.fixture
def plant(system: System) -> System:
    """Return a running installation of three workers of its own."""
    system.fleet.write_text(FLEET)
    system.start()
    system.wait_for("worker/steady", "state=running")
    return system


def conditions(system: System, worker_id: str) -> list[str]:
    return [one["type"] for one in system.worker(worker_id)["conditions"]]


def skipped(system: System, reason: str) -> int:
    """Return how often a worker was skipped for that reason."""
    text = httpx.get(f"http://127.0.0.1:{system.ports[1]}/metrics", timeout=10).text
    found = re.search(rf'supervisor_skips_total{{reason="{reason}",\S+}} (\d+)', text)
    return int(found[1]) if found else 0


def ended(system: System, worker_id: str) -> list[dict[str, Any]]:
    told = system.json("events", "--worker", worker_id)
    return [event for event in told if event["event"] == "action.ended"]


def test_a_worker_that_keeps_dying_is_quarantined_until_it_is_resumed(plant: System) -> None:
    def held() -> dict[str, Any] | None:
        row = plant.worker("dies-young")
        return row if row["skip"] is not None and row["skip"]["reason"] == "quarantined" else None

    row = wait_until(held, "the quarantine", 60)
    assert row is not None
    assert (row["restarts"], [one["type"] for one in row["conditions"]], row["pid"]) == (3, ["quarantined"], None)
    assert "ended with exit code 1" in row["conditions"][0]["reason"]
    plant.fsmctl("resume", "dies-young")
    wait_until(lambda: plant.worker("dies-young")["restarts"] > 3, "another try", 30)
    told = [event["event"] for event in plant.json("events", "--worker", "dies-young")]
    assert told.index("worker.quarantined") < told.index("operator.resume") < told.index("worker.quarantine_ended")


def test_a_paused_worker_stays_down_until_it_is_resumed(plant: System) -> None:
    plant.fsmctl("pause", "steady")
    pid = plant.worker("steady")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: plant.worker("steady")["pid"] is None, "the collector to see it", 30)
    before = skipped(plant, "paused")
    wait_until(lambda: skipped(plant, "paused") >= before + 3, "three more ticks", 30)
    assert (conditions(plant, "steady"), len(ended(plant, "steady"))) == (["paused"], 1)
    plant.fsmctl("resume", "steady")
    plant.new_pid("steady", pid, 30)


def test_an_action_in_progress_is_ended_by_cancel_and_by_a_stop_that_waits_for_it(plant: System) -> None:
    def start_runs() -> bool:
        action = plant.worker("slow")["action"]
        return action is not None and (action["name"], action["phase"]) == ("start", "running")

    wait_until(start_runs, "the start to run", 30)
    since = time.monotonic()
    plant.fsmctl("cancel", "slow")
    wait_until(lambda: ended(plant, "slow"), "its end", 20)
    (first,) = ended(plant, "slow")
    assert (first["outcome"], first["detail"].startswith("cancelled by ")) == ("cancelled", True)
    assert time.monotonic() - since < 20, "it would have gone on for 25 s"

    wait_until(start_runs, "the same action, which is still wanted", 30)
    plant.fsmctl("set", "slow", "stopped", "--yes")
    wait_until(lambda: len(ended(plant, "slow")) > 1, "the end of what is in the stop's way", 20)
    second = ended(plant, "slow")[1]
    assert (second["action"], second["outcome"], second["detail"]) == ("start", "cancelled", "desired is stopped")
    plant.wait_for("worker/slow", "state=stopped")
    assert plant.fsmctl("cancel", "slow", code=7).stderr.startswith("error: slow has no action in progress")
