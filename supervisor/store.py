"""The triangular store in Redis: identity written once, desired in two layers, observed by collectors alone.

Documents are JSON strings with a schema number, read by MGET. Every write that must be atomic with something else is a
Lua script; the rest are plain transactions on keys that have one owner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import redis

from supervisor import keys as key_names
from supervisor.ahead import one_ahead
from supervisor.circuit import Breaker
from supervisor.connection import STORE_ERRORS
from supervisor.errors import BadDocument, NewerStore, Refused
from supervisor.keys import ANY, CHILD_PREFIX, POOL, SUPERVISOR, Keys
from supervisor.logs import Troubles, logger
from supervisor.metrics import is_counted_by, is_of_worker
from supervisor.model import (
    CLOCK_STEP,
    HOLD_OFF,
    NODE_AWAY_AFTER,
    TICK_DEBOUNCE,
    TICK_LEASE,
    ChildObserved,
    CollectorDocument,
    Incident,
    Lease,
    NodeDocument,
    ScopeDocument,
    SupervisorSettings,
    TickDocument,
)
from supervisor.orders import Order
from supervisor.readings import Rejected
from supervisor.scripts import Scripts
from workers.model import Control, Desired, DesiredState, Document, Identity, Observed, Override

if TYPE_CHECKING:
    from supervisor.fleet import Fleet  # a command that only looks need not know what a fleet file is

_CHUNK = 250  # workers per MGET
_DENIED = "acl_access_denied_"  # begins the names of Redis' own counters
_LOGGED = 128  # entries that Redis keeps of them, as it comes
_HISTORY_PAGE = 500  # decisions per round trip, whosever they are
_READS = 3  # tries to read counters between two changes of what people wish for
log = logger("supervisor.store")
D = TypeVar("D", bound=Document)
T = TypeVar("T")
WORKER_KINDS = ("identity", "desired", "override", "control", "observed", "status", "lease")


def encode(document: Document) -> str:
    """Return a document as stored; a duration, the one type JSON does not know, as its seconds."""
    return msgspec.json.encode(document, enc_hook=float).decode()


def decode(text: str, kind: type[D], key: str | Callable[..., str], *of: str) -> D:
    """Return a stored document. Raises `BadDocument` naming the key and what does not fit.

    `key` is the key, or what makes it from `of`: of ten thousand documents it is wanted for those that cannot be read.
    """
    try:
        found: D = decoder(kind).decode(text)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        where = key if isinstance(key, str) else key(*of)
        raise BadDocument(f"document at {where} cannot be read: {error}; value seen {text[:120]!r}") from None
    return found


@cache
def decoder(kind: type[Any]) -> Any:
    """Return what decodes documents of a kind, for those who read thousands; `decode` says what is wrong with one."""
    return msgspec.json.Decoder(kind, dec_hook=lambda to, value: to(value))


@dataclass(frozen=True)
class Index:
    """Which workers and children a supervisor has, and where.

    `revision` grows with every change of what people wish for; 0 when none was ever written. `orders`: operators'
    standing orders by name, those that are over among them. `damage` is what is wrong with stored settings that cannot
    be read, in whose stead are the defaults then: only who replaces them is given such an index.
    """

    settings: SupervisorSettings
    places: Mapping[str, str]
    generations: Mapping[str, int]
    revision: int = 0
    orders: Mapping[str, Order] = field(default_factory=dict)
    damage: str = ""

    @cached_property
    def workers(self) -> list[tuple[str, str]]:
        """Return (id, place) of the workers, sorted by id."""
        return sorted((item, place) for item, place in self.places.items() if not item.startswith(CHILD_PREFIX))

    @cached_property
    def children(self) -> list[tuple[str, str]]:
        """Return (id, place) of the children, sorted by id; ids are `child/NAME`."""
        return sorted((item, place) for item, place in self.places.items() if item.startswith(CHILD_PREFIX))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes that the fleet declares or places something on."""
        return tuple(sorted({*self.settings.nodes, *self.places.values()} - {POOL}))

    @property
    def places_used(self) -> tuple[str, ...]:
        """Return every place that has keys beside the control loop's: the nodes and the pool."""
        return (*self.nodes, POOL)

    def at(self, node: str) -> Index:
        """Return what is a node's own: all that it takes to judge it, and all that its own user of Redis may read."""
        places = {item: place for item, place in self.places.items() if place == node}
        return replace(self, settings=msgspec.structs.replace(self.settings, nodes=(node,)), places=places)

    @cached_property
    def floats(self) -> bool:
        """Tell whether the fleet has floating workers."""
        return any(place == POOL for _, place in self.workers)


