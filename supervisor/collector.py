"""The collector of a node: observes its workers and children, all the time, whatever else is down.

A process of its own (`python -m supervisor.collector NODE`, or `fsmctl collector NODE`), brought along by the node's
executor. Every target is looked at in a task of its own with a timeout, so that one that hangs delays nobody. It never
asks whether a circuit is open.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from supervisor.attendant import write_heartbeat
from supervisor.clock import Clock, skew_of
from supervisor.connection import STORE_ERRORS, connect, trouble_with
from supervisor.errors import BadDocument, SupervisorError
from supervisor.keys import CHECK_PREFIX, POOL
from supervisor.logs import Trouble, configure, logger
from supervisor.looks import see_child
from supervisor.model import CLOCK_SKEW, HEARTBEAT_INTERVAL, CollectorDocument
from supervisor.placement import Placed, Placement, Seen, Watched
from supervisor.readings import KEPT_ASIDE, Rejected, check, news, unknown
from supervisor.relay import Relay
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.spread import START_EVERY, Round, to_begin
from supervisor.store import Store, decode
from supervisor.targets import folder_of
from workers.model import Observed
from workers.target import WorkerType

log = logger("supervisor.collector")

_LOOK_TIMEOUT = 6.0  # seconds for one look at one target: beyond its own timeouts, below the age of a stale observation
_ASK_TIMEOUT = 1.0  # seconds that the wait for an asked observation takes at most
_FULL_FOR = 30.0  # seconds of room after which a full Redis is said to have room again
_SAVE_EVERY = 0.05  # seconds in which observations are gathered into one write


@dataclass(frozen=True)
class Reading:
    """What is stored of a look, and the reading that it stands for when that was not believed.

    `matters`: what the worker's type makes of numbers that change with every look.
    """

    seen: Seen
    rejected: Rejected | None = None
    matters: object = None


class RedisTime:
    """Redis' clock, kept between measurements by the monotonic clock; this host's clock of day does not matter."""

    def __init__(self, runtime: Runtime) -> None:
        """Measure nothing yet."""
        self._runtime = runtime
        self._offset = 0.0
        self.skew = 0.0

    def measure(self) -> None:
        """Measure the offset over one round trip. Redis' errors pass through."""
        clock = self._runtime.clock
        before = clock.monotonic()
        now = self._runtime.store.now()
        after = clock.monotonic()
        self._offset = now - (before + after) / 2
        self.skew = skew_of(clock.now(), now, after - before)

    def now(self) -> float:
        """Return Redis' time, epoch seconds."""
        return self._runtime.clock.monotonic() + self._offset


