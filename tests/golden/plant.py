"""A plant in the middle of an outage, the same to the last byte each time: two nodes, three children, ten workers.

| worker | place | is |
|---|---|---|
| line-1-temperature | edge-1 | running, as desired |
| line-1-pressure | edge-1 | starting: its start runs |
| line-1-vibration | edge-1 | degraded: a data flow whose output is not connected |
| line-2-flow | edge-1 | failed and quarantined |
| line-2-level | edge-1 | running, paused by an operator |
| line-3-motor | edge-1 | running, is to move to edge-2 |
| line-3-valve | edge-1 | stopped: waits for the circuit |
| line-4-camera | edge-2 | unknown: its node is away |
| line-4-scale | edge-1 | unreadable |
| site-uplink | pool | stopped, as an operator has set it |

The circuit of plant-1 is open since historian failed, 95 seconds ago; an incident of yesterday is over.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec

from supervisor.circuit import Breaker, Recovery
from supervisor.fleet import Fleet, WorkerEntry
from supervisor.keys import POOL, SUPERVISOR, Keys
from supervisor.model import (
    Check,
    ChildObserved,
    ChildSpec,
    CollectorDocument,
    Incident,
    Lease,
    NodeDocument,
    Runbook,
    Stage,
    SupervisorSettings,
    TickDocument,
)
from supervisor.store import Store, encode
from tests.integration.plant import worker
from workers.command.states import CommandObserved
from workers.dfc_read.states import FlowObserved
from workers.model import Control, Document, Exit, Observed, Override, Status
from workers.process.config import ProcessConfig

NOW = 4_000_000_000.0  # epoch seconds; ahead of every real clock, so that what Redis stamps itself comes after it
NAME = "plant-1"
DAY = 86_400.0


@dataclass(frozen=True)
class GoldenPlant:
    """The plant's store. Its time is NOW and stands still."""

    store: Store

    @property
    def keys(self) -> Keys:
        """Return the keys of plant-1."""
        return self.store.keys(NAME)

    def put(self, key: str, document: Document) -> None:
        """Store a document as it is."""
        self.store.client.set(key, encode(document))

    def event(self, place: str, age: float, number: int = 0, **fields: str) -> None:
        """Write an event that happened `age` seconds ago."""
        self.store.client.xadd(self.keys.events(place), fields, id=f"{int((NOW - age) * 1000)}-{number}")


def make_golden_plant(store: Store) -> GoldenPlant:
    """Return the plant, written into an empty store."""
    made = GoldenPlant(store)
    Store(store.client, store.namespace, lambda: NOW - 3 * DAY).apply_fleets([_fleet()])
    _nodes(made)
    _children(made)
    _circuit(made)
    _running(made)
    _in_trouble(made)
    _elsewhere(made)
    _leases(made)
    _events(made)
    return made


def _fleet() -> Fleet:
    flow = {"http": "127.0.0.1:7311"}
    command = {"start": ["uplink", "up"], "stop": ["uplink", "down"], "status": ["uplink", "status"]}
    return Fleet(
        SupervisorSettings(name=NAME, nodes=("edge-1", "edge-2"), groups={"line-2": 1}, source="fleet.toml"),
        (
            ChildSpec(
                name="broker",
                type="redis",
                node="edge-1",
                check=Check(kind="redis", address="127.0.0.1:7390"),
                process=ProcessConfig(command=("redis-server", "--port", "7390")),
                config_id="b1",
            ),
            ChildSpec(
                name="historian",
                type="tcp",
                node="edge-1",
                check=Check(kind="tcp", address="127.0.0.1:5432", failures=2),
                restart=("systemctl", "restart", "historian"),
                runbook=Runbook(url="https://example.com/runbooks/historian", steps=("Read its log", "Restart it")),
            ),
            ChildSpec(
                name="mes",
                type="http",
                node="",
                check=Check(kind="http", address="mes.example.com:80", path="/health"),
            ),
        ),
        (
            _labelled("line-1-temperature", depends_on=["broker"]),
            _labelled("line-1-pressure", depends_on=["broker"]),
            _labelled("line-1-vibration", kind="dfc_read", depends_on=["broker"], **flow),
            _labelled("line-2-flow"),
            _labelled("line-2-level"),
            _labelled("line-3-motor"),
            _labelled("line-3-valve", depends_on=["historian"]),
            _labelled("line-4-camera", node="edge-2"),
            _labelled("line-4-scale"),
            _labelled("site-uplink", kind="command", node="", **command),
        ),
    )


def _labelled(name: str, kind: str = "process", node: str = "edge-1", **config: Any) -> WorkerEntry:
    """Return a worker that is labelled with its line, if its name says which."""
    made: WorkerEntry = worker(name, kind=kind, node=node, **config)
    if not name.startswith("line-"):
        return made
    labels = {"line": name.split("-")[1]}
    return dataclasses.replace(made, desired=msgspec.structs.replace(made.desired, labels=labels))


