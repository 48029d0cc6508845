"""A check that hangs costs its own child, not the tick nor the other children."""

from __future__ import annotations

import json
import socket
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.model import ChildObserved, TickDocument
from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
TIMEOUT = 1.0  # seconds that the check waits
TICKS = 15


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        yield made


def test_a_check_that_hangs_delays_neither_ticks_nor_other_children(pieces: Pieces, redis_server: RedisServer) -> None:
    well = redis_server.url.removeprefix("redis://").partition("/")[0]
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never says a word
        pieces.apply(fleet(well, well))
        pieces.start_supervisor()
        pieces.start_node()
        wait_until(lambda: seen(pieces, "hangs").passes, "both children to be seen", 20)
        before = durations(pieces)
        pieces.apply(fleet(f"127.0.0.1:{server.getsockname()[1]}", well))
        wait_until(lambda: seen(pieces, "hangs").failures >= 2, "the check to hang twice", 30)
        during = durations(pieces)
        ages = [pieces.store.now() - seen(pieces, "well").collected_at for _ in range(20)]
        hung, well_seen = seen(pieces, "hangs"), seen(pieces, "well")
    assert statistics.median(during) - statistics.median(before) < TIMEOUT / 2
    assert max(during) < TIMEOUT
    assert max(ages) < TIMEOUT + 1.0
    assert "no answer from" in str(hung.error)
    assert well_seen.error is None


def fleet(first: str, second: str) -> str:
    children = "".join(
        f"""
[[children]]
name = "{name}"
type = "redis"
node = "edge-1"
check = {{ address = "{address}", timeout = "{TIMEOUT:g}s" }}
"""
        for name, address in (("hangs", first), ("well", second))
    )
    return f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"
{children}"""


def seen(pieces: Pieces, child: str) -> ChildObserved:
    """Return what was seen of a child last; nothing yet is a look that has neither passed nor failed."""
    found = pieces.store.read(ChildObserved, pieces.store.keys(NAME).observed("edge-1", f"child/{child}"))
    return found or ChildObserved(collected_at=0.0)


def durations(pieces: Pieces) -> list[float]:
    """Return how long each of the next ticks takes, in seconds."""
    found: dict[str, float] = {}

    def enough() -> bool:
        tick = pieces.store.read(TickDocument, pieces.store.keys(NAME).tick)
        if tick is not None and tick.report:
            found[json.loads(tick.report)["tick_id"]] = tick.duration
        return len(found) >= TICKS

    wait_until(enough, f"{TICKS} ticks", 30)
    return list(found.values())
