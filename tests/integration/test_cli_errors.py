"""How fsmctl fails, every command of it: one sentence on stderr, the exit code of SPEC 5, never a traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import redis

from supervisor import keys
from supervisor.cli import fsmctl, get, main
from supervisor.cli.summaries import EXIT_CODES
from supervisor.clock import SystemClock
from supervisor.errors import BadDocument, NotFound, Refused, StoreUnreachable, SupervisorError, TimedOut, UsageError
from supervisor.outputs import LOG
from supervisor.runtime import make_runtime
from supervisor.store import Store
from supervisor.targets import folder_of
from tests.conftest import OwnRedis, RedisServer, free_port
from tests.factories import make_child
from tests.integration.plant import Plant, settings, worker
from tests.live.system import DEMO, SCRIPTS

NO_STORE = {"acl", "completion", "context", "keys"}
PARTS = {"exporter", "collector"}  # they run on, and wait for Redis
# a call of each command that needs the store, with ids that there are
CALLS: dict[str, list[str]] = {
    "up": ["--fleet", str(DEMO / "fleet.toml"), "--exporter-port", "{port}", "--flower-port", "{port2}"],
    "apply": ["-f", str(DEMO / "fleet.toml")],
    "watch": [],
    "diff": ["-f", str(DEMO / "fleet.toml")],
    "get": ["workers", "flow-1"],
    "explain": ["worker/flow-1"],
    "plan": [],
    "replay": ["worker/flow-1"],
    "describe": ["worker", "flow-1"],
    "events": ["--worker", "flow-1"],
    "actions": ["--worker", "flow-1"],
    "timeline": ["flow-1"],
    "incidents": [],
    "set": ["flow-1", "stopped", "--yes"],
    "pause": ["flow-1"],
    "resume": ["flow-1"],
    "cancel": ["flow-1"],
    "restart": ["flow-1", "--yes"],
    "observe": ["flow-1"],
    "drain": ["node/edge-1", "--yes"],
    "delete": ["worker/flow-1", "--yes", "--timeout", "0.1s"],
    "config": [],
    "check": [],
    "circuit": ["open", "plant-1", "--yes"],
    "wait": ["worker/flow-1", "--for", "state=gone", "--timeout", "0.1s"],
    "logs": ["flow-1"],
}
SAYS_MORE = {"config", "check"}  # what they know without the store, before they fail
WITH_STORE = sorted(CALLS)
REGISTERED = fsmctl.list_commands(click.Context(fsmctl))
UNKNOWN = {"flow-1": "flow-11", "worker/flow-1": "worker/flow-11", "plant-1": "plant-11", "node/edge-1": "node/edge-11"}
WITH_ID = sorted(name for name in CALLS if set(CALLS[name]) & set(UNKNOWN))


class Ended(NamedTuple):
    """How a call ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """Return what runs fsmctl as its script does; `url` is where it looks for Redis."""
    for name in [name for name in os.environ if name.startswith("FSM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FSM_NAMESPACE", "test")
    monkeypatch.setenv("FSM_DATA_DIR", str(tmp_path / "data"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str, url: str = "") -> Ended:
        monkeypatch.setenv("FSM_REDIS_URL", url)
        ports = {"{port}": str(free_port()), "{port2}": str(free_port())}
        monkeypatch.setattr(sys, "argv", ["fsmctl", *(ports.get(word, word) for word in arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        told = capfd.readouterr()
        return Ended(int(left.value.code or 0), told.out, told.err)

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation with a worker and a child on a real Redis."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), children=[make_child()])
    return made


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnRedis]:
    """Return a Redis that wants a password."""
    made = OwnRedis(tmp_path_factory.mktemp("guarded"), ("--save", "", "--requirepass", "secret"), "secret")
    try:
        made.start()
        yield made
    finally:
        made.kill()


def sentence_of(ended: Ended, name: str = "") -> str:
    """Return the one sentence that an error is told in; nothing else is printed."""
    if name not in SAYS_MORE:
        assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def test_every_command_is_tried_here() -> None:
    assert sorted([*CALLS, *NO_STORE, *PARTS]) == sorted(REGISTERED)


def test_the_exit_codes_that_are_told_are_those_that_are_tried_here() -> None:
    assert {name for name, codes in EXIT_CODES.items() if 5 in codes} >= set(WITH_STORE)
    assert {name for name, codes in EXIT_CODES.items() if 4 in codes} >= set(WITH_ID)


@pytest.mark.parametrize("name", REGISTERED)
def test_wrong_usage_says_where_the_command_is_explained(run: Run, name: str) -> None:
    ended = run(name, "--no-such-option")
    assert ended.code == 2
    assert sentence_of(ended) == f"no such option '--no-such-option'; see `fsmctl {name} --help`"


@pytest.mark.parametrize("name", WITH_STORE)
def test_a_redis_that_is_away_is_exit_code_5(run: Run, name: str) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    ended = run(name, *CALLS[name], url=url)
    assert ended.code == 5
    assert "secret" not in ended.stderr
    assert sentence_of(ended, name).startswith(f"Redis at {url.replace(':secret', '…')} does not answer: ")


@pytest.mark.parametrize("name", WITH_STORE)
@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_wrong_password_is_exit_code_5_and_says_so(
    run: Run, guarded_redis: OwnRedis, name: str, password: str
) -> None:
    ended = run(name, *CALLS[name], url=guarded_redis.url.replace(":secret@", password))
    assert (ended.code, "wrong" in ended.stderr) == (5, False)
    told = sentence_of(ended, name)
    assert " refuses us: " in told
    assert "Check user and password in FSM_REDIS_URL" in told


@pytest.mark.parametrize("name", WITH_STORE)
def test_a_store_of_a_newer_version_is_not_touched(
    run: Run, plant: Plant, redis_server: RedisServer, name: str
) -> None:
    plant.client.set(keys.schema("test"), keys.SCHEMA + 1)
    before = plant.dump()
    ended = run(name, *CALLS[name], url=redis_server.url)
    assert ended.code == 1
    assert sentence_of(ended, name) == (
        f"the store is of a newer version of fsmctl: test:schema is '{keys.SCHEMA + 1}', and this one knows up to "
        f"{keys.SCHEMA}; install the version that the fleet was applied with"
    )
    assert plant.dump() == before


@pytest.mark.parametrize("name", WITH_ID)
def test_an_unknown_id_is_exit_code_4_with_what_may_have_been_meant(
    run: Run, plant: Plant, redis_server: RedisServer, name: str
) -> None:
    ended = run(name, *(UNKNOWN.get(word, word) for word in CALLS[name]), url=redis_server.url)
    assert ended.code == 4
    told = sentence_of(ended)
    assert re.search("did you mean (flow-1|plant-1|node/edge-1)[?]|: expected one of plant-1$", told)


@pytest.mark.parametrize("name", REGISTERED)
def test_every_help_has_an_example_and_fits_80_columns(run: Run, name: str) -> None:
    ended = run(name, "--help")
    assert (ended.code, ended.stderr) == (0, "")
    assert f"  fsmctl {name}" in ended.stdout.partition("Example")[2]
    assert [line for line in ended.stdout.splitlines() if len(line) > 80] == []


def test_an_unknown_command_gets_a_suggestion(run: Run) -> None:
    assert run("gett") == (2, "", "error: no command 'gett'; did you mean `fsmctl get`?\n")
    assert run("xyzzy") == (2, "", "error: no command 'xyzzy'; see `fsmctl --help`\n")


def test_a_missing_argument_is_told_in_one_sentence(run: Run) -> None:
    assert run("pause") == (2, "", "error: missing argument 'ID|SCOPE'; see `fsmctl pause --help`\n")


def test_the_version_goes_to_stdout(run: Run) -> None:
    code, stdout, stderr = run("--version")
    assert (code, stdout.split()[0], stderr) == (0, "fsmctl", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SupervisorError("x"), 1),
        (BadDocument("x"), 1),
        (UsageError("x"), 2),
        (click.UsageError("x"), 2),
        (NotFound("x"), 4),
        (StoreUnreachable("x"), 5),
        (TimedOut("x"), 6),
        (Refused("x"), 7),
    ],
)
def test_each_error_has_its_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(get.command, "callback", fail)
    ended = run("get", "workers")
    assert ended.code == code
    assert sentence_of(ended).startswith("x")


def test_a_command_may_end_with_a_code_of_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unhealthy(**_: object) -> None:
        click.get_current_context().exit(3)

    monkeypatch.setattr(get.command, "callback", unhealthy)
    assert run("get", "workers") == (3, "", "")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_is_exit_code_130(run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def interrupted(**_: object) -> None:
        raise error

    monkeypatch.setattr(get.command, "callback", interrupted)
    code, _, stderr = run("get", "workers")
    assert (code, stderr.strip()) == (130, "")


def test_a_fault_of_our_own_says_what_to_report_and_the_rest_with_fsm_debug(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(get.command, "callback", fail)
    ended = run("get", "workers")
    assert ended.code == 1
    told = sentence_of(ended)
    assert told.startswith("fsmctl itself has failed at test_cli_errors.py:")
    assert "KeyError: 'lost'; please report it" in told
    monkeypatch.setenv("FSM_DEBUG", "1")
    ended = run("get", "workers")
    assert ended.stderr.startswith("Traceback ")
    assert told.split(":")[2] in ended.stderr


def test_a_real_ctrl_c_and_a_reader_that_leaves_are_no_errors(
    plant: Plant, redis_server: RedisServer, tmp_path: Path
) -> None:
    environ = {**os.environ, "FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    plant.store.set_override("plant-1", "edge-1", "flow-1", "stopped", "test")
    command = [str(SCRIPTS / "fsmctl"), "events", "-f"]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environ) as follows:
        assert follows.stdout is not None
        assert "operator.set" in follows.stdout.readline()
        follows.send_signal(signal.SIGINT)
        assert (follows.communicate(timeout=20)[1].strip(), follows.returncode) == ("", 130)
    shell = f"{SCRIPTS / 'fsmctl'} completion bash | true; echo ${{PIPESTATUS[0]}}"
    left = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environ, check=True, timeout=30)
    assert (left.stdout, left.stderr) == ("0\n", "")


@pytest.mark.parametrize("arguments", [("events",), ("get", "workers"), ("check", "--stage", "store")])
def test_a_reader_that_has_left_is_no_redis_that_is_away(
    plant: Plant, redis_server: RedisServer, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    environ = {**os.environ, "FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    plant.store.set_override("plant-1", "edge-1", "flow-1", "stopped", "test")
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as pipe:
        command = [str(SCRIPTS / "fsmctl"), *arguments]
        ended = subprocess.run(command, stdout=pipe, stderr=-1, text=True, env=environ, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_output_that_cannot_be_read_is_said_of_the_file(
    plant: Plant, run: Run, redis_server: RedisServer, tmp_path: Path
) -> None:
    plant.observe({"flow-1": plant.up(log="local")})
    file = folder_of(tmp_path / "data", "plant-1", "edge-1", "flow-1") / LOG
    file.mkdir(parents=True)
    ended = run("logs", "flow-1", url=redis_server.url)
    assert ended.code == 1
    assert sentence_of(ended) == f"{file} cannot be read: Is a directory"
