"""A tick that looks at some workers decides what one that looks at all would: whom it leaves out needs nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from actions.model import Outcome
from supervisor import scope as scoping
from supervisor import sifting
from supervisor import tick as ticking
from supervisor.decide import Decided, decide
from supervisor.keys import CHILD_PREFIX
from supervisor.model import ChildObserved, CollectorDocument, NodeDocument
from supervisor.operators import give_order, lift_order
from supervisor.orders import Order
from supervisor.readings import news
from supervisor.view import World, load_world
from tests.factories import make_child
from tests.integration.plant import NAME, NODE, Plant, grant_of, worker
from workers.model import Exit, Observed

NODES = ("edge-1", "edge-2")
CHILD = "child/broker"


class Field:
    """What is out there: processes that run or not, collectors and executors that live or not, actions on their way."""

    def __init__(self, plant: Plant, seed: int, workers: int) -> None:
        """Apply a fleet of processes on two nodes, of which nothing runs."""
        self.plant, self.random, self.config = plant, random.Random(seed), "c1"
        self.ids = [f"flow-{number:02}" for number in range(workers)]
        self.place = {item: NODES[number % 2] for number, item in enumerate(self.ids)}
        self.pid: dict[str, int] = {}
        self.born: dict[str, float] = {}
        self.before: dict[str, Observed | ChildObserved] = {}
        self.silent = {"executor": set[str](), "collector": set[str]()}
        self.is_child_well = True
        self.births = 0
        self.looked_at = self.workers = 0
        self.apply()

    def apply(self) -> None:
        """Apply the fleet file: each third worker depends on the child, each fifth on the worker before it."""
        entries = []
        for number, item in enumerate(self.ids):
            needs = ["broker"] if number % 3 == 0 else [self.ids[number - 1]] if number % 5 == 4 else []
            config = self.config if number % 4 == 0 else "c1"
            entries.append(worker(item, node=self.place[item], depends_on=needs, config_id=config))
        child = make_child()
        self.plant.apply_fleet(*entries, children=[child])

    def look(self, node: str) -> None:
        """Let a node's executor and collector say what they see, as far as they live."""
        now, plant = self.plant.clock.now(), self.plant
        if node not in self.silent["executor"]:
            document = NodeDocument(node=node, host=node, boot_id="b", executor=f"{node}@h", pid=1, slots=5)
            plant.store.heartbeat(NAME, document)
        if node in self.silent["collector"]:
            return
        seen: dict[str, Observed | ChildObserved] = {
            item: self.see(item, now) for item in self.ids if self.place[item] == node
        }
        if node == NODES[0]:
            well = int(self.is_child_well)
            seen[CHILD] = ChildObserved(collected_at=now, passes=well, failures=1 - well, pid=9, started_at=1.0)
        told = [item for item, one in seen.items() if item not in self.before or news(self.before[item]) != news(one)]
        self.before |= seen
        beat = CollectorDocument(node=node, pid=2, at=now, observed=len(seen), clock_skew=0.0, oldest=now)
        plant.store.save_observations(NAME, node, seen, beat, told)

    def see(self, item: str, now: float) -> Observed:
        """Return how a worker is."""
        if item not in self.pid:
            before = self.before.get(item)
            ended = before.last_exit if isinstance(before, Observed) else None
            if isinstance(before, Observed) and before.pid is not None:
                ended = Exit(before.pid, before.start_ticks, before.started_at or now, now, code=1)
            return Observed(collected_at=now, last_exit=ended)
        return Observed(
            collected_at=now,
            pid=self.pid[item],
            start_ticks=self.pid[item],
            started_at=self.born[item],
            config_id=self.config if self.ids.index(item) % 4 == 0 else "c1",
        )

    def act(self) -> None:
        """Let some of the actions that were asked for run; the others are late, or lost."""
        for message in list(self.plant.sent):
            if self.random.random() < 0.6:
                self.plant.sent.remove(message)
            if message in self.plant.sent or self.random.random() < 0.1:
                continue
            grant = grant_of(message)
            if self.plant.begin(grant) is not None:
                continue
            outcome = self.random.choices((Outcome.SUCCESS, Outcome.ERROR), (9, 1))[0]
            if outcome is Outcome.SUCCESS and not message.worker_id.startswith(CHILD_PREFIX):
                self.change(message.worker_id, message.action)
            self.plant.runtime.leases.end(grant, "r1", outcome, "done")

    def change(self, item: str, action: str) -> None:
        """Do what an action does."""
        self.pid.pop(item, None)
        if action != "stop":
            self.births += 1
            self.pid[item], self.born[item] = 1000 + self.births, self.plant.clock.now()

    def happen(self) -> None:
        """Let one thing happen, most often nothing."""
        item, node = self.random.choice(self.ids), self.random.choice(NODES)
        store = self.plant.store

        def toggle(kind: str) -> None:
            self.silent[kind] ^= {node}

        def reconfigure() -> None:
            self.config = f"c{self.random.randrange(9)}"
            self.apply()

        def order() -> None:
            pause = Order(kind="pause", scope=f"node/{node}", by="me")
            give_order(store, NAME, pause, self.random.choice((0.0, 5.0)))

        def fail() -> None:
            self.is_child_well = not self.is_child_well

        things: list[tuple[int, Any]] = [
            (30, lambda: None),
            (10, lambda: self.pid.pop(item, None)),
            (4, lambda: store.set_override(NAME, self.place[item], item, "stopped", "me")),
            (6, lambda: store.set_override(NAME, self.place[item], item, None, "me")),
            (2, lambda: store.set_control(NAME, self.place[item], item, True, "me", lasts=4.0)),
            (2, lambda: store.set_control(NAME, self.place[item], item, False, "me")),
            (2, lambda: store.ask_for_restart(NAME, self.place[item], item, "me")),
            (2, lambda: toggle("collector")),
            (2, lambda: toggle("executor")),
            (1, fail),
            (1, reconfigure),
            (1, order),
            (1, lambda: store.force_circuit(NAME, self.random.choice(("open", "closed")), "me", "test")),
        ]
        self.random.choices([thing for _, thing in things], [weight for weight, _ in things])[0]()

    def recover(self) -> None:
        """Let what has fallen silent or failed come back after some time, so that there is something to settle."""
        for silent in self.silent.values():
            silent -= {node for node in NODES if self.random.random() < 0.1}
        self.is_child_well |= self.random.random() < 0.2
        for node in NODES:
            if self.random.random() < 0.1:
                lift_order(self.plant.store, NAME, "pause", f"node/{node}", "me")
        if self.plant.store.breaker(NAME).forced and self.random.random() < 0.2:
            self.plant.store.force_circuit(NAME, "", "me", "test")

    def step(self) -> None:
        """Let a second or more pass, and tick."""
        self.plant.clock.advance(self.random.choice((0.1, 0.5, 1.0, 4.0)))
        self.recover()
        if self.random.random() < 0.3:
            self.happen()
        self.act()
        for node in NODES:
            if self.random.random() < 0.8:
                self.look(node)
        report, _ = self.plant.must_tick()
        self.looked_at += report.looked_at
        self.workers += report.workers


