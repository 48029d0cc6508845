"""Every Redis key, with its type, its owner, its readers, and what bounds it. Pure.

Form: `{namespace}:{supervisor}:{place}:{kind}[:{id}]`. A place is a node's name, `pool` for floating workers, or
`supervisor` for what belongs to the control loop itself, so that one node can be given exactly its own keys.
A worker's id stands for itself; a child's is `child/NAME`, and `check/NODE` is what a node is checked by. Celery's keys
start with `{namespace}:celery:`.
`docs/redis.md` is this file as a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SUPERVISOR = "supervisor"  # the place of the control loop
POOL = "pool"  # the place of floating workers
RESERVED_PLACES = (SUPERVISOR, POOL)
RESERVED_SUPERVISORS = ("celery",)  # Celery's own keys begin with it
CHILD_PREFIX = "child/"
CHECK_PREFIX = "check/"  # what `fsmctl check` claims a no-op for: no worker, and in no index
SCHEMA = 1  # of all keys together: grows when an older version could not work with what is stored
SUPERVISOR_QUEUE = "supervisor"  # of tick requests
TICK = "supervisor.tick"  # Celery's name of a tick request
EXECUTE = "supervisor.execute"  # Celery's name of an action
INCIDENTS_CAP = 200  # incidents kept of a supervisor
ANY = "*"  # a mark that stands for every worker
MARKS_CAP = 5_000  # ids of workers that a gate tells one by one; beyond, a tick looks at all
EVENTS_CAP = 10_000  # events kept per place (XADD MAXLEN ~)
HISTORY_CAP = 5_000  # decisions kept per place for `fsmctl replay` (XADD MAXLEN ~), of at most 8 kB each, mostly of 1
ASKS_CAP = 1_000  # observations asked for and not yet made, per place (LTRIM)


def queue_of(place: str) -> str:
    """Return the Celery queue whose executors act for a place."""
    return "actions" if place == POOL else f"actions.{place}"


@dataclass(frozen=True)
class Keys:
    """The keys of one supervisor."""

    namespace: str
    supervisor: str

    def _key(self, place: str, kind: str, item: str = "") -> str:
        key = f"{self.namespace}:{self.supervisor}:{place}:{kind}"  # made by the hundred thousand
        return f"{key}:{item}" if item else key

    def of_worker(self, place: str, item: str, kinds: Sequence[str]) -> list[str]:
        """Return the keys of some kinds of a worker's or child's documents."""
        before = f"{self.namespace}:{self.supervisor}:{place}:"  # made by the hundred thousand, too
        return [f"{before}{kind}:{item}" for kind in kinds]

    @property
    def settings(self) -> str:
        """STRING SupervisorSettings; written by apply; read by all. One."""
        return self._key(SUPERVISOR, "settings")

    @property
    def index(self) -> str:
        """HASH id → place of workers and children; written by apply and leave; read by all. A field each."""
        return self._key(SUPERVISOR, "index")

    @property
    def generations(self) -> str:
        """HASH id → changes of desired; written by apply, operators, leave; guards claims. A field each."""
        return self._key(SUPERVISOR, "generations")

    @property
    def tick(self) -> str:
        """STRING TickDocument: the tick lease and the last report; written by gate, apply and finish. One."""
        return self._key(SUPERVISOR, "tick")

    @property
    def circuit(self) -> str:
        """STRING Breaker; written by apply.lua with its generation compared; read by all. One."""
        return self._key(SUPERVISOR, "circuit")

    @property
    def incidents(self) -> str:
        """HASH id → Incident; written by apply.lua with the circuit; read by fsmctl. INCIDENTS_CAP fields."""
        return self._key(SUPERVISOR, "incidents")

    @property
    def scope(self) -> str:
        """STRING ScopeDocument: whom the next tick has to look at; written by finish.lua; read by the gate. One."""
        return self._key(SUPERVISOR, "scope")

    @property
    def mismatches(self) -> str:
        """HASH id → since when ticks find a worker not as desired; written by finish.lua; read by the exporter."""
        return self._key(SUPERVISOR, "mismatches")

    @property
    def orders(self) -> str:
        """HASH name → Order: pauses of scopes, drains; written by order.lua; read by all. A field per scope."""
        return self._key(SUPERVISOR, "orders")

    @property
    def revision(self) -> str:
        """STRING microseconds: grows with every change of what people wish for; guards the disk mirror. One."""
        return self._key(SUPERVISOR, "revision")

    def identity(self, place: str, item: str) -> str:
        """STRING Identity; written once by apply, its node by leave; deleted by leave."""
        return self._key(place, "identity", item)

    def desired(self, place: str, item: str) -> str:
        """STRING Desired (a worker's file layer) or ChildSpec; written by apply; moved or deleted by leave."""
        return self._key(place, "desired", item)

    def override(self, place: str, item: str) -> str:
        """STRING Override; written by `fsmctl set`; deleted by `set default`; moved or deleted by leave."""
        return self._key(place, "override", item)

    def control(self, place: str, item: str) -> str:
        """STRING Control: paused, resumed; written by `fsmctl pause|resume|restart`; moved or deleted by leave."""
        return self._key(place, "control", item)

    def observed(self, place: str, item: str) -> str:
        """STRING Observed or ChildObserved; written by the place's collector (child without a node: the tick) alone."""
        return self._key(place, "observed", item)

    def status(self, place: str, item: str) -> str:
        """STRING Status; written by the tick alone; moved or deleted by leave."""
        return self._key(place, "status", item)

    def lease(self, place: str, item: str) -> str:
        """STRING Lease: the in-progress lock, and after its end the last action; only Lua writes. Moved by leave."""
        return self._key(place, "lease", item)

    def node(self, place: str) -> str:
        """STRING NodeDocument: heartbeat of a node's executor; written by it; read by tick and fsmctl. One per node."""
        return self._key(place, "node")

    def collector(self, place: str) -> str:
        """STRING CollectorDocument: heartbeat of a collector, or of ticks that look; by observe.lua. One per node."""
        return self._key(place, "collector")

    def rejected(self, place: str) -> str:
        """STRING of JSON: the last reading that was not believed, and why; written by observe.lua. One per place."""
        return self._key(place, "rejected")

    def refused(self, place: str, process: str) -> str:
        """STRING number of the last batch of refused messages that an executor has counted; by it. TTL 1 h."""
        return self._key(place, "refused", process)

    def wake(self, place: str) -> str:
        """SET of ids to look at, "*" any; written by scripts that change something; taken by the gate. TTL 60 s.

        The first mark is also published, on the channel of this name: beats listen to `rings`.
        """
        return self._key(place, "wake")

    def asks(self, place: str) -> str:
        """LIST of ids to be observed at once; pushed by end and reap; popped by the collector. LTRIM to ASKS_CAP."""
        return self._key(place, "asks")

    def events(self, place: str) -> str:
        """STREAM of events; written by scripts with the change they tell. MAXLEN ~ EVENTS_CAP."""
        return self._key(place, "events")

    def history(self, place: str) -> str:
        """STREAM of worker_id, frame: decisions with what they were made on; by apply.lua. MAXLEN ~ HISTORY_CAP."""
        return self._key(place, "history")

    def follows(self, node: str) -> str:
        """LIST of wishes to see output; pushed by `fsmctl logs`; popped by the node's collector. LTRIM to 100, 10 s."""
        return self._key(node, "follows")

    def output(self, node: str, follower: str) -> str:
        """STREAM of output for one follower; written by the node's collector. MAXLEN 64, for 10 s."""
        return self._key(node, "output", follower)

    def counters(self, place: str) -> str:
        """HASH "metric|label|…" → number; written by scripts with the change they count. Bounded by labels."""
        return self._key(place, "counters")


def supervisors(namespace: str) -> str:
    """SET of the supervisors' names; written by apply; read by tick, executors, exporter. One member each."""
    return f"{namespace}:supervisors"


def rings(namespace: str) -> str:
    """Pattern of the channels on which marks ring; published by scripts that mark; heard by beats."""
    return f"{namespace}:*:wake"


def schema(namespace: str) -> str:
    """STRING number: the SCHEMA of who wrote last; written by apply; read by fsmctl when it connects. One."""
    return f"{namespace}:schema"


def nodes(namespace: str) -> str:
    """SET of the nodes that have ever sent a heartbeat; written by executors; read by apply. One member each."""
    return f"{namespace}:nodes"


def celery_prefix(namespace: str) -> str:
    """Return the prefix of all of Celery's own keys."""
    return f"{namespace}:celery:"
