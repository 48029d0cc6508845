"""What shells complete fsmctl's words with: as they ask, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import redis

from supervisor.cli import completion, fsmctl
from supervisor.cli.completion import LiveName, add_live_names
from supervisor.clock import SystemClock
from supervisor.model import Incident, Stage
from supervisor.runtime import make_runtime
from supervisor.store import Store, encode
from tests.conftest import RedisServer, free_port, missing
from tests.factories import make_child, make_lease
from tests.integration.plant import Plant, settings, worker
from tests.live.system import SCRIPTS

FREE_TEXT = {"LINES", "TEXT", "FIELD=VALUE", "KEY=VALUE", "TIME", "NAME", "USER"}  # what a person makes up
Complete = Callable[..., list[str]]


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation with two workers and a child."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    made.apply_fleet(worker("flow-1"), worker("line-1"), children=[make_child()])
    return made


@pytest.fixture
def environ(redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    """Return what fsmctl is run with."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FSM_")}
    ours = {"FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    return {**clean, **ours, "XDG_CONFIG_HOME": str(tmp_path), "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}


@pytest.fixture
def complete(environ: dict[str, str]) -> Complete:
    """Return what asks fsmctl to complete a line, the last word of which may be begun."""

    def call(line: str, **more: str) -> list[str]:
        words = line.split(" ")
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_FSMCTL_COMPLETE": "bash_complete"}
        run = subprocess.run(["fsmctl"], capture_output=True, text=True, env={**environ, **asked, **more}, check=True)
        assert run.stderr == ""
        return [line.removeprefix("plain,") for line in run.stdout.splitlines() if line]

    return call


def test_commands_options_and_names_of_the_store_are_completed(plant: Plant, complete: Complete) -> None:
    assert complete("fsmctl pau") == ["pause"]
    assert complete("fsmctl get ch") == ["children", "child"]
    assert complete("fsmctl describe worker/fl") == ["worker/flow-1"]
    assert complete("fsmctl get workers fl") == ["flow-1"]
    assert complete("fsmctl get children ") == ["broker"]
    assert complete("fsmctl describe child ") == ["broker"]
    assert complete("fsmctl describe nothing/") == []
    assert complete("fsmctl get workers --node ed") == ["edge-1"]
    assert complete("fsmctl drain ") == ["node/edge-1"]
    assert complete("fsmctl pause fl") == ["flow-1"]
    assert complete("fsmctl pause ") == ["flow-1", "line-1", "child/broker", "all", "node/edge-1"]
    assert complete("fsmctl circuit open ") == ["plant-1"]
    assert complete("fsmctl collector ed") == ["edge-1"]
    assert complete("fsmctl --supervisor p") == ["plant-1"]
    assert complete("fsmctl wait worker/") == ["worker/flow-1", "worker/line-1"]
    assert complete("fsmctl events --worker li") == ["line-1"]


def test_contexts_are_completed_and_their_store_is_asked(plant: Plant, complete: Complete, tmp_path: Path) -> None:
    file = tmp_path / "fsmctl" / "contexts.toml"
    file.parent.mkdir()
    file.write_text(f"[contexts]\nnorth.url = 'redis://127.0.0.1:{free_port()}'\nsouth.url = 'redis://127.0.0.1:1'\n")
    assert complete("fsmctl --context no") == ["north"]
    assert complete("fsmctl --context north pause fl") == [], "that one is away"


def test_a_store_that_is_away_or_cannot_be_read_completes_nothing_and_says_nothing(
    plant: Plant, complete: Complete
) -> None:
    assert complete("fsmctl pause fl", FSM_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0") == []
    assert complete("fsmctl pause fl", FSM_REDIS_URL="") == []
    assert complete("fsmctl pause fl", FSM_REDIS_URL="no url") == []
    plant.client.set(plant.keys.settings, "{")
    assert complete("fsmctl pause fl") == []


def test_incidents_and_actions_in_progress_are_completed(plant: Plant) -> None:
    incident = Incident(id="i1", opened_at=1.0, reason="x", children=("broker",))
    plant.client.hset(plant.keys.incidents, "i1", encode(incident))
    index = plant.store.index("plant-1")
    assert index is not None
    assert completion._LIVE["INCIDENT"](plant.store, [("plant-1", index)]) == ["i1"]
    lease = make_lease(action_id="a1", stage=Stage.RUNNING)
    plant.client.set(plant.keys.lease("edge-1", "flow-1"), encode(lease))
    assert completion._LIVE["ACTION"](plant.store, [("plant-1", index)]) == ["a1"]


@pytest.mark.parametrize("name", fsmctl.list_commands(click.Context(fsmctl)))
def test_every_argument_is_completed(name: str) -> None:
    command = fsmctl.get_command(click.Context(fsmctl), name)
    assert command is not None
    add_live_names(command)
    left = [
        param.human_readable_name
        for param in command.params
        if isinstance(param, click.Argument)
        and param.type is click.STRING
        and (param.metavar or "") not in FREE_TEXT
        and not isinstance(param.type, LiveName)
        and param._custom_shell_complete is None
    ]
    assert left == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_that_it_reads(shell: str, environ: dict[str, str]) -> None:
    script = subprocess.run(["fsmctl", "completion", shell], capture_output=True, text=True, env=environ, check=True)
    assert (f"_FSMCTL_COMPLETE={shell}_complete" in script.stdout, script.stderr) == (True, "")
    if shell == "bash":
        _complete_in_bash(environ)
    elif shutil.which(shell):
        read = subprocess.run([shell, "-n"], input=script.stdout, capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, "")


def _complete_in_bash(environ: dict[str, str]) -> None:
    if shutil.which("bash") is None:
        missing("no bash")
    asked = (
        "source <(fsmctl completion bash)",
        "COMP_WORDS=(fsmctl pau); COMP_CWORD=1; _fsmctl_completion fsmctl",
        "echo ${COMPREPLY[@]}",
    )
    run = subprocess.run(["bash", "-c", "\n".join(asked)], capture_output=True, text=True, env=environ, check=True)
    assert (run.stdout, run.stderr) == ("pause\n", "")