class GateAnswer(NamedTuple):
    """What the gate says: "started", "held" or "early"; Redis' time; why a hold-off has begun, or "".

    To a tick that starts also the scope that the last one has left, None if that did not end well, and the marks.
    """

    answer: str
    now: float
    held_off: str = ""
    scope: ScopeDocument | None = None
    marks: tuple[str, ...] = ()


class Memory(NamedTuple):
    """The bytes that Redis uses, and its maxmemory; 0: no limit."""

    used: int
    limit: int

    @property
    def ratio(self) -> float:
        """Return which part of the limit is used; 0 without one. Above 1: full."""
        return self.used / self.limit if self.limit else 0.0


@dataclass
class Applied:
    """What an apply changed, by id."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moving: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


class Author(NamedTuple):
    """Who makes a fleet file the wish, as user@host, and why; told as an event."""

    by: str
    reason: str = ""


class Store:
    """All reads and writes of documents; `scripts` are shared with leases and dispatch."""

    def __init__(self, client: redis.Redis, namespace: str, clock: Callable[[], float] | None = None) -> None:
        """Work on `client` under `namespace`; `clock` replaces Redis' time in tests."""
        # redis-py's types do not know that decode_responses makes every answer text
        self.client: Any = client
        self.namespace = namespace
        self.scripts = Scripts(client, clock)
        self._clock = clock
        self._troubles = Troubles(log)
        self._introduces = True
        self._audits = True
        self._indexes: dict[str, Index] = {}

    def keys(self, supervisor: str) -> Keys:
        """Return the keys of a supervisor."""
        return Keys(self.namespace, supervisor)

    def answers(self) -> bool:
        """Tell whether Redis has loaded its data and answers."""
        try:
            return bool(self.client.ping())
        except STORE_ERRORS:
            return False

    def check_schema(self) -> None:
        """See that this version understands what is stored. Raises `NewerStore`."""
        key = key_names.schema(self.namespace)
        text = self.client.get(key)
        if text is None or (text.isdecimal() and int(text) <= key_names.SCHEMA):
            return
        raise NewerStore(
            f"the store is of a newer version of fsmctl: {key} is {text!r}, and this one knows up to "
            f"{key_names.SCHEMA}; install the version that the fleet was applied with"
        )

    def now(self) -> float:
        """Return Redis' time, epoch seconds: the only time that hosts share."""
        if self._clock is not None:
            return self._clock()
        seconds, micros = self.client.time()
        return float(seconds) + float(micros) / 1e6

    def memory(self) -> Memory | None:
        """Return what memory Redis uses; None when it does not tell us."""
        try:
            memory = self.client.info("memory")
        except redis.ResponseError:
            return None
        return Memory(int(memory["used_memory"]), int(memory.get("maxmemory", 0)))

    def denied(self) -> int | None:
        """Return how often Redis has denied something to a user, as far as it remembers; None when we may not ask.

        Redis 7.2 counts since its start; an older one keeps the newest 128 entries of its log.
        """
        if not self._audits:
            return None
        try:
            counted = [number for name, number in self.client.info("stats").items() if name.startswith(_DENIED)]
            return sum(counted) if counted else sum(int(entry["count"]) for entry in self.client.acl_log(_LOGGED))
        except (redis.ResponseError, NotImplementedError):
            self._audits = False  # to ask again would be denied again, and be counted
            return None

    # -- what there is ------------------------------------------------------------------------------------------------

    def supervisors(self) -> list[str]:
        """Return the names of the supervisors that a fleet was applied for."""
        return sorted(self.client.smembers(key_names.supervisors(self.namespace)))

    def index(self, supervisor: str, *, even_damaged: bool = False) -> Index | None:
        """Return what a supervisor has, or None when no fleet was applied for it.

        It is read when its revision has changed, which it does with everything in it. Raises `BadDocument`; with
        `even_damaged` not for its settings, which the index then says.
        """
        keys, known = self.keys(supervisor), self._indexes.get(supervisor)
        if known is not None and known.revision and int(self.client.get(keys.revision) or 0) == known.revision:
            return known
        where = [keys.settings, keys.revision, keys.index, keys.generations, keys.orders]
        settings, revision, places, generations, orders = self.scripts.run("read", where, [2])
        if not settings:
            return None
        damage = ""
        try:
            read = decode(settings, SupervisorSettings, keys.settings)
        except BadDocument as error:
            if not even_damaged:
                raise
            read, damage = SupervisorSettings(name=supervisor), str(error)
        index = Index(
            read,
            dict(_pairs(places)),
            {item: int(number) for item, number in _pairs(generations)},
            int(revision or 0),
            {name: decode(text, Order, f"{keys.orders} {name}") for name, text in _pairs(orders)},
            damage,
        )
        if not damage:
            self._indexes[supervisor] = index
        return index

    def read(self, kind: type[D], key: str) -> D | None:
        """Return the document at `key`, or None. Raises `BadDocument`."""
        text = self.client.get(key)
        return None if text is None else decode(text, kind, key)

    def read_worker(
        self, supervisor: str, items: Sequence[tuple[str, str]]
    ) -> Iterable[tuple[str, str, dict[str, str | None]]]:
        """Yield (id, place, texts by kind) for each (id, place): seven documents each, one round trip per 250."""
        for item, place, texts in self.read_kinds(supervisor, items, WORKER_KINDS):
            yield item, place, dict(zip(WORKER_KINDS, texts, strict=True))

    def read_kinds(
        self, supervisor: str, items: Sequence[tuple[str, str]], kinds: Sequence[str]
    ) -> Iterable[tuple[str, str, list[str | None]]]:
        """Yield (id, place, texts in the order of `kinds`) for each (id, place), one round trip per 250."""
        keys, number = self.keys(supervisor), len(kinds)
        chunks = [items[first : first + _CHUNK] for first in range(0, len(items), _CHUNK)]

        def names(chunk: Sequence[tuple[str, str]]) -> list[str]:
            return [key for item, place in chunk for key in keys.of_worker(place, item, kinds)]

        for chunk, texts in one_ahead(chunks, names, self.client.mget):
            for at, (item, place) in enumerate(chunk):
                yield item, place, texts[at * number : (at + 1) * number]

    def nodes(
        self, supervisor: str, places: Iterable[str]
    ) -> dict[str, tuple[NodeDocument | None, CollectorDocument | None]]:
        """Return each place's two heartbeats."""
        keys = self.keys(supervisor)
        wanted = list(places)
        if not wanted:
            return {}
        texts = self.client.mget([key for place in wanted for key in (keys.node(place), keys.collector(place))])
        found: dict[str, tuple[NodeDocument | None, CollectorDocument | None]] = {}
        for number, place in enumerate(wanted):
            node, collector = texts[2 * number], texts[2 * number + 1]
            found[place] = (
                self._heartbeat(node, NodeDocument, keys.node(place)),
                self._heartbeat(collector, CollectorDocument, keys.collector(place)),
            )
        return found

    def breaker(self, supervisor: str) -> Breaker:
        """Return the circuit; closed when it was never written."""
        return self.read(Breaker, self.keys(supervisor).circuit) or Breaker()

    def incidents(self, supervisor: str) -> list[Incident]:
        """Return what is kept of a supervisor's incidents, the newest first. Raises `BadDocument`."""
        key = self.keys(supervisor).incidents
        found = [decode(text, Incident, f"{key} {name}") for name, text in self.client.hgetall(key).items()]
        return sorted(found, key=lambda incident: incident.opened_at, reverse=True)

    def is_circuit_open(self, supervisor: str) -> bool:
        """Tell whether a supervisor's actions are held back."""
        return self.breaker(supervisor).is_open

    def has_action_in_progress(self, supervisor: str, worker_id: str) -> bool:
        """Tell whether an action of a worker, or of `child/NAME`, is between its claim and its end."""
        keys = self.keys(supervisor)
        place = self.client.hget(keys.index, worker_id)
        lease = None if place is None else self.read(Lease, keys.lease(place, worker_id))
        return lease is not None and lease.in_progress

    # -- the tick -----------------------------------------------------------------------------------------------------

    def begin_tick(
        self, supervisor: str, index: Index, tick_id: str, mirrored: bool = False, stepped: bool = False
    ) -> GateAnswer:
        """Ask the gate for a tick.

        A hold-off begins when Redis is another one than at the last tick, when its clock was set (`stepped`: the caller
        saw it), or when it never saw a tick although a fleet is `mirrored` on disk.
        """
        keys = self.keys(supervisor)
        where = [keys.tick, keys.counters(SUPERVISOR), keys.events(SUPERVISOR), keys.scope]
        where += [keys.wake(place) for place in (SUPERVISOR, *index.places_used)]
        times = [TICK_LEASE, index.settings.tick_interval, TICK_DEBOUNCE, HOLD_OFF]
        saw = [int(mirrored), int(stepped)]
        arguments: list[str | float] = [tick_id, *times, *saw, key_names.MARKS_CAP]
        answer, now, why, *rest = self.scripts.run("gate", where, arguments)
        if not rest:
            return GateAnswer(str(answer), float(now), str(why))
        last, scope, *marks = rest
        return GateAnswer(str(answer), float(now), str(why), self._scope(scope, last, keys.scope), tuple(marks))

    def _scope(self, text: str, last_tick: str, key: str) -> ScopeDocument | None:
        """Return the scope that the last tick has left. One that died, or of an older version, has left none."""
        try:
            scope = decode(text, ScopeDocument, key) if text else None
        except BadDocument:  # of another version: this tick looks at all, and writes it anew
            return None
        return scope if scope is not None and scope.tick_id == last_tick else None

    def finish_tick(
        self,
        supervisor: str,
        tick_id: str,
        report: str,
        skips: Mapping[str, int],
        mismatches: Sequence[str] = (),
        scope: ScopeDocument | None = None,
        places: Sequence[str] = (),
    ) -> bool:
        """End a tick with its report (JSON), count its skips, and keep since when workers are not as desired.

        Return False when another tick had taken over. `mismatches` are the ids of the workers that it found so; `scope`
        is whom the next tick has to look at, all without it; `places` those whose marks ring again if there are any.
        """
        keys = self.keys(supervisor)
        where = [keys.tick, keys.counters(SUPERVISOR), keys.mismatches, keys.scope]
        where += [keys.wake(place) for place in places]
        arguments: list[str | int] = [tick_id, report, msgspec.json.encode(mismatches).decode()]
        arguments.append("" if scope is None else encode(scope))
        for reason, number in skips.items():
            arguments += [reason, number]
        return bool(self.scripts.run("finish", where, arguments))

    def mismatches(self, supervisor: str) -> dict[str, float]:
        """Return since when (epoch seconds) ticks have found workers not as desired, by id."""
        found = self.client.hgetall(self.keys(supervisor).mismatches)
        return {item: float(since) for item, since in found.items()}

    def last_tick(self, supervisor: str) -> TickDocument | None:
        """Return the tick lease and the last report."""
        return self.read(TickDocument, self.keys(supervisor).tick)

    # -- desired ------------------------------------------------------------------------------------------------------

    def apply_fleets(
        self, fleets: Sequence[Fleet], author: Author | None = None, dry_run: bool = False
    ) -> dict[str, Applied]:
        """Write the file layer of one file's supervisors, of all or none; return what changed, by supervisor.

        An `author` is told with it as an event. With `dry_run` it is only told what would change.

        A worker that leaves its place for that is stopped there first. What left the file is marked removed, to be
        forgotten; what has another place in it, as moving there. Settings that cannot be read are replaced. Raises
        `Refused` when a worker would change its type or its supervisor, or a child its node, under its name.
        """
        names = [fleet.settings.name for fleet in fleets]

        def write(pipe: Any) -> dict[str, Applied]:
            before = {name: self.index(name, even_damaged=True) for name in names}
            places = {name: index.places if index is not None else {} for name, index in before.items()}
            _stay_where_they_are(fleets, places)
            now = self.now()
            pipe.multi()
            pipe.set(key_names.schema(self.namespace), key_names.SCHEMA)
            for fleet in fleets:
                self._relabel(pipe, fleet, before[fleet.settings.name])
            applied = {fleet.settings.name: self._write_fleet(pipe, fleet, places, now) for fleet in fleets}
            if author is not None:
                self._tell_apply(pipe, fleets, before, applied, author)
            return applied

        if dry_run:
            with self.client.pipeline() as pipe:
                return write(pipe)  # what it has queued is dropped
        return self._wish([self.keys(name) for name in names], write)

    def _tell_apply(
        self,
        pipe: Any,
        fleets: Sequence[Fleet],
        before: Mapping[str, Index | None],
        applied: Mapping[str, Applied],
        author: Author,
    ) -> None:
        """Queue an event for each supervisor of which something changes."""
        for fleet in fleets:
            name = fleet.settings.name
            found = vars(applied[name]).items()
            said = {word: str(len(items)) for word, items in found if items and word != "unchanged"}
            if news := _news_of_settings(before[name], fleet.settings):
                said["settings"] = news
            if said:
                told = by_whom({"event": "operator.apply", **said}, author.by, author.reason)
                pipe.xadd(self.keys(name).events(SUPERVISOR), told, maxlen=key_names.EVENTS_CAP, approximate=True)

    def _relabel(self, pipe: Any, fleet: Fleet, before: Index | None) -> None:
        """Queue the end of all workers' series if they are to be labelled otherwise from now on: nobody shows them."""
        if before is None or before.damage or before.settings.worker_label == fleet.settings.worker_label:
            return
        keys = self.keys(fleet.settings.name)
        for place in before.places_used:
            if series := self._series(keys, place):
                pipe.hdel(keys.counters(place), *series)

    def _write_fleet(self, pipe: Any, fleet: Fleet, places: Mapping[str, Mapping[str, str]], now: float) -> Applied:
        """Queue the file layer of one supervisor."""
        name, applied = fleet.settings.name, Applied()
        keys, before = self.keys(name), places[name]
        pipe.sadd(key_names.supervisors(self.namespace), name)
        if fleet.settings.nodes:
            pipe.sadd(key_names.nodes(self.namespace), *fleet.settings.nodes)
        pipe.set(keys.settings, encode(msgspec.structs.replace(fleet.settings, applied_at=now)))
        self._write_workers(pipe, keys, fleet, before, now, applied)
        self._write_children(pipe, keys, fleet, before, applied)
        self._mark_removed(pipe, keys, fleet, before, applied)
        return applied

    def _wish(self, of: Sequence[Keys], write: Callable[[Any], T], of_whom: str = ANY) -> T:
        """Change what people wish `of` supervisors; `write` reads, begins to queue (`multi`) and queues its changes.

        `of_whom`: the id of the worker or child that the next tick has to look at for that.

        It is called again when what is wished for, or where, has changed since it read.
        """

        def transaction(pipe: Any) -> T:
            result = write(pipe)
            for keys in of:
                self.scripts.queue(pipe, "touch", [keys.revision, keys.wake(SUPERVISOR)], [of_whom])
            return result

        changed: T = self.client.transaction(transaction, *(keys.revision for keys in of), value_from_callable=True)
        return changed

    def touch(self, supervisor: str) -> None:
        """Give what people wish for a revision."""
        self.scripts.run("touch", [self.keys(supervisor).revision], [])

    def _write_workers(
        self, pipe: Any, keys: Keys, fleet: Fleet, before: Mapping[str, str], now: float, applied: Applied
    ) -> None:
        known = self._known(keys, before)
        for worker in fleet.workers:
            identity, old = known.get(worker.id, (None, None))
            if identity is not None and identity.type != worker.type:
                raise Refused(
                    f"worker {worker.id!r} is a {identity.type} and cannot become a {worker.type}; take it out of the "
                    "file, apply, wait until it is forgotten, then add it again"
                )
            place = worker.place
            if identity is None:
                identity = Identity(
                    id=worker.id, type=worker.type, supervisor=keys.supervisor, node=worker.node, created_at=now
                )
                pipe.set(keys.identity(place, worker.id), encode(identity), nx=True)
            else:
                place = before[worker.id]
            moves_to = "" if place == worker.place else worker.place
            desired = encode(msgspec.structs.replace(worker.desired, moves_to=moves_to))
            told = applied.moving if moves_to else applied.changed
            self._write_desired(pipe, keys, worker.id, place, desired, old, applied, told)

    def _known(self, keys: Keys, before: Mapping[str, str]) -> dict[str, tuple[Identity | None, str | None]]:
        """Return identity and stored file layer (text) of what the index holds."""
        known: dict[str, tuple[Identity | None, str | None]] = {}
        for item, place, texts in self.read_worker(keys.supervisor, list(before.items())):
            identity = texts["identity"]
            decoded = decode(identity, Identity, keys.identity(place, item)) if identity else None
            known[item] = (decoded, texts["desired"])
        return known

    def _write_desired(
        self,
        pipe: Any,
        keys: Keys,
        item: str,
        place: str,
        new: str,
        old: str | None,
        applied: Applied,
        changed: list[str],
    ) -> None:
        """Write one file layer if it differs, with a new generation; `changed` is where in `applied` that is told."""
        if new == old:
            applied.unchanged.append(item)
            return
        (applied.added if old is None else changed).append(item)
        pipe.hset(keys.index, item, place)
        pipe.set(keys.desired(place, item), new)
        pipe.hincrby(keys.generations, item, 1)

    def _write_children(self, pipe: Any, keys: Keys, fleet: Fleet, before: Mapping[str, str], applied: Applied) -> None:
        known = self._known(keys, {item: place for item, place in before.items() if item.startswith(CHILD_PREFIX)})
        for child in fleet.children:
            place = child.node or POOL
            if before.get(child.id, place) != place:
                raise Refused(
                    f"child {child.name!r} is on {before[child.id]} and cannot move to {place}; "
                    "take it out of the file, apply, then add it again"
                )
            _, old = known.get(child.id, (None, None))
            self._write_desired(pipe, keys, child.id, place, encode(child), old, applied, applied.changed)

    def _mark_removed(self, pipe: Any, keys: Keys, fleet: Fleet, before: Mapping[str, str], applied: Applied) -> None:
        """Workers that left the file are to be stopped; children that left are no longer watched, and left running."""
        kept = {worker.id for worker in fleet.workers} | {child.id for child in fleet.children}
        for item, place in before.items():
            if item in kept:
                continue
            applied.removed.append(item)
            if item.startswith(CHILD_PREFIX):
                self._forget_child(pipe, keys, item, place)
                continue
            desired = self.read(Desired, keys.desired(place, item))
            if desired is not None and not desired.removed:
                gone = msgspec.structs.replace(desired, removed=True, moves_to="")
                pipe.set(keys.desired(place, item), encode(gone))
                pipe.hincrby(keys.generations, item, 1)

    def set_override(
        self, supervisor: str, place: str, worker_id: str, state: DesiredState | None, by: str, reason: str = ""
    ) -> None:
        """Lay the operator's wish over the file's, or lift it (None); told as an event.

        Raises `Refused` when the worker is not at that place any more.
        """
        keys = self.keys(supervisor)
        document = None if state is None else encode(Override(state=state, by=by, at=self.now()))
        told = {"event": "operator.set", "worker_id": worker_id, "desired": state or "default"}
        key = keys.override(place, worker_id)
        self._say(keys, place, worker_id, key, lambda _: document, by_whom(told, by, reason))

    def set_control(
        self,
        supervisor: str,
        place: str,
        worker_id: str,
        paused: bool,
        by: str,
        reason: str = "",
        lasts: float = 0.0,
    ) -> None:
        """Pause a worker, for `lasts` seconds (0: until it is resumed), or resume it, which also forgives its failures.

        The generation moves, so that no claim which was decided before a pause is granted after it.
        """
        keys, now = self.keys(supervisor), self.now()
        key = keys.control(place, worker_id)
        said = {"paused": paused, "by": by, "at": now, "reason": reason, "resumed_at": 0.0 if paused else now}
        ends_at = now + lasts if lasts else 0.0

        def document(before: str | None) -> str:
            known = decode(before, Control, key) if before else Control()
            return encode(msgspec.structs.replace(known, **said, ends_at=ends_at))

        told = {"event": "operator.pause" if paused else "operator.resume", "worker_id": worker_id}
        self._say(keys, place, worker_id, key, document, by_whom(told, by, reason, lasts))

    def ask_for_restart(self, supervisor: str, place: str, item: str, by: str, reason: str = "") -> None:
        """Ask for a new life of a worker that runs, or of a child, by the next tick that may; told as an event."""
        keys, now = self.keys(supervisor), self.now()
        key = keys.control(place, item)
        words = f"{by}: {reason}" if reason else by

        def document(before: str | None) -> str:
            known = decode(before, Control, key) if before else Control()
            return encode(msgspec.structs.replace(known, restart_at=now, restart_by=words))

        told = {"event": "operator.restart", "worker_id": item}
        self._say(keys, place, item, key, document, by_whom(told, by, reason))

    def _say(
        self,
        keys: Keys,
        place: str,
        worker_id: str,
        key: str,
        document: Callable[[str | None], str | None],
        told: Mapping[str, str],
    ) -> None:
        """Write an operator's word with its event, if the worker still is at that place.

        `document` makes it of what is stored; None: it is taken back.
        """

        def write(pipe: Any) -> None:
            if pipe.hget(keys.index, worker_id) != place:
                raise Refused(f"worker {worker_id!r} has left {place} meanwhile: it was moved or forgotten; try again")
            text = document(pipe.get(key))
            pipe.multi()
            if text is None:
                pipe.delete(key)
            else:
                pipe.set(key, text)
            pipe.hincrby(keys.generations, worker_id, 1)
            # not where the worker is: its node must not be able to remove what operators did
            pipe.xadd(keys.events(SUPERVISOR), told, maxlen=key_names.EVENTS_CAP, approximate=True)

        self._wish([keys], write, worker_id)

    def force_circuit(self, supervisor: str, state: str, by: str, reason: str) -> None:
        """Force a circuit "open" or "closed", or reset it (""): then the checks count again, and attempts from 0."""
        keys = self.keys(supervisor)
        where = [keys.circuit, keys.events(SUPERVISOR), keys.revision, keys.wake(SUPERVISOR)]
        self.scripts.run("force", where, [state, by, reason])

    def leave(self, supervisor: str, place: str, worker_id: str, generation: int, tick_id: str = "") -> bool:
        """Let a worker leave its place: for where it moves to, else every trace of it but its events is removed.

        Return False, with nothing changed, when its desired has changed since `generation`, an action of it is in
        progress, or, on behalf of tick `tick_id`, the tick lease is not its own or a hold-off is on.
        """
        keys = self.keys(supervisor)
        identity = self.read(Identity, keys.identity(place, worker_id))
        desired = self.read(Desired, keys.desired(place, worker_id))
        to, there = "", ["", ""]
        if identity is not None and desired is not None and desired.moves_to:
            to = desired.moves_to
            identity = msgspec.structs.replace(identity, node=None if to == POOL else to)
            there = [encode(identity), encode(msgspec.structs.replace(desired, moves_to=""))]
        series = self._series(keys, place, worker_id)
        where = [keys.generations, keys.index, keys.revision, keys.tick, keys.events(to or place)]
        where += _leaving(keys, place, worker_id) + (_leaving(keys, to, worker_id) if to else [])
        arguments: list[str | int] = [worker_id, generation, tick_id, place, to, *there, *series]
        return bool(self.scripts.run("leave", where, arguments) == 1)

    def _forget_child(self, pipe: Any, keys: Keys, item: str, place: str) -> None:
        """Queue the end of a child, with its series."""
        series = self._series(keys, place, item)
        if series:
            pipe.hdel(keys.counters(place), *series)
        pipe.delete(*(getattr(keys, kind)(place, item) for kind in WORKER_KINDS))
        pipe.hdel(keys.index, item)
        pipe.hdel(keys.generations, item)

    def _series(self, keys: Keys, place: str, item: str = "") -> list[str]:
        """Return the fields of a place's counters that are of one worker or child, or of any."""
        return [name for name in self.client.hkeys(keys.counters(place)) if is_of_worker(name, item)]

    # -- nodes and their collectors -----------------------------------------------------------------------------------

    def know_node(self, node: str) -> None:
        """Remember that a node exists, whatever fleets name it."""
        nodes = key_names.nodes(self.namespace)
        if self._introduces and not self.client.sismember(nodes, node):  # a full Redis refuses what is there, too
            try:
                self.client.sadd(nodes, node)
            except redis.exceptions.NoPermissionError:  # with users of their own, nodes are introduced by the tick
                self._introduces = False

    def know_nodes(self, nodes: Sequence[str]) -> None:
        """Remember nodes that have sent a heartbeat, on behalf of those that may not do so themselves."""
        key = key_names.nodes(self.namespace)
        known = self.client.smismember(key, nodes) if nodes else []
        if unknown := [node for node, is_known in zip(nodes, known, strict=True) if not is_known]:
            self.client.sadd(key, *unknown)

    def known_nodes(self) -> set[str]:
        """Return the nodes that have ever sent a heartbeat."""
        return set(self.client.smembers(key_names.nodes(self.namespace)))

    def heartbeat(self, supervisor: str, node: NodeDocument) -> None:
        """Write a node's heartbeat. Raises `Refused` when another host has the name."""
        keys = self.keys(supervisor)
        holder = self.scripts.run("node", [keys.node(node.node)], [encode(node), NODE_AWAY_AFTER])
        if holder != "ok":
            raise Refused(
                f"node name {node.node!r} belongs to host {holder}, whose executor lives; this is {node.host}. "
                f"Give this node another name, or stop the other one and wait {NODE_AWAY_AFTER:g}s"
            )

    def save_observations(
        self,
        supervisor: str,
        place: str,
        observed: Mapping[str, Observed | ChildObserved],
        collector: CollectorDocument,
        news: Collection[str] = (),
        rejected: Mapping[str, Rejected] = MappingProxyType({}),
    ) -> bool:
        """Write what a node's collector saw of a place, with its heartbeat; `news` are the ids that a tick should see.

        `rejected` are readings that were not believed, by id; what is observed then says so. Return whether Redis is
        full: it was written all the same, and the place's history has given way.
        """
        keys = self.keys(supervisor)
        where = [keys.index, keys.collector(collector.node), keys.wake(place), keys.counters(place)]
        where += [keys.rejected(place), keys.events(place), *(keys.observed(place, item) for item in observed)]
        texts: list[str | float] = []
        for item, document in observed.items():
            aside = rejected.get(item)
            texts += [item, document.collected_at, encode(document), int(item in news)]
            texts += [aside.reason, aside.text] if aside else ["", ""]
        arguments = [encode(collector), place, CLOCK_STEP, *texts]
        _, full = self.scripts.run("observe", where, arguments)
        return bool(full)

    def wait_for_ask(self, places: Sequence[tuple[str, str]], timeout: float) -> tuple[str, str] | None:
        """Wait until an observation is asked for at one of the (supervisor, place) pairs; return (supervisor, id).

        `timeout` in seconds, at least 0.1 and shorter than the socket's.
        """
        names = {self.keys(supervisor).asks(place): supervisor for supervisor, place in places}
        if not names:
            return None
        found = self.client.blpop(list(names), timeout=timeout)
        return None if found is None else (names[found[0]], found[1])

    def queue_lengths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many messages wait in Celery's queues, by name; what executors have fetched is not there."""
        pipe = self.client.pipeline(transaction=False)
        for queue in queues:
            pipe.llen(key_names.celery_prefix(self.namespace) + queue)
        return dict(zip(queues, pipe.execute(), strict=True))

    # -- history ------------------------------------------------------------------------------------------------------

    def events(
        self, supervisor: str, places: Iterable[str], most: int, after: str = "-"
    ) -> list[tuple[str, dict[str, str]]]:
        """Return the newest `most` events of all places after an id, oldest first, as (stream id, fields)."""
        keys = self.keys(supervisor)
        least = after if after == "-" else f"({after}"
        found: list[tuple[str, dict[str, str]]] = []
        for place in (SUPERVISOR, *places):
            entries = self.client.xrevrange(keys.events(place), max="+", min=least, count=most)
            found += [(entry, {"event": "unknown", **_told(fields)}) for entry, fields in entries]
        return sorted(found, key=lambda entry: event_order(entry[0]))[-most:]

    def history(self, supervisor: str, place: str, worker_id: str) -> Iterable[tuple[str, str]]:
        """Yield the decisions kept of a worker at a place, the newest first, as (stream id, frame)."""
        key, last = self.keys(supervisor).history(place), "+"
        while found := self.client.xrevrange(key, max=last, min="-", count=_HISTORY_PAGE):
            mine = ((entry, fields) for entry, fields in found if fields.get("worker_id") == worker_id)
            yield from ((entry, fields.get("frame", "")) for entry, fields in mine)
            last = f"({found[-1][0]}"

    def _heartbeat(self, text: str | None, kind: type[D], key: str) -> D | None:
        """Decode a heartbeat. One that cannot be read, as of another version, is told, and the node counts as away."""
        found, error = None, ""
        try:
            found = None if text is None else decode(text, kind, key)
        except BadDocument as bad:
            error = str(bad)
        self._troubles.is_now("store.bad_document", key, "unreadable" if error else "", key=key, error=error)
        return found

    def counters(
        self, supervisor: str, places: Iterable[str], whose: Mapping[str, str] | None = None
    ) -> dict[str, float]:
        """Return the counters of all places, added up by field: a worker's go where it goes, and are met once.

        With `whose`, the place of each worker and child, what a place has not to count is left out.
        """
        keys, total = self.keys(supervisor), dict[str, float]()
        everywhere = (SUPERVISOR, *places)
        where = [keys.counters(place) for place in everywhere]
        found = self._read_unmoved(keys, where) or self.scripts.run("read", where, [0])
        for place, counted in zip(everywhere, found, strict=True):
            for name, value in _pairs(counted):
                if whose is None or is_counted_by(name, place, whose):
                    total[name] = total.get(name, 0.0) + float(value)
        return total

    def _read_unmoved(self, keys: Keys, where: Sequence[str]) -> list[list[str]] | None:
        """Return what the hashes hold, read while no worker has moved; None when one has each time.

        A script would read them at one moment, but take ten times as long, in which Redis does nothing else.
        """
        for _ in range(_READS):
            before = self.client.get(keys.revision)
            pipe = self.client.pipeline(transaction=False)
            for key in where:
                pipe.hgetall(key)
            pipe.get(keys.revision)
            *found, after = pipe.execute()
            if before == after:
                return [[part for pair in counted.items() for part in pair] for counted in found]
        return None


