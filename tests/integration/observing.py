"""Collectors in threads of the test, and what they have seen."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from supervisor.collector import Collector
from supervisor.runtime import Runtime
from tests.integration.plant import NAME, NODE
from tests.waiting import wait_until
from workers.model import Observed


class Observing:
    """A collector in a thread of its own."""

    def __init__(self, runtime: Runtime, node: str = NODE) -> None:
        self._collector = Collector(runtime, node)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self.failure: BaseException | None = None

    def _run(self) -> None:
        # signals can be handled in the main thread only; the test ends the collector through its loop
        self._loop.add_signal_handler = lambda *_: None  # type: ignore[method-assign]
        try:
            self._loop.run_until_complete(self._collector.run())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.failure = error

    def __enter__(self) -> Observing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._collector._stop.set)
        self._thread.join(15)
        assert not self._thread.is_alive()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())  # both as asyncio.run does it
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        assert self.failure is None


def observed(runtime: Runtime, item: str, kind: type[Any] = Observed, place: str = NODE) -> Any:
    """Return what was seen last of a worker or child."""
    return runtime.store.read(kind, runtime.store.keys(NAME).observed(place, item))


def wait_for_looks(runtime: Runtime, item: str, count: int, kind: type[Any] = Observed) -> list[Any]:
    """Wait until an item was observed `count` times anew; return those observations."""
    seen: list[Any] = []

    def look() -> bool:
        now = observed(runtime, item, kind)
        if now is not None and (not seen or now.collected_at > seen[-1].collected_at):
            seen.append(now)
        return len(seen) >= count

    wait_until(look, f"{item} is observed {count} times", 15)
    return seen
