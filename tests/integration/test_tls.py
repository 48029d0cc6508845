"""Redis over TLS, with certificates of both sides, and by sentinels: what fsmctl says, and store and broker at work."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.app.amqp import AMQP

import celeryconfig
from supervisor import address
from supervisor.broker import BrokerConnection
from supervisor.connection import STORE_ERRORS, connect
from supervisor.settings import Settings
from tests.certificates import Certificates, make_certificates
from tests.servers import Server, Watched, needs_redis_7, tls_server
from tests.waiting import wait_until

PASSWORD = "not-in-any-environment"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    needs_redis_7()
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Server]:
    with tls_server(tmp_path_factory.mktemp("tls") / "redis", certificates, PASSWORD) as made:
        yield made


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return str(file)


def fsmctl(folder: Path, environ: dict[str, str]) -> tuple[int, str]:
    """Run `fsmctl get workers`; return its exit code and what it complains of."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FSM_")}
    run = subprocess.run(
        [sys.executable, "-c", "from supervisor.cli import main; main()", "get", "workers"],
        env={**clean, "FSM_DATA_DIR": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stdout == ""
    return run.returncode, run.stderr


def test_with_ca_certificate_and_password_redis_answers(
    tmp_path: Path, server: Server, certificates: Certificates, password_file: str
) -> None:
    environ = {"FSM_REDIS_URL": server.url, "FSM_REDIS_PASSWORD_FILE": password_file, **certificates.environ()}
    assert fsmctl(tmp_path, environ) == (
        4,
        "error: no fleet has been applied here yet; run `fsmctl apply -f fleet.toml`\n",
    )


@pytest.mark.parametrize(
    ("client", "ca", "scheme", "words"),
    [
        ("", "ca", "rediss", "FSM_REDIS_CERT and FSM_REDIS_KEY"),
        ("client", "other", "rediss", "Its certificate was not signed by FSM_REDIS_CA"),
        ("other", "ca", "rediss", "signed by its tls-ca-cert-file"),
        ("client", "ca", "redis", "perhaps it speaks TLS alone, which is rediss://"),
        ("client", "ca", "password", "set FSM_REDIS_PASSWORD_FILE"),
    ],
)
def test_what_is_missing_at_the_door_is_one_sentence_and_exit_code_5(
    tmp_path: Path,
    server: Server,
    certificates: Certificates,
    password_file: str,
    client: str,
    ca: str,
    scheme: str,
    words: str,
) -> None:
    environ = {"FSM_REDIS_URL": server.url, "FSM_REDIS_PASSWORD_FILE": password_file}
    environ |= certificates.environ(client, ca)
    if scheme == "redis":
        environ = {"FSM_REDIS_URL": server.url.replace("rediss", "redis")}
    if scheme == "password":
        del environ["FSM_REDIS_PASSWORD_FILE"]
    for _ in range(1 if client else 3):  # without a certificate, who hangs up first decides what the client sees
        code, said = fsmctl(tmp_path, environ)
        assert code == 5, said
        assert said.startswith(f"error: Redis at {environ['FSM_REDIS_URL']} does not answer: ")
        assert words in said
        assert said.count("\n") == 1
        assert "Traceback" not in said


class Broker(AMQP):  # type: ignore[misc]  # celery ships no types
    """As supervisor.celery has it, which wants the settings in the environment."""

    Connection = BrokerConnection


def broker_of(settings: Settings) -> Celery:
    """Return an app whose broker is what celeryconfig.py would make of the settings."""
    app = Celery("test", broker=address.broker_url(settings.redis_url, settings.access.password), amqp=Broker)
    app.conf.broker_use_ssl = settings.access.tls if address.is_encrypted(settings.redis_url) else None
    options = {**celeryconfig.broker_transport_options, "global_keyprefix": "test:celery:"}
    app.conf.broker_transport_options = {**options, **address.broker_options(settings.redis_url, settings.access)}
    return app


def test_by_sentinels_over_tls_with_passwords_store_and_broker_reach_the_master_and_the_next_one(
    tmp_path: Path, certificates: Certificates, password_file: str
) -> None:
    secret = tmp_path / "sentinels"
    secret.write_text("of-sentinels")
    watched = Watched(tmp_path / "watched", PASSWORD, "of-sentinels", certificates)
    environ = {"FSM_REDIS_PASSWORD_FILE": password_file, "FSM_SENTINEL_PASSWORD_FILE": str(secret)}
    try:
        watched.start()
        environ |= {"FSM_REDIS_URL": watched.url, **certificates.environ()}
        settings = Settings.from_env(environ, str(tmp_path))
        with connect(settings) as client, connect(settings, patient=False) as other, broker_of(settings) as app:
            client.set("written", "once")
            with app.connection_for_write() as connection:
                assert isinstance(connection, BrokerConnection)
                queue = connection.SimpleQueue("first")
                queue.put("before")
                assert queue.get(timeout=5).payload == "before"
            with watched.master.client() as direct:
                assert direct.get("written") == "once"
            watched.sentinels[0].kill()  # two are enough, and nobody waits long for the third
            watched.fail_over()

            def takes() -> bool:
                with contextlib.suppress(*STORE_ERRORS):
                    return bool(client.set("written", "twice")) and other.get("written") == "twice"
                return False

            wait_until(takes, "the store to reach the new master", 30)
            with app.connection_for_write() as connection:
                connection.ensure_connection()
                queue = connection.SimpleQueue("second")
                queue.put("after")
                assert queue.get(timeout=5).payload == "after"
    finally:
        watched.destroy()
