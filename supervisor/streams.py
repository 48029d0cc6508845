"""Reads the event streams of supervisors: back from the newest, and on as events come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.keys import SUPERVISOR
from supervisor.store import Store, event_order

Event = dict[str, Any]
_PAGE = 1_000  # events per round trip
_ADDED = ("id", "time", "supervisor", "place")  # to what was told: a node could tell these as well


@dataclass(frozen=True)
class Stream:
    """Where events of one place are told."""

    supervisor: str
    place: str


@dataclass(frozen=True)
class Streams:
    """Some event streams of a store."""

    store: Store
    of: tuple[Stream, ...]

    @classmethod
    def all_of(cls, store: Store, places: Mapping[str, Iterable[str]]) -> Streams:
        """Return the streams of supervisors: their own, and those of the given places, by supervisor."""
        found = [Stream(name, place) for name, used in places.items() for place in (SUPERVISOR, *used)]
        return cls(store, tuple(found))

    def key(self, stream: Stream) -> str:
        """Return where a stream is stored."""
        return self.store.keys(stream.supervisor).events(stream.place)

    def ends(self) -> dict[str, str]:
        """Return the id of each stream's newest event by key; "0-0" for an empty one."""
        pipe = self.store.client.pipeline(transaction=False)
        for stream in self.of:
            pipe.xrevrange(self.key(stream), count=1)
        newest = pipe.execute()
        return {
            self.key(stream): found[0][0] if found else "0-0" for stream, found in zip(self.of, newest, strict=True)
        }

    def newest(
        self, most: int, wanted: Callable[[Event], bool], since: float = 0.0, until: Mapping[str, str] | None = None
    ) -> list[Event]:
        """Return the newest `most` events that are wanted, oldest first, none of before `since` (epoch seconds).

        `until` holds, by key, the last event of each stream that counts.
        """
        found: list[Event] = []
        for stream in self.of:
            found += self._newest_of(stream, most, wanted, since, (until or {}).get(self.key(stream), "+"))
        return sorted(found, key=lambda event: event_order(event["id"]))[-most:]

    def _newest_of(
        self, stream: Stream, most: int, wanted: Callable[[Event], bool], since: float, until: str
    ) -> list[Event]:
        found: list[Event] = []
        newest, least = until, str(max(0, int(since * 1000)))
        while len(found) < most:
            page = self.store.client.xrevrange(self.key(stream), max=newest, min=least, count=_PAGE)
            events = [_event(stream, entry_id, fields) for entry_id, fields in page]
            found += [event for event in events if event["time"] >= since and wanted(event)]
            if len(page) < _PAGE:
                break
            newest = f"({page[-1][0]}"
        return found[:most]

    def more(self, after: dict[str, str], seconds: float) -> list[Event]:
        """Wait for events after those ids, by key; return what has come, oldest first, and move `after` on.

        `seconds`: how long at most, below the socket's timeout. A stream that `after` does not have is read whole.
        """
        named = {self.key(stream): stream for stream in self.of}
        where = {key: after.setdefault(key, "0-0") for key in named}
        answer = self.store.client.xread(where, count=_PAGE, block=max(1, int(seconds * 1000)))
        found: list[Event] = []
        for key, entries in answer.items() if isinstance(answer, dict) else answer:
            found += [_event(named[key], entry_id, fields) for entry_id, fields in entries]
            after[key] = entries[-1][0]
        return sorted(found, key=lambda event: event_order(event["id"]))


def _event(stream: Stream, entry_id: str, fields: Mapping[str, str]) -> Event:
    where = {"supervisor": stream.supervisor, "place": stream.place}
    told = {name: value for name, value in fields.items() if name not in _ADDED}
    told.setdefault("event", "unknown")
    return {"id": entry_id, "time": event_order(entry_id)[0] / 1000, **where, **told}