class Collector:
    """Observes everything placed on one node, and the floating workers that it wins, for every supervisor."""

    def __init__(self, runtime: Runtime, node: str) -> None:
        """Prepare to observe for `node`."""
        self._runtime = runtime
        self._node = node
        self._time = RedisTime(runtime)
        self._placement = Placement(runtime, node)
        self._looks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._guests: dict[tuple[str, str], Placed] = {}
        self._unsaved: dict[tuple[str, str], dict[str, Reading]] = {}
        self._news: set[tuple[str, str]] = set()
        self._asked: set[tuple[str, str]] = set()
        self._failing: dict[str, str] = {}
        monotonic = runtime.clock.monotonic
        self._clock_trouble = Trouble(log, "node.clock_skew", monotonic)
        self._disk_trouble = Trouble(log, "collector.heartbeat", monotonic)
        self._away_trouble = Trouble(log, "store.away", monotonic)
        self._full_until = 0.0
        self._full_trouble = Trouble(log, "store.full", monotonic)
        self._stop = asyncio.Event()

    @property
    def clock(self) -> Clock:
        """Return this process' clock."""
        return self._runtime.clock

    @property
    def _watched(self) -> dict[str, Watched]:
        """Return what is observed here, by supervisor, as it was read last."""
        return self._placement.watched

    def supervisors(self) -> list[str]:
        """Return the supervisors that there are; may be called by any thread."""
        return list(self._watched)

    async def run(self) -> None:
        """Observe until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        parts: list[Coroutine[None, None, None]] = [
            self._observe_forever(),
            self._save_forever(),
            self._asks_forever(),
            self._alive_forever(),
        ]
        tasks = [asyncio.create_task(part) for part in parts]
        stopped = asyncio.create_task(self._stopped())
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in [*tasks, *self._looks.values()]:
            task.cancel()
        for task in done - {stopped}:
            task.result()  # a part that ended by itself failed: say so and exit; the executor starts us again

    async def look_once(self) -> None:
        """Look at everything placed here once, and write it: the last word when all of it has been stopped."""
        await asyncio.to_thread(self._read)
        looks = [self._look(name, *of) for name, watched in self._watched.items() for of in watched.items.items()]
        await asyncio.gather(*looks)
        await asyncio.to_thread(self._save)

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _alive_forever(self) -> None:
        """Touch the local heartbeat; a loop that hangs does not, and is replaced by the executor."""
        while True:
            try:
                write_heartbeat(self._runtime.settings.data_dir, self._node, self._runtime.clock.monotonic())
                self._disk_trouble.is_now("", node=self._node)
            except OSError as error:  # a full disk is no reason to see nothing any more
                self._disk_trouble.is_now(type(error).__name__, node=self._node, error=str(error))
            await asyncio.sleep(1.0)

    async def _observe_forever(self) -> None:
        """Read what is placed here, and start the looks that are due."""
        reread = 0.0
        while True:
            now = self._runtime.clock.monotonic()
            if now >= reread:
                reread = now + 1.0
                await self._guarded(self._read)
            for supervisor, item in self._to_begin(now):
                watched = self._watched[supervisor]
                self._asked.discard((supervisor, item))
                watched.due[item] = now + watched.index.settings.observation_interval
                self._start_look(supervisor, item, watched.items[item])
            for key in list(self._guests):
                if key not in self._looks:
                    self._start_look(*key, self._guests.pop(key))
            await asyncio.sleep(START_EVERY)

    def _to_begin(self, now: float) -> list[tuple[str, str]]:
        rounds = {
            supervisor: Round(watched.index.settings.observation_interval, watched.due)
            for supervisor, watched in self._watched.items()
        }
        return to_begin(rounds, self._asked, self._looks, now)

    async def _guarded(self, call: Callable[[], None]) -> None:
        """Run a blocking call on the store in a thread; say once that Redis went away, and once that it is back.

        It is back when all calls succeed: one whose disk or memory is full still answers those that only read.
        """
        try:
            await asyncio.to_thread(call)
        except STORE_ERRORS as error:
            self._failing[call.__name__] = trouble_with(error)
            self._away_trouble.is_now(next(iter(self._failing.values())), node=self._node, error=str(error))
            await asyncio.sleep(0.5)
            return
        self._failing.pop(call.__name__, None)
        if not self._failing:
            self._away_trouble.is_now("")

    def _read(self) -> None:
        """Read the index and the documents of what is to be observed here."""
        self._time.measure()
        self._tell_skew()
        self._placement.read(self._time.now())

    def _tell_skew(self) -> None:
        """Say once that this host's clock of day is wrong, and once that it is right again."""
        skew = self._time.skew
        wrong = "" if abs(skew) <= CLOCK_SKEW else "ahead of Redis" if skew > 0 else "behind Redis"
        self._clock_trouble.is_now(wrong, node=self._node, skew_seconds=skew)

    def _start_look(self, supervisor: str, item: str, placed: Placed) -> None:
        """Look at one item. While that look runs no other is started: an item that is due again stays due."""
        key = (supervisor, item)
        task = asyncio.create_task(self._look(supervisor, item, placed))
        self._looks[key] = task
        task.add_done_callback(lambda _: self._looks.pop(key, None))

    async def _look(self, supervisor: str, item: str, placed: Placed) -> None:
        watched = self._watched[supervisor]
        collected_at = self._time.now()
        previous = watched.seen.get(item)
        rejected, matters = None, None
        try:
            async with asyncio.timeout(_LOOK_TIMEOUT):
                seen, matters = await self._see(supervisor, item, placed, previous, collected_at)
            rejected = check(seen)
        except TimeoutError:
            seen = unknown(item, collected_at, previous, "probe timed out")
        except (BadDocument, ValueError, OverflowError) as error:  # what was read cannot be what it should
            rejected = Rejected("unreadable", f"{type(error).__name__}: {error}"[:300], str(error)[:KEPT_ASIDE])
        except Exception as error:  # noqa: BLE001 - a type's own code may raise anything; it is stored as what was seen
            seen = unknown(item, collected_at, previous, f"{type(error).__name__}: {error}"[:300])
        if rejected is not None:
            seen = unknown(item, collected_at, previous, rejected.why)
        if supervisor in self._watched:
            self._keep(supervisor, item, placed.place, Reading(seen, rejected, matters))

    async def _see(
        self, supervisor: str, item: str, placed: Placed, previous: Seen | None, collected_at: float
    ) -> tuple[Seen, object]:
        """Look at a worker by its type, or at a child by its check; return also what its type makes of its numbers."""
        if placed.texts["identity"] is None:
            spec = placed.child(self._runtime.store.keys(supervisor), item)
            folder = folder_of(self._runtime.settings.data_dir, supervisor, placed.place, item)
            return await see_child(spec, folder, previous, collected_at, self._runtime.checks), None
        kind, target = placed.worker(self._runtime, supervisor, item)
        before = previous if isinstance(previous, Observed) else _stored(placed.texts["observed"], kind)
        seen = await kind.observe(target, before, collected_at)
        return seen, kind.matters(seen, target)

    def _keep(self, supervisor: str, item: str, place: str, reading: Reading) -> None:
        """Keep what was seen for the next write; that leaves out what is not at that place any more."""
        watched, seen = self._watched[supervisor], reading.seen
        before = watched.seen.get(item)
        watched.seen[item] = seen
        self._unsaved.setdefault((supervisor, place), {})[item] = reading
        self._tell_rejected(f"{supervisor}/{item}", item, reading.rejected)
        if before is None or news(before) != news(seen) or watched.matters.get(item) != reading.matters:
            self._news.add((supervisor, item))
        watched.matters[item] = reading.matters

    def _tell_rejected(self, name: str, item: str, rejected: Rejected | None) -> None:
        """Say once that readings of an item are not believed, not at every look."""
        reason, error = (rejected.reason, rejected.why) if rejected is not None else ("", "")
        self._runtime.troubles.is_now("observation.rejected", name, reason, worker_id=item, error=error)

    async def _save_forever(self) -> None:
        """Write what was seen in batches, and the collector's own heartbeat."""
        last = 0.0
        while True:
            await asyncio.sleep(_SAVE_EVERY)
            now = self._runtime.clock.monotonic()
            if self._unsaved or now - last >= HEARTBEAT_INTERVAL:
                last = now
                await self._guarded(self._save)

    def _save(self) -> None:
        """Write; what could not be written is dropped, the next look is newer, but it will be news all the same."""
        unsaved, self._unsaved = self._unsaved, {}
        news_of, self._news = self._news, set()
        try:
            self._tell_full(self._write(unsaved, news_of))
        except STORE_ERRORS:
            self._news |= news_of
            raise

    def _write(
        self, unsaved: Mapping[tuple[str, str], Mapping[str, Reading]], news_of: Collection[tuple[str, str]]
    ) -> bool:
        """Write what was seen, with a heartbeat for each supervisor; return whether Redis is full."""
        full = False
        for supervisor, watched in self._watched.items():
            heartbeat = CollectorDocument(
                node=self._node,
                pid=os.getpid(),
                at=self._time.now(),
                observed=len(watched.items),
                clock_skew=self._time.skew,
                oldest=min((seen.collected_at for seen in watched.seen.values()), default=0.0),
            )
            for place in (self._node, POOL):
                readings = unsaved.get((supervisor, place), {})
                if place == self._node or readings:
                    seen = {item: reading.seen for item, reading in readings.items()}
                    aside = {item: reading.rejected for item, reading in readings.items() if reading.rejected}
                    news = {item for item in seen if (supervisor, item) in news_of}
                    full |= self._runtime.store.save_observations(
                        supervisor, place, seen, heartbeat, news, rejected=aside
                    )
        return full

    def _tell_full(self, full: bool) -> None:
        """Say once that Redis is full, and once that it has had room for a while: near its limit it is both in turn."""
        now = self._runtime.clock.monotonic()
        if full:
            self._full_until = now + _FULL_FOR
        self._full_trouble.is_now("maxmemory" if now < self._full_until else "", node=self._node)

    async def _asks_forever(self) -> None:
        """Look at once at what an ended action asks for."""
        while True:
            await self._guarded(self._wait_for_ask)
            if not self._watched:
                await asyncio.sleep(0.2)

    def _wait_for_ask(self) -> None:
        """Take one wish to be observed; one for a floating worker is for whoever takes it, and read anew."""
        watched = self._watched
        places = [(supervisor, self._node) for supervisor in watched]
        places += [(supervisor, POOL) for supervisor, one in watched.items() if self._placement.floats_here(one.index)]
        asked = self._runtime.store.wait_for_ask(places, _ASK_TIMEOUT)
        if asked is None:
            return
        supervisor, item = asked
        if item.startswith(CHECK_PREFIX):
            return  # a no-op has ended, of which there is nothing to see
        if item in watched[supervisor].items:
            self._asked.add(asked)
            return
        for _, place, texts in self._runtime.store.read_worker(supervisor, [(item, POOL)]):
            self._guests[asked] = Placed(place, texts)


