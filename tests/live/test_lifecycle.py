"""Starting, stopping and starting again: what stays, what goes, and what is refused."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sysconfig
import termios
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.system import WORKERS, System, free_ports
from tests.waiting import wait_until

pytestmark = pytest.mark.live


def all_running(system: System) -> dict[str, int]:
    for worker in WORKERS:
        system.wait_for(f"worker/{worker}", "state=running")
    return {row["id"]: row["pid"] for row in system.json("get", "workers")}


def test_ctrl_c_leaves_nothing_behind_and_a_second_run_goes_on_from_the_stored_state(system: System) -> None:
    system.start()
    all_running(system)
    system.fsmctl("set", "line-2-vibration", "stopped", "--yes")
    system.wait_for("worker/line-2-vibration", "state=stopped")
    events = len(system.json("events", "-n", "1000"))

    assert system.stop(signal.SIGINT) == 0

    assert system.processes() == []
    assert not (system.data / "redis.url").exists()
    for port in system.ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert system.fsmctl("get", "workers", code=5).stderr.startswith("error: no Redis is known")

    system.start()
    for worker in WORKERS[:-1]:
        system.wait_for(f"worker/{worker}", "state=running")
    row = system.worker("line-2-vibration")
    assert (row["desired"], row["state"], row["pid"], row["overridden"]) == ("stopped", "stopped", None, True)
    assert len(system.json("events", "-n", "1000")) > events
    assert system.json("get", "circuit")[0]["generation"] == 0, "a stop and a start are no incident"
    assert system.stop(signal.SIGTERM) == 0
    assert system.processes() == []


@pytest.mark.slow
def test_a_killed_runner_is_cleaned_up_by_the_next_start_which_adopts_what_runs(system: System) -> None:
    system.start()
    before = all_running(system)
    assert system.up is not None
    system.up.kill()
    system.up.wait()
    parts = {process.pid for process in system.processes() if "celery" in " ".join(process.cmdline())}
    assert parts, "the parts outlive their runner"

    system.start()
    wait_until(lambda: "ending parts of an earlier run" in system.said(), "the next start to say so", 30)
    wait_until(lambda: system.said().count("stop     Ctrl-C") == 2, "the second start", 60)
    after = all_running(system)

    assert after == before, "no supervised process was stopped"
    assert not any(psutil.pid_exists(pid) for pid in parts)
    assert system.stop() == 0
    assert system.processes() == []


@pytest.mark.slow
def test_a_second_runner_on_the_same_data_folder_is_refused(system: System) -> None:
    system.start()
    system.wait_for("worker/plc-1", "state=running")

    refused = system.fsmctl("up", "--fleet", str(system.fleet), code=7)

    assert system.up is not None
    assert f"another fsmctl up (pid {system.up.pid})" in refused.stderr
    assert system.stop() == 0


@pytest.mark.parametrize("number", [0, 1, 2], ids=["redis", "exporter", "flower"])
def test_a_taken_port_is_one_sentence_and_nothing_is_started(system: System, number: int) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", system.ports[number]))
        squatter.listen()
        system.start()
        assert system.up is not None
        assert system.up.wait(timeout=30) == 7
    assert f"port {system.ports[number]} for" in system.said()
    assert "is taken" in system.said()
    assert "Traceback" not in system.said()
    assert system.processes() == []


@pytest.mark.slow
def test_on_a_terminal_the_fleet_is_shown_live_in_80_columns(system: System) -> None:
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    system.start(stdout=terminal)
    os.close(terminal)
    shown = b""

    def plain() -> str:
        return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode(errors="replace").replace("\r", "\n")

    def read_on() -> bool:
        nonlocal shown
        if select.select([controller], [], [], 0)[0]:
            shown += os.read(controller, 65536)
        return bool(re.search("running +running", plain())) and "children broker ok" in plain()

    wait_until(read_on, "the table to show running workers", 60)
    table = [line for line in plain().splitlines() if re.match(r".. (WORKER|line-|plc-1)", line)]
    assert {line[2:].split()[0] for line in table} == {"WORKER", *WORKERS}
    assert max(len(line) for line in table) <= 80
    assert system.stop() == 0
    os.close(controller)


def test_an_unreadable_fleet_file_is_one_sentence_and_nothing_is_started(system: System) -> None:
    system.fleet.write_text("[supervisor\n")
    system.start()
    assert system.up is not None
    assert system.up.wait(timeout=30) == 2
    assert system.said().splitlines()[-1].startswith(f"error: {system.fleet}: is not TOML")
    assert not (system.data / "parts").exists()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A Redis that was there before: its URL and pid."""
    port = free_ports(1)[0]
    binary = Path(sysconfig.get_path("scripts")) / "redis-server"
    command = [binary if binary.exists() else "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    folder = tmp_path.parent / f"{tmp_path.name}-redis"
    folder.mkdir()
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/3", server.pid
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.mark.slow
def test_with_fsm_redis_url_the_redis_that_was_there_is_used_and_left_alone(
    tmp_path: Path, own_redis: tuple[str, int]
) -> None:
    url, pid = own_redis
    system = System(tmp_path, {"FSM_REDIS_URL": url, "FSM_NAMESPACE": "elsewhere"})
    try:
        system.start()
        before = all_running(system)
        victim = before["line-1-temperature"]
        os.kill(victim, signal.SIGKILL)
        system.new_pid("line-1-temperature", victim, 30)
        assert not (system.data / "redis").exists()
        keys = subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "redis-cli", "-u", url, "keys", "*"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert keys
        assert [key for key in keys if not key.startswith("elsewhere:")] == []
        assert system.stop() == 0
        assert psutil.pid_exists(pid)
        assert system.processes() == []
    finally:
        system.destroy()