def _nodes(plant: GoldenPlant) -> None:
    keys = plant.keys
    for node, host, age in (("edge-1", "h1", 1.0), ("edge-2", "h2", 120.0)):
        plant.store.know_node(node)
        executor = {"executor": f"{node}@{host}", "boot_id": f"boot-{host}", "pid": 100, "slots": 5}
        skew = 0.0 if node == "edge-1" else 2.5
        plant.put(keys.node(node), NodeDocument(node=node, host=host, at=NOW - age, clock_skew=skew, **executor))  # type: ignore[arg-type]
        beat = CollectorDocument(
            node=node, pid=101, at=NOW - age, observed=9 if node == "edge-1" else 1, clock_skew=skew
        )
        plant.put(keys.collector(node), beat)
    plant.put(keys.tick, TickDocument(id="t1", started_at=NOW - 0.5, deadline=NOW + 4.5, ended_at=NOW - 0.48))


def _children(plant: GoldenPlant) -> None:
    keys = plant.keys
    well = ChildObserved(collected_at=NOW - 2, passes=90, pid=202, start_ticks=9, started_at=NOW - DAY)
    plant.put(keys.observed("edge-1", "child/broker"), well)
    ill = ChildObserved(collected_at=NOW - 2, failures=19, error="127.0.0.1:5432: connection refused")
    plant.put(keys.observed("edge-1", "child/historian"), ill)
    plant.put(keys.observed(POOL, "child/mes"), ChildObserved(collected_at=NOW - 3, passes=4))


def _circuit(plant: GoldenPlant) -> None:
    keys = plant.keys
    why = "historian: 127.0.0.1:5432: connection refused"
    circuit = Breaker(
        state="open",
        generation=7,
        opened_at=NOW - 95,
        eased_at=NOW - DAY,
        closed_at=NOW - DAY,
        failed_at=NOW - 2,
        reason=why,
        children={"historian": Recovery(attempts=4, failed_at=NOW - 2, asked_at=NOW - 20)},
        incident="2",
    )
    plant.put(keys.circuit, circuit)
    over = Incident(
        id="1",
        opened_at=NOW - DAY - 130,
        reason="broker: no answer",
        children=("broker",),
        attempts=5,
        escalated_at=NOW - DAY - 40,
        closed_at=NOW - DAY,
    )
    still = Incident(id="2", opened_at=NOW - 95, reason=why, children=("historian",), attempts=4)
    for incident in (over, still):
        plant.store.client.hset(keys.incidents, incident.id, encode(incident))


def _seen(age: float = 2.0, pid: int | None = None, **changes: Any) -> Observed:
    since = {} if pid is None else {"start_ticks": pid * 7, "started_at": NOW - 7200, "config_id": "c1"}
    return Observed(collected_at=NOW - age, pid=pid, **since, **changes)


def _worker(plant: GoldenPlant, item: str, status: Status, seen: Observed, place: str = "edge-1") -> None:
    plant.put(plant.keys.status(place, item), status)
    plant.put(plant.keys.observed(place, item), seen)


def _running(plant: GoldenPlant) -> None:
    runs = Status(state="running", since=NOW - 7200, reason="pid 301 runs", restarts=2)
    _worker(plant, "line-1-temperature", runs, _seen(pid=301))
    ended = Exit(pid=299, start_ticks=55, started_at=NOW - 600, ended_at=NOW - 9, code=1)
    starts = Status(
        state="starting",
        since=NOW - 8,
        reason="desired is running and nothing runs",
        restarts=1,
        counted_exit=ended.id,
        died_at=ended.ended_at,
    )
    _worker(plant, "line-1-pressure", starts, _seen(last_exit=ended))
    flow = FlowObserved(
        collected_at=NOW - 2,
        pid=303,
        start_ticks=21,
        started_at=NOW - 7200,
        config_id="c1",
        ready=True,
        input_connected=True,
        messages_in=4711,
        messages_out=4700,
    )
    degraded = Status(state="degraded", since=NOW - 90, reason="pid 303 runs, input connected, output not connected")
    _worker(plant, "line-1-vibration", degraded, flow)


def _in_trouble(plant: GoldenPlant) -> None:
    keys, failed = plant.keys, tuple(NOW - age for age in (190.0, 180.0, 170.0, 160.0, 150.0))
    ended = Exit(pid=310, start_ticks=77, started_at=NOW - 151, ended_at=NOW - 150, code=2)
    quarantined = Status(
        state="failed",
        since=NOW - 150,
        reason="desired is running, its last 5 starts failed",
        restarts=5,
        early_exits=5,
        counted_exit=ended.id,
        died_at=ended.ended_at,
        failed_at=failed,
        quarantined_at=NOW - 150,
        quarantined_until=NOW + 450,
        quarantined_for="failures: 5 in 40s, last: pid 310 ended with exit code 2 after 1.0s",
        quarantines=1,
    )
    _worker(plant, "line-2-flow", quarantined, _seen(last_exit=ended))
    runs = Status(state="running", since=NOW - DAY, reason="pid 305 runs")
    _worker(plant, "line-2-level", runs, _seen(pid=305))
    plant.put(keys.control("edge-1", "line-2-level"), Control(paused=True, by="kim@desk", at=NOW - 3600))
    waits = Status(state="starting", since=NOW - 60, reason="desired is running and nothing runs")
    _worker(plant, "line-3-valve", waits, _seen())
    plant.store.client.set(keys.desired("edge-1", "line-4-scale"), '{"schema":9}')


