"""The systemd units: systemd understands them, they are locked down, and they start what `fsmctl up` starts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from supervisor.launch import parts_of
from supervisor.settings import Settings
from tests.conftest import missing

UNITS = Path(__file__).parents[2] / "compose" / "systemd"
INSTALLED = "/opt/fsm/.venv/bin/"
EXPOSURE = {"fsm-beat": 1.5, "fsm-supervisor": 1.5, "fsm-exporter": 1.5, "fsm-flower": 1.5, "fsm-node@": 2.0}
SERVICES = sorted(path.name.removesuffix(".service") for path in UNITS.glob("*.service"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the units, of this Python environment, and one node's."""
    if shutil.which("systemd-analyze") is None:
        missing("no systemd-analyze; install Debian's package systemd")
    folder = tmp_path_factory.mktemp("units")
    for path in UNITS.glob("fsm*"):
        text = path.read_text().replace(INSTALLED, f"{sysconfig.get_path('scripts')}/")
        (folder / path.name.replace("@.", "@edge-1.")).write_text(text)
    return folder


def analyze(*arguments: str) -> str:
    run = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def settings_of(name: str) -> list[tuple[str, str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]  # type: ignore[misc]


def test_there_is_a_unit_for_every_part() -> None:
    assert set(SERVICES) == EXPOSURE.keys()


def test_systemd_understands_every_unit(installed: Path) -> None:
    names = [str(path) for path in sorted(installed.iterdir()) if path.suffix in (".service", ".target")]
    assert len(names) == len(SERVICES) + 1
    said = analyze("verify", "--man=no", *names)
    assert [line for line in said.splitlines() if str(installed) in line or "fsm" in line] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_unit_is_as_locked_down_as_its_work_allows(installed: Path, service: str) -> None:
    file = installed / f"{service.replace('@', '@edge-1')}.service"
    said = analyze("security", "--offline=true", "--no-pager", str(file))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= EXPOSURE[service], said


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_stands_where_others_can_read_it(service: str) -> None:
    settings = settings_of(f"{service}.service")
    credentials = {value.partition(":")[0] for name, value in settings if name == "LoadCredential"}
    assert {"ca.pem", "cert.pem", "key.pem", "password"} <= credentials
    used = re.findall(r"%d/([\w.-]+)", (UNITS / f"{service}.service").read_text())
    assert set(used) <= credentials, "what is used was loaded"
    variables = [value for name, value in settings if name == "Environment"]
    assert not any(re.search(r"PASSWORD=|BASIC_AUTH|://", value) for value in variables)


def test_the_commands_are_those_of_fsmctl_up(tmp_path: Path) -> None:
    settings = Settings.from_env({"FSM_DATA_DIR": str(tmp_path)})
    parts = {part.name: part.command for part in parts_of(("edge-1",), settings, 9464, 5555)}
    for service, part in (("fsm-beat", "beat-1"), ("fsm-supervisor", "supervisor"), ("fsm-node@", "node-edge-1")):
        (command,) = (value for name, value in settings_of(f"{service}.service") if name == "ExecStart")
        program, *arguments = (
            command.replace("${QUEUES}", "actions,actions.edge-1").replace("%i", "edge-1").replace("%%h", "%h").split()
        )
        assert program == f"{INSTALLED}celery"
        assert tuple(arguments) == parts[part][3:]  # after `python -m celery`


def test_a_node_is_outside_the_pool_unless_it_says_so_and_messages_are_signed() -> None:
    node, supervisor = (settings_of(f"{service}.service") for service in ("fsm-node@", "fsm-supervisor"))
    assert ("Environment", "QUEUES=actions.%i") in node
    assert ("LoadCredential", "verify.keys:/etc/fsm/verify.keys") in node
    assert not any("signing" in value for _, value in node)
    assert ("LoadCredential", "signing.key:/etc/fsm/supervisor/signing.key") in supervisor
    for service in SERVICES:
        assert any("FSM_REMOTE_CONTROL=off" in value for _, value in settings_of(f"{service}.service"))


def test_what_a_node_supervises_outlives_its_executor_which_has_time_for_its_drain(tmp_path: Path) -> None:
    node = dict(settings_of("fsm-node@.service"))
    assert (node["KillMode"], node["User"], node["OOMPolicy"]) == ("process", "fsm", "continue")
    assert "DynamicUser" not in node, "its uid would be given away while supervised processes have it"
    assert "PrivateTmp" not in node, "it would be emptied under them"
    drain = Settings.from_env({"FSM_DATA_DIR": str(tmp_path)}).drain_timeout
    for service in ("fsm-node@", "fsm-supervisor"):
        assert float(dict(settings_of(f"{service}.service"))["TimeoutStopSec"]) >= drain + 20
