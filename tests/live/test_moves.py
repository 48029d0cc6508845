"""A worker that moves between nodes: it runs on one of them at a time, and on the new one in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor.targets import folder_of
from tests.conftest import RedisServer
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.waiting import wait_until
from workers import holder

pytestmark = [pytest.mark.live, pytest.mark.slow]
OLD, NEW = "edge-1", "edge-2"
# It takes a second to end, in which an impatient start elsewhere would show in the journal.
FLEET = """
[supervisor]
name = "{name}"
tick_interval = "200ms"
observation_interval = "1s"

[[workers]]
id = "flow"
type = "process"
node = "{node}"
config = {{ command = ["sh", "-c", "{script}"], min_uptime = "1s" }}
"""
SCRIPT = (
    "echo begins $$ >> {journal}; trap 'sleep 1; echo ends $$ >> {journal}; exit 0' TERM; while :; do sleep 0.1; done"
)


@pytest.fixture
def pieces(redis_server: RedisServer, tmp_path: Path) -> Iterator[Pieces]:
    """Return an installation of two nodes whose worker runs on the first."""
    with redis_server.connect() as client:
        client.flushall()
    with pieces_in(tmp_path, redis_server.url) as made:
        place(made, OLD)
        made.start_supervisor()
        made.start_node(OLD)
        made.start_node(NEW)
        wait_until(lambda: made.events(event="worker.transition", to="running"), "flow to run", 30)
        yield made


def place(pieces: Pieces, node: str) -> None:
    """Apply the fleet with its worker on a node."""
    script = SCRIPT.format(journal=pieces.folder / "journal")
    pieces.apply(FLEET.format(name=NAME, node=node, script=script))


def journal(pieces: Pieces) -> list[list[str]]:
    """Return what the processes wrote down: that one begins or ends, and its pid."""
    return [line.split() for line in (pieces.folder / "journal").read_text().splitlines()]


def test_a_worker_that_moves_is_stopped_on_its_old_node_before_it_runs_on_the_new_one(pieces: Pieces) -> None:
    place(pieces, NEW)
    wait_until(lambda: len(pieces.events(event="worker.transition", to="running")) == 2, "flow to run again", 30)
    assert [(event["from"], event["to"]) for event in pieces.events(event="worker.moved")] == [(OLD, NEW)]
    (_, first), *_, (_, second) = lines = journal(pieces)
    assert lines == [["begins", first], ["ends", first], ["begins", second]]
    assert not psutil.pid_exists(int(first))
    data, store = pieces.settings().data_dir, pieces.store
    held = [holder.is_held(str(folder_of(data, NAME, node, "flow"))) for node in (OLD, NEW)]
    assert held == [False, True]
    assert store.client.keys(f"*:{OLD}:*:flow") == []
    index = store.index(NAME)
    assert index is not None
    assert dict(index.places) == {"flow": NEW}
