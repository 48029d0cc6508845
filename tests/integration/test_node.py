"""node.lua: a node's heartbeat, and its claim to its name."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from supervisor.errors import Refused
from supervisor.model import NodeDocument
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant

MINE = NodeDocument(node=NODE, host="h1", boot_id="b1", executor="edge-1@h1", pid=1, slots=5)


def beat(plant: Plant, **changes: Any) -> NodeDocument:
    """Send a heartbeat and return what is stored for it."""
    plant.store.heartbeat(NAME, msgspec.structs.replace(MINE, **changes))
    return stored(plant)


def stored(plant: Plant) -> NodeDocument:
    (found, _) = plant.store.nodes(NAME, [NODE])[NODE]
    assert found is not None
    return found


def test_a_heartbeat_is_stored_with_the_time_of_redis(bare_plant: Plant) -> None:
    assert beat(bare_plant, at=12.0) == msgspec.structs.replace(MINE, at=NOW)


def test_the_same_host_in_the_same_boot_beats_again_as_another_process(bare_plant: Plant) -> None:
    beat(bare_plant)
    bare_plant.clock.advance(2)
    assert beat(bare_plant, pid=9) == msgspec.structs.replace(MINE, at=NOW + 2, pid=9)


@pytest.mark.parametrize("other", [{"host": "h2"}, {"boot_id": "b2"}])
def test_another_host_or_boot_is_refused_while_the_name_is_held(bare_plant: Plant, other: dict[str, str]) -> None:
    beat(bare_plant)
    bare_plant.clock.advance(14.5)
    before = bare_plant.dump()
    with pytest.raises(Refused, match=re.escape("node name 'edge-1' belongs to host h1")):
        beat(bare_plant, **other)
    assert bare_plant.dump() == before


def test_another_host_gets_a_name_that_was_silent_for_fifteen_seconds(bare_plant: Plant) -> None:
    beat(bare_plant)
    bare_plant.clock.advance(15)
    assert beat(bare_plant, host="h2") == msgspec.structs.replace(MINE, at=NOW + 15, host="h2")


def test_another_host_gets_a_name_that_was_left_at_once(bare_plant: Plant) -> None:
    assert beat(bare_plant, left=True) == msgspec.structs.replace(MINE, at=NOW, left=True)
    assert beat(bare_plant, host="h2") == msgspec.structs.replace(MINE, at=NOW, host="h2")


def test_the_host_that_lost_its_name_is_refused_when_it_comes_back(bare_plant: Plant) -> None:
    beat(bare_plant)
    bare_plant.clock.advance(16)
    beat(bare_plant, host="h2")
    with pytest.raises(Refused, match="belongs to host h2"):
        beat(bare_plant)
    assert stored(bare_plant).host == "h2"
