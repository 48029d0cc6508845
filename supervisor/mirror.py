"""The mirror on disk of what people wish for: the fleet as it was applied, and operators' overrides.

Every host that ticks keeps one file per supervisor. When Redis comes back empty, or older than the file, the next tick
brings the wishes back from it; what was observed, and who holds which lease, comes back from those who know it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from supervisor import keys as key_names
from supervisor.circuit import Forced
from supervisor.errors import BadDocument
from supervisor.keys import SUPERVISOR
from supervisor.logs import Troubles, logger
from supervisor.model import HOLD_OFF
from supervisor.orders import Order
from supervisor.store import WORKER_KINDS, Index, Store, decode, encode
from workers.model import Document

log = logger("supervisor.mirror")
KINDS = ("identity", "desired", "override", "control")  # what people wish for, and what it is wished of
_CHUNK = 500  # items per MGET


class Wishes(Document, frozen=True, kw_only=True):
    """What a mirror file holds: a revision, and the stored texts as they are. `texts`: id → kind → document."""

    supervisor: str
    revision: int
    settings: str
    places: dict[str, str]
    generations: dict[str, int]
    texts: dict[str, dict[str, str]]
    forced: Forced | None = None
    orders: dict[str, Order] = {}


class Mirror:
    """The mirror files of one host and installation. A file that fails costs nothing but itself: told once."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        """Keep the files in `data_dir`/mirror/NAMESPACE."""
        self._store = store
        self._folder = data_dir / "mirror" / store.namespace
        self._known: dict[str, tuple[tuple[int, int], int]] = {}
        self._troubles = Troubles(log)

    def _file(self, supervisor: str) -> Path:
        return self._folder / f"{supervisor}.json"

    def names(self) -> list[str]:
        """Return the supervisors that have a file."""
        try:
            return sorted(entry.name[:-5] for entry in os.scandir(self._folder) if entry.name.endswith(".json"))
        except OSError:
            return []

    def revision(self, supervisor: str) -> int:
        """Return the revision that the file holds; 0 when there is none, or it cannot be read."""
        try:
            found = self._file(supervisor).stat()
        except OSError:
            return 0
        stamp = (found.st_mtime_ns, found.st_ino)
        if self._known.get(supervisor, ((0, 0), 0))[0] != stamp:
            wishes = self._load(supervisor)
            self._known[supervisor] = (stamp, wishes.revision if wishes is not None else 0)
        return self._known[supervisor][1]

    def _load(self, supervisor: str) -> Wishes | None:
        file = self._file(supervisor)
        try:
            wishes = decode(file.read_text(), Wishes, str(file))
        except (OSError, ValueError, BadDocument) as error:
            reason = type(error).__name__
            self._troubles.is_now("mirror.bad_file", supervisor, reason, supervisor=supervisor, error=str(error))
            return None
        self._troubles.is_now("mirror.bad_file", supervisor, "")
        return wishes

    # -- from the file to the store -----------------------------------------------------------------------------------

    def restore(self, supervisor: str, index: Index | None) -> bool:
        """Bring the wishes back if the store, seen as `index`, holds older ones or none; tell whether that was done."""
        seen = index.revision if index is not None else 0
        if self.revision(supervisor) <= seen:
            return False
        wishes = self._load(supervisor)
        if wishes is None or not self._write_back(wishes, index, seen):
            return False
        fields = {"supervisor": supervisor, "revision": wishes.revision, "was": seen, "items": len(wishes.places)}
        log.tell("store.restored", **fields)
        return True

    def restore_all(self) -> None:
        """Restore every supervisor that has a file, where the store holds less than it."""
        for supervisor in self.names():
            self.restore(supervisor, self._store.index(supervisor, even_damaged=True))

    def _write_back(self, wishes: Wishes, index: Index | None, seen: int) -> bool:
        keys = self._store.keys(wishes.supervisor)
        where = [key_names.supervisors(self._store.namespace), keys.settings, keys.index, keys.generations]
        where += [keys.revision, keys.tick, keys.counters(SUPERVISOR), keys.events(SUPERVISOR), keys.wake(SUPERVISOR)]
        where += [keys.circuit, keys.orders]
        documents: dict[str, str] = {}
        for item, place in (index.places if index is not None else {}).items():
            if wishes.places.get(item) != place:  # it was forgotten, or moved, after what the store knows
                documents |= {getattr(keys, kind)(place, item): "" for kind in WORKER_KINDS}
        for item, place in wishes.places.items():
            texts = wishes.texts.get(item, {})
            documents |= {getattr(keys, kind)(place, item): texts.get(kind, "") for kind in KINDS}
        plain = {"revision": str(wishes.revision), "settings": wishes.settings}
        told: dict[str, object] = {**plain, "places": wishes.places, "generations": wishes.generations}
        told["orders"] = {name: encode(order) for name, order in wishes.orders.items()}
        if wishes.forced is not None:
            told["forced"] = msgspec.to_builtins(wishes.forced)
        plan = msgspec.json.encode(told).decode()
        arguments: list[str | float] = [wishes.supervisor, seen, HOLD_OFF, plan, *documents.values()]
        answer = self._store.scripts.run("restore", [*where, *documents], arguments)
        return bool(answer == 1)

    # -- from the store to the file -----------------------------------------------------------------------------------

    def keep(self, supervisor: str, index: Index) -> None:
        """Write the file if the store, seen as `index`, has moved on since; never something older over it."""
        if index.revision == 0:
            self._store.touch(supervisor)  # stored before there were revisions
            return
        if index.revision <= self.revision(supervisor):
            return
        wishes = self._read(supervisor, index)
        if wishes is None:
            return
        try:
            self._write(wishes)
        except OSError as error:
            reason = type(error).__name__
            self._troubles.is_now("mirror.not_written", supervisor, reason, supervisor=supervisor, error=str(error))
            return
        self._troubles.is_now("mirror.not_written", supervisor, "")

    def _read(self, supervisor: str, index: Index) -> Wishes | None:
        """Return what is wished for at the revision of `index`, or None when it moves on: the next tick's turn."""
        client, keys = self._store.client, self._store.keys(supervisor)
        items = list(index.places.items())
        found: dict[str, dict[str, str]] = {}
        for first in range(0, len(items), _CHUNK):
            chunk = items[first : first + _CHUNK]
            texts = iter(client.mget([getattr(keys, kind)(place, item) for item, place in chunk for kind in KINDS]))
            for item, _ in chunk:
                kinds = {kind: next(texts) for kind in KINDS}
                found[item] = {kind: text for kind, text in kinds.items() if text is not None}
        forced = self._store.breaker(supervisor).forced
        if int(client.get(keys.revision) or 0) != index.revision:
            return None
        return Wishes(
            supervisor=supervisor,
            revision=index.revision,
            settings=encode(index.settings),
            places=dict(index.places),
            generations=dict(index.generations),
            texts=found,
            forced=forced,
            orders=dict(index.orders),
        )

    def _write(self, wishes: Wishes) -> None:
        """Replace the file, whole and on disk. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked() as mine:
            if not mine or wishes.revision <= self.revision(wishes.supervisor):
                return
            file = self._file(wishes.supervisor)
            fresh = file.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
                output.write(encode(wishes))
                output.flush()
                os.fsync(output.fileno())
            fresh.replace(file)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Keep other processes of this host from writing; yields False when one of them does."""
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
