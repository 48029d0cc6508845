"""The fleets of docs/howto/migrate-from-supervisord-or-s6.md say what the files beside them said."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest

from supervisor.fleet import Fleet, read_fleets
from workers.registry import built_in

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "migrate-from-supervisord-or-s6.md"


def blocks(language: str) -> list[str]:
    """Return the page's blocks in a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def fleet(number: int, folder: Path) -> Fleet:
    """Return the fleet of one of the page's blocks."""
    path = folder / "fleet.toml"
    path.write_text(blocks("toml")[number])
    (read,) = read_fleets(path, built_in())
    return read


def programs() -> dict[str, dict[str, str]]:
    """Return what supervisord would read of the page, by program."""
    (text,) = blocks("ini")
    parser = configparser.RawConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(text)
    return {name.removeprefix("program:"): dict(parser[name]) for name in parser.sections()}


def as_config(program: dict[str, str]) -> dict[str, Any]:
    """Return what the page's table makes of a program, of the keys that have a counterpart in `config`."""
    environment = dict(re.findall(r'(\w+)="([^"]*)"', program.get("environment", "")))
    made: dict[str, Any] = {"command": tuple(shlex.split(program["command"])), "env": environment}
    for theirs, ours in {"directory": "cwd", "user": "user", "umask": "umask", "stopsignal": "stop_signal"}.items():
        if theirs in program:
            made[ours] = program[theirs]
    for theirs, ours in {"startsecs": "min_uptime", "stopwaitsecs": "stop_timeout"}.items():
        if theirs in program:
            made[ours] = float(program[theirs])
    return made


@pytest.mark.parametrize("name", ["flow", "report"])
def test_a_worker_has_what_its_program_had(name: str, tmp_path: Path) -> None:
    program = programs()[name]
    worker = next(worker for worker in fleet(0, tmp_path).workers if worker.id == name)
    expected = as_config(program)
    assert {key: worker.desired.config[key] for key in expected} == expected
    assert worker.desired.state == ("stopped" if program.get("autostart") == "false" else "running")


def test_what_started_first_is_what_the_others_depend_on(tmp_path: Path) -> None:
    read = fleet(0, tmp_path)
    by_priority = sorted(programs(), key=lambda name: int(programs()[name]["priority"]))
    depends = {worker.id: worker.desired.depends_on for worker in read.workers}
    assert by_priority == ["broker", "flow", "report"]
    assert depends == {"flow": ("broker",), "report": ("flow",)}
    (broker,) = read.children
    assert broker.process is not None
    expected = as_config(programs()["broker"])
    plain = msgspec.to_builtins(broker.process, enc_hook=float)
    assert {key: plain[key] for key in expected} == expected


def test_a_service_directory_becomes_what_its_run_script_becomes(tmp_path: Path) -> None:
    (script,) = blocks("sh")
    lines = [shlex.split(line) for line in script.splitlines()[1:]]
    chain = next(line for line in lines if line[:2] == ["exec", "s6-setuidgid"])
    (worker,) = fleet(1, tmp_path).workers
    config = worker.desired.config
    assert ["cd", config["cwd"]] in lines
    assert ["umask", config["umask"]] in lines
    assert [["export", f"{name}={value}"] for name, value in config["env"].items()] == [lines[3]]
    softlimit = ["s6-softlimit", "-o", str(config["limits"]["open_files"])]
    assert chain == ["exec", "s6-setuidgid", config["user"], *softlimit, *config["command"]]
    assert (config["stop_signal"], config["stop_timeout"]) == ("INT", 15.0)


def test_what_stays_under_its_manager_is_a_fleet_too(tmp_path: Path) -> None:
    read = fleet(2, tmp_path)
    assert [child.service for child in read.children] == ["/run/service/broker"]
    assert {worker.id: worker.type for worker in read.workers} == {"flow": "command", "report": "command"}
