"""fsmctl keys: what a person sees of a rotation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from supervisor.cli import fsmctl
from supervisor.errors import Refused


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that commands are run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(fsmctl, ["keys", *arguments], terminal_width=80)


def said(result: Result) -> tuple[str, str]:
    """Return stdout and stderr, with each key's id as KEY."""
    assert result.exit_code == 0, result.output
    hidden = [re.sub(r"\b[0-9a-f]{16}\b", "KEY", text) for text in (result.stdout, result.stderr)]
    return hidden[0], hidden[1]


def test_a_rotation_says_what_to_do_next(folder: Path) -> None:
    assert said(run("new", "keys")) == (
        "made key KEY\n",
        "supervisors' executors: FSM_SIGNING_KEY=keys/signing.key\n"
        "every executor:         FSM_VERIFY_KEYS=keys/verify.keys\n",
    )
    assert said(run("add", "keys")) == (
        "made key KEY\n",
        "now copy keys/verify.keys to every executor that runs actions, then: fsmctl keys use keys\n",
    )
    assert said(run("use", "keys")) == (
        "signing with key KEY\n",
        "now copy keys/signing.key to the supervisors' executors, then: fsmctl keys drop keys\n",
    )
    assert said(run("drop", "keys")) == (
        "only key KEY counts\n",
        "now copy keys/verify.keys to every executor that runs actions\n",
    )
    assert sorted(path.name for path in (folder / "keys").iterdir()) == ["signing.key", "verify.keys"]


def test_a_step_out_of_turn_is_refused_with_the_one_to_take(folder: Path) -> None:
    run("new", "keys")
    error = run("use", "keys").exception
    assert isinstance(error, Refused)
    assert (str(error), error.exit_code) == ("keys/next.key is not there; make it with: fsmctl keys add keys", 7)


@pytest.mark.parametrize("arguments", [(), ("new",), ("add",), ("use",), ("drop",)], ids=str)
def test_each_command_has_help_with_an_example_in_80_columns(arguments: tuple[str, ...]) -> None:
    text = run(*arguments, "--help").stdout
    assert "Example" in text
    assert max(len(line) for line in text.splitlines()) <= 80
