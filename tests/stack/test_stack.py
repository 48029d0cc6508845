"""What a node, a supervisor and Redis survive, as containers: killed, paused, cut off, made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults import checker
from tests.faults.conftest import KEPT
from tests.faults.gateway import now
from tests.stack.stack import PARTS, Stack, engine_missing

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
            made.compose("build", "supervisor-1")
            say("image built")
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
