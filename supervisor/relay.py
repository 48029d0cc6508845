"""Carries what supervised processes print from their nodes to who follows it, through Redis.

A follower pushes its wish to the node's list every two seconds, with the position that it has reached; the node's
collector answers with pieces, each with the positions before and behind it, in a stream of that follower's own. Lists
and streams are short and expire, and a collector reads no further ahead of its follower than the stream is long. So
nobody who goes away costs anything, and a collector or connection that is replaced goes on where the last one was.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from supervisor.clock import Clock
from supervisor.connection import STORE_ERRORS
from supervisor.outputs import Output, Position
from supervisor.store import Store
from supervisor.targets import folder_of

RENEW_EVERY = 2.0  # seconds between two wishes of one follower
_EXPIRES = 10  # seconds after its last wish that a follower is forgotten
_WISHES = 100  # wishes kept per node
_PIECES = 64  # pieces kept per follower
_AHEAD = 32  # pieces that a follower has not taken yet at which its collector waits
_PIECE = 32_768  # bytes
_PIECES_A_TURN = 4
_FOLLOWERS = 16  # per node; each costs two files and 1 MB of Redis at most
_TURN = 0.1  # seconds between two looks at what is followed
_IDLE = 0.5  # seconds of one wait for a wish while nobody follows; below an impatient connection's timeout
_AWAY = 0.5  # seconds before the next try when Redis does not answer


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower asks for: to go on at a position (inode and offset, as text), or "" and the last `lines`."""

    follower: str
    place: str
    item: str
    lines: int
    go_on: bool
    at: str = ""


@dataclass(frozen=True)
class Told:
    """What a collector answers: text, perhaps after a gap; that it lives (empty); or why this is the end."""

    text: str = ""
    gap: bool = False
    end: str | None = None


@dataclass
class Follower:
    """The asking side. `node` is where the output is."""

    store: Store
    supervisor: str
    node: str
    place: str
    item: str
    lines: int
    go_on: bool
    _id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _last: str = "0-0"
    _at: str = ""

    def ask(self) -> None:
        """Say, again, what is wanted. Redis' errors pass through."""
        keys = self.store.keys(self.supervisor)
        wish = Wish(
            follower=self._id,
            place=self.place,
            item=self.item,
            lines=self.lines,
            go_on=self.go_on,
            at=self._at,
        )
        pipe = self.store.client.pipeline()
        pipe.rpush(keys.follows(self.node), msgspec.json.encode(wish).decode())
        pipe.ltrim(keys.follows(self.node), -_WISHES, -1)
        pipe.expire(keys.follows(self.node), _EXPIRES)
        pipe.execute()

    def hear(self, seconds: float) -> list[Told]:
        """Wait for answers, `seconds` at most. What came twice is left out; after a loss all is asked for anew."""
        key = self.store.keys(self.supervisor).output(self.node, self._id)
        answer = self.store.client.xread({key: self._last}, block=max(1, int(seconds * 1000)))
        entries = [entry for _, found in (answer.items() if isinstance(answer, dict) else answer) for entry in found]
        told: list[Told] = []
        for entry_id, fields in entries:
            self._last = entry_id
            if "text" not in fields:
                told.append(Told(end=fields.get("end")))
            elif fields["from"] == self._at:
                told.append(Told(fields["text"], bool(fields["gap"])))
                self._at = fields["to"]
            else:  # one was lost or came twice, as when a connection breaks
                self._start_anew()
                break
        if entries:
            self.store.client.xdel(key, *(entry_id for entry_id, _ in entries))
        return told

    def _start_anew(self) -> None:
        """Follow under another name, from where we are."""
        self._id, self._last = uuid.uuid4().hex, "0-0"
        self.ask()

    def leave(self) -> None:
        """Leave nothing behind."""
        self.store.client.delete(self.store.keys(self.supervisor).output(self.node, self._id))


@dataclass
class _Served:
    """One follower as its collector knows it; `until` in monotonic seconds."""

    wish: Wish
    key: str
    folder: Path
    until: float
    output: Output
    at: str
    is_open: bool = False
    ahead: int = 0


