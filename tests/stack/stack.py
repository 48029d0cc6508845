"""The real compose stack with gateways as its fleet: built, brought up, broken, and looked at from outside.

The journal lies in a folder of the host that every node has; a host's containers share one monotonic clock.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import checker, gateway
from tests.faults.gateway import now
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
NODES = ("edge-1", "edge-2", "edge-3")
PROCESSES = {f"process-{number}": f"edge-{number}" for number in (1, 2, 3)}
FLOATING = ("float-1", "float-2")
POOL = ("edge-2", "edge-3")
PARTS = ("beat-1", "beat-2", "supervisor-1", "supervisor-2", *NODES, "exporter", "flower", "prometheus", "alertmanager")
OWNER = "10001"  # the user that the parts run as
IMAGE = "fsm-supervisor:test"
IMAGES = ("python:3.11-slim-bookworm", "redis:7-bookworm", "prom/prometheus:latest", "prom/alertmanager:latest")
PYTHON = ("python3", "-I", "-S", "/gateway/gateway.py")


def compose_command() -> list[str] | None:
    """Return how compose is called here, or None."""
    if shutil.which("docker") and _works("docker", "compose", "version"):
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def engine_missing() -> str:
    """Return why the stack cannot run here, or ""."""
    if not _works("docker", "info"):
        return "no container engine answers: `docker info` fails"
    if compose_command() is None:
        return "neither `docker compose` nor docker-compose is installed"
    for image in (
        "python:3.11-slim-bookworm",
        "redis:7-bookworm",
        "prom/prometheus:latest",
        "prom/alertmanager:latest",
    ):
        if not (_works("docker", "image", "inspect", image) or _works("docker", "pull", "--quiet", image)):
            return f"the image {image} is not here and cannot be pulled"
    return ""


def _works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@dataclass
class Stack:
    """One project of compose, with a folder for journal and fleet file."""

    folder: Path
    say: Callable[[str], None]
    project: str = field(default_factory=lambda: f"fsmtest{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        """Write what the stack is given beside compose.yaml."""
        self.folder.chmod(0o755)
        self.gateways.mkdir()
        self.gateways.chmod(0o777)  # nodes write there as a user of their own
        (self.gateways / "journal").touch()
        (self.gateways / "journal").chmod(0o666)
        (self.gateways / "settings.json").write_text(json.dumps({"effect": [0.2, 0.5], "life": None, "fence": True}))
        shutil.copy(gateway.__file__, self.folder / "gateway.py")
        (self.folder / "fleet.toml").write_text(fleet())
        (self.folder / "test.yaml").write_text(json.dumps(self._additions()))

    @property
    def gateways(self) -> Path:
        """Return the folder of the gateways and their journal."""
        return self.folder / "journal"

    @property
    def secrets(self) -> Path:
        """Return the folder of certificates, passwords and keys."""
        return self.folder / "secrets"

    def _additions(self) -> dict[str, Any]:
        """Return what the test adds to compose.yaml; JSON is YAML."""
        mounts = [
            f"{self.gateways}:/journal",
            f"{self.folder}/gateway.py:/gateway/gateway.py:ro",
            f"{self.folder}/fleet.toml:/fleet.toml:ro",
        ]
        services: dict[str, Any] = {
            node: {"volumes": mounts, "environment": {"GATEWAY_NODE": node, "FSM_SLOTS": "2"}} for node in NODES
        }
        services["fsmctl"] = {"volumes": mounts}
        return {"version": "3.9", "services": services}

    # -- compose -------------------------------------------------------------------------------------------------------

    def compose(self, *arguments: str, check: bool = True, timeout: float = 600) -> str:
        """Run compose on this project and return what it printed."""
        command = [*(compose_command() or []), "-p", self.project]
        command += ["-f", str(ROOT / "compose" / "compose.yaml"), "-f", str(self.folder / "test.yaml"), *arguments]
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, env=self._environ(), cwd=self.folder
        )
        assert not check or run.returncode == 0, f"{command}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout

    def _environ(self) -> dict[str, str]:
        ports = dict.fromkeys(("FSM_EXPORTER_PORT", "FSM_FLOWER_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT"), "0")
        versions = {"FSM_VERSION": "test", "PROMETHEUS_VERSION": "latest", "ALERTMANAGER_VERSION": "latest"}
        return {**os.environ, **ports, **versions, "FSM_SECRETS": str(self.secrets)}

    def container(self, service: str) -> str:
        """Return the id of a service's container, running or not."""
        found = self.compose("ps", "-a", "-q", service).split() if _v2() else self.compose("ps", "-q", service).split()
        assert len(found) == 1, (service, found)
        return found[0]

    def docker(self, *arguments: str) -> str:
        """Run docker and return what it printed."""
        run = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, f"docker {arguments}: {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run.stdout.strip()

    def build(self) -> None:
        """Build the images, and make certificates, passwords and keys in it, as `make compose-up` does."""
        self.compose("build", "supervisor-1", "edge-1")
        self.secrets.mkdir()
        script = ROOT / "compose" / "make-secrets"
        mounts = ("-v", f"{self.secrets}:/secrets", "-v", f"{script}:/make-secrets:ro")
        nodes = [f"{node}+" if node in POOL else node for node in NODES]
        self.docker("run", "--rm", "--user", "0:0", *mounts, IMAGE, "/make-secrets", "/secrets", OWNER, *nodes)

    def up(self, *services: str) -> None:
        """Start services and what they depend on."""
        self.compose("--profile", "monitoring", "up", "-d", *services)

    def down(self) -> None:
        """Leave no container, network or volume of this project behind."""
        self.compose(
            "--profile", "monitoring", "--profile", "tools", "down", "-v", "--remove-orphans", "-t", "1", check=False
        )

    def fsmctl(self, *arguments: str, check: bool = True) -> str:
        """Run fsmctl as an operator does, in a container of its own."""
        return self.compose("--profile", "tools", "run", "--rm", "-T", "fsmctl", *arguments, check=check, timeout=120)

    def denied(self) -> list[dict[str, Any]]:
        """Return what Redis has denied to its users since it was started."""
        password = self._in_image("cat", "/secrets/acl/admin.password")
        tls = [
            "--tls",
            "--cacert",
            "/run/secrets/ca.pem",
            "--cert",
            "/run/secrets/cert.pem",
            "--key",
            "/run/secrets/key.pem",
        ]
        ask = ["redis-cli", *tls, "--user", "admin", "--no-auth-warning", "-a", password, "--json", "ACL", "LOG", "256"]
        found: list[dict[str, Any]] = json.loads(self.docker("exec", self.container("redis"), *ask))
        return found

    def _in_image(self, *command: str) -> str:
        """Return what a command prints that may read all secrets."""
        return self.docker("run", "--rm", "--user", "0:0", "-v", f"{self.secrets}:/secrets:ro", IMAGE, *command)

    def log_of(self, service: str) -> str:
        """Return what a service has printed."""
        return self.compose("logs", "--no-color", service, check=False)

    # -- faults --------------------------------------------------------------------------------------------------------

    def tell(self, what: str, *nodes: str) -> None:
        """Write a fault to the journal."""
        gateway.append(str(self.gateways), {"do": "fault", "what": what, "nodes": nodes, "time": now()})

    def kill(self, service: str) -> None:
        """`docker kill`: everything in it is gone at once, and the engine leaves it so."""
        self.docker("kill", self.container(service))
        self.tell("kill", service)

    def start(self, service: str) -> None:
        """`docker start`."""
        self.docker("start", self.container(service))

    def pause(self, service: str) -> None:
        """`docker pause`: everything in it freezes."""
        self.docker("pause", self.container(service))
        self.tell("freeze", service)

    def unpause(self, service: str) -> None:
        """`docker unpause`."""
        self.tell("thaw", service)
        self.docker("unpause", self.container(service))

    def disconnect(self, service: str) -> None:
        """`docker network disconnect`."""
        self.docker("network", "disconnect", self.network, self.container(service))
        self.tell("disconnect", service)

    def connect(self, service: str) -> None:
        """`docker network connect`, under the name that the others know."""
        self.docker("network", "connect", "--alias", service, self.network, self.container(service))
        self.tell("connect", service)

    @property
    def network(self) -> str:
        """Return the network that all are on."""
        return f"{self.project}_plant"

    def let_pass(self, seconds: float) -> None:
        """Let a fault last."""
        until = now() + seconds
        wait_until(lambda: now() >= until, f"{seconds:g} s to pass", seconds + 10)

    # -- what is true --------------------------------------------------------------------------------------------------

    def journal(self) -> list[checker.Line]:
        """Return the journal so far."""
        return checker.parse((self.gateways / "journal").read_text())

    def is_up(self, worker: str) -> bool:
        """Tell whether a worker runs, in truth."""
        if worker in FLOATING:
            return gateway.Gateway(str(self.gateways), worker).is_running()
        if not (self.gateways / f"{worker}.effect").exists():  # to open it would make it, and it would be ours
            return False
        file, alone = gateway.Gateway(str(self.gateways), worker).alone()
        file.close()
        return not alone

    def wait_all_up(self, timeout: float = 120) -> float:
        """Wait until every worker runs, and fsmctl says so; return the seconds that took."""
        begun = now()
        wait_until(lambda: all(self.is_up(worker) for worker in workers()), "all workers to run", timeout)
        wait_until(self._is_seen_up, "fsmctl to say that all run", timeout)
        return now() - begun

    def _is_seen_up(self) -> bool:
        text = self.fsmctl("get", "workers", "-o", "json", check=False)
        rows = json.loads(text) if text.startswith("[") else []
        return len(rows) == len(workers()) and all(row["phase"] == "running" for row in rows)


def _v2() -> bool:
    return (compose_command() or [])[:1] == ["docker"]


def workers() -> Sequence[str]:
    """Return the ids of all workers."""
    return (*PROCESSES, *FLOATING)


def fleet() -> str:
    """Return the fleet file."""
    lines = ["[supervisor]", 'name = "stack"', 'observation_interval = "1s"', f"nodes = {json.dumps(NODES)}"]
    lines.append(f"pool = {json.dumps(POOL)}")
    for worker, node in PROCESSES.items():
        command = json.dumps([*PYTHON, "run", "/journal", worker])
        lines += ["[[workers]]", f'id = "{worker}"', 'type = "process"', f'node = "{node}"']
        lines += [f'config = {{ command = {command}, min_uptime = "0s", stop_timeout = "5s" }}']
    for worker in FLOATING:
        verbs = {verb: json.dumps([*PYTHON, verb, "/journal", worker]) for verb in ("start", "stop", "status")}
        config = ", ".join(f"{verb} = {command}" for verb, command in verbs.items())
        lines += ["[[workers]]", f'id = "{worker}"', 'type = "command"']
        lines += [f'config = {{ {config}, min_uptime = "0s" }}']
    return "\n".join(lines) + "\n"
