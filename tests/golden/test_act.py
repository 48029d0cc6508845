"""What fsmctl's acts say, whole: before, instead of and after what they do."""

from __future__ import annotations

import json

import pytest

from tests.golden import golden
from tests.golden.conftest import Run

ACTS = {
    "set": ("set", "line-1-temperature", "stopped"),
    "pause-worker": ("pause", "line-1-temperature", "--for", "30m"),
    "pause-node": ("pause", "node/edge-1", "--reason", "new cable", "--for", "30m"),
    "pause-all": ("pause", "all"),
    "resume-worker": ("resume", "line-2-flow"),
    "resume-not-paused": ("resume", "node/edge-1"),
    "cancel-worker": ("cancel", "line-1-pressure"),
    "cancel-force": ("cancel", "line-1-pressure", "--force", "--reason", "hangs"),
    "cancel-nothing": ("cancel", "line-3-valve"),
    "cancel-unknown": ("cancel", "a-action"),
    "circuit-open": ("circuit", "open", "plant-1", "--reason", "upgrade"),
    "circuit-close": ("circuit", "close", "plant-1"),
    "circuit-reset": ("circuit", "reset", "plant-1"),
    "restart": ("restart", "line-1-temperature", "line-1-vibration"),
    "restart-stopped": ("restart", "site-uplink"),
    "drain": ("drain", "node/edge-1", "--no-wait", "--for", "2h"),
    "drain-wait": ("drain", "node/edge-1", "--timeout", "100ms"),
    "drain-undo": ("drain", "node/edge-1", "--undo"),
    "drain-no-node": ("drain", "edge-1"),
    "delete-worker": ("delete", "worker/line-1-temperature"),
    "delete-node": ("delete", "node/edge-2"),
}
WITH_YES = ("set", "pause", "cancel", "circuit", "restart", "drain", "delete")


@pytest.mark.parametrize("name", ACTS)
def test_what_an_act_says(run: Run, name: str) -> None:
    act = ACTS[name]
    yes = ("--yes",) if act[0] in WITH_YES else ()
    parts = {"a dry run": ("--dry-run",), "without a yes": (), "with a yes": yes}
    text = "".join(f"# {when}\n{run(*act, *more).text}" for when, more in parts.items())
    golden(f"act-{name}.txt", text)


def test_what_a_look_says_that_nobody_makes(run: Run) -> None:
    golden("act-observe.txt", run("observe", "line-1-temperature", "--timeout", "100ms").text)


def test_config(run: Run) -> None:
    run("pause", "node/edge-1", "--reason", "new cable", "--for", "30m")
    golden("config.txt", run("config").text)
    keys = {tuple(row) for row in json.loads(run("config", "-o", "json").stdout)}
    assert keys == {("name", "value", "from", "supervisor")}