class Relay:
    """The answering side: of one node, for all supervisors. `supervisors` returns their names as they are now."""

    def __init__(
        self, store: Store, data_dir: Path, node: str, supervisors: Callable[[], Iterable[str]], clock: Clock
    ) -> None:
        """Answer from the folders in `data_dir`, over a store of its own: it waits in one call most of the time."""
        self._store = store
        self._data_dir = data_dir
        self._node = node
        self._supervisors = supervisors
        self._clock = clock
        self._served: dict[str, _Served] = {}

    def run(self, stop: threading.Event) -> None:
        """Answer until told to stop. While Redis is away followers are forgotten: they ask again when it is back."""
        while not stop.is_set():
            try:
                self.turn()
            except STORE_ERRORS:  # the collector's own loop says so
                self._forget_all()
                stop.wait(_AWAY)

    def turn(self) -> None:
        """Take one wish, if there is one soon, and send what is new. Redis' errors pass through."""
        names = {self._store.keys(name).follows(self._node): name for name in self._supervisors()}
        if not names:
            self._clock.sleep(_IDLE)
            return
        found = self._store.client.blpop(list(names), timeout=_TURN if self._served else _IDLE)
        if found is not None:
            self._take(names[found[0]], found[1])
        for served in list(self._served.values()):
            self._serve(served)

    def _take(self, supervisor: str, text: str) -> None:
        """Begin to serve a wish, or go on for a follower who is known."""
        try:
            wish = msgspec.json.decode(text, type=Wish)
        except (
            msgspec.ValidationError,
            msgspec.DecodeError,
        ):  # of another version; its follower says that none answers
            return
        key = self._store.keys(supervisor).output(self._node, wish.follower)
        known = self._served.get(wish.follower)
        why_not = self._why_not(supervisor, wish, known)
        if why_not is not None:
            self._send(key, {"end": why_not})
            self._forget(wish.follower)
            return
        if known is None:
            folder = folder_of(self._data_dir, supervisor, wish.place, wish.item)
            known = self._served[wish.follower] = _Served(wish, key, folder, 0.0, Output(folder), wish.at)
        known.until = self._clock.monotonic() + _EXPIRES
        known.ahead = self._send(key, {"alive": "1"})

    def _why_not(self, supervisor: str, wish: Wish, known: _Served | None) -> str | None:
        """Return why a wish is not granted. What is not in the index is no file of ours to show."""
        place = self._store.client.hget(self._store.keys(supervisor).index, wish.item)
        if place != wish.place:
            return f"{wish.item} has left {wish.place}" + (f" for {place}" if place else ": it was forgotten")
        if known is None and len(self._served) >= _FOLLOWERS:
            return f"{_FOLLOWERS} others follow output of node {self._node} already; try again later"
        return None

    def _serve(self, served: _Served) -> None:
        """Send what is new of one output, as far as its follower has taken what was sent before."""
        if self._clock.monotonic() >= served.until:
            self._forget(served.wish.follower)
            return
        try:
            end = self._pieces(served)
        except OSError as error:
            end = f"the output of {served.wish.item} cannot be read on node {self._node}: {error}"
        if end is not None:
            self._send(served.key, {"end": end})
            self._forget(served.wish.follower)

    def _pieces(self, served: _Served) -> str | None:
        """Send some pieces; return why there is no more to come, "" when all was sent that was asked for."""
        if not served.is_open:
            served.is_open = _open(served)
            if not served.is_open:
                return None if served.wish.go_on else f"{served.wish.item} has printed nothing yet"
        for _ in range(_PIECES_A_TURN):
            if served.ahead >= _AHEAD:
                served.ahead = int(self._store.client.xlen(served.key))
                return None
            piece = served.output.read(_PIECE)
            if piece is None:
                return None if served.wish.go_on else ""
            fields = {"text": piece.text, "gap": "1" if piece.gap else "", "from": served.at, "to": str(piece.end)}
            served.ahead = self._send(served.key, fields)
            served.at = str(piece.end)
        return None

    def _send(self, key: str, fields: Mapping[str, str]) -> int:
        """Tell a follower something; return how much it has not taken yet."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.xadd(key, fields, maxlen=_PIECES, approximate=False)
        pipe.expire(key, _EXPIRES)
        pipe.xlen(key)
        return int(pipe.execute()[-1])

    def _forget(self, follower: str) -> None:
        served = self._served.pop(follower, None)
        if served is not None:
            served.output.close()

    def _forget_all(self) -> None:
        for follower in list(self._served):
            self._forget(follower)


def _open(served: _Served) -> bool:
    if served.at:
        return served.output.open_at(Position.parse(served.at))
    return served.output.open_last(served.wish.lines)
