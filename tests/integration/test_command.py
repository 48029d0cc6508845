"""The command driver with real commands: fence, lock, and that nothing of a command outlives who asked for it."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from actions.model import Action, ActionContext, ActionError, Fenced, Incarnation
from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from tests.integration.processes import sh
from tests.waiting import wait_until
from workers import holder, minder
from workers.command.config import CommandConfig
from workers.command.observe import component as component_of
from workers.command.observe import observe
from workers.command.states import CommandObserved
from workers.drivers import command as driver
from workers.drivers import minding
from workers.drivers.command import CommandComponent
from workers.model import Exit, Observed
from workers.process.config import ProcessConfig
from workers.target import Target

RUNNING = Incarnation(0, 0, "c1")


@dataclass
class Gateway:
    """A thing that is run by commands: it is up while the file `up` exists, and writes down every effect."""

    folder: Path

    def make(self, **changes: Any) -> CommandComponent:
        """Return its component; the arguments replace parts of its configuration."""
        config_id = str(changes.pop("config_id", "c1"))
        note = 'echo "$FSM_ACTION $FSM_TOKEN" >> journal'
        commands = {
            "start": sh(f"{note}; touch up"),
            "stop": sh(f"{note}; rm -f up"),
            "status": sh("test -e up || exit 3"),
        }
        config = CommandConfig(cwd=str(self.folder), **{**commands, **changes})
        return CommandComponent("gw", self.folder / "gw", config, config_id)

    def target(self, **changes: Any) -> Target:
        """Return what an observer is pointed at."""
        made = self.make(**changes)
        return Target(made.id, made.folder, made.config, made.config_id)

    def journal(self) -> list[str]:
        """Return the effects, oldest first."""
        file = self.folder / "journal"
        return file.read_text().splitlines() if file.exists() else []

    def living(self) -> list[int]:
        """Return the pids of all processes that run in its folder."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def pids(self, name: str = "pids", count: int = 1) -> list[int]:
        """Wait until a command has written down that many pids."""
        file = self.folder / name
        wait_until(lambda: file.exists() and len(file.read_text().split()) >= count, f"{count} pids in {name}")
        return [int(pid) for pid in file.read_text().split()]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Return a gateway that is down; nothing of its commands is left behind."""
    made = Gateway(tmp_path / "gateway")
    made.folder.mkdir()
    yield made
    for pid in made.living():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


def gone(pids: list[int]) -> bool:
    """Tell whether none of these lives."""
    return not any(lives(pid) for pid in pids)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_each_effect_happens_once_under_its_token_and_is_logged(gateway: Gateway) -> None:
    one = gateway.make()
    assert one.current() is None
    assert [one.start(7), one.start(7), one.current()] == [RUNNING] * 3
    one.stop(8)
    one.stop(8)
    assert one.current() is None
    assert gateway.journal() == ["start 7", "stop 8"]
    assert (one.folder / "output.log").read_text().splitlines() == ["--- start, token 7", "--- stop, token 8"]


@pytest.mark.parametrize(
    ("action", "up", "effects", "sentences"),
    [
        (Start(), False, ["start 5"], ["started", "already running"]),
        (Stop(), True, ["stop 5"], ["stopped it", "was not running"]),
        (
            Reconfigure(),
            True,
            ["stop 5", "start 5"],
            ["it runs configuration c2", "it already runs configuration c2"],
        ),
    ],
    ids=["start", "stop", "reconfigure"],
)
def test_an_action_run_twice_under_one_token_changes_the_world_once(
    gateway: Gateway, action: Action, up: bool, effects: list[str], sentences: list[str]
) -> None:
    # the gateway remembers which configuration it was started with, and says so
    start = sh('echo "$FSM_ACTION $FSM_TOKEN" >> journal; echo "$FSM_CONFIG_ID" > up')
    status = sh('test -e up || exit 3; echo "config_id=$(cat up)"')
    one = gateway.make(start=start, status=status, config_id="c2")
    if up:
        (gateway.folder / "up").write_text("c1\n")
    assert [action.execute(ActionContext(one, token=5)) for _ in range(2)] == sentences
    assert gateway.journal() == effects


def test_a_smaller_token_is_refused_and_changes_nothing(gateway: Gateway) -> None:
    one = gateway.make()
    one.start(9)
    for late in (one.start, one.stop):
        with pytest.raises(Fenced, match="token 8 is older than 9, which gw has accepted already"):
            late(8)
    assert gateway.journal() == ["start 9"]


def test_a_late_token_that_had_to_wait_for_the_lock_is_refused_then(gateway: Gateway) -> None:
    one = gateway.make()
    one.folder.mkdir()
    lock = holder.take_lock(str(one.folder))
    refused: list[BaseException] = []

    def late() -> None:
        try:
            one.start(8)
        except ActionError as error:
            refused.append(error)

    waiting = threading.Thread(target=late)
    with lock:
        waiting.start()
        holder.accept_token(str(one.folder), 9)
    waiting.join(10)
    assert [str(error) for error in refused] == ["token 8 is older than 9, which gw has accepted already"]
    assert gateway.journal() == []


def test_another_execution_that_is_not_over_is_waited_for_and_then_an_error(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minding, "_BUSY_TIMEOUT", 0.3)
    one = gateway.make()
    one.folder.mkdir()
    with (
        holder.take_lock(str(one.folder)),
        pytest.raises(ActionError, match=r"another execution for gw is not over after 0\.3s"),
    ):
        one.stop(5)
    assert gateway.journal() == []


def test_a_command_is_given_its_worker_token_and_verb_and_none_of_our_settings(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSM_REDIS_URL", "redis://:secret@h/0")
    told = sh("env | grep -E '^(FSM|TOPIC)' | sort >> told; touch up")
    one = gateway.make(start=told, env={"TOPIC": "t"})
    one.start(7)
    assert (gateway.folder / "told").read_text().splitlines() == [
        "FSM_ACTION=start",
        "FSM_CONFIG_ID=c1",
        "FSM_TOKEN=7",
        "FSM_WORKER=gw",
        "TOPIC=t",
    ]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"start": sh("echo one; echo no licence >&2; exit 4")}, "start ended with exit code 4: no licence"),
        ({"start": sh("kill -9 $$")}, "start was ended by signal 9"),
        ({"start": ("no-such-program",)}, "start: cannot run ['no-such-program'] in "),
        ({"start": ("true",)}, "start has ended, and status still says after 0.3s that it does not run"),
        ({"status": sh("echo no route; exit 255")}, "status ended with exit code 255: no route"),
        ({"status": sh("sleep 60"), "status_timeout": 0.2}, "status did not end within 0.2s"),
    ],
)
def test_a_start_that_did_not_work_is_an_error_that_says_why(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    monkeypatch.setattr(driver, "_SETTLE_TIMEOUT", 0.3)
    with pytest.raises(ActionError) as error:
        gateway.make(**changes).start(5)
    assert str(error.value).startswith(complaint)


def test_a_stop_does_not_wait_for_a_status_that_cannot_be_told(gateway: Gateway) -> None:
    one = gateway.make(status=sh("test -e up && exit 1 || exit 3"))
    (gateway.folder / "up").touch()
    assert Stop().execute(ActionContext(one, token=5)) == "stopped it"
    assert gateway.journal() == ["stop 5"]


def test_a_stop_that_stops_nothing_is_an_error(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_SETTLE_TIMEOUT", 0.3)
    one = gateway.make(stop=("true",))
    (gateway.folder / "up").touch()
    with pytest.raises(ActionError, match=r"stop has ended, and status still says after 0\.3s that it runs"):
        one.stop(5)


# -- what is left of a command ----------------------------------------------------------------------------------------

FAMILY = "echo $$ >> pids; sh -c 'echo $$ >> pids; exec sleep 300' & "
DAEMON = "setsid sh -c 'echo $$ >> pids; exec sleep 300' & "


def test_a_command_that_has_ended_leaves_nothing_of_its_group_behind_but_a_daemon_of_its_own_session(
    gateway: Gateway,
) -> None:
    daemon = "setsid sh -c 'echo $$ > daemon; exec sleep 300' > /dev/null 2>&1 & "
    one = gateway.make(
        start=sh(FAMILY + daemon + "until [ -s daemon ] && [ $(wc -w < pids) = 2 ]; do :; done; touch up")
    )
    one.start(5)
    assert gone(gateway.pids(count=2))
    assert not gone(gateway.pids("daemon"))


class TooLong(Exception):
    """What a signal handler raises in the middle of a command, as a soft time limit does."""


def test_an_exception_in_the_middle_of_a_command_kills_all_of_it(gateway: Gateway) -> None:
    one = gateway.make(start=sh(FAMILY + DAEMON + "wait"))

    def interrupt() -> None:
        gateway.pids(count=3)
        os.kill(os.getpid(), signal.SIGUSR1)

    def raise_it(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGUSR1, raise_it)
    interrupting = threading.Thread(target=interrupt)
    try:
        interrupting.start()
        with pytest.raises(TooLong):
            one.start(5)
    finally:
        interrupting.join()
        signal.signal(signal.SIGUSR1, before)
    assert gone(gateway.pids(count=3))
    with holder.take_lock(str(one.folder)) as lock:
        assert lock


def _start(component: CommandComponent) -> None:
    component.start(5)


def test_a_killed_executor_leaves_nothing_of_a_command_behind_and_the_lock_is_held_until_then(gateway: Gateway) -> None:
    one = gateway.make(start=sh("trap '' TERM; " + FAMILY + DAEMON + "wait"))
    executor = multiprocessing.get_context("fork").Process(target=_start, args=(one,))
    executor.start()
    pids = gateway.pids(count=3)
    assert holder.take_lock(str(one.folder)) is None
    assert executor.pid is not None
    os.kill(executor.pid, signal.SIGKILL)
    executor.join(10)
    with wait_until(lambda: holder.take_lock(str(one.folder)), "the lock is free"):
        assert gone(pids)


def test_a_killed_minder_takes_its_command_along(gateway: Gateway) -> None:
    one = gateway.make(start=sh("echo $$ >> pids; exec sleep 300"))
    failed: list[str] = []

    def start() -> None:
        try:
            one.start(5)
        except ActionError as error:
            failed.append(str(error))

    starting = threading.Thread(target=start)
    starting.start()
    pids = gateway.pids()
    psutil.Process(pids[0]).parent().kill()  # type: ignore[union-attr]  # it lives
    starting.join(10)
    assert failed == ["start: its minder died: it was killed"]
    wait_until(lambda: gone(pids), "the command is gone")


def test_a_look_that_takes_too_long_is_killed_with_all_that_it_started(gateway: Gateway) -> None:
    target = gateway.target(status=sh(FAMILY + DAEMON + "wait"), status_timeout=1.0)
    seen = asyncio.run(observe(target, None, 100.0))
    assert seen.error == "status did not end within 1s"
    assert gone(gateway.pids(count=3))


def test_a_look_that_is_given_up_is_killed(gateway: Gateway) -> None:
    target = gateway.target(status=sh("echo $$ >> pids; exec sleep 300"))

    async def give_up() -> None:
        looking = asyncio.create_task(observe(target, None, 100.0))
        await asyncio.to_thread(gateway.pids)
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await asyncio.to_thread(wait_until, lambda: gone(gateway.pids()), "the status command is gone")

    asyncio.run(give_up())


def test_output_is_kept_and_rotated(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    one = gateway.make(start=sh("head -c 1500000 /dev/zero | tr '\\0' x; echo; echo last; touch up"))
    one.start(5)
    sizes = {file.name: file.stat().st_size for file in one.folder.glob("output.log*")}
    assert sum(sizes.values()) == 1_500_000 + len("--- start, token 5\n") + len("\nlast\n")
    assert minder.LOG_BYTES <= sizes["output.log.1"] < minder.LOG_BYTES + 70_000
    assert (one.folder / "output.log").read_text().endswith("x\nlast\n")


def test_a_minder_that_is_asked_nothing_does_nothing(gateway: Gateway) -> None:
    run = subprocess.run(
        [sys.executable, "-I", "-S", minder.__file__],
        input='{"command": ["touch", "up"]',
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("", "")


# -- looks ------------------------------------------------------------------------------------------------------------


def look(gateway: Gateway, previous: Observed | None, at: float, **changes: Any) -> CommandObserved:
    return asyncio.run(observe(gateway.target(**changes), previous, at))


def test_looks_tell_since_when_it_runs_and_that_it_ended(gateway: Gateway) -> None:
    log = str(gateway.folder / "gw" / "output.log")
    first = look(gateway, None, 100.0)
    assert first == CommandObserved(collected_at=100.0, log=log)
    (gateway.folder / "up").touch()
    up = look(gateway, first, 105.0)
    assert up == CommandObserved(collected_at=105.0, running=True, started_at=105.0, config_id="c1", log=log)
    blind = look(gateway, up, 110.0, status=sh("exit 1"))
    assert blind == CommandObserved(
        collected_at=110.0, error="status ended with exit code 1", started_at=105.0, log=log
    )
    still = look(gateway, blind, 115.0)
    assert (still.running, still.started_at) == (True, 105.0)
    (gateway.folder / "up").unlink()
    gone_at = Exit(0, 105_000, started_at=105.0, ended_at=120.0)
    down = look(gateway, still, 120.0)
    assert down == CommandObserved(collected_at=120.0, last_exit=gone_at, log=log)
    assert look(gateway, down, 125.0).last_exit == gone_at


def test_a_status_that_prints_a_configuration_is_believed(gateway: Gateway) -> None:
    status = sh("echo welcome; echo config_id=c0; echo bye")
    assert look(gateway, None, 100.0, status=status).config_id == "c0"


def test_what_is_not_configured_by_commands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="gw is not configured by commands: ProcessConfig"):
        component_of(Target("gw", tmp_path, ProcessConfig(command=("true",)), "c1"))
