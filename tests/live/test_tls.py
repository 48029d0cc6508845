"""A whole installation on a Redis that speaks TLS alone: store, broker, exporter and Flower, with certificates."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.certificates import make_certificates
from tests.live.system import WORKERS, System
from tests.servers import tls_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
PASSWORD = "not-in-any-environment"


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def queues_in(flower: str) -> str:
    """Return its page of queues; it knows those of executors that it asked, and asks when their page is reloaded."""
    page(f"{flower}/workers?refresh=1")
    return page(f"{flower}/broker")


def test_a_fleet_converges_over_tls_and_the_password_stays_in_its_file(system: System) -> None:
    secret = system.folder / "password"
    secret.write_text(PASSWORD)
    certificates = make_certificates(system.folder / "certificates")
    with tls_server(system.folder / "redis", certificates, PASSWORD) as server:
        system.environ |= {"FSM_REDIS_URL": server.url, "FSM_REDIS_PASSWORD_FILE": str(secret)}
        system.environ |= certificates.environ()
        system.start()
        for worker in WORKERS:
            system.wait_for(f"worker/{worker}", "state=running", "120s")
        victim = system.worker("line-1-pressure")["pid"]
        os.kill(victim, signal.SIGKILL)
        system.new_pid("line-1-pressure", victim, 60)

        assert "supervisor_up 1.0" in page(f"http://127.0.0.1:{system.ports[1]}/metrics")
        flower = f"http://127.0.0.1:{system.ports[2]}"
        wait_until(lambda: '<tr id="actions.edge-1">' in queues_in(flower), "Flower shows the queue of edge-1", 60)
        assert told_of_the_password(system, secret) == []
        assert system.stop() == 0


def told_of_the_password(system: System, secret: Path) -> list[str]:
    """Return the processes that have it in their environment or command, and the files that hold it beside its own."""
    found = []
    for process in system.processes():
        texts = [*process.cmdline(), *process.environ().values()] if psutil.pid_exists(process.pid) else []
        found += [f"{process.pid} {process.name()}" for text in texts if PASSWORD in text]
    for file in system.folder.rglob("*"):
        is_its_own = file == secret or file.name == "redis.conf"
        if file.is_file() and not is_its_own and PASSWORD.encode() in file.read_bytes():
            found.append(str(file))
    return found