def _told(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what an event tells but for what readers add to it: a node could write that as well."""
    return {name: value for name, value in fields.items() if name not in {"id", "time", "supervisor"}}


def _news_of_settings(before: Index | None, after: SupervisorSettings) -> str:
    """Return "new", "changed", or "replaced" of what could not be read; "" where only the file's place differs."""
    if before is None or before.damage:
        return "replaced" if before is not None else "new"
    noted = msgspec.structs.replace(before.settings, source=after.source, applied_at=after.applied_at)
    return "" if noted == after else "changed"


def by_whom(told: Mapping[str, str], by: str, reason: str = "", lasts: float = 0.0) -> dict[str, str]:
    """Return what is told of an operator's act: by whom, why, and for how long (s), as far as that was said."""
    said = {"by": by, "reason": reason, "seconds": f"{lasts:g}" if lasts else ""}
    return {**told, **{name: value for name, value in said.items() if value}}


def _leaving(keys: Keys, place: str, worker_id: str) -> list[str]:
    """Return the keys of a place that a worker takes along or leaves behind, as leave.lua takes them."""
    return [keys.counters(place), *(getattr(keys, kind)(place, worker_id) for kind in WORKER_KINDS)]


def _pairs(flat: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Return the fields of a hash, as a script returns it, with their values."""
    return zip(flat[::2], flat[1::2], strict=True)


def event_order(entry_id: str) -> tuple[int, int]:
    """Return a stream id as numbers, by which events of several streams are sorted."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _stay_where_they_are(fleets: Sequence[Fleet], places: Mapping[str, Mapping[str, str]]) -> None:
    """See that no worker changes its supervisor: two would act for it. Raises `Refused`."""
    for fleet in fleets:
        for other in places.keys() - {fleet.settings.name}:
            for worker in fleet.workers:
                if worker.id in places[other] and worker.id not in places[fleet.settings.name]:
                    raise Refused(
                        f"worker {worker.id!r} is {other}'s and cannot become {fleet.settings.name}'s; take it out of "
                        "the file, apply, wait until it is forgotten, then add it again"
                    )
