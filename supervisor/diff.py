"""What an apply would change, key by key: old and new documents in, differences out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from supervisor.fleet import Fleet
from supervisor.keys import CHILD_PREFIX
from supervisor.logs import is_kept_back, redact
from supervisor.model import ChildSpec, SupervisorSettings
from supervisor.store import Applied
from workers.model import Desired

_NOT_WISHES = frozenset({"schema", "name", "source", "applied_at", "config_id", "moves_to", "removed"})


class Stored(msgspec.Struct, frozen=True):
    """What a supervisor has now: its settings (None: it is new), and the place and file layer of each id.

    A layer that cannot be read is not there. `damage`: what is wrong with settings that cannot be read.
    """

    settings: SupervisorSettings | None
    layers: Mapping[str, Desired | ChildSpec]
    places: Mapping[str, str]
    damage: str = ""

    def is_leaving(self, item: str) -> bool:
        """Tell whether a worker has left the file before, and is about to be stopped and forgotten."""
        layer = self.layers.get(item)
        return isinstance(layer, Desired) and layer.removed


class Change(msgspec.Struct, frozen=True):
    """One key whose value differs; None is "not there". What is called a secret is not shown."""

    key: str
    old: Any
    new: Any


_REPLACED = Change("(all)", "cannot be read", "as the file says")


class Changed(msgspec.Struct, frozen=True):
    """A worker, or `child/NAME`, that is there before and after. `to` is the place where it goes, "" if it stays."""

    id: str
    place: str
    changes: tuple[Change, ...]
    to: str = ""


class Difference(msgspec.Struct, frozen=True):
    """What an apply would change of one supervisor. `added` and `removed` are (id, place); `damage` as of `Stored`."""

    supervisor: str
    is_new: bool
    settings: tuple[Change, ...]
    added: tuple[tuple[str, str], ...]
    changed: tuple[Changed, ...]
    moving: tuple[Changed, ...]
    removed: tuple[tuple[str, str], ...]
    unchanged: int
    damage: str = ""

    @property
    def differs(self) -> bool:
        """Tell whether anything would change."""
        return bool(self.is_new or self.settings or self.added or self.changed or self.moving or self.removed)


def difference(fleet: Fleet, applied: Applied, stored: Stored) -> Difference:
    """Return what `applied`, which an apply of the fleet would say, means key by key."""
    new: dict[str, Desired | ChildSpec] = {worker.id: worker.desired for worker in fleet.workers}
    new |= {child.id: child for child in fleet.children}
    places = {worker.id: worker.place for worker in fleet.workers}

    def changed(item: str, to: str = "") -> Changed:
        return Changed(item, stored.places[item], _of_layers(stored.layers.get(item), new[item]), to)

    return Difference(
        supervisor=fleet.settings.name,
        is_new=stored.settings is None,
        settings=(_REPLACED,) if stored.damage else _of_settings(stored.settings, fleet.settings),
        added=tuple((item, places.get(item, _node_of(new[item]))) for item in sorted(applied.added)),
        changed=tuple(changed(item) for item in sorted(applied.changed)),
        moving=tuple(changed(item, places[item]) for item in sorted(applied.moving)),
        removed=tuple((item, stored.places[item]) for item in sorted(applied.removed) if not stored.is_leaving(item)),
        unchanged=len(applied.unchanged),
        damage=stored.damage,
    )


def _node_of(layer: Desired | ChildSpec) -> str:
    return layer.node if isinstance(layer, ChildSpec) else ""


def _of_settings(old: SupervisorSettings | None, new: SupervisorSettings) -> tuple[Change, ...]:
    return () if old is None else tuple(_changes(_plain(old), _plain(new)))


def _of_layers(old: Desired | ChildSpec | None, new: Desired | ChildSpec) -> tuple[Change, ...]:
    """Return the keys that differ; a worker that had left the file and comes back says so."""
    if old is None:
        return (_REPLACED,)
    comes_back = isinstance(old, Desired) and old.removed
    returns = [Change("removed", old=True, new=False)] if comes_back else []
    return (*returns, *_changes(_plain(old), _plain(new)))


def _plain(document: SupervisorSettings | Desired | ChildSpec) -> dict[str, Any]:
    """Return what a person wishes of a document, without what is derived or noted beside it."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document, enc_hook=float))
    return {key: value for key, value in plain.items() if key not in _NOT_WISHES}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], inside: str = "") -> list[Change]:
    """Return the keys, in order, whose values differ; tables are gone into, but those of secrets."""
    found: list[Change] = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping) and not is_kept_back(key):
            found += _changes(before, after, f"{inside}{key}.")
        else:
            found.append(Change(inside + key, redact({key: before})[key], redact({key: after})[key]))
    return found


def whose(item: str) -> str:
    """Return an id with its kind: `worker/ID` or `child/NAME`."""
    return item if item.startswith(CHILD_PREFIX) else f"worker/{item}"
