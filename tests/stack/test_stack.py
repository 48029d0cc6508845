"""What a node, a supervisor and Redis survive, as containers: killed, paused, cut off, made anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.faults import checker
from tests.faults.conftest import KEPT
from tests.faults.gateway import now
from tests.stack.stack import PARTS, Stack, engine_missing
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(1800)]
LASTS = 20.0  # seconds that a pause or a cut lasts: longer than a node may be silent (15 s)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Yield the stack, up and with all its workers running; its log is kept."""
    why = engine_missing()
    if why:
        pytest.skip(why)
    KEPT.mkdir(parents=True, exist_ok=True)
    with (KEPT / "stack.log").open("w") as file:
        begun = now()

        def say(text: str) -> None:
            file.write(f"{now() - begun:6.1f} s  {text}\n")
            file.flush()

        made = Stack(tmp_path_factory.mktemp("stack"), say)
        try:
            made.build()
            say("images built, certificates, passwords and keys made")
            made.up(*PARTS)
            say("stack up")
            made.fsmctl("apply", "-f", "/fleet.toml")
            say(f"fleet applied; all running after {made.wait_all_up():.1f} s")
            yield made
        finally:
            for part in ("redis", *PARTS):
                (KEPT / f"stack-{part}.log").write_text(made.log_of(part))
            made.down()


def survive(stack: Stack, what: str, service: str, begin: Callable[[str], None], end: Callable[[str], None]) -> None:
    """Let a fault last, end it, and see that everything converges and nothing happened that must not."""
    begin(service)
    stack.let_pass(LASTS)
    end(service)
    took = stack.wait_all_up()
    violations = checker.violations(stack.journal())
    stack.say(f"{what} {service} for {LASTS:.0f} s: all running {took:.1f} s later, {len(violations)} violations")
    assert violations == []


@pytest.mark.parametrize("service", ["edge-1", "supervisor-1", "redis"])
def test_a_container_killed_and_started_again(stack: Stack, service: str) -> None:
    survive(stack, "kill", service, stack.kill, stack.start)


@pytest.mark.parametrize("service", ["edge-2", "supervisor-2", "redis"])
def test_a_container_paused(stack: Stack, service: str) -> None:
    survive(stack, "pause", service, stack.pause, stack.unpause)


@pytest.mark.parametrize("service", ["edge-3", "supervisor-1", "redis"])
def test_a_container_cut_off(stack: Stack, service: str) -> None:
    survive(stack, "disconnect", service, stack.disconnect, stack.connect)


def test_a_nodes_reboot_brings_its_workers_back(stack: Stack) -> None:
    stack.docker("rm", "-f", stack.container("edge-1"))
    stack.tell("kill", "edge-1")
    stack.up("edge-1")
    stack.say(f"edge-1 removed and created again: all running after {stack.wait_all_up():.1f} s")
    assert checker.violations(stack.journal()) == []


def test_every_part_is_healthy(stack: Stack) -> None:
    """By its own health check, which is `fsmctl check` with the part's own rights."""
    checked = [part for part in PARTS if part not in ("prometheus", "alertmanager")]

    def health() -> dict[str, str]:
        form = "{{.State.Health.Status}}"
        found = {part: stack.docker("inspect", "--format", form, stack.container(part)) for part in checked}
        return {part: told for part, told in found.items() if told != "healthy"}

    wait_until(lambda: not health(), "all to be healthy", 120)
    stages = json.loads(stack.fsmctl("check", "-o", "json"))
    assert [stage["stage"] for stage in stages if not stage["ok"]] == []
    stack.say(f"all healthy; fsmctl check: {', '.join(stage['stage'] for stage in stages)} are well")


def test_only_nodes_have_the_clients_that_their_looks_need(stack: Stack) -> None:
    tries = "import importlib.util as u; print([m for m in ('kafka', 'paho', 'asyncua') if u.find_spec(m)])"
    found = {part: stack.docker("exec", stack.container(part), "python3", "-c", tries) for part in ("edge-3", "beat-1")}
    assert found == {"edge-3": "['kafka', 'paho', 'asyncua']", "beat-1": "[]"}


def test_redis_has_denied_nobody_what_is_needed(stack: Stack) -> None:
    """What an executor tries once at its start, and then knows that others do for it, is not needed."""
    tried = {("command", "script|load"), ("key", "fsm:nodes")}
    told = sorted({(entry["username"], entry["reason"], entry["object"]) for entry in stack.denied()})
    needed = [one for one in told if not (one[0].startswith("node-") and one[1:] in tried)]
    stack.say(f"denied by Redis that was needed: {needed or 'nothing'}")
    assert needed == []


def test_prometheus_reads_the_exporter_with_its_password(stack: Stack) -> None:
    port = stack.docker("port", stack.container("prometheus"), "9090/tcp").rpartition(":")[2]

    def targets() -> dict[str, str]:
        found = httpx.get(f"http://127.0.0.1:{port}/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in found}

    wait_until(lambda: targets().get("supervisor") == "up", "Prometheus to scrape the exporter", 60)


@pytest.mark.parametrize(("service", "port", "path"), [("exporter", "9464", "/metrics"), ("flower", "5555", "/tasks")])
def test_strangers_read_nothing(stack: Stack, service: str, port: str, path: str) -> None:
    own = stack.docker("port", stack.container(service), f"{port}/tcp").rpartition(":")[2]
    found = httpx.get(f"https://127.0.0.1:{own}{path}", verify=False)
    assert found.status_code == 401


@pytest.mark.parametrize("address", ["alertmanager:9093", "prometheus:9090"])
def test_no_node_reaches_what_asks_for_no_password(stack: Stack, address: str) -> None:
    host, port = address.split(":")
    code = f"import socket, sys\ntry: socket.create_connection(({host!r}, {port}), 3)\nexcept OSError: print('no')"
    assert stack.docker("exec", stack.container("edge-1"), "python3", "-c", code) == "no"


def test_the_demo_fleet_runs_on_all_nodes(stack: Stack) -> None:
    stack.compose("--profile", "demo", "up", "-d", "demo")
    wait_until(
        lambda: "plc-1" in stack.fsmctl("get", "workers", "-o", "name", check=False), "the demo to be applied", 60
    )
    stack.fsmctl("--supervisor", "plant-1", "wait", "--all", "--for", "phase=running", "--timeout", "90s")
    rows = json.loads(stack.fsmctl("--supervisor", "plant-1", "get", "workers", "-o", "json"))
    assert {row["node"] for row in rows} == {"edge-1", "edge-2", "edge-3"}
    stack.say(f"the demo fleet runs: {len(rows)} workers on 3 nodes")