def _elsewhere(plant: GoldenPlant) -> None:
    keys = plant.keys
    moving = Status(state="stopping", since=NOW - 5, reason="desired is stopped (it moves to edge-2) and pid 307 runs")
    _worker(plant, "line-3-motor", moving, _seen(pid=307))
    text = plant.store.client.get(keys.desired("edge-1", "line-3-motor"))
    plant.store.client.set(keys.desired("edge-1", "line-3-motor"), text.replace('"moves_to":""', '"moves_to":"edge-2"'))
    away = Status(state="running", since=NOW - 2 * DAY, reason="pid 401 runs")
    _worker(plant, "line-4-camera", away, _seen(age=125.0, pid=401), "edge-2")
    plant.put(keys.override(POOL, "site-uplink"), Override(state="stopped", by="pat@desk", at=NOW - 1800))
    stopped = Status(state="stopped", since=NOW - 1795, reason="desired is stopped and nothing runs")
    _worker(plant, "site-uplink", stopped, CommandObserved(collected_at=NOW - 4, running=False), POOL)


def _lease(item: str, action: str, number: int, age: float, **changes: Any) -> Lease:
    """Return a lease claimed `age` seconds ago; without more said it ended well after 2 seconds."""
    fields: dict[str, Any] = {
        "stage": Stage.FREE,
        "begun_at": NOW - age + 0.5,
        "ended_at": NOW - age + 2.5,
        "deadline": NOW - age + 2.5,
        "outcome": "success",
        "runner": f"h1/{500 + number}",
        "executor": "edge-1@h1",
        **changes,
    }
    token = f"{(NOW - age) * 1e6:.0f}"
    return Lease(worker_id=item, action=action, action_id=f"a{number}", token=token, claimed_at=NOW - age, **fields)


def _leases(plant: GoldenPlant) -> None:
    keys = plant.keys
    acting: dict[str, Any] = {"stage": Stage.RUNNING, "ended_at": None, "outcome": "", "deadline": NOW + 8}
    no_such = "start: exited at once with code 2"
    for lease, place in (
        (_lease("line-1-temperature", "start", 1, 7201, detail="started as pid 301"), "edge-1"),
        (_lease("line-1-pressure", "start", 2, 7, reason="desired is running and nothing runs", **acting), "edge-1"),
        (_lease("line-1-vibration", "reconfigure", 3, 7201, detail="started as pid 303"), "edge-1"),
        (_lease("line-2-flow", "start", 4, 152, outcome="error", detail=no_such, failures=1), "edge-1"),
        (_lease("line-4-camera", "start", 5, 2 * DAY, detail="started as pid 401", executor="edge-2@h2"), "edge-2"),
        (_lease("site-uplink", "stop", 6, 1798, detail="stopped"), POOL),
        (_lease("child/historian", "restart_child", 7, 20, outcome="timeout", detail="no end within 10s"), "edge-1"),
    ):
        plant.put(keys.lease(place, lease.worker_id), lease)


def _events(plant: GoldenPlant) -> None:
    token, where = f"{(NOW - 7) * 1e6:.0f}", "historian: 127.0.0.1:5432: connection refused"
    say = plant.event
    say("edge-1", 7201, event="worker.transition", worker_id="line-1-temperature", reason="pid 301 runs", to="running")
    say("edge-1", 3600, event="operator.pause", worker_id="line-2-level", by="kim@desk")
    say("pool", 1800, event="operator.set", worker_id="site-uplink", desired="stopped", by="pat@desk")
    say(SUPERVISOR, 95, event="circuit.opened", child_name="historian", incident="2", error=where, impact="all_workers")
    why = "failures: 5 in 40s, last: pid 310 ended with exit code 2 after 1.0s"
    say("edge-1", 150, event="worker.quarantined", worker_id="line-2-flow", reason=why, duration="600", in_a_row="1")
    say(SUPERVISOR, 20, event="circuit.restart", child_name="historian", incident="2", retry_attempt="4")
    action = {"worker_id": "line-1-pressure", "action": "start", "action_id": "a2", "token": token}
    down = "desired is running and nothing runs"
    moved = {"event": "worker.transition", "worker_id": "line-1-pressure", "from": "running", "to": "starting"}
    say("edge-1", 8, reason="pid 299 ended with exit code 1 after 591.0s", **moved)
    say("edge-1", 7, event="action.claimed", reason=down, **action)
    say("edge-1", 6.5, event="action.begun", executor="edge-1@h1", queue_wait="0.5", **action)
    say("edge-2", 125, event="worker.transition", worker_id="line-4-camera", reason="pid 401 runs", to="running")