def told(decided: Decided) -> dict[str, object]:
    """Return all that a tick does, in no order."""
    steps = {
        (step.subject.id, step.action.name if step.action else "", step.leave, step.cancel, repr(step.status))
        for step in decided.plan.steps
    }
    return {
        "steps": steps,
        "skips": set(decided.plan.skips),
        "restarts": [child.spec.name for child in decided.restarts],
        "overdue": {item for item, _, _ in decided.overdue},
        "breaker": decided.decision.breaker,
    }


@pytest.fixture
def compared(bare_plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Return an installation each of whose ticks is held against one that looks at all; none looks at any in turn."""

    def both(world: World) -> Decided:
        mine = decide(world)
        whole = load_world(bare_plant.runtime, NAME, world.index, world.now)
        assert told(mine) == told(decide(whole))
        return mine

    monkeypatch.setattr(ticking, "decide", both)
    monkeypatch.setattr(scoping, "FEW", 0)
    monkeypatch.setattr(scoping, "LARGEST", 0)
    return bare_plant


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_a_tick_decides_what_it_would_if_it_looked_at_all(compared: Plant, seed: int) -> None:
    field = Field(compared, seed, workers=15)
    for _ in range(200):
        field.step()
    assert 0 < field.looked_at < 0.8 * field.workers, field.looked_at / field.workers


def test_what_a_worker_depends_on_is_known_though_it_needs_no_look(
    bare_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoping, "FEW", 0)
    monkeypatch.setattr(scoping, "LARGEST", 0)
    field = Field(bare_plant, 1, workers=0)
    bare_plant.apply_fleet(
        worker("base", "stopped"), worker("top", "stopped", depends_on=["base"]), children=[make_child()]
    )
    field.ids, field.place = ["base", "top"], {"base": NODES[0], "top": NODES[0]}
    for _ in range(40):
        field.look(NODES[0])
        settled, _ = bare_plant.must_tick()
    assert settled.looked_at == 0
    bare_plant.store.set_override(NAME, NODES[0], "top", "running", "me")
    for _ in range(2):  # its state changes first
        field.look(NODES[0])
        report, messages = bare_plant.must_tick()
    assert (report.looked_at, report.skips, messages) == (2, {"dependency": 1}, [])


def test_a_worker_that_is_applied_while_a_tick_asks_to_start_is_looked_at_by_it(
    bare_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_plant.apply_fleet(worker("flow-1"))
    begin = bare_plant.store.begin_tick

    def apply_first(*arguments: Any) -> Any:
        bare_plant.apply_fleet(worker("flow-1"), worker("flow-2"))
        return begin(*arguments)

    monkeypatch.setattr(bare_plant.store, "begin_tick", apply_first)
    report, _ = bare_plant.must_tick()
    assert (report.workers, report.looked_at) == (2, 2)


def test_what_is_wished_for_is_read_once_for_each_change_of_it(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.heartbeat()
    read: list[tuple[str, int]] = []
    read_kinds = plant.store.read_kinds

    def counting(supervisor: str, items: Any, kinds: Any) -> Any:
        read.append((kinds[0], len(items)))
        return read_kinds(supervisor, items, kinds)

    monkeypatch.setattr(plant.store, "read_kinds", counting)
    found = []
    for change in (False, False, True):
        if change:
            plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
        read.clear()
        plant.must_tick()
        found.append(sum(number for kind, number in read if kind == "identity"))
    assert found == [1, 0, 1]


def test_a_look_at_a_large_fleet_lets_go_who_is_settled_and_decides_the_same(
    bare_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sifting, "MOST", 4)
    monkeypatch.setattr(ticking, "MOST", 4)
    monkeypatch.setattr(sifting, "PART", 3)
    plant, flows = bare_plant, [f"flow-{number}" for number in range(9)]
    plant.apply_fleet(*(worker(flow, depends_on=["flow-8"] if flow == "flow-2" else []) for flow in flows))

    found = []
    for down in ((), (), ("flow-2", "flow-8"), ("flow-2", "flow-8")):
        plant.clock.advance(40.0)
        plant.heartbeat()
        plant.observe({flow: plant.down() if flow in down else plant.up(started_at=1.0) for flow in flows})
        plant.client.delete(plant.keys.scope)
        report, messages = plant.must_tick()
        found.append((report.looked_at, report.transitions, report.skips, [message.worker_id for message in messages]))
    assert found[1:] == [(9, 9, {}, []), (9, 2, {}, []), (9, 0, {"dependency": 1}, ["flow-8"])]
