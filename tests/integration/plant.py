"""A small installation for tests: a store, a fleet, observations written by hand, ticks whose messages are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from actions.model import Action, Component
from actions.start import Start
from supervisor import tick
from supervisor.clock import FakeClock
from supervisor.dispatch import Applied, Circuit, Claim, Item, Message, apply
from supervisor.fleet import Fleet, WorkerEntry
from supervisor.keys import Keys
from supervisor.leases import Grant, Held
from supervisor.model import (
    ChildObserved,
    ChildSpec,
    CollectorDocument,
    Lease,
    NodeDocument,
    Stage,
    SupervisorSettings,
    TickDocument,
)
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.store import Store, decode, encode
from supervisor.targets import component_of, wished_at
from supervisor.tick import Report
from workers.model import Desired, Observed, Status

NAME = "plant-1"
NODE = "edge-1"
ALWAYS_TIMED = ("supervisor_tick_duration_seconds", "supervisor_action_queue_wait_seconds")


def dump(client: Any) -> dict[str, object]:
    """Return every key with its whole value; a document as what it says, as Lua writes its fields in any order."""

    def string(key: str) -> object:
        text = client.get(key)
        return json.loads(text) if text.startswith("{") else text

    readers: dict[str, Callable[[str], object]] = {
        "string": string,
        "hash": client.hgetall,
        "stream": client.xrange,
        "set": client.smembers,
        "list": lambda key: client.lrange(key, 0, -1),
    }
    return {key: readers[client.type(key)](key) for key in sorted(client.keys("*"))}


def settings(data_dir: Path) -> Settings:
    """Return settings that read no environment."""
    return Settings.from_env({"FSM_NAMESPACE": "test", "FSM_DATA_DIR": str(data_dir)})


def worker(worker_id: str, state: str = "running", *, kind: str = "process", node: str = NODE, **config: Any) -> Any:
    """Return a worker of a fleet file, by default a process that sleeps."""
    wanted = {"command": ["sleep", "300"], "cwd": "/", "min_uptime": 10.0, **config}
    depends_on = tuple(wanted.pop("depends_on", ()))
    config_id = str(wanted.pop("config_id", "c1"))
    desired = Desired(state=state, config=wanted, config_id=config_id, depends_on=depends_on)  # type: ignore[arg-type]
    return WorkerEntry(worker_id, kind, node, desired)


def worked_on(runtime: Runtime, item: str, action: str = "") -> Component:
    """Return what an action of a worker or child of plant-1 works on, by what is stored now."""
    documents = runtime.store.client.mget(wished_at(runtime.store.keys(NAME), NODE, item))
    return component_of(runtime, NAME, NODE, item, documents, action)


def fleet(*workers: WorkerEntry, children: Sequence[ChildSpec] = (), **changes: Any) -> Fleet:
    """Return a fleet of plant-1."""
    return Fleet(SupervisorSettings(name=NAME, nodes=(NODE,), **changes), tuple(children), workers)


@dataclass
class Plant:
    """The installation. `sent` holds what was published, `lost` tells to publish nothing."""

    store: Store
    clock: FakeClock
    runtime: Runtime
    sent: list[Message] = field(default_factory=list)
    ticks: int = 0

    @property
    def keys(self) -> Keys:
        """Return the keys of plant-1."""
        return self.store.keys(NAME)

    @property
    def client(self) -> Any:
        """Return the Redis."""
        return self.store.client

    # -- what is read -------------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, object]:
        """Return every key with its whole value."""
        return dump(self.client)

    def counters(self, place: str = NODE) -> dict[str, str]:
        """Return the counters of a place, but for how long ticks took and actions waited, which is counted always."""
        counted = self.client.hgetall(self.keys.counters(place))
        return {field: value for field, value in counted.items() if not field.startswith(ALWAYS_TIMED)}

    def timed(self, metric: str, place: str) -> dict[str, str]:
        """Return the fields of one histogram at a place, without its name."""
        counted = self.client.hgetall(self.keys.counters(place))
        return {field.removeprefix(metric): value for field, value in counted.items() if field.startswith(metric)}

    def events(self, place: str = NODE) -> list[dict[str, str]]:
        """Return the events of a place without their ids, oldest first."""
        return [fields for _, fields in self.client.xrange(self.keys.events(place))]

    def asks(self) -> list[str]:
        """Return whose observation is asked for."""
        return list(self.client.lrange(self.keys.asks(NODE), 0, -1))

    def lease(self, item: str = "flow-1") -> Lease | None:
        """Return a lease as Python reads it: what Lua wrote must fit the document."""
        return self.store.read(Lease, self.keys.lease(NODE, item))

    def status(self, item: str) -> Status | None:
        """Return a status."""
        return self.store.read(Status, self.keys.status(NODE, item))

    def tick_document(self) -> TickDocument:
        """Return the tick lease, without the id of this run's Redis."""
        text = self.client.get(self.keys.tick)
        assert text is not None
        return msgspec.structs.replace(decode(text, TickDocument, self.keys.tick), run_id="")

    # -- what is written ----------------------------------------------------------------------------------------------

    def apply_fleet(self, *workers: WorkerEntry, children: Sequence[ChildSpec] = (), **changes: Any) -> Any:
        """Apply a fleet file."""
        return self.store.apply_fleets([fleet(*workers, children=children, **changes)])[NAME]

    def heartbeat(self, slots: int = 5) -> None:
        """Let the executor of edge-1 be alive."""
        document = NodeDocument(node=NODE, host="h1", boot_id="b1", executor="edge-1@h1", pid=1, slots=slots)
        self.store.heartbeat(NAME, document)

    def observe(self, observed: Mapping[str, Observed | ChildObserved], wake: bool = False) -> None:
        """Write what the collector of edge-1 saw; `wake`: all of it is news."""
        heartbeat = CollectorDocument(node=NODE, pid=2, at=self.clock.now(), observed=len(observed), clock_skew=0.0)
        self.store.save_observations(NAME, NODE, observed, heartbeat, observed if wake else ())

    def down(self, **changes: Any) -> Observed:
        """Return a look, made now, at a worker that does not run."""
        return msgspec.structs.replace(Observed(collected_at=self.clock.now()), **changes)

    def up(self, pid: int = 42, **changes: Any) -> Observed:
        """Return a look, made now, at a worker that runs since long."""
        now = self.clock.now()
        seen = Observed(collected_at=now, pid=pid, start_ticks=7, started_at=now - 100, config_id="c1")
        return msgspec.structs.replace(seen, **changes)

    def child_up(self, pid: int = 99, **changes: Any) -> ChildObserved:
        """Return a look, made now, at a broker that passes its check."""
        now = self.clock.now()
        seen = ChildObserved(collected_at=now, passes=1, pid=pid, start_ticks=9, started_at=now - 100)
        return msgspec.structs.replace(seen, **changes)

    def child_failed(self, error: str = "no answer") -> ChildObserved:
        """Return a look, made now, at a broker that runs and fails its check."""
        return self.child_up(passes=0, failures=1, error=error)

    # -- what happens -------------------------------------------------------------------------------------------------

    def leave(self, item: str = "flow-1") -> bool:
        """Let a worker leave edge-1, decided on what is stored now: move where it moves to, else be forgotten."""
        index = self.store.index(NAME)
        assert index is not None
        return self.store.leave(NAME, NODE, item, index.generations.get(item, 0))

    def start_tick(self) -> str:
        """Pass the gate, a second after the last tick, and return the tick's id."""
        self.ticks += 1
        self.clock.advance(1.0)
        index = self.store.index(NAME)
        assert index is not None
        tick_id = f"t{self.ticks}"
        assert self.store.begin_tick(NAME, index, tick_id)[:2] == ("started", self.clock.now())
        return tick_id

    def write(self, *items: Item, tick_id: str = "", circuit: Circuit | None = None) -> Applied:
        """Write a plan under a tick of its own, or under `tick_id`."""
        used = tick_id or self.start_tick()
        applied = apply(self.store, NAME, used, circuit or Circuit(self.store.breaker(NAME).generation), items)
        if not tick_id:
            assert self.store.finish_tick(NAME, used, "{}", {})
        return applied

    def item(self, worker_id: str = "flow-1", action: Action | None = None, **changes: Any) -> Item:
        """Return a claim for a worker, decided on what is stored now."""
        lease = self.lease(worker_id)
        index = self.store.index(NAME)
        assert index is not None
        generation = index.generations.get(worker_id, 0)
        fields: dict[str, Any] = {
            "reason": "test",
            "last_token": lease.token if lease else "",
            "generation": generation,
            "failures": lease.failures if lease else 0,
            "kills": lease.kills if lease else 0,
            "action_id": "a1",
            **changes,
        }
        return Item(worker_id, NODE, claim=Claim(action or Start(), **fields))

    def claim(self, worker_id: str = "flow-1", action: Action | None = None, **changes: Any) -> Grant:
        """Claim an action and return its grant; nothing is published."""
        (message,) = self.write(self.item(worker_id, action, **changes)).messages
        return grant_of(message)

    def begin(self, grant: Grant, runner: str = "r1") -> str | None:
        """Begin an action; return why not."""
        return self.runtime.leases.begin(grant, runner, "edge-1@h1").refused

    def renew(self, *grants: Grant, begun_ago: float = 1.0) -> dict[str, str]:
        """Renew as the executor that runs these as r1."""
        answers = self.runtime.leases.renew("edge-1@h1", [held(grant, begun_ago=begun_ago) for grant in grants])
        return dict(zip([grant.action_id for grant in grants], answers, strict=True))

    def running(self, worker_id: str = "flow-1", **changes: Any) -> Grant:
        """Claim an action and begin it as r1."""
        grant = self.claim(worker_id, **changes)
        assert self.begin(grant) is None
        return grant

    def tick(self) -> tuple[Report | None, list[Message]]:
        """Run a whole tick, a second after the last; return its report and what it published."""
        self.clock.advance(1.0)
        before = len(self.sent)
        report = tick.run(self.runtime, self.sent.extend, NAME)
        return report, self.sent[before:]

    def must_tick(self) -> tuple[Report, list[Message]]:
        """Run a whole tick that must start."""
        report, messages = self.tick()
        assert report is not None
        return report, messages


def held(grant: Grant, runner: str = "r1", begun_ago: float = 1.0) -> Held:
    """Return a grant as the executor holds it that runs it."""
    return Held(grant, runner, 30.0, begun_ago)


def grant_of(message: Message) -> Grant:
    """Return what a message lets its executor do."""
    names = ("supervisor", "place", "worker_id", "action", "action_id", "token")
    return Grant(**{name: getattr(message, name) for name in names})


def make_plant(store: Store, clock: FakeClock, data_dir: Path) -> Plant:
    """Return an installation without a fleet."""
    return Plant(store, clock, make_runtime(settings(data_dir), store, clock))


def put(plant: Plant, key: str, document: Any) -> None:
    """Store a document as it is."""
    plant.client.set(key, encode(document))


def queued(plant: Plant, grant: Grant, **changes: Any) -> Lease:
    """Return the lease that a claim of `plant` has just written."""
    now = plant.clock.now()
    lease = Lease(
        worker_id=grant.worker_id,
        action=grant.action,
        action_id=grant.action_id,
        token=grant.token,
        stage=Stage.QUEUED,
        claimed_at=now,
        deadline=now + 30,
        reason="test",
    )
    return msgspec.structs.replace(lease, **changes)
