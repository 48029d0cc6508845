"""Flower behind TLS and a password that stands in a file: who is let in, and where the password is not."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.certificates import Certificates, make_certificates
from tests.conftest import RedisServer, free_port
from tests.waiting import wait_until

PASSWORD = "kept-in-a-file"
CONFIG = """
basic_auth = ["ann:{password}"]
certfile = "{certfile}"
keyfile = "{keyfile}"
"""


class Flower:
    """A Flower that was started by its configuration file alone."""

    def __init__(self, folder: Path, redis: RedisServer, certificates: Certificates) -> None:
        self.port = free_port()
        self.trust = ssl.create_default_context(cafile=certificates.pem("ca"))
        config = folder / "flowerconfig.py"
        files = {"certfile": certificates.pem("server"), "keyfile": certificates.key("server")}
        config.write_text(CONFIG.format(password=PASSWORD, **files))
        config.chmod(0o600)
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("FSM_", "FLOWER_"))}
        options = (f"--conf={config}", "--address=127.0.0.1", f"--port={self.port}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--quiet", "-A", "supervisor", "flower", *options],
            env={**clean, "FSM_REDIS_URL": redis.url, "FSM_DATA_DIR": str(folder), "FSM_NAMESPACE": "door"},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, path: str, who: str = "", scheme: str = "https") -> int:
        """Return the status of a page, as the person `who` (NAME:PASSWORD); 0 when nobody answers."""
        request = urllib.request.Request(f"{scheme}://127.0.0.1:{self.port}{path}")
        if who:
            request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.trust) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0


@pytest.fixture(scope="module")
def flower(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    folder = tmp_path_factory.mktemp("flower")
    made = Flower(folder, redis_server, make_certificates(folder / "certificates"))
    try:
        wait_until(lambda: made.ask("/healthcheck") == 200, "Flower to answer", 60)
        yield made
    finally:
        made.process.terminate()
        made.process.wait(30)


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks"])
def test_nobody_sees_anything_without_the_right_password(flower: Flower, path: str) -> None:
    assert [flower.ask(path, who) for who in ("", "ann:wrong", f"bob:{PASSWORD}")] == [401, 401, 401]
    assert flower.ask(path, f"ann:{PASSWORD}") == 200


def test_it_speaks_tls_alone(flower: Flower) -> None:
    assert flower.ask("/healthcheck", scheme="http") == 0


def test_the_password_is_in_its_file_alone(flower: Flower) -> None:
    process = psutil.Process(flower.process.pid)
    told = [*process.cmdline(), *process.environ().values()]
    assert [text for text in told if PASSWORD in text] == []
