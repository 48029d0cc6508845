"""Children that another service manager keeps, with a real s6 and real commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.model import ActionContext, ActionError, Fenced, Incarnation
from actions.restart_child import RestartChild
from supervisor.looks import see_child
from supervisor.model import Check
from supervisor.targets import child_component, managed
from tests.conftest import missing
from tests.factories import NOW, make_child
from tests.waiting import wait_until
from workers.command.config import CommandConfig
from workers.drivers.command import CommandComponent
from workers.drivers.service import HookComponent, S6Component


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Path]:
    """Return a service directory under a real s6-svscan, whose service is up."""
    if shutil.which("s6-svscan") is None:
        missing("no s6-svscan: apt-get install s6")
    scan, folder = tmp_path / "scan", tmp_path / "scan" / "broker"
    folder.mkdir(parents=True)
    run = folder / "run"
    run.write_text("#!/bin/sh\nexec sleep 300\n")
    run.chmod(0o755)
    with subprocess.Popen(["s6-svscan", str(scan)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as svscan:
        component = S6Component("broker", tmp_path / "held", str(folder))
        wait_until(lambda: up(component), "the service to be up")
        yield folder
        svscan.send_signal(signal.SIGTERM)
        svscan.wait(10)


def up(component: S6Component) -> bool:
    with contextlib.suppress(ActionError):
        return component.current() is not None
    return False


def test_a_service_under_s6_is_restarted_by_the_action_and_is_a_new_incarnation(service: Path, tmp_path: Path) -> None:
    spec = make_child(process=None, service=str(service))
    component = child_component(tmp_path, "plant-1", spec)
    before = component.current()
    assert before is not None
    action = RestartChild(child_name="broker", failed_pid=before.pid, failed_start_ticks=before.start_ticks)
    done = action.execute(ActionContext(component, 1))
    after = component.current()
    assert after is not None
    assert (after.pid, done) == (after.pid, f"restarted: was pid {before.pid}, now pid {after.pid}")
    assert after.pid != before.pid
    assert action.execute(ActionContext(component, 1)) == f"already runs anew as pid {after.pid}"
    with pytest.raises(Fenced):
        component.stop(0)


def test_a_service_that_died_or_is_down_is_brought_up(service: Path, tmp_path: Path) -> None:
    component = S6Component("broker", tmp_path / "held", str(service))
    component.stop(1)
    assert component.current() is None
    assert component.start(1).pid > 0


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "migrate-from-supervisord-or-s6.md"


def test_the_commands_of_the_page_about_migration_start_stop_and_tell_of_a_service(
    service: Path, tmp_path: Path
) -> None:
    fleet = tomllib.loads(re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[2])
    words = next(worker["config"] for worker in fleet["workers"] if worker["id"] == "report")
    here = {verb: tuple(str(service) if word.startswith("/run/") else word for word in words[verb]) for verb in words}
    component = CommandComponent("report", tmp_path / "worker", CommandConfig(**here, cwd="/"), "c1")
    assert component.current() is not None
    component.stop(1)
    assert asyncio.run(component.look()) is None
    component.start(2)
    assert asyncio.run(component.look()) == Incarnation(0, 0, "c1")
    away = {verb: tuple(str(tmp_path) if word == str(service) else word for word in here[verb]) for verb in here}
    with pytest.raises(ActionError, match="status"):  # no service: neither up nor down
        asyncio.run(CommandComponent("report", tmp_path / "w", CommandConfig(**away, cwd="/"), "c1").look())


def test_a_folder_that_is_no_service_is_an_error_that_names_it(tmp_path: Path) -> None:
    if shutil.which("s6-svstat") is None:
        missing("no s6-svstat: apt-get install s6")
    component = S6Component("broker", tmp_path / "held", str(tmp_path / "none"))
    with pytest.raises(ActionError, match="s6-svstat ended with exit code"):
        component.current()
    spec = make_child(process=None, service=str(tmp_path / "none"), check=Check(kind="process"))
    with pytest.raises(
        ActionError, match="s6-svstat ended with exit code"
    ):  # so that it is unknown, and has not failed
        asyncio.run(see_child(spec, tmp_path, None, NOW))


def test_what_s6_runs_is_seen_with_its_pid(service: Path, tmp_path: Path) -> None:
    spec = make_child(process=None, service=str(service), check=Check(kind="process"))
    seen = asyncio.run(see_child(spec, tmp_path / "held", None, NOW))
    running = managed(spec, tmp_path / "held")
    assert running is not None
    assert (seen.pid, seen.start_ticks, seen.started, seen.passes) == (running.pid, running.start_ticks, True, 1)


def hook(tmp_path: Path, script: str, pid_file: str = "") -> HookComponent:
    return HookComponent("broker", tmp_path / "held", ("sh", "-c", script), str(tmp_path), {"WHO": "me"}, pid_file)


def test_a_restart_command_is_run_with_its_token_and_its_output_is_kept(tmp_path: Path) -> None:
    component = hook(tmp_path, 'echo "restarted by $WHO under $FSM_TOKEN"; echo x >> done')
    action = RestartChild(child_name="broker")
    assert action.execute(ActionContext(component, 7)) == "restarted: was not running, now it"
    assert (tmp_path / "done").read_text() == "x\n"
    assert "restarted by me under 7" in (tmp_path / "held" / "output.log").read_text()
    with pytest.raises(Fenced):
        component.start(6)
    assert (tmp_path / "done").read_text() == "x\n"


def test_a_pid_file_says_whether_another_process_runs(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with subprocess.Popen(["sleep", "300"]) as old, subprocess.Popen(["sleep", "300"]) as new:
        try:
            pid_file.write_text(f"{old.pid}\n")
            component = hook(tmp_path, f"echo {new.pid} > {pid_file}", str(pid_file))
            assert component.start(1).pid == new.pid
            assert component.current() == component.current() is not None
        finally:
            old.kill()
            new.kill()
    assert component.current() is None


def test_a_restart_command_that_brings_no_other_process_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.drivers.service._NEW_WITHIN", 0.3)
    pid_file = tmp_path / "pid"
    pid_file.write_text(str(os.getpid()))
    with pytest.raises(ActionError, match=r"pid names no new process 0\.3s after sh"):
        hook(tmp_path, "true", str(pid_file)).start(1)


def test_a_restart_command_that_fails_says_how(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"^sh ended with exit code 4: no such unit$"):
        hook(tmp_path, "echo no such unit; exit 4").start(1)


def test_a_child_that_nothing_of_ours_restarts_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="no command, service, unit, container or restart in the fleet file"):
        child_component(tmp_path, "plant-1", make_child(process=None))
