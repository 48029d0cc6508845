"""fsmctl in a store with several supervisors, each of which has a child of the same name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from supervisor.cli import fsmctl
from supervisor.clock import SystemClock
from supervisor.errors import TimedOut, UsageError
from supervisor.fleet import Fleet
from supervisor.model import SupervisorSettings
from supervisor.runtime import make_runtime
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.factories import make_child
from tests.integration.plant import NODE, Plant, fleet, settings, worker

Run = Callable[..., Result]
OTHER = "plant-2"


@pytest.fixture
def plant(real_client: redis.Redis, tmp_path: Path) -> Plant:
    """Return an installation in which plant-1 and plant-2 have a child broker each, and plant-1's alone is well."""
    store = Store(real_client, "test")
    made = Plant(store, SystemClock(), make_runtime(settings(tmp_path), store))  # type: ignore[arg-type]  # only now()
    other = Fleet(SupervisorSettings(name=OTHER, nodes=(NODE,)), (make_child(),), (worker("mixer-1"),))
    store.apply_fleets([fleet(worker("flow-1"), children=[make_child()]), other])
    made.heartbeat()
    made.observe({"flow-1": made.up(), "child/broker": made.child_up()})
    return made


@pytest.fixture
def run(redis_server: RedisServer, tmp_path: Path) -> Run:
    """Return what runs fsmctl against that store."""
    environ = {"FSM_REDIS_URL": redis_server.url, "FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(tmp_path)}
    return lambda *arguments: CliRunner(env=environ).invoke(fsmctl, list(arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("restart", "child/broker", "--yes"),
        ("observe", "child/broker"),
        ("cancel", "child/broker"),
        ("explain", "child/broker"),
        ("describe", "child", "broker"),
        ("logs", "child/broker"),
    ],
)
def test_what_several_have_is_neither_acted_on_nor_shown_by_guess(
    plant: Plant, run: Run, arguments: tuple[str, ...]
) -> None:
    before = plant.dump()
    result = run(*arguments)
    assert isinstance(result.exception, UsageError)
    assert str(result.exception) == (
        "child/broker is in several supervisors: plant-1, plant-2; say which with `fsmctl --supervisor NAME …`"
    )
    assert plant.dump() == before


def test_the_supervisor_that_is_named_is_the_one_that_is_meant(plant: Plant, run: Run) -> None:
    assert run("--supervisor", OTHER, "restart", "child/broker", "--yes").exit_code == 0
    assert plant.client.exists(plant.store.keys(OTHER).control(NODE, "child/broker"))
    assert not plant.client.exists(plant.keys.control(NODE, "child/broker"))
    assert run("explain", "worker/mixer-1").exit_code == 0, "what one has alone needs no name"


def test_events_are_of_all_that_have_it(plant: Plant, run: Run) -> None:
    for name in ("plant-1", OTHER):
        run("--supervisor", name, "restart", "child/broker", "--yes")
    shown = run("events", "--worker", "child/broker", "--kind", "operator").stdout
    assert len(shown.splitlines()) == 2


def test_wait_waits_for_each_of_one_name(plant: Plant, run: Run) -> None:
    wanted = ("wait", "child/broker", "--for", "verdict=ok", "--timeout", "1ms")
    result = run(*wanted)
    assert isinstance(result.exception, TimedOut)
    assert str(result.exception).endswith("child/broker is not verdict=ok: seen verdict=unknown in plant-2")
    assert run("--supervisor", "plant-1", *wanted).exit_code == 0
