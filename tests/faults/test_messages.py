"""Messages that are doubled, late, reordered, lost, or buried under another client's: F17, F18, F24."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from supervisor.model import QUEUED_TTL
from tests.faults import checker
from tests.faults.conftest import Scale
from tests.faults.harness import Plant, Shape, eventually, now
from tests.faults.proxy import Command
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]


def is_publication(command: Command) -> bool:
    """Tell whether a command puts messages of ours into a node's queue."""
    return command[0] == b"LPUSH" and b":celery:actions" in command[1]


@dataclass
class Doubling:
    """Sends each message two to five times, in any order, and older ones again, the worker's last one often first."""

    random: random.Random
    sent: list[bytes] = field(default_factory=list)
    last: dict[bytes, bytes] = field(default_factory=dict)
    copies: int = 0

    def __call__(self, command: Command) -> Command:
        """Edit a publication."""
        if not is_publication(command):
            return command
        messages = [message for message in command[2:] for _ in range(self.random.randint(2, 5))]
        messages += self.random.sample(self.sent, min(len(self.sent), 3))
        self.random.shuffle(messages)
        for message in command[2:]:
            worker = worker_of(message)
            if worker in self.last and self.random.random() < 0.5:
                messages.insert(0, self.last[worker])
            self.last[worker] = message
        self.sent += command[2:]
        self.copies += len(messages) - len(command[2:])
        return [*command[:2], *messages]


def worker_of(message: bytes) -> bytes:
    """Return the worker that a message in its queue is for: its lease travels in a header."""
    found = re.search(rb'"worker_id": ?"([^"]+)"', message)
    assert found is not None, message
    return found.group(1)


@dataclass
class Thief:
    """Takes a share of the messages away: the queue's length is asked for instead, so that nobody notices."""

    random: random.Random
    share: float
    passed: int = 0
    stolen: int = 0

    def __call__(self, command: Command) -> Command:
        """Edit a publication."""
        if not is_publication(command):
            return command
        messages = [message for message in command[2:] if self.random.random() >= self.share]
        self.passed += len(messages)
        self.stolen += len(command) - 2 - len(messages)
        return [*command[:2], *messages] if messages else [b"LLEN", command[1]]


def test_f17_doubled_and_reordered_messages_have_one_effect_per_token(make_plant: MakePlant, scale: Scale) -> None:
    # effects end at any moment of a tick, so that one decided without a look after the end would be seen
    plant = make_plant(Shape(processes=0, floating=2, bound=2, life=1.0, effect=(0.1, 1.2), fence=False))
    doubling = Doubling(plant.random)
    plant.proxy("supervisor-1").edit = doubling
    plant.start()

    wait_until(lambda: len(plant.begun()) >= scale(16, 500), "enough effects", scale(60, 900))
    plant.settle()
    # a discard is counted when its message is taken: the last copies are behind the last effects
    wait_until(lambda: plant.counter("supervisor_actions_discarded_total") >= doubling.copies, "every copy refused", 60)

    assert plant.violations() == []
    assert doubling.copies >= len(doubling.sent) > 0
    # nothing was lost, so an action without an effect was decided on an observation older than the action before it
    ended = Counter(event["worker_id"] for event in plant.events("action.ended") if event["outcome"] == "success")
    assert ended - Counter(line["worker"] for line in plant.begun()) == Counter()


@pytest.mark.slow
def test_f18_lost_messages_are_asked_for_again_when_their_leases_run_out(make_plant: MakePlant, scale: Scale) -> None:
    plant = make_plant(Shape(processes=0, floating=3, bound=3, life=2.0, effect=(0.1, 0.3), fence=False))
    thief = Thief(plant.random, share=scale(0.3, 0.1))
    proxy = plant.proxy("supervisor-1")
    plant.start()
    proxy.edit = thief

    wait_until(lambda: thief.passed >= scale(10, 500) and thief.stolen >= scale(2, 20), "messages", scale(120, 1800))
    proxy.edit = None
    took = plant.settle(3 * QUEUED_TTL)

    assert plant.violations() == []
    lost = [event for event in plant.events("action.ended") if event["outcome"] == "lost"]
    assert len(lost) >= thief.stolen
    bound = 2 * (QUEUED_TTL + 8.0)  # twice lost in a row at most, each with its backoff, ticks and looks
    waited = [wait.seconds(now()) for wait in checker.waits(plant.journal())]
    assert max(waited) <= scale(bound, 2 * bound), (took, waited)


@pytest.mark.slow
def test_f24_a_flood_of_foreign_messages_delays_and_harms_nothing(make_plant: MakePlant, scale: Scale) -> None:
    plant = make_plant(Shape(processes=1, bound=2, life=2.0, effect=(0.1, 0.3), fence=False))
    plant.start()
    node = plant.node_of("bound-0")
    with plant.redis.client() as client:
        queue = f"fsm:celery:actions.{node}"
        before = client.info("memory")["used_memory"]
        for _ in range(scale(20, 1000)):
            client.lpush(queue, *['{"body": "Zm9v", "headers": {}, "properties": {}}'] * 1000)
        plant.tell("flood")
        ticks = plant.ticks()
        eventually(lambda: plant.ticks() > ticks + 3, "ticks to go on under the flood", 30)
        assert client.llen(queue) > 0
        client.delete(queue)  # the operator's remedy
        took = plant.settle(QUEUED_TTL + 60)
        after = client.info("memory")["used_memory"]

    assert plant.violations() == []
    assert after < before + 20_000_000, took
