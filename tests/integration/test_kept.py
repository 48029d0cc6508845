"""What systemd and Docker keep, beyond the contract: odd states, what is missing, and children kept by them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.model import ActionContext, ActionError, Incarnation
from actions.restart_child import RestartChild
from supervisor.looks import see_child
from supervisor.model import Check
from supervisor.targets import child_component
from tests.factories import NOW, make_child
from tests.integration.drivers import Systemd, container_of, docker, systemd_of
from workers.benthos.config import BenthosConfig
from workers.benthos.observe import observe as observe_benthos
from workers.drivers.docker import DockerComponent
from workers.drivers.kept import note_stop
from workers.drivers.kept import observe as observe_kept
from workers.drivers.systemd import SystemdComponent
from workers.model import Observed
from workers.target import Target

AS_PROCESS = Check(kind="process")


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Return a systemd without units."""
    with systemd_of(tmp_path / "systemd") as made:
        yield made


def unit(tmp_path: Path, name: str = "flow.service") -> SystemdComponent:
    return SystemdComponent("flow", tmp_path / "held", name, "c1")


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("not-found", "LoadState is not-found; there is no such unit on this host: expected one that `systemctl list-"),
        ("masked", "LoadState is masked; it is masked: `systemctl unmask` allows it to be started"),
        (
            "bad-setting",
            "LoadState is bad-setting; systemd has not loaded it: expected a unit file without a mistake; ",
        ),
    ],
)
def test_a_unit_that_cannot_be_loaded_says_why(systemd: Systemd, tmp_path: Path, state: str, complaint: str) -> None:
    systemd.unit("flow.service", state)
    for refused in (unit(tmp_path).current, lambda: unit(tmp_path).start(1), lambda: unit(tmp_path).stop(1)):
        with pytest.raises(ActionError) as error:
            refused()
        assert str(error.value).startswith(f"unit flow.service: {complaint}")
    assert systemd.effects() == []


def test_a_host_without_systemd_is_an_error_that_says_so(systemd: Systemd, tmp_path: Path) -> None:
    systemd.refuse("no systemd")
    expected = "Failed to connect to bus: Host is down; expected systemctl, and a systemd that runs this host"
    with pytest.raises(ActionError, match=expected):
        unit(tmp_path).start(1)


def test_a_host_without_systemctl_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ActionError, match=r"No such file or directory: 'systemctl'; expected systemctl, and a systemd"):
        unit(tmp_path).current()


