"""The fixtures of the golden tests: a plant that is the same each time, and what runs fsmctl on it."""

from __future__ import annotations

import functools
import getpass
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

import supervisor.runtime
from supervisor.cli import main
from supervisor.cli.summaries import EXIT_CODES
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.golden.plant import NOW, GoldenPlant, make_golden_plant


@dataclass(frozen=True)
class Ran:
    """How a run of fsmctl ended: what it wrote, and its exit code."""

    stdout: str
    stderr: str
    exit_code: int

    @property
    def text(self) -> str:
        """Return all of it, for a golden file: stdout as it is, then stderr and the exit code, if there is one."""
        errors = "".join(f"stderr: {line}\n" for line in self.stderr.splitlines())
        return self.stdout + errors + (f"exit code: {self.exit_code}\n" if self.exit_code else "")


Run = Callable[..., Ran]


@pytest.fixture
def plant(real_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> GoldenPlant:
    """Return the plant, on a real Redis whose time stands still, for fsmctl too."""
    standing = functools.partial(Store, clock=lambda: NOW)
    monkeypatch.setattr(supervisor.runtime, "Store", standing)
    monkeypatch.setattr(getpass, "getuser", lambda: "pat")
    monkeypatch.setattr(socket, "gethostname", lambda: "desk")
    return make_golden_plant(Store(real_client, "test", lambda: NOW))


@pytest.fixture
def run(plant: GoldenPlant, redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs fsmctl on the plant, in 80 columns without colour: `run("get", "workers", input=None)`."""
    environ = {
        "FSM_REDIS_URL": redis_server.url,
        "FSM_NAMESPACE": "test",
        "FSM_DATA_DIR": str(tmp_path / "data"),
        "COLUMNS": "80",
        "LINES": "24",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    monkeypatch.chdir(tmp_path)

    def clean(text: str) -> str:
        """Name what differs from run to run."""
        for seen, shown in ((redis_server.url, "redis://HOST:PORT/0"), (str(tmp_path), "DIR")):
            text = text.replace(seen, shown)
        return text.replace(f"{redis_server.host}:{redis_server.port}", "HOST:PORT")

    class Program:
        """fsmctl as it is started, in the form that click's runner starts."""

        name = "fsmctl"

        def main(self, args: list[str], **_: object) -> None:
            monkeypatch.setattr(sys, "argv", ["fsmctl", *args])
            main()

    def call(*arguments: str, **options: str) -> Ran:
        result = CliRunner(env=environ).invoke(Program(), list(arguments), **options)  # type: ignore[arg-type]  # input alone
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        name = next((word for word in arguments if word in EXIT_CODES), "")
        told = (0, 1, 2, 130, *EXIT_CODES.get(name, ()))
        assert result.exit_code in told, f"fsmctl {name} ends with {result.exit_code}, which its page does not tell"
        return Ran(clean(result.stdout), clean(result.stderr), result.exit_code)

    return call
