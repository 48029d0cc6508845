"""What a process keeps of what is wished for: as long as nobody has changed anything."""

from __future__ import annotations

from supervisor.wishes import MOST, Wished, Wishes
from tests.factories import make_snapshot
from workers.model import Control
from workers.registry import built_in

NAME = "plant-1"


def wished() -> Wished:
    snapshot = make_snapshot()
    return Wished(snapshot.identity, snapshot.desired, False, Control(), built_in().get("process"))


def test_what_was_read_at_a_revision_is_known_until_there_is_another() -> None:
    wishes = Wishes()
    wishes.at(NAME, 7, 1)["flow-1"] = wished()
    assert wishes.at(NAME, 7, 1) == {"flow-1": wished()}
    assert wishes.at("plant-2", 7, 1) == {}
    assert wishes.at(NAME, 8, 1) == {}
    assert wishes.at(NAME, 7, 1) == {}  # a mirror brings an older one back


def test_nothing_is_kept_without_a_revision_nor_of_a_large_fleet() -> None:
    wishes = Wishes()
    for revision, workers in ((0, 1), (7, MOST + 1)):
        wishes.at(NAME, revision, workers)["flow-1"] = wished()
        assert wishes.at(NAME, revision, workers) == {}
