"""Children without a node: the tick itself looks at them."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from supervisor.keys import POOL
from supervisor.looks import is_due
from supervisor.model import Check, ChildObserved, ChildSpec
from tests.factories import NOW, make_child, make_child_observed, make_lease
from tests.integration.plant import NAME, Plant


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """Return a socket that nobody listens on yet."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def at(port: socket.socket, name: str = "broker", kind: str = "tcp", timeout: float = 1.0) -> ChildSpec:
    check = Check(kind=kind, address=f"127.0.0.1:{port.getsockname()[1]}", timeout=timeout)  # type: ignore[arg-type]
    return make_child(name=name, type="tcp", node="", process=None, restart=("true",), check=check, start_grace=0.0)


def seen(plant: Plant, name: str = "broker") -> ChildObserved:
    found = plant.store.read(ChildObserved, plant.keys.observed(POOL, f"child/{name}"))
    assert found is not None
    return found


def test_its_check_opens_the_circuit_and_asks_any_executor_to_restart_it_then_eases_the_circuit(
    bare_plant: Plant, port: socket.socket
) -> None:
    plant = bare_plant
    plant.apply_fleet(children=[at(port)], half_open_workers=0, flap_window=0.0)
    _, messages = plant.must_tick()
    assert plant.store.is_circuit_open(NAME)
    assert [(message.worker_id, message.action, message.queue) for message in messages] == [
        ("child/broker", "restart_child", "actions")
    ]
    assert seen(plant).failures == 1

    port.listen()
    plant.clock.advance(5.0)
    plant.must_tick()
    assert (seen(plant).passes, plant.store.breaker(NAME).state) == (1, "closed")


def test_one_that_cannot_be_asked_from_here_is_unknown_and_costs_the_tick_nothing(
    bare_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kafka", None)  # as python sees a package that is not there
    check = Check(kind="redpanda", brokers=("127.0.0.1:1",))
    child = make_child(type="redpanda", node="", process=None, check=check)
    bare_plant.apply_fleet(children=[child])
    bare_plant.must_tick()
    found = seen(bare_plant)
    assert (found.unknown, bare_plant.store.is_circuit_open(NAME)) == (True, False)
    assert "pip install 'fsm-supervisor[kafka]'" in (found.error or "")


def test_it_is_looked_at_once_in_an_observation_interval(bare_plant: Plant, port: socket.socket) -> None:
    plant = bare_plant
    port.listen()
    plant.apply_fleet(children=[at(port)], observation_interval=3.0)
    looks = []
    for _ in range(12):
        plant.must_tick()
        looks.append(seen(plant).collected_at)
    times = sorted(set(looks))
    assert len(times) > 2
    assert [later - earlier for earlier, later in pairwise(times)] == [3.0] * (len(times) - 1)


def test_those_that_hang_are_waited_for_together_and_the_others_are_judged(
    bare_plant: Plant, port: socket.socket
) -> None:
    plant = bare_plant
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections and never says a word
        port.listen()
        hung = [at(mute, f"hung-{number}", "redis", timeout=0.5) for number in range(8)]
        plant.apply_fleet(children=[*hung, at(port, "well")])
        began = time.monotonic()
        plant.must_tick()
        took = time.monotonic() - began
    assert took < 8 * 0.5 / 2  # one after the other they would take twice that at least
    assert [seen(plant, child.name).failures for child in hung] == [1] * 8
    assert (seen(plant, "well").passes, seen(plant, "well").error) == (1, None)


@pytest.mark.parametrize(
    ("observed", "lease", "due"),
    [
        (None, None, True),
        (make_child_observed(age=4.9), None, False),
        (make_child_observed(age=5.0), None, True),
        (make_child_observed(age=-3.0), None, True),  # Redis' clock was set back
        (make_child_observed(age=2.0), make_lease(ended_at=NOW - 1.0), True),
        (make_child_observed(age=1.0), make_lease(ended_at=NOW - 2.0), False),
        (make_child_observed(age=1.0), make_lease(ended_at=None), False),
    ],
)
def test_a_look_is_due_after_an_interval_or_after_a_restart(
    observed: ChildObserved | None, lease: object, due: bool
) -> None:
    assert is_due(observed, lease, 5.0, NOW) is due  # type: ignore[arg-type]
