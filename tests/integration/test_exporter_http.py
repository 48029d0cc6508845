"""`fsmctl exporter` as Prometheus meets it: over HTTP and HTTPS, with and without a password, without Redis."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

from supervisor.store import Store
from tests.conftest import OwnRedis, RedisServer, free_port
from tests.integration.plant import fleet, worker
from tests.waiting import wait_until

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Redis = RedisServer | OwnRedis


def command(port: int, *options: str) -> list[str]:
    return [sys.executable, "-c", "from supervisor.cli import main; main()", "exporter", "--port", str(port), *options]


def environment(redis: Redis, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "FSM_REDIS_URL": redis.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path / "data")}


@contextmanager
def exporter(
    redis: Redis, tmp_path: Path, *options: str, verify: ssl.SSLContext | bool = True
) -> Iterator[httpx.Client]:
    """Run an exporter; yield a client of it."""
    port = free_port()
    scheme = "https" if "--tls-cert" in options else "http"
    with (tmp_path / "exporter.log").open("wb") as output:
        process = subprocess.Popen(
            command(port, *options), env=environment(redis, tmp_path), stdout=output, stderr=subprocess.STDOUT
        )

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "exporter.log").read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, "the exporter to listen", 30)
        with httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", verify=verify, timeout=20) as client:
            yield client
    finally:
        process.terminate()
        assert process.wait(10) == 0, (tmp_path / "exporter.log").read_text()


@pytest.fixture
def redis(own_redis: OwnRedis) -> OwnRedis:
    """Return a Redis with a fleet of one worker."""
    with own_redis.server.connect() as client:
        Store(client, "test").apply_fleets([fleet(worker("flow-1"))])
    return own_redis


def up(client: httpx.Client) -> float:
    (sample,) = next(one for one in parsed(client.get("/metrics").text) if one.name == "supervisor_up").samples
    return sample.value


def test_metrics_come_as_text_or_as_openmetrics_as_they_are_asked_for(redis: OwnRedis, tmp_path: Path) -> None:
    with exporter(redis, tmp_path) as client:
        plain = client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        names = {family.name for family in parsed(plain.text)}
        assert {"supervisor_up", "supervisor_ticks", "supervisor_tick_duration_seconds"} <= names
        openmetrics = client.get("/metrics", headers={"Accept": OPEN_METRICS})
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics.text.endswith("# EOF\n")
        assert {family.name for family in parsed_openmetrics(openmetrics.text)} == names
        assert (client.get("/healthz").status_code, client.get("/nothing").status_code) == (200, 404)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "supervisor plant-1 has never ticked\n")


def test_a_redis_that_hangs_or_is_gone_is_told_in_time_and_so_is_its_return(redis: OwnRedis, tmp_path: Path) -> None:
    with exporter(redis, tmp_path) as client:
        assert up(client) == 1
        redis.signal(signal.SIGSTOP)
        try:
            since = time.monotonic()
            families = list(parsed(client.get("/metrics").text))
            took = time.monotonic() - since
            assert [(family.name, family.samples[0].value) for family in families] == [("supervisor_up", 0)]
            assert took < 5, "Prometheus gives up after 10 s"
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
        finally:
            redis.signal(signal.SIGCONT)
        wait_until(lambda: up(client) == 1, "it to see Redis again")
        redis.kill()
        assert up(client) == 0


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return a self-signed certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", cert, "-keyout", key]
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


def test_tls_is_spoken_and_no_client_holds_up_the_others(redis: OwnRedis, tmp_path: Path, pem: tuple[str, str]) -> None:
    cert, key = pem
    trusted = ssl.create_default_context(cafile=cert)
    with exporter(redis, tmp_path, "--tls-cert", cert, "--tls-key", key, verify=trusted) as client:
        assert client.base_url.port is not None
        with socket.create_connection(("127.0.0.1", client.base_url.port)):  # says nothing
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{client.base_url.port}/metrics")
            assert up(client) == 1


def test_a_password_is_asked_for_but_for_healthz(redis: OwnRedis, tmp_path: Path) -> None:
    readers = tmp_path / "readers"
    readers.write_text("prom:secret\n")
    with exporter(redis, tmp_path, "--auth-file", str(readers)) as client:
        refused = client.get("/metrics")
        assert (refused.status_code, refused.text) == (401, "a user and a password are needed\n")
        assert refused.headers["www-authenticate"] == 'Basic realm="metrics", charset="UTF-8"'
        assert client.get("/readyz").status_code == 401
        assert client.get("/metrics", auth=("prom", "wrong")).status_code == 401
        assert client.get("/metrics", auth=("prom", "secret")).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tls-cert", "CERT"), "--tls-key is missing; expected --tls-cert and --tls-key together"),
        (("--tls-key", "KEY"), "--tls-cert is missing; expected --tls-cert and --tls-key together"),
        (
            ("--tls-cert", "CERT", "--tls-key", "NONE"),
            "NONE: cannot be read: No such file or directory; expected a PEM",
        ),
        (
            ("--tls-cert", "KEY", "--tls-key", "CERT"),
            "KEY and CERT: expected a certificate and its key, both PEM, without a password: ",
        ),
        (("--auth-file", "NONE"), "NONE: cannot be read: No such file or directory; expected lines USER:PASSWORD"),
    ],
)
def test_files_that_cannot_be_used_are_refused_at_the_start(
    redis_server: RedisServer, tmp_path: Path, pem: tuple[str, str], options: tuple[str, ...], message: str
) -> None:
    paths = {"CERT": pem[0], "KEY": pem[1], "NONE": str(tmp_path / "none")}

    def named(text: str) -> str:
        for name, path in paths.items():
            text = text.replace(name, path)
        return text

    used = command(free_port(), *(paths.get(option, option) for option in options))
    done = subprocess.run(
        used, env=environment(redis_server, tmp_path), capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr.startswith(f"error: {named(message)}")) == (2, True), done.stderr


def test_the_benchmark_of_scrapes_still_runs() -> None:
    options = ("--workers", "20", "--scrapes", "2")
    used = [sys.executable, "-m", "tests.benchmarks.bench_scrape", *options]
    done = subprocess.run(used, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"fleet +20 workers on 10 nodes, by worker_type\n", done.stdout)
    assert re.search(r"scrapes +n 2, median \d\.\d{3} s", done.stdout)
