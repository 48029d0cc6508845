"""Endpoints that answer over TCP and HTTP, with real programs behind them: started, frozen, ended, watched."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.model import ActionError
from actions.restart import Restart
from actions.start import Start
from supervisor.readings import news
from tests.conftest import free_port, redis_binary
from tests.integration.endpoints import Endpoint
from workers.process.config import ProcessConfig
from workers.registry import built_in
from workers.target import Target

Make = Callable[..., Endpoint]
SERVER = textwrap.dedent("""
    import http.server, json, pathlib, sys, time
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, takes = json.loads(pathlib.Path("answer.json").read_text())
            time.sleep(takes)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())
        def log_message(self, *args): pass
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
""")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what makes endpoints in the folder; none is left running."""
    made: list[Endpoint] = []

    def one(kind: str, **config: Any) -> Endpoint:
        made.append(Endpoint(tmp_path, kind, **config))
        return made[-1]

    yield one
    for endpoint in made:
        endpoint.end()


@pytest.fixture
def redis(make: Make) -> Endpoint:
    """Return a redis-server that is asked for PONG."""
    port = free_port()
    command = [str(redis_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    asks = {"address": f"127.0.0.1:{port}", "send": "PING\r\n", "expect": r"\+PONG"}
    return make("tcp_service", command=command, timeout=3.0, **asks)


@pytest.fixture
def page(make: Make, tmp_path: Path) -> Endpoint:
    """Return a server of one page that is asked for it."""
    port = free_port()
    (tmp_path / "server.py").write_text(SERVER)
    answer(tmp_path)
    url = f"http://127.0.0.1:{port}/state"
    command = [sys.executable, "server.py", str(port)]
    return make(
        "http_service",
        command=command,
        url=url,
        body='"line": "(up|idle)"',
        status=[200, 203],
        timeout=4.0,
        max_latency=2.0,
    )


def answer(folder: Path, status: int = 200, body: str = '{"line": "up"}', takes: float = 0.0) -> None:
    """Let the page be so from now on; `takes` seconds."""
    (folder / "answer.json.new").write_text(json.dumps([status, body, takes]))
    (folder / "answer.json.new").rename(folder / "answer.json")


def test_a_tcp_service_is_started_and_degraded_while_it_is_frozen(redis: Endpoint) -> None:
    address = redis.peer
    assert re.fullmatch(rf"pid \d+ runs and answers: {address} said '\+PONG' in \d+ ms", redis.until("running"))
    redis.signal(signal.SIGSTOP)  # the kernel still takes connections for it
    frozen = redis.until("degraded")
    redis.signal(signal.SIGCONT)
    assert frozen.endswith(f"runs and does not answer as it should: no answer from {address} within 3s")
    redis.until("running")


def test_a_tcp_service_that_was_killed_is_started_again(redis: Endpoint) -> None:
    redis.until("running")
    redis.signal(signal.SIGKILL)
    redis.until("running")
    assert redis.token == 2


def test_a_tcp_service_that_says_something_else_is_degraded_with_what_it_said(redis: Endpoint) -> None:
    redis.until("running")
    asks = {"address": redis.peer, "send": "PING\r\n", "expect": "READY"}
    afar = Endpoint(redis.folder / "afar", "tcp_service", **asks)
    seen = afar.look()
    assert seen.trouble == f"no answer from {afar.peer} within 2s"
    afar.wish(**{**asks, "send": "QUIT\r\n"})
    assert afar.look().trouble == f"{asks['address']} said b'+OK\\r\\n', expected a match of 'READY'"


def test_a_connection_is_all_that_a_tcp_service_without_expect_owes(redis: Endpoint) -> None:
    redis.until("running")
    address = redis.peer
    afar = Endpoint(redis.folder / "afar", "tcp_service", address=address)
    assert f"it is watched only and answers: {address} took a connection in" in afar.until("running")


def test_an_http_service_is_started_and_degraded_with_what_is_wrong_with_its_page(
    page: Endpoint, tmp_path: Path
) -> None:
    url = page.peer
    assert f"runs and answers: {url} answered 200 in" in page.until("running")
    answer(tmp_path, 203)
    assert f"runs and answers: {url} answered 203 in" in page.until("running", "203")
    answer(tmp_path, 500)
    assert page.until("degraded").endswith(f"as it should: {url} answered 500, expected 200 or 203")
    answer(tmp_path, body="down")
    expected = f"""{url} answered b'down', expected a match of '"line": "(up|idle)"' in it"""
    assert page.until("degraded", "down").endswith(expected)
    answer(tmp_path)
    page.until("running")


def test_an_http_service_that_is_frozen_or_slow_is_degraded_with_how_long_it_took(
    page: Endpoint, tmp_path: Path
) -> None:
    url = page.peer
    page.until("running")
    page.signal(signal.SIGSTOP)
    frozen = page.until("degraded")
    page.signal(signal.SIGCONT)
    assert frozen.endswith(f"no answer from {url} within 4s")
    page.until("running")
    answer(tmp_path, takes=2.2)
    slow = page.until("degraded", "is slow")
    assert re.search(r"answered 200 in \d{4} ms, at most 2000 ms may pass", slow)
    answer(tmp_path)
    page.until("running")


def test_what_is_watched_only_is_never_started(make: Make, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    afar = make("http_service", url=url)
    assert f"it is watched only and does not answer as it should: {url}: " in afar.until("starting")
    (tmp_path / "server.py").write_text(SERVER)
    answer(tmp_path)
    with subprocess.Popen([sys.executable, "server.py", str(port)], cwd=tmp_path) as server:
        afar.until("running")
        server.kill()
    assert "cannot connect: " in afar.until("degraded")
    for action in (Start(), Restart()):
        with pytest.raises(ActionError, match=r"it is watched only, so nothing starts it .*give it a command in the"):
            afar.act(action)
    afar.desired = "stopped"
    assert afar.until("stopped") == "desired is stopped, it is watched only and nothing of ours runs"


def test_a_command_that_is_taken_out_ends_its_process_and_the_rest_is_watched(redis: Endpoint) -> None:
    redis.until("running")
    address = redis.peer
    redis.wish(address=address)
    reason = redis.step().reason
    assert reason.startswith("it is watched only, and pid ")
    assert redis.until("degraded").startswith(f"it is watched only and does not answer as it should: {address}: ")
    assert redis.look().pid is None


def test_a_configuration_of_another_type_is_a_mistake_of_ours(tmp_path: Path) -> None:
    target = Target("t", tmp_path, ProcessConfig(command=("true",)), "c1")
    with pytest.raises(TypeError, match="t is not configured as an endpoint: ProcessConfig"):
        built_in().get("tcp_service").component(target)


def test_news_are_how_it_answers_and_not_how_fast(redis: Endpoint) -> None:
    redis.until("running")
    first = redis.look()
    assert redis.kind.matters(first, redis.target) == "answers"
    assert news(first) == news(redis.look())
