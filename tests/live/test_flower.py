"""What a person sees in Flower, and that its history outlives it."""

from __future__ import annotations

import base64
import html
import os
import signal
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.live.system import WORKERS, System
from tests.waiting import wait_until

pytestmark = pytest.mark.live
HOST = socket.gethostname()
SAVES = 30.0  # seconds between two writes of Flower's history
PASSWORD = "ann:secret"


def page(system: System, path: str, who: str = "") -> str:
    """Return a page of Flower, as the person `who` (NAME:PASSWORD)."""
    request = urllib.request.Request(f"http://127.0.0.1:{system.ports[2]}{path}")
    if who:
        request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def tasks(system: System, who: str = "") -> list[dict[str, Any]]:
    """Return what the page /tasks is filled with, newest first."""
    query = {
        **{"draw": "1", "start": "0", "length": "1000", "search[value]": ""},
        **{"columns[0][data]": "received", "order[0][column]": "0", "order[0][dir]": "desc"},
    }
    found: list[dict[str, Any]] = msgspec.json.decode(
        page(system, f"/tasks/datatable?{urllib.parse.urlencode(query)}", who)
    )["data"]
    return found


def start_after_a_kill(system: System, worker_id: str, who: str = "") -> dict[str, Any]:
    """Kill a worker, and return the action that starts it again as Flower shows it, once that has ended."""
    pid = system.worker(worker_id)["pid"]
    os.kill(pid, signal.SIGKILL)
    new = system.new_pid(worker_id, pid, 30)
    detail = f"started as pid {new}"
    ended = [event for event in system.json("events", "--worker", worker_id) if event.get("detail") == detail]
    action_id = ended[-1]["action_id"]

    def shown() -> dict[str, Any] | None:
        return next((row for row in tasks(system, who) if (row["uuid"], row["state"]) == (action_id, "SUCCESS")), None)

    row = wait_until(shown, f"Flower to show that action {action_id} has ended", 20)
    assert row is not None
    return {**row, "killed": pid}


def test_s22_flower_shows_each_action_by_its_name_with_its_worker_reason_and_outcome(running: System) -> None:
    row = start_after_a_kill(running, "line-2-vibration")

    names = ("name", "args", "result", "worker")
    expected = ("actions.start", "(line-2-vibration)", "'success'", f"edge-2@{HOST}")
    assert tuple(row[name] for name in names) == expected
    reason = msgspec.json.decode(row["kwargs"])["reason"]
    assert f"pid {row['killed']} was ended by signal 9" in reason
    detail = html.unescape(page(running, f"/task/{row['uuid']}"))
    assert all(text in detail for text in ("actions.start", "(line-2-vibration)", reason, f"edge-2@{HOST}"))


def test_flower_shows_actions_alone_in_the_columns_that_tell_of_them_and_executors_by_node(running: System) -> None:
    shown = wait_until(lambda: tasks(running), "Flower to show actions", 20)

    assert {row["name"].partition(".")[0] for row in shown} == {"actions"}, "ticks would push actions out"
    columns = page(running, "/tasks").partition("<thead")[2].partition("</thead")[0]
    titles = ("Received", "Name", "args", "Worker", "State", "Result", "Runtime", "kwargs")
    places = [columns.find(f">{title}<") for title in titles]
    assert places == sorted(places), f"{titles} in this order: {columns}"
    assert places[0] > 0, columns
    executors = msgspec.json.decode(page(running, "/workers?json=1"))["data"]
    assert {row["hostname"] for row in executors} == {f"{name}@{HOST}" for name in ("supervisor", "edge-1", "edge-2")}
    assert {row["status"] for row in executors} == {True}
    listening = psutil.Process(running.part_pid("flower")).net_connections("tcp")
    assert {entry.laddr.ip for entry in listening if entry.status == psutil.CONN_LISTEN} == {"127.0.0.1"}


@pytest.mark.slow
def test_flowers_history_outlives_it_and_its_password_is_asked_for_and_stays_with_it(system: System) -> None:
    system.environ["FLOWER_BASIC_AUTH"] = PASSWORD
    system.start()
    for worker in WORKERS:
        system.wait_for(f"worker/{worker}", "state=running")
    for path in ("/tasks", "/api/tasks", "/workers?json=1"):
        for who in ("", "ann:wrong"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                page(system, path, who)
    assert "FLOWER_BASIC_AUTH" not in psutil.Process(system.worker("plc-1")["pid"]).environ()

    first = start_after_a_kill(system, "line-2-vibration", PASSWORD)
    wait_until(lambda: _saved(system.data) > first["succeeded"], "Flower to save its history", SAVES + 10)
    _end_flower(system, signal.SIGKILL)
    assert _history(system, first["uuid"]) == _in_short(first)

    second = start_after_a_kill(system, "line-1-pressure", PASSWORD)
    _end_flower(system, signal.SIGTERM)
    assert _history(system, first["uuid"]) == _in_short(first)
    assert _history(system, second["uuid"]) == _in_short(second), "saved by its end"
    assert system.stop() == 0


def _saved(data: Path) -> float:
    """Return when Flower's history was last written, in epoch seconds."""
    return max((file.stat().st_mtime for file in data.glob("flower*") if ".tmp" not in file.name), default=0.0)


def _end_flower(system: System, number: int) -> None:
    """End Flower, and wait until another one answers."""
    pid = system.part_pid("flower")
    os.kill(pid, number)

    def answers() -> bool:
        try:
            return system.part_pid("flower") != pid and "OK" in page(system, "/healthcheck")
        except OSError:
            return False

    wait_until(answers, "Flower to be started again", 60)


def _history(system: System, action_id: str) -> dict[str, Any]:
    """Return what Flower's API tells of an action."""
    told: dict[str, Any] = msgspec.json.decode(page(system, f"/api/task/info/{action_id}", PASSWORD))
    return _in_short({**told, "worker": told["worker"]})


def _in_short(row: dict[str, Any]) -> dict[str, Any]:
    names = ("uuid", "name", "args", "kwargs", "result", "state", "worker", "received", "succeeded")
    return {name: row[name] for name in names}
