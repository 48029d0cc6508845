"""What a node has to observe: what is placed on it, and the floating workers that it wins, of every supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from supervisor.errors import BadDocument
from supervisor.keys import POOL, Keys
from supervisor.model import ChildObserved, ChildSpec
from supervisor.rendezvous import observers, winner
from supervisor.runtime import Runtime
from supervisor.store import Index, decode
from supervisor.targets import target_of
from workers.model import Desired, Identity, Observed
from workers.target import Target, WorkerType

Seen = Observed | ChildObserved

_READ_ANEW = 30.0  # seconds after which all is read again although no revision has changed


@dataclass
class Placed:
    """A worker or child with its place and its documents as they were read; they are decoded at its first look."""

    place: str
    texts: Mapping[str, str | None]
    _child: ChildSpec | None = None
    _worker: tuple[WorkerType, Target] | None = None

    def child(self, keys: Keys, item: str) -> ChildSpec:
        """Return what is wished for a child. Raises `BadDocument`."""
        if self._child is None:
            self._child = decode(self._desired, ChildSpec, keys.desired(self.place, item))
        return self._child

    def worker(self, runtime: Runtime, supervisor: str, item: str) -> tuple[WorkerType, Target]:
        """Return a worker's type and what is looked at. Raises `BadDocument`."""
        if self._worker is None:
            keys = runtime.store.keys(supervisor)
            identity = decode(self.texts["identity"] or "null", Identity, keys.identity(self.place, item))
            wanted = decode(self._desired, Desired, keys.desired(self.place, item))
            self._worker = target_of(runtime, identity, wanted)
        return self._worker

    @property
    def _desired(self) -> str:
        return self.texts["desired"] or "null"


@dataclass
class Watched:
    """One supervisor as this node sees it: what it has to observe, and what was seen last."""

    index: Index
    items: dict[str, Placed]
    seen: dict[str, Seen] = field(default_factory=dict)
    matters: dict[str, object] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)


class Placement:
    """What there is to observe on one node, by supervisor, as it was read last."""

    def __init__(self, runtime: Runtime, node: str) -> None:
        """Have read nothing yet."""
        self._runtime = runtime
        self._node = node
        self._read_again: dict[str, float] = {}
        self.watched: dict[str, Watched] = {}

    def read(self, now: float) -> None:
        """Read what is to be observed here, at Redis' time `now`. Redis' errors pass through and change nothing."""
        store = self._runtime.store
        found: dict[str, Watched] = {}
        for supervisor in store.supervisors():
            try:
                index, bad = store.index(supervisor), ""
            except BadDocument as error:
                bad = str(error)
                index = self.watched[supervisor].index if supervisor in self.watched else None
            self._runtime.troubles.is_now(
                "collector.bad_document", supervisor, "unreadable" if bad else "", supervisor=supervisor, error=bad
            )
            if index is None:
                continue
            before = self.watched.get(supervisor)
            items = self._items(supervisor, index, before, now)
            seen = before.seen if before else {}
            due = {item: before.due.get(item, 0.0) if before else 0.0 for item in items}
            matters = before.matters if before else {}
            found[supervisor] = Watched(
                index,
                items,
                {item: seen[item] for item in items if item in seen},
                {item: matters[item] for item in items if item in matters},
                due,
            )
        self.watched = found

    def _items(self, supervisor: str, index: Index, before: Watched | None, now: float) -> dict[str, Placed]:
        """Return what is to be observed here, read anew when a revision, or who takes floating work, may differ."""
        monotonic = self._runtime.clock.monotonic()
        if (
            before is not None
            and before.index is index
            and not self.floats_here(index)
            and monotonic < self._read_again[supervisor]
        ):
            return before.items
        mine = self._runtime.store.read_worker(supervisor, self._mine(supervisor, index, now))
        self._read_again[supervisor] = monotonic + _READ_ANEW
        return {item: Placed(place, texts) for item, place, texts in mine}

    def _mine(self, supervisor: str, index: Index, now: float) -> list[tuple[str, str]]:
        """Return (id, place) of what is placed here, and of the floating workers that this node wins."""
        mine = [(item, place) for item, place in index.places.items() if place == self._node]
        if self.floats_here(index):
            store = self._runtime.store
            members = set(index.settings.pool) or store.known_nodes()
            nodes = observers(store.nodes(supervisor, members | {self._node}), now)
            floating = [item for item, place in index.workers if place == POOL]
            mine += [(item, POOL) for item in floating if winner(nodes, item) == self._node]
        return mine

    def floats_here(self, index: Index) -> bool:
        """Tell whether there are floating workers that this node may observe."""
        return index.floats and index.settings.in_pool(self._node)
