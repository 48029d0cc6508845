"""Redis watched by sentinels: the master killed, and a replica that lacks the last writes made master."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from supervisor.model import HOLD_OFF
from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape
from tests.servers import Server, Watched
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
BUSY = Shape(processes=1, floating=2, bound=2, life=1.5, effect=(0.2, 1.0))


class ByAddress:
    """Stands in for a plant's own Redis: what the plant knows of it is the address of the sentinels."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.url = watched.url.replace("://", f"://:{watched.password}@", 1)
        self.piece = self

    def start(self) -> None:
        self.watched.start()

    def client(self) -> Any:
        return self.watched.master.client()

    def kill(self) -> None:
        self.watched.destroy()


def tokens(plant: Plant) -> set[int]:
    """Return the token of every effect that began."""
    return {line["token"] for line in plant.begun()}


def told(plant: Plant, server: Server, name: str) -> list[tuple[float, dict[str, str]]]:
    """Return the events of a kind that a server holds, with their times by its clock, oldest first."""
    keys = plant.store.keys("plant")
    with server.client() as client:
        found = [
            (int(number.partition("-")[0]) / 1000, fields)
            for place in (*plant.shape.nodes, "pool", "supervisor")
            for number, fields in client.xrange(keys.events(place))
            if fields["event"] == name
        ]
    return sorted(found, key=lambda one: one[0])


def test_f11_sentinels_promote_a_stale_replica_and_tokens_never_go_back(
    make_plant: MakePlant, scale: Scale, report: Report
) -> None:
    plant = make_plant(BUSY)
    watched = Watched(plant.folder / "watched", password="of-the-servers")
    plant.redis = ByAddress(watched)  # type: ignore[assignment]
    plant.start()
    pids = {name: piece.pid for name, piece in plant.pieces.items()}
    took = []
    for _ in range(scale(1, 5)):
        lost = watched.master
        watched.cut_off()
        plant.wait_effects(4)  # of which the replica knows nothing
        plant.tell("failover")
        promoted = watched.fail_over()
        took.append(plant.wait_all_act())
        before = known_to_be_lost(plant, promoted)
        held_off = [time for time, fields in told(plant, promoted, "store.hold_off") if fields["reason"] == "restarted"]
        claims = [(time, int(fields["token"])) for time, fields in told(plant, promoted, "action.claimed")]
        after = [(time, token) for time, token in claims if time >= held_off[-1]]
        assert before, "the replica has all that was written: it was not stale"
        assert min(token for _, token in after) > max(before)
        assert min(time for time, _ in after) >= held_off[-1] + HOLD_OFF - 0.05
        watched.bring_back(lost)
    report("F11 sentinel", n=len(took), all_act_max=max(took))
    plant.settle(90)

    assert plant.violations() == []
    assert {name: piece.pid for name, piece in plant.pieces.items() if piece.alive} == pids, "nobody was restarted"


def known_to_be_lost(plant: Plant, promoted: Server) -> set[int]:
    """Return the tokens of effects whose claims the promoted server has never heard of."""
    claims = {int(fields["token"]) for _, fields in told(plant, promoted, "action.claimed")}
    wait_until(lambda: tokens(plant) & claims, "an effect of the new master's time", 30)
    return tokens(plant) - claims
