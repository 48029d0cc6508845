"""Looks at OPC UA servers, each a process of its own: frozen, killed, not running, with values that are no good."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import free_port
from tests.integration.endpoints import Endpoint

Make = Callable[..., Endpoint]
NODE = "ns=2;s=Line1.Speed"
SERVER = str(Path(__file__).with_name("opcua_server.py"))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what makes servers, for a user if one is named; none is left running."""
    made: list[Endpoint] = []

    def one(*user: str, **config: Any) -> Endpoint:
        port = free_port()
        say(tmp_path)
        command = [sys.executable, SERVER, str(port), str(tmp_path), *user]
        made.append(Endpoint(tmp_path, "opcua", command=command, url=f"opc.tcp://127.0.0.1:{port}/", **config))
        return made[-1]

    yield one
    for endpoint in made:
        endpoint.end()


def say(folder: Path, value: float = 21.5, quality: str = "Good", state: str = "Running") -> None:
    """Let the server say so from now on."""
    (folder / "now.json.new").write_text(json.dumps({"value": value, "quality": quality, "state": state}))
    (folder / "now.json.new").rename(folder / "now.json")


def test_a_server_is_started_and_degraded_while_it_is_frozen(make: Make) -> None:
    server = make(node=NODE, timeout=3.0)
    well = rf"pid \d+ runs and answers: {server.peer} is Running, node {NODE} is 21.5 in \d+ ms"
    assert re.fullmatch(well, server.until("running", "21.5"))
    server.signal(signal.SIGSTOP)
    frozen = server.until("degraded")
    server.signal(signal.SIGCONT)
    assert frozen.endswith(f"does not answer as it should: no answer from {server.peer} within 3s")
    server.until("running")


def test_a_server_that_was_killed_is_started_again(make: Make) -> None:
    server = make(timeout=3.0)
    assert f"answers: {server.peer} is Running in" in server.until("running")
    server.signal(signal.SIGKILL)
    server.until("running")
    assert server.token == 2


def test_a_bad_value_and_a_server_that_does_not_run_are_told(make: Make, tmp_path: Path) -> None:
    server = make(node=NODE, timeout=3.0)
    server.until("running")
    say(tmp_path, quality="BadSensorFailure")
    bad = f"{server.peer}, node {NODE} is BadSensorFailure, expected Good"
    assert server.until("degraded", "Sensor").endswith(bad)
    say(tmp_path, state="Suspended")
    assert server.until("degraded", "Suspended").endswith(f"{server.peer} is Suspended, expected Running")
    say(tmp_path)
    server.until("running")


def test_a_node_that_there_is_not_is_told(make: Make, tmp_path: Path) -> None:
    server = make(timeout=3.0)
    server.until("running")
    afar = Endpoint(tmp_path / "afar", "opcua", url=server.peer, node="ns=2;s=Nothing", timeout=3.0)
    assert afar.look().trouble == f"{server.peer}, node ns=2;s=Nothing is BadNodeIdUnknown, expected Good"


def test_a_password_comes_from_its_file_at_each_look(make: Make, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    server = make("look", "secret", username="look", password_file=str(tmp_path / "password"), timeout=3.0)
    server.until("running")
    (tmp_path / "password").write_text("wrong\n")
    refused = server.until("degraded", "BadUserAccessDenied")
    assert server.peer in refused
    assert "wrong" not in refused


def test_what_is_no_server_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = "opc.tcp://127.0.0.1:{1}/".format(*server.getsockname())
        afar = Endpoint(tmp_path, "opcua", url=url, timeout=1.0)
        trouble, left = asyncio.run(look_and_count(afar))
        assert trouble == f"no answer from {url} within 1s"  # it takes the connection, and says nothing
        assert left == 0
    assert str(afar.look().trouble).startswith(f"{url}: ")


async def look_and_count(endpoint: Endpoint) -> tuple[str | None, int]:
    """Return what was wrong with the answer, and how many tasks are left of the look."""
    seen = await endpoint.kind.observe(endpoint.target, None, 0.0)
    return getattr(seen, "trouble", None), len(asyncio.all_tasks()) - 1
