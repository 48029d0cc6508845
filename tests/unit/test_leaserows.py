"""The rows of queues: whose slots take from which."""

from __future__ import annotations

from supervisor.circuit import Breaker
from supervisor.cli.leaserows import queues_of
from supervisor.model import NodeDocument, SupervisorSettings
from supervisor.orders import Order
from supervisor.store import Index
from supervisor.view import World
from tests.factories import NOW, make_view


def world(name: str, pool: tuple[str, ...] = (), orders: dict[str, Order] | None = None, **slots: int) -> World:
    """Return a supervisor's world with live nodes of so many slots."""
    settings = SupervisorSettings(name=name, nodes=tuple(slots), pool=pool)
    nodes = {
        node: (NodeDocument(node=node, host="h1", boot_id="b1", executor=node, pid=1, slots=number, at=NOW), None)
        for node, number in slots.items()
    }
    return World(Index(settings, {}, {}, orders=orders or {}), NOW, Breaker(), (), nodes, make_view(), {})


def slots_of(*worlds: World) -> dict[str, int | None]:
    """Return the slots by queue."""
    found = queues_of([("plant", one) for one in worlds], ())
    return {name: queue["slots"] for name, queue in found.items() if name != "supervisor"}


def test_the_pool_s_queue_has_the_slots_of_the_nodes_in_it() -> None:
    assert slots_of(world("p", a=3, b=5)) == {"actions": 8, "actions.a": 3, "actions.b": 5}
    assert slots_of(world("p", pool=("b",), a=3, b=5)) == {"actions": 5, "actions.a": 3, "actions.b": 5}


def test_a_drained_node_takes_no_floating_work_whichever_supervisor_drains_it() -> None:
    drain = {"drain node/a": Order(kind="drain", scope="node/a", by="pat", at=NOW - 5)}
    assert slots_of(world("p", orders=drain, a=3, b=5))["actions"] == 5
    assert slots_of(world("p", a=3, b=5), world("q", orders=drain, a=3)) == {
        "actions": 5,
        "actions.a": 3,
        "actions.b": 5,
    }
