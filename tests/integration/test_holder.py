"""The holder and its driver on real processes: start, adopt, stop, fence, and every way to die."""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import resource
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from actions.model import ActionError, Fenced, Incarnation
from tests.integration.processes import Yard, alive, ended, held, holders, kill, output, sh, wait_for_line
from tests.waiting import wait_until
from workers import holder
from workers.drivers.process import Look, ProcessComponent, ask, environment, look, quit_holder
from workers.process.config import Limits


def exit_of(incarnation: Incarnation, **how: object) -> dict[str, object]:
    """Return how `look` tells the end of an incarnation."""
    usual = {"code": None, "signal": 0, "requested": False}
    return {"pid": incarnation.pid, "start_ticks": incarnation.start_ticks, **usual, **how}


# -- start and adopt --------------------------------------------------------------------------------------------------


def test_a_start_runs_the_command_in_its_folder_with_its_environment_and_without_our_settings(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FSM_REDIS_URL", "redis://:secret@somewhere")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "ann:secret")
    script = 'echo "$COLOUR in $PWD settings=$FSM_REDIS_URL"; exec sleep 300'
    component = yard.make(*sh(script), env={"COLOUR": "blue"})
    assert component.current() is None
    started = component.start(1)
    wait_for_line(component, f"blue in {yard.root} settings=")
    assert started == component.current() == Incarnation(started.pid, started.start_ticks, "c1")
    assert held(component.folder) == [started.pid]
    assert environment({"A": "b"}).keys() & {"FSM_REDIS_URL", "FLOWER_BASIC_AUTH"} == set()


def test_a_process_leads_a_session_and_group_of_its_own_under_its_holder(yard: Yard) -> None:
    component = yard.make()
    started = component.start(1)
    (held_by,) = holders(component.folder)
    stat = holder.stat_of(started.pid)
    assert stat is not None
    assert psutil.Process(started.pid).ppid() == held_by
    assert stat[1:] == (started.start_ticks, started.pid)


def test_what_already_runs_is_adopted_and_not_started_again(yard: Yard) -> None:
    first = yard.make().start(1)
    again = yard.make(config_id="c2").start(2)
    assert again == first
    assert held(yard.root / "flow") == [first.pid]
    assert holder.read_token(str(yard.root / "flow")) == 2


def test_five_concurrent_starts_yield_one_process(yard: Yard) -> None:
    components = [yard.make() for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        started = list(pool.map(lambda component: component.start(1), components))
    assert len(set(started)) == 1
    assert held(yard.root / "flow") == [started[0].pid]
    assert len(holders(yard.root / "flow")) == 1


def test_a_command_that_is_not_there_is_an_error_that_names_it_and_leaves_nothing_behind(yard: Yard) -> None:
    component = yard.make("no-such-command", "--flag")
    with pytest.raises(ActionError, match=re.escape("['no-such-command', '--flag']")):
        component.start(1)
    assert component.current() is None
    wait_until(lambda: not holders(component.folder), "the holder is gone")
    assert yard.make().start(2) == component.current()


def test_a_working_directory_that_is_not_there_is_an_error_that_names_it(yard: Yard) -> None:
    component = ProcessComponent(
        yard.root / "flow", yard.make().config.__class__(command=("sleep", "300"), cwd="/no/such/place"), "c1"
    )
    with pytest.raises(ActionError, match="/no/such/place"):
        component.start(1)
    assert component.current() is None


def test_a_very_long_folder_path_works(yard: Yard) -> None:
    component = yard.make(name="/".join(["d" * 100] * 4))
    assert len(str(component.folder)) > 400
    started = component.start(1)
    assert component.start(2) == started
    component.stop(3)
    assert ended(component) == exit_of(started, signal=15, requested=True)


# -- settings ---------------------------------------------------------------------------------------------------------

NOBODY = pwd.getpwnam("nobody")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")


@needs_root
def test_a_process_runs_as_its_user_with_that_users_groups_and_home(yard: Yard) -> None:
    script = 'echo "$(id -un) $(id -gn) $(id -G) $HOME $USER $LOGNAME"; exec sleep 300'
    component = yard.make(*sh(script), user="nobody", env={"HOME": "/own"})
    started = component.start(1)
    group = grp.getgrgid(NOBODY.pw_gid).gr_name
    groups = " ".join(map(str, os.getgrouplist("nobody", NOBODY.pw_gid)))
    wait_for_line(component, f"nobody {group} {groups} /own nobody nobody")
    process = psutil.Process(started.pid)
    assert (process.uids(), process.gids()) == ((NOBODY.pw_uid,) * 3, (NOBODY.pw_gid,) * 3)
    component.stop(2)
    assert ended(component) == exit_of(started, signal=15, requested=True)


@needs_root
def test_a_process_of_another_user_dies_with_its_holder_all_the_same(yard: Yard) -> None:
    component = yard.make(user="nobody")
    started = component.start(1)
    (held_by,) = holders(component.folder)
    created = psutil.Process(started.pid).create_time()
    kill(held_by)
    wait_until(lambda: not alive(started.pid, created), "the process is gone, too")


def test_the_user_that_the_executor_is_already_needs_no_rights(yard: Yard) -> None:
    ours = pwd.getpwuid(os.geteuid()).pw_name
    component = yard.make(*sh("id -un; exec sleep 300"), user=ours)
    component.start(1)
    wait_for_line(component, ours)


def test_a_user_that_there_is_not_is_an_error_that_names_it(yard: Yard) -> None:
    component = yard.make(user="no-such-user")
    with pytest.raises(ActionError, match="user 'no-such-user' is not known on this host"):
        component.start(1)
    assert component.current() is None


def test_another_user_without_root_is_an_error_that_says_who_could(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    with pytest.raises(ActionError, match="user 'nobody': the executor runs as daemon; only one that runs as root can"):
        yard.make(user="nobody").start(1)


def test_a_umask_holds_for_what_the_process_makes(yard: Yard) -> None:
    component = yard.make(*sh("touch made; umask; exec sleep 300"), umask="027")
    component.start(1)
    wait_for_line(component, "0027")
    assert (yard.root / "made").stat().st_mode & 0o777 == 0o640


def test_limits_hold_for_the_process_and_not_for_its_holder(yard: Yard) -> None:
    limits = Limits(open_files=77, processes=555, memory=4_000_000 * 1024, file_size=1024 * 1024, core=0)
    component = yard.make(limits=limits)
    started = component.start(1)
    (held_by,) = holders(component.folder)
    numbers = [getattr(resource, f"RLIMIT_{name}") for name in ("NOFILE", "NPROC", "AS", "FSIZE", "CORE")]
    most = [77, 555, 4_000_000 * 1024, 1024 * 1024, 0]
    assert [resource.prlimit(started.pid, number) for number in numbers] == [(one, one) for one in most]
    assert resource.prlimit(held_by, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_a_limit_that_cannot_be_had_is_an_error_that_names_it_and_leaves_nothing_behind(yard: Yard) -> None:
    component = yard.make(limits=Limits(open_files=2**62))  # above fs.nr_open, which root cannot pass either
    with pytest.raises(
        ActionError, match=r"cannot run \['sleep', '300'\] in .*: limit NOFILE of 4611686018427387904: "
    ):
        component.start(1)
    assert component.current() is None
    wait_until(lambda: not holders(component.folder), "the holder is gone")
    assert yard.make().start(2) == component.current()


def test_an_env_file_stands_between_the_executors_environment_and_the_configurations(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST", "executor")
    monkeypatch.setenv("SECOND", "executor")
    monkeypatch.setenv("THIRD", "executor")
    file = yard.root / "flow.env"
    file.write_text('# colours\n\nSECOND=file = "1" #2\n  # more\nTHIRD=file\nEMPTY=\n')
    component = yard.make(
        *sh('echo "$FIRST|$SECOND|$THIRD|${EMPTY-unset}|"; exec sleep 300'), env_file=str(file), env={"THIRD": "own"}
    )
    component.start(1)
    wait_for_line(component, 'executor|file = "1" #2|own||')


def test_a_secret_is_read_when_the_process_starts_and_is_in_no_file_of_ours(yard: Yard) -> None:
    file = yard.root / "password"
    file.write_text("one\n")
    component = yard.make(*sh('echo "${#PASSWORD} of $PLACE"; exec sleep 300'), secrets={"PASSWORD": str(file)})
    file.write_text("other-secret\n")
    component = replace(component, config=msgspec.structs.replace(component.config, env={"PLACE": "x", "PASSWORD": ""}))
    started = component.start(1)
    wait_for_line(component, "12 of x")
    assert psutil.Process(started.pid).environ()["PASSWORD"] == "other-secret"
    for kept in component.folder.iterdir():
        assert not kept.is_file() or b"other-secret" not in kept.read_bytes()


@pytest.mark.parametrize(
    ("settings", "content", "message"),
    [
        ({"env_file": "FILE"}, None, "env_file: FILE cannot be read: No such file or directory"),
        ({"secrets": {"KEY": "FILE"}}, None, "secret KEY: FILE cannot be read: No such file or directory"),
        ({"env_file": "FILE"}, b"A=1\nhush\n", "env_file FILE, line 2: expected NAME=VALUE, a comment or nothing"),
        ({"env_file": "FILE"}, b"hu sh=1\n", "env_file FILE, line 1: expected NAME=VALUE, a comment or nothing"),
        ({"secrets": {"KEY": "FILE"}}, b"hush\xff", "secret KEY: FILE is not UTF-8 text"),
        ({"secrets": {"KEY": "FILE"}}, b"hush" * 20_000, "secret KEY: FILE is longer than 65536 bytes"),
        ({"secrets": {"KEY": "FILE"}}, b"hu\0sh", "secret KEY: FILE holds a NUL byte, which no environment can"),
    ],
)
def test_a_file_that_gives_no_environment_is_an_error_that_tells_its_place_and_nothing_in_it(
    settings: dict[str, Any], content: bytes | None, message: str, yard: Yard
) -> None:
    file = yard.root / "given"
    if content is not None:
        file.write_bytes(content)
    settings = json.loads(json.dumps(settings).replace("FILE", str(file)))
    component = yard.make(**settings)
    with pytest.raises(ActionError) as caught:
        component.start(1)
    assert str(caught.value) == message.replace("FILE", str(file))
    assert component.current() is None


# -- stop -------------------------------------------------------------------------------------------------------------


def test_a_stop_sends_the_signal_returns_when_it_is_gone_and_says_that_it_was_asked_for(yard: Yard) -> None:
    component = yard.make(*sh('trap "echo bye; exit 3" INT; echo up; while :; do sleep 0.05; done'), stop_signal="INT")
    started = component.start(1)
    wait_for_line(component, "up")
    component.stop(2)
    assert held(component.folder) == []
    assert component.current() is None
    assert ended(component) == exit_of(started, code=3, requested=True)
    assert output(component).splitlines() == ["up", "bye"]


def test_a_stop_signal_works_also_where_its_executor_was_started_to_ignore_and_block_it(yard: Yard) -> None:
    component = yard.make(*sh('trap "exit 3" INT; echo up; while :; do sleep 0.05; done'), stop_signal="INT")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of what a shell starts in the background
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        started = component.start(1)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    wait_for_line(component, "up")
    component.stop(2)
    assert ended(component) == exit_of(started, code=3, requested=True)


def test_a_process_that_ignores_its_stop_signal_hears_it_and_is_killed_after_stop_timeout(yard: Yard) -> None:
    component = yard.make(*sh('trap "echo heard" TERM; echo up; while :; do sleep 0.05; done'), stop_timeout=0.5)
    started = component.start(1)
    wait_for_line(component, "up")
    component.stop(2)
    assert held(component.folder) == []
    assert ended(component) == exit_of(started, signal=9, requested=True)
    assert output(component).splitlines() == ["up", "heard"]


def test_a_stop_of_what_does_not_run_succeeds_and_records_its_token(yard: Yard) -> None:
    component = yard.make()
    component.stop(5)
    assert look(component.folder) == Look()
    with pytest.raises(Fenced, match="token 4 is older than 5"):
        component.start(4)
    assert component.current() is None


def test_a_stopped_process_starts_again_as_a_new_incarnation(yard: Yard) -> None:
    component = yard.make()
    first = component.start(1)
    component.stop(2)
    second = component.start(3)
    assert second != first
    assert held(component.folder) == [second.pid]


def test_the_owner_ends_a_process_whatever_the_token(yard: Yard) -> None:
    component = yard.make()
    started = component.start(10**16)
    quit_holder(component.folder, 5.0)
    assert ended(component) == exit_of(started, signal=15, requested=True)
    assert held(component.folder) == []
    quit_holder(component.folder, 5.0)


# -- fence ------------------------------------------------------------------------------------------------------------


def test_a_smaller_token_is_fenced_and_changes_nothing_while_it_runs(yard: Yard) -> None:
    component = yard.make()
    started = component.start(7)
    with pytest.raises(Fenced, match="token 6 is older than 7"):
        component.stop(6)
    with pytest.raises(Fenced, match="token 6 is older than 7"):
        component.start(6)
    assert component.current() == started
    assert held(component.folder) == [started.pid]


def test_the_last_token_is_remembered_after_the_process_and_its_holder_have_died(yard: Yard) -> None:
    component = yard.make()
    started = component.start(7)
    (held_by,) = holders(component.folder)
    kill(held_by)
    wait_until(lambda: not held(component.folder), "the process died with its holder")
    for effect in (component.start, component.stop):
        with pytest.raises(Fenced, match="token 6 is older than 7"):
            effect(6)
    again = component.start(7)
    assert again != started


# -- death ------------------------------------------------------------------------------------------------------------


def test_s22_a_killed_process_is_recorded_with_its_signal(yard: Yard) -> None:
    component = yard.make()
    started = component.start(1)
    kill(started.pid)
    assert ended(component) == exit_of(started, signal=9)
    wait_until(lambda: not holders(component.folder), "the holder ended with it")
    assert component.current() is None


def test_a_look_just_after_the_end_does_not_say_that_it_vanished_with_a_holder_that_lives(yard: Yard) -> None:
    component = yard.make()
    started = component.start(1)
    (held_by,) = holders(component.folder)
    psutil.Process(held_by).suspend()
    try:
        kill(started.pid)
        seen = look(component.folder)
    finally:
        psutil.Process(held_by).resume()
    assert seen == Look(changing=True)
    assert ended(component) == exit_of(started, signal=9)


def test_an_exit_code_is_recorded(yard: Yard) -> None:
    component = yard.make(*sh("exit 7"))
    started = component.start(1)
    assert ended(component) == exit_of(started, code=7)


def test_the_death_of_its_holder_kills_the_process_and_is_told_as_having_vanished(yard: Yard) -> None:
    component = yard.make()
    started = component.start(1)
    (held_by,) = holders(component.folder)
    kill(held_by)
    wait_until(lambda: not held(component.folder), "the process died with its holder")
    assert ended(component) == exit_of(started)
    again = component.start(2)
    assert held(component.folder) == [again.pid]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_grandchildren_are_not_left_behind(yard: Yard, how: str) -> None:
    component = yard.make(*sh("sleep 300 & sleep 300 & echo up; wait"))
    started = component.start(1)
    wait_for_line(component, "up")
    assert len(held(component.folder)) == 3
    if how == "stop":
        component.stop(2)
    else:
        kill(started.pid)
    wait_until(lambda: held(component.folder) == [], "its group is gone")


def test_a_start_kills_what_an_incarnation_left_when_its_holder_was_killed(yard: Yard) -> None:
    component = yard.make(*sh("sleep 300 & echo up; wait"))
    component.start(1)
    wait_for_line(component, "up")
    (held_by,) = holders(component.folder)
    kill(held_by)
    wait_until(lambda: component.current() is None, "the process died with its holder")
    again = yard.make().start(2)
    wait_until(lambda: held(component.folder) == [again.pid], "only the new incarnation is left")


def test_a_stop_kills_what_an_incarnation_left_when_its_holder_was_killed(yard: Yard) -> None:
    component = yard.make(*sh("sleep 300 & echo up; wait"))
    component.start(1)
    wait_for_line(component, "up")
    (held_by,) = holders(component.folder)
    kill(held_by)
    wait_until(lambda: component.current() is None, "the process died with its holder")
    component.stop(2)
    assert held(component.folder) == []


def test_orphans_of_the_process_are_reaped_while_it_runs(yard: Yard) -> None:
    component = yard.make(*sh("for i in 1 2 3; do (sh -c 'exit 0' &); done; echo up; exec sleep 300"))
    component.start(1)
    wait_for_line(component, "up")
    (held_by,) = holders(component.folder)
    children = psutil.Process(held_by).children
    wait_until(lambda: [child.name() for child in children()] == ["sleep"], "only the process is the holder's child")


# -- identity ---------------------------------------------------------------------------------------------------------


def forge(yard: Yard, **changes: object) -> Path:
    """Write down that a living process of ours runs in a folder, which no holder of ours started."""
    real = yard.make(name="real")
    started = real.start(1)
    state = {**holder.read_state(str(real.folder)), "pid": started.pid, **changes}
    folder = yard.make(name="forged").folder
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_a_state_that_is_true_is_taken_for_running(yard: Yard) -> None:
    assert look(forge(yard)).pid is not None


@pytest.mark.parametrize("changes", [{"start_ticks": 1}, {"boot_id": "another boot"}], ids=["reused pid", "reboot"])
def test_a_living_pid_with_another_start_or_boot_is_not_taken_for_running(
    yard: Yard, changes: dict[str, object]
) -> None:
    seen = look(forge(yard, **changes))
    assert seen.pid is None
    assert seen.incarnation is None
    assert (seen.ended is None) == ("boot_id" in changes), "an end with the host is no exit of its own"


def test_a_reused_pid_is_neither_killed_nor_adopted_by_a_start(yard: Yard) -> None:
    folder = forge(yard, start_ticks=1)
    (stranger,) = held(yard.root / "real")
    started = yard.make(name="forged").start(1)
    assert started.pid != stranger
    assert held(folder) == [started.pid]
    assert held(yard.root / "real") == [stranger]


# -- what is around it ------------------------------------------------------------------------------------------------


def test_output_is_rotated_at_its_limit_and_its_end_is_kept(yard: Yard) -> None:
    lines = 2 * holder.LOG_BYTES // 100
    component = yard.make(*sh(f"i=0; while [ $i -lt {lines} ]; do printf '%099d\\n' $i; i=$((i+1)); done; echo end"))
    component.start(1)
    ended(component)
    wait_until(lambda: not holders(component.folder), "the holder has written everything")
    now, before = component.folder / "output.log", component.folder / "output.log.1"
    assert sorted(path.name for path in component.folder.glob("output*")) == ["output.log", "output.log.1"]
    assert holder.LOG_BYTES <= before.stat().st_size < holder.LOG_BYTES + 65536
    assert now.stat().st_size < holder.LOG_BYTES
    text = before.read_text() + now.read_text()
    assert text.splitlines()[-2:] == [f"{lines - 1:099d}", "end"]


def test_both_streams_are_in_the_output(yard: Yard) -> None:
    component = yard.make(*sh("echo out; echo err >&2"))
    component.start(1)
    wait_for_line(component, "out")
    wait_for_line(component, "err")


def test_the_death_of_the_executor_that_started_it_does_not_touch_it(yard: Yard) -> None:
    component = yard.make()
    script = (
        "import os, pathlib, signal, sys\n"
        "from workers.drivers.process import ProcessComponent\n"
        "from workers.process.config import ProcessConfig\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "config = ProcessConfig(command=('sleep', '300'), cwd='/')\n"
        "print(ProcessComponent(folder, config, 'c1').start(1).pid, flush=True)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(component.folder)]
    run = subprocess.run(command, capture_output=True, text=True, start_new_session=True, check=False)
    assert (run.returncode, run.stderr) == (-signal.SIGKILL, "")
    started = component.current()
    assert started is not None
    assert str(started.pid) == run.stdout.strip()
    assert held(component.folder) == [started.pid]
    component.stop(2)
    assert ended(component) == exit_of(started, signal=15, requested=True)


def test_a_client_that_says_nothing_or_nonsense_does_not_disturb_the_holder(yard: Yard) -> None:
    component = yard.make()
    started = component.start(1)
    path = component.folder / "socket"
    for request in 10 * (b"", b"nonsense\n", b"\xff\xfe\n", b"[1]\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(request)
    reply = ask(component.folder, {"do": "dance"}, 5.0)
    assert reply == {"error": "unknown request {'do': 'dance'}: expected do = start, stop or quit"}
    assert component.start(2) == started
    assert held(component.folder) == [started.pid]


@pytest.mark.parametrize("request_", [{"do": "stop"}, {"do": "start", "token": "5"}])
def test_a_request_with_a_bad_token_does_not_disturb_the_holder(yard: Yard, request_: dict[str, object]) -> None:
    component = yard.make()
    started = component.start(1)
    assert "error" in ask(component.folder, request_, 5.0)
    assert component.start(2) == started


def test_a_request_on_which_its_holder_hangs_up_is_made_again(yard: Yard) -> None:
    component = yard.make()
    component.folder.mkdir(parents=True)
    lock = holder.take_lock(str(component.folder))
    assert lock is not None

    def end_as_a_holder_may(listener: socket.socket) -> None:
        unread, _ = listener.accept()
        unread.close()
        read, _ = listener.accept()
        with read, read.makefile("r") as file:
            file.readline()
        listener.close()
        lock.close()

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(component.folder / "socket"))
    listener.listen(1)
    listener.settimeout(10)
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_as_a_holder_may, listener)
        started = component.start(1)
        ending.result()
    assert held(component.folder) == [started.pid]