def _stored(text: str | None, kind: WorkerType) -> Observed | None:
    """Return what was seen last, perhaps by another node, or None when it cannot be read."""
    try:
        return None if text is None else decode(text, kind.observed_type, "the last observation")
    except BadDocument:
        return None


def lock_node(data_dir: Path, node: str) -> IO[str] | None:
    """Return the locked file that makes this the node's only collector, or None if there is one."""
    folder = data_dir / "nodes" / node
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (folder / "collector.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def answering(settings: Settings, node: str, supervisors: Callable[[], Iterable[str]], clock: Clock) -> Iterator[None]:
    """Answer who follows output of this node, in a thread with a connection of its own: no look waits for it."""
    stop = threading.Event()
    store = Store(connect(settings, patient=False), settings.namespace)
    relay = Relay(store, settings.data_dir, node, supervisors, clock)
    threading.Thread(target=relay.run, args=(stop,), name="relay", daemon=True).start()
    try:
        yield
    finally:
        stop.set()


def main(node: str) -> int:
    """Run the collector of `node`; return the exit code: 0 after a stop, 7 when another one lives."""
    settings = Settings.from_env()
    configure(settings.log_format, settings.log_level)
    lock = lock_node(settings.data_dir, node)
    if lock is None:
        log.tell("collector.refused", node=node)
        return 7
    with lock:
        log.tell("collector.started", node=node, pid=os.getpid())
        collector = Collector(make_runtime(settings), node)
        with answering(settings, node, collector.supervisors, collector.clock):
            asyncio.run(collector.run())
        log.tell("collector.stopped", node=node, pid=os.getpid())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except SupervisorError as error:
        sys.exit(f"error: {error}")