def test_a_unit_that_ends_at_its_start_is_an_error_with_its_state(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service")
    (systemd.root / "broken").touch()
    expected = r"is failed \(failed\), result exit-code after systemctl start; see `journalctl -u flow\.service`"
    with pytest.raises(ActionError, match=expected):
        unit(tmp_path).start(1)


def test_a_failed_unit_is_reset_before_its_start_so_that_its_start_limit_does_not_refuse_it(
    systemd: Systemd, tmp_path: Path
) -> None:
    systemd.unit("flow.service", "failed")
    assert unit(tmp_path).start(3).pid > 0
    assert systemd.effects() == ["reset-failed flow.service", "start flow.service"]
    log = (tmp_path / "held" / "output.log").read_text()
    assert "systemctl start flow.service, token 3" in log


def test_a_refusal_of_systemctl_is_told_in_its_words(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service", "failed")
    systemd.refuse("start control-failed")
    with pytest.raises(
        ActionError, match=r"systemctl start ended with exit code 1: See .systemctl status broken.service"
    ):
        unit(tmp_path).start(1)


def test_what_show_says_that_cannot_be_read_is_an_error(systemd: Systemd, tmp_path: Path) -> None:
    (systemd.root / "systemctl").write_text("#!/bin/sh\necho MainPID=many\n")
    with pytest.raises(ActionError, match=r"systemctl show said what cannot be read: .* expected systemd 240 or newer"):
        unit(tmp_path).current()


def test_a_unit_that_waits_for_its_restart_is_down_with_its_end_and_is_stopped_for_good(
    systemd: Systemd, tmp_path: Path
) -> None:
    systemd.unit("flow.service", "auto-restart")
    one = unit(tmp_path)
    assert one.current() is None
    seen = asyncio.run(observe_kept(one, None, NOW))
    assert seen.last_exit is not None
    assert (seen.last_exit.code, seen.last_exit.reason) == (3, "systemd's result: exit-code")
    one.stop(1)
    assert systemd.effects() == ["stop flow.service"]


def test_a_unit_that_is_up_without_a_process_runs(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service", "oneshot")
    running = unit(tmp_path).current()
    assert running is not None
    assert (running.pid, running.name) == (0, "it")


def test_the_end_of_a_unit_that_systemd_forgot_is_told_from_the_look_before(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service")
    one = unit(tmp_path)
    one.start(1)
    up = asyncio.run(observe_kept(one, None, NOW))
    systemd.unit("flow.service", "ended well")
    down = asyncio.run(observe_kept(one, up, NOW + 5))
    assert down.last_exit is not None
    assert (down.last_exit.requested, down.last_exit.id) == (False, f"{up.pid}-{up.start_ticks}")
    assert "was gone (its manager says no more of it)" in down.last_exit.words()
    again = asyncio.run(observe_kept(one, down, NOW + 10))
    assert again.last_exit == down.last_exit


def test_a_look_in_vain_keeps_what_was_known(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service")
    one = unit(tmp_path)
    one.start(1)
    up = asyncio.run(observe_kept(one, None, NOW))
    systemd.refuse("no systemd")
    blind = asyncio.run(observe_kept(one, up, NOW + 5))
    assert blind.error is not None
    assert (blind.pid, blind.started_at, blind.start_ticks) == (None, up.started_at, up.start_ticks)


def test_a_stop_that_cannot_be_noted_down_is_not_done(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match=r"the stop cannot be noted down in .*none: No such file or directory"):
        note_stop(tmp_path / "none", 1)


def test_a_benthos_under_systemd_is_observed_as_any_benthos(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("flow.service", "running")
    config = BenthosConfig(driver="systemd", unit="flow.service", http="127.0.0.1:1")
    seen = asyncio.run(observe_benthos(Target("flow", tmp_path / "held", config, "c1"), None, NOW))
    assert seen.pid == 134
    assert seen.http_error is not None


def test_a_child_under_systemd_is_checked_by_its_unit_and_restarted(systemd: Systemd, tmp_path: Path) -> None:
    systemd.unit("broker.service")
    spec = make_child(process=None, unit="broker.service", check=AS_PROCESS)
    folder = tmp_path / "nodes/edge-1/plant-1/children/broker"
    down = asyncio.run(see_child(spec, folder, None, NOW))
    assert (down.pid, down.failures, down.error) == (None, 1, "its manager says that nothing of it runs")
    component = child_component(tmp_path, "plant-1", spec)
    assert RestartChild(child_name="broker").execute(ActionContext(component, 1)).startswith("restarted: was not run")
    up = asyncio.run(see_child(spec, folder, down, NOW))
    assert component.current() == Incarnation(up.pid or 0, up.start_ticks, "")
    assert (up.passes, up.failures, up.error) == (1, 0, None)


def test_a_child_whose_manager_cannot_tell_is_unknown_unless_it_can_be_asked_itself(
    systemd: Systemd, tmp_path: Path
) -> None:
    spec = make_child(process=None, unit="nowhere.service", check=AS_PROCESS)
    with pytest.raises(ActionError, match="LoadState is not-found"):
        asyncio.run(see_child(spec, tmp_path, None, NOW))
    asked = make_child(process=None, unit="nowhere.service", check=Check(kind="tcp", address="127.0.0.1:1"))
    assert asyncio.run(see_child(asked, tmp_path, None, NOW)).failures == 1


def test_without_the_sdk_the_docker_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(ActionError, match=r"SDK is not installed; `pip install fsm-supervisor\[docker\]` does"):
        DockerComponent("flow", tmp_path, "flow").current()


def test_without_an_engine_the_docker_driver_says_where_it_looked(tmp_path: Path) -> None:
    one = DockerComponent("flow", tmp_path / "held", "flow", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ActionError, match=r"the Docker engine at unix://\S+/none\.sock does not answer: .*expected an"):
        one.start(1)
    seen = asyncio.run(observe_kept(one, Observed(collected_at=NOW), NOW + 5))
    assert seen.error is not None


def test_a_container_that_ends_at_its_start_is_an_error_with_its_exit_code(tmp_path: Path) -> None:
    with container_of("false") as name:
        one = DockerComponent("flow", tmp_path / "held", name)
        expected = rf"^container {name}: is exited \(exit code 1\) after its start; see `docker logs {name}`$"
        with pytest.raises(ActionError, match=expected):
            until_refused(one)
        seen = asyncio.run(observe_kept(one, None, NOW))
        assert seen.last_exit is not None
        assert (seen.last_exit.code, seen.last_exit.reason or "") == (1, "")


def until_refused(one: DockerComponent) -> None:
    """Start a container that ends at once until the engine has seen its end before its start was over."""
    for token in range(1, 50):
        one.start(token)


def test_a_container_whose_program_is_not_there_is_refused_in_the_engine_s_words(tmp_path: Path) -> None:
    with container_of("/nowhere/flow") as name, pytest.raises(ActionError, match=r"the engine says: .*/nowhere/flow"):
        DockerComponent("flow", tmp_path / "held", name).start(1)


def test_a_child_in_a_container_is_restarted_as_another_incarnation(tmp_path: Path) -> None:
    with container_of("sleep", "300") as name:
        assert docker("start", name).returncode == 0
        spec = make_child(process=None, container=name, check=AS_PROCESS)
        component = child_component(tmp_path, "plant-1", spec)
        before = component.current()
        assert before is not None
        action = RestartChild(child_name="broker", failed_pid=before.pid, failed_start_ticks=before.start_ticks)
        action.execute(ActionContext(component, 1))
        seen = asyncio.run(see_child(spec, tmp_path, None, NOW))
        assert (seen.passes, seen.start_ticks > before.start_ticks) == (1, True)
