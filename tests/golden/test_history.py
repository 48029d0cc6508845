"""What the commands about the past, and `check` and `wait`, print of the plant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.golden import golden, golden_shape
from tests.golden.conftest import Run

COMMANDS = {
    "events": ("events",),
    "events-child": ("events", "--worker", "child/historian"),
    "events-kind": ("events", "--kind", "operator", "--kind", "*.quarantined"),
    "events-yaml-follow": ("events", "-f", "-o", "yaml"),
    "events-no-kind": ("events", "--kind", "action.end"),
    "events-no-node": ("events", "--node", "edge-11"),
    "actions": ("actions",),
    "actions-wide": ("actions", "-o", "wide"),
    "actions-none": ("actions", "--name", "reconfigure"),
    "incidents": ("incidents",),
    "incidents-name": ("incidents", "-o", "name"),
    "timeline": ("timeline", "line-1-vib", "--since", "30m"),
    "timeline-worker": ("timeline", "line-1-pressure", "--since", "2m"),
    "timeline-child": ("timeline", "child/historian"),
    "timeline-unknown": ("timeline", "line-9"),
    "timeline-unreadable": ("timeline", "line-4-scale"),
    "timeline-until": ("timeline", "line-2-flow", "--until", "2h"),
    "check": ("check", "--quick"),
    "check-no-node": ("check", "--node", "edge-11"),
    "wait-late": ("wait", "--all", "--for", "phase=running", "--timeout", "1ms"),
    "wait-no-target": ("wait", "--for", "phase=running"),
    "wait-not-known": ("wait", "child/historia", "--for", "verdict=ok"),
    "logs-unknown": ("logs", "line-9"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_is_told_in_80_columns(run: Run, name: str) -> None:
    text = re.sub(r"answers in \d+\.\d+ms", "answers in 1.0ms", run(*COMMANDS[name]).text)
    golden(f"history/{name}.txt", text)


@pytest.mark.parametrize("command", ["events", "actions", "incidents", "check"])
def test_each_has_its_keys_as_json_and_the_same_as_yaml(run: Run, command: str) -> None:
    arguments = (command, "--stage", "executors") if command == "check" else (command,)
    text = run(*arguments, "-o", "json").stdout
    golden_shape(f"history/{command}.shape.json", text)
    assert yaml.safe_load(run(*arguments, "-o", "yaml").stdout) == json.loads(text)


@pytest.mark.parametrize("name", ["actions", "timeline", "timeline-worker", "check"])
def test_what_is_a_table_or_a_picture_fits_80_columns(run: Run, name: str) -> None:
    assert max(map(len, run(*COMMANDS[name]).stdout.splitlines())) <= 80


def test_a_timeline_is_drawn_into_a_file_and_a_folder_that_is_not_there_is_said_so(run: Run, tmp_path: Path) -> None:
    told = run("timeline", "line-1-vibration", "--svg", str(tmp_path / "t.svg"))
    assert (told.stdout, told.stderr, told.exit_code) == ("", "written to DIR/t.svg\n", 0)
    golden("history/timeline.svg", (tmp_path / "t.svg").read_text())
    assert run("timeline", "line-1-vibration", "--svg", "no/t.svg").text == (
        "stderr: error: no/t.svg cannot be written: No such file or directory\nexit code: 1\n"
    )


def test_following_begins_with_what_there_is(run: Run) -> None:
    lines = run("events", "-n", "3", "-o", "json").stdout
    assert [event["id"] for event in json.loads(lines)] == sorted(event["id"] for event in json.loads(lines))
