"""An installation as docs/security.md has it: a Redis without a default user, and a user for each node and role."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis
from click.testing import CliRunner

from supervisor.cli import fsmctl
from tests.conftest import OwnRedis, missing, redis_binary
from tests.live.pieces import FSMCTL, NAME, Pieces, pieces_in

NAMESPACE = "pieces"
HOSTILE, OTHER = "edge-1", "edge-2"  # edge-2 is in the pool
FLEET = f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "1s"
nodes = ["{HOSTILE}", "{OTHER}"]
pool = ["{OTHER}"]
"""


@dataclass
class Secured:
    """A running Redis with the generated users, and an installation on it of which nothing runs yet."""

    server: OwnRedis
    secrets: Path
    pieces: Pieces
    exporter: int = 0

    def client(self, user: str) -> Any:
        """Return a connection as a user."""
        return redis.Redis.from_url(self.url(user), decode_responses=True)

    def url(self, user: str) -> str:
        """Return the address with a user and its password."""
        return url_of(self.server, self.secrets, user)

    def denied(self) -> list[dict[str, Any]]:
        """Return what Redis has denied, the newest first."""
        with self.client("admin") as admin:
            return [{key: entry[key] for key in _TOLD} for entry in admin.acl_log(128)]

    def fsmctl(self, user: str, *arguments: str, code: int = 0) -> str:
        """Run fsmctl as a user and return what it prints."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("FSM_")}
        ours = {"FSM_REDIS_URL": self.url(user), "FSM_NAMESPACE": NAMESPACE, "FSM_DATA_DIR": str(self.secrets)}
        command = [sys.executable, *FSMCTL, *arguments]
        run = subprocess.run(command, capture_output=True, text=True, env={**clean, **ours}, timeout=240, check=False)
        assert run.returncode == code, f"fsmctl {arguments} as {user}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stderr if code else run.stdout

    def wait_for(self, worker: str, state: str) -> None:
        """Wait until a worker is seen in a state."""
        self.fsmctl("fsmctl-read", "wait", f"worker/{worker}", "--for", f"state={state}", "--timeout", "180s")

    def wish(self, worker: str, state: str) -> None:
        """Say what is desired of a worker and wait until it is so."""
        self.fsmctl("fsmctl-operate", "set", worker, state, "--yes")
        self.wait_for(worker, state)


_TOLD = ("reason", "context", "object", "username", "count")


def url_of(server: OwnRedis, secrets: Path, user: str) -> str:
    """Return the address of a Redis with a user and its password."""
    password = (secrets / f"{user}.password").read_text().strip()
    return f"redis://{user}:{password}@{server.server.host}:{server.server.port}/0"


def is_new_enough() -> bool:
    """Tell whether the redis-server knows selectors, and keys that may only be read."""
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"v=(\d+)", said)
    return version is not None and int(version[1]) >= 7


@contextmanager
def secured_in(folder: Path, fleet: str = FLEET) -> Iterator[Secured]:
    """Yield it, and leave nothing of it behind. Skips where Redis is older than 7."""
    if not is_new_enough():
        missing("no redis-server 7 or newer: the one that is here is older")
    secrets, file = folder / "secrets", folder / "fleet-of-acl.toml"
    file.write_text(fleet)
    environ = {"FSM_NAMESPACE": NAMESPACE, "FSM_DATA_DIR": str(folder)}
    made = CliRunner(env=environ).invoke(fsmctl, ["acl", "--dir", str(secrets), "--fleet", str(file)])
    assert made.exit_code == 0, made.output
    server = OwnRedis(folder, ("--save", "", "--aclfile", str(secrets / "users.acl")))
    server.server = replace(server.server, user="admin", password=(secrets / "admin.password").read_text().strip())
    try:
        server.start()
        with pieces_in(folder, url_of(server, secrets, "fsmctl-operate"), FSM_REMOTE_CONTROL="off") as pieces:
            users = {"supervisor": "supervisor", "beat": "supervisor", "exporter": "exporter", "flower": "flower"}
            users |= {node: f"node-{node}" for node in (HOSTILE, OTHER)}
            pieces.urls |= {name: url_of(server, secrets, user) for name, user in users.items()}
            pieces.queues[HOSTILE] = f"actions.{HOSTILE}"
            yield Secured(server, secrets, pieces)
    finally:
        server.kill()
