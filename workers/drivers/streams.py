"""The streams driver: makes, changes and removes a stream of a Benthos in streams mode, over its HTTP interface."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from actions.model import ActionError, Incarnation
from workers.benthos.replies import MAX_WORDS, Meters, meters
from workers.drivers.minding import fenced
from workers.http import MOST, Reply

if TYPE_CHECKING:
    from http.client import HTTPConnection

KEPT = "stream.json"
_ANSWER = 3.0  # seconds for a look, and for a change that has to wait for nobody
_WIND_DOWN = 4.0  # seconds for a stream to end by itself; hung up on after that, Benthos ends it by force
_POLL = 0.2  # seconds between two looks whether a stream is connected, which cannot be awaited


class Running(msgspec.Struct, frozen=True):
    """What Benthos says of a stream; `config` as it was given, with Benthos' environment in it. `uptime` in seconds."""

    active: bool
    uptime: float
    config: Any

    @property
    def digest(self) -> str:
        """Return a digest of the configuration that runs; that itself may hold secrets."""
        text = json.dumps(self.config, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Put(msgspec.Struct, frozen=True):
    """A configuration that was put: its id, where, as which text, and the digest of what Benthos then ran."""

    config_id: str
    benthos: str
    body: str
    runs: str


class Kept(msgspec.Struct, frozen=True):
    """What a node remembers of a stream: what was put there last, and what was seen connected last."""

    current: Put | None = None
    good: Put | None = None


def read_kept(folder: Path) -> Kept:
    """Return what was kept; nothing if that cannot be read."""
    try:
        return msgspec.json.decode((folder / KEPT).read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return Kept()


def body_of(stream: Mapping[str, Any] | str) -> str:
    """Return a stream's configuration as it is sent: YAML text as it stands, a table as JSON."""
    return stream if isinstance(stream, str) else json.dumps(stream, sort_keys=True)


@dataclass(frozen=True)
class StreamComponent:
    """A stream of the Benthos at an address; implements `actions.model.Component` and `Replaceable`.

    Effects happen under the lock of `folder`, with the largest token accepted beside it. A request that was sent before
    its execution died may still take effect after that: HTTP carries no token.
    """

    id: str
    folder: Path
    benthos: str
    body: str
    config_id: str
    active_within: float = 10.0

    def current(self) -> Incarnation | None:
        """Return what runs, or None; of what cannot be told, one without a configuration: it may run."""
        try:
            seen = self._read()
        except ActionError:
            return Incarnation(0, 0, "")
        return self._incarnation(seen) if seen is not None and seen.active else None

    def identify(self, seen: Running) -> str:
        """Return the id of the configuration that Benthos says it runs; another's is a digest."""
        kept = read_kept(self.folder)
        for put in (kept.current, kept.good):
            if put is not None and put.runs == seen.digest:
                return put.config_id
        return self.config_id if self._is_wanted(seen) else f"foreign-{seen.digest[:8]}"

    def start(self, token: int) -> Incarnation:
        """Make the stream unless it runs. Raises `Fenced`, or `ActionError` with what Benthos has against it."""
        with fenced(self.folder, self.id, token):
            seen = self._read()
            if seen is None or not seen.active:
                self._leave_other()
                self._put(self.body, exists=seen is not None)
                seen = self._keep()
            return self._incarnation(seen)

    def stop(self, token: int) -> None:
        """Remove the stream; where no Benthos listens, there is none. Raises `Fenced` or `ActionError`."""
        with fenced(self.folder, self.id, token):
            self._leave_other()
            _remove(self.benthos, self.id)

    def replace(self, token: int) -> Incarnation:
        """Change the stream to the present configuration, and see that it gets connected.

        One that does not in time gives way to the last that did, if there is one. Raises `Fenced`, or `ActionError`
        with what Benthos has against it.
        """
        with fenced(self.folder, self.id, token):
            seen, kept = self._read(), read_kept(self.folder)
            if seen is None:
                self._leave_other()
            elif kept.current is not None and kept.current.runs == seen.digest:
                if kept.current.body == self.body:
                    return self._incarnation(self._keep(kept.good))  # what is new is no matter of Benthos
                kept = Kept(kept.current, kept.current if self._missing() == "" else kept.good)
                self._write(kept)
            return self._incarnation(self._changed(seen is not None, kept.good))

    def _changed(self, exists: bool, good: Put | None) -> Running:
        """Put the present configuration, and the last good one again if it does not work. Raises `ActionError`."""
        good = None if good is None or good.body == self.body or good.benthos != self.benthos else good
        try:
            self._put(self.body, exists)
        except ActionError as error:
            if good is None or self._read() is not None:  # refused before anything was done
                raise
            raise ActionError(f"{error}; {self._roll_back(good)}") from None
        seen = self._keep(good)
        if good is None:
            return seen
        give_up = time.monotonic() + self.active_within
        while missing := self._missing():
            if time.monotonic() >= give_up:
                words = f"stream {self.id} is not active after {self.active_within:g}s ({missing})"
                raise ActionError(f"{words}; {self._roll_back(good)}")
            time.sleep(_POLL)
        self._write(Kept(read_kept(self.folder).current, read_kept(self.folder).current))
        return seen

    def _roll_back(self, good: Put) -> str:
        """Put the last good configuration again, and say so. Raises `ActionError` when that is refused, too."""
        self._put(good.body, exists=self._read() is not None)
        self._write(Kept(good, good))
        return f"rolled back to configuration {good.config_id}"

    def _missing(self) -> str:
        """Say what a stream lacks to be active and connected; "" for nothing. Raises `ActionError`."""
        seen = self._read()
        if seen is None or not seen.active:
            return "it has ended"
        reply = _ask(self.benthos, "GET", f"/streams/{self.id}/stats")
        values = _meters(reply, self.id)
        ends = {"input": values.input_connected, "output": values.output_connected}
        return ", ".join(f"{end} not connected" for end, connected in ends.items() if not connected)

    def _put(self, body: str, exists: bool) -> None:
        """Make or change the stream. Raises `ActionError` with Benthos' own words when it refuses."""
        path = f"/streams/{self.id}"
        reply = _ask(self.benthos, "PUT", path, body, _WIND_DOWN) if exists else None
        if exists and reply is None:  # it waits for messages that it cannot send; hung up on, it gives them back
            _remove(self.benthos, self.id)
        if reply is None or reply.status == 404:
            reply = _ask(self.benthos, "POST", path, body)
        if reply is None or reply.status != 200:
            raise ActionError(f"Benthos at {self.benthos} refuses stream {self.id}: {words_of(reply)}")

    def _keep(self, good: Put | None = None) -> Running:
        """Write down what was put, and what Benthos makes of it. Raises `ActionError` when it does not run it."""
        seen = self._read()
        if seen is None:
            raise ActionError(f"Benthos at {self.benthos} took stream {self.id} and does not have it")
        self._write(Kept(Put(self.config_id, self.benthos, self.body, seen.digest), good))
        return seen

    def _write(self, kept: Kept) -> None:
        path = self.folder / f"{KEPT}.new"
        try:
            path.touch(mode=0o600)
            path.write_bytes(msgspec.json.encode(kept))
            path.replace(self.folder / KEPT)
        except OSError as error:
            raise ActionError(f"cannot keep {self.folder / KEPT}: {error.strerror}") from None

    def _leave_other(self) -> None:
        """Remove the stream from the Benthos that it was in before, if that is another one."""
        kept = read_kept(self.folder).current
        if kept is not None and kept.benthos != self.benthos:
            _remove(kept.benthos, self.id)

    def _read(self) -> Running | None:
        """Return what Benthos says of the stream, None without one. Raises `ActionError` when it says nothing."""
        return running(_ask(self.benthos, "GET", f"/streams/{self.id}"), self.benthos)

    def _is_wanted(self, seen: Running) -> bool:
        try:
            return bool(json.loads(self.body) == seen.config)
        except ValueError:  # YAML text: what Benthos made of it is known from when it was put
            return False

    def _incarnation(self, seen: Running) -> Incarnation:
        return Incarnation(0, 0, self.identify(seen))


def running(reply: Reply | None, benthos: str) -> Running | None:
    """Return what `GET /streams/ID` answers; None: no such stream. Raises `ActionError` for any other answer."""
    if reply is not None and reply.status == 404 and "Stream not found" in reply.text:
        return None
    if reply is None or reply.status != 200:
        raise ActionError(f"Benthos at {benthos} does not tell of its streams: {words_of(reply)}")
    try:
        return msgspec.json.decode(reply.body, type=Running)
    except msgspec.MsgspecError as error:
        raise ActionError(f"Benthos at {benthos} does not tell of its streams: {error}") from None


def words_of(reply: Reply | None) -> str:
    """Return what Benthos says in an answer that is a refusal; None: it did not answer in time."""
    if reply is None:
        return "no answer in time"
    try:
        said = "; ".join(msgspec.json.decode(reply.body, type=dict[str, list[str]])["lint_errors"])
    except (msgspec.MsgspecError, KeyError):
        said = reply.text.strip().removeprefix("Error: ")
    return (said or f"status {reply.status}")[:MAX_WORDS]


def _meters(reply: Reply | None, stream: str) -> Meters:
    """Return what a stream's statistics say; nothing is connected in those that cannot be had."""
    if reply is None or reply.status != 200:
        return Meters()
    return meters(reply.text, stream)


def _remove(benthos: str, stream: str) -> None:
    """Remove a stream. One that cannot send its messages ends by force once the first request is hung up on."""
    try:
        reply = _ask(benthos, "DELETE", f"/streams/{stream}", within=_WIND_DOWN) or _ask(
            benthos, "DELETE", f"/streams/{stream}", within=_WIND_DOWN
        )
    except NotListening:
        return
    if reply is None or reply.status not in (200, 404):
        raise ActionError(f"Benthos at {benthos} does not remove stream {stream}: {words_of(reply)}")


class NotListening(ActionError):
    """Nothing listens at an address, so that no stream runs there."""


def _ask(benthos: str, method: str, path: str, body: str = "", within: float = _ANSWER) -> Reply | None:
    """Return the answer to a request, None when there is none in time. Raises `ActionError` without a connection.

    Not as observers ask: an action blocks, and what cuts it short must get through.
    """
    import http.client  # not at the top: fsmctl knows of this type, too, and never asks

    connection = http.client.HTTPConnection(benthos, timeout=within)
    try:
        _connect(connection, benthos)
        connection.request(method, path, body.encode() or None)
        answer = connection.getresponse()
        return Reply(answer.status, answer.read(MOST))
    except TimeoutError:
        return None
    except (OSError, http.client.HTTPException) as error:
        raise ActionError(f"Benthos at {benthos}: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()


def _connect(connection: HTTPConnection, benthos: str) -> None:
    """Connect. Raises `NotListening`, or TimeoutError."""
    try:
        connection.connect()
    except TimeoutError:
        raise
    except OSError as error:
        raise NotListening(f"no Benthos listens at {benthos}: {error}") from None
