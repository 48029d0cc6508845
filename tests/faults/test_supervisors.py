"""Supervisors' executors that are frozen, killed at failpoints, and started many at once: F4, F5, F6."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.model import QUEUED_TTL, TICK_LEASE
from tests.faults.conftest import Scale
from tests.faults.harness import CELERY, SUPERVISOR, Plant, Shape, eventually, now
from tests.faults.proxy import Command, Proxy
from tests.faults.test_messages import is_publication
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]
TICK = 1.0
MARGIN = 2.0  # seconds for starting a process on a machine that does other things too


class TickWatch:
    """Every document of the tick lease, in the order in which Redis wrote them, by Redis' MONITOR."""

    def __init__(self, port: int) -> None:
        """Begin to watch."""
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"MONITOR\r\n")
        self.documents: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._socket.makefile("r", errors="replace") as lines:
            for line in lines:
                _, found, text = line.partition('"SET" "fsm:plant:supervisor:tick" ')
                if found:
                    self.documents.append(json.loads(json.loads(text)))

    def close(self) -> None:
        """End."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def overlaps(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Return the pairs in which a tick began although the one before held its lease."""
        pairs = zip(self.documents, self.documents[1:], strict=False)
        return [(old, new) for old, new in pairs if new["id"] != old["id"] and old["deadline"] > new["started_at"]]


def test_f6_many_supervisors_started_at_once_tick_one_at_a_time(make_plant: MakePlant, scale: Scale) -> None:
    plant = make_plant(Shape(processes=4, life=2.0, supervisors=0, beats=2))
    plant.redis.start()
    watch = TickWatch(plant.redis.port)
    try:
        plant.apply()
        for node in plant.shape.nodes:
            plant.start_node(node)
        for number in range(scale(4, 10)):
            plant.start_supervisor(f"supervisor-{number}", "-P", "solo")
        for number in range(2):
            plant.start_piece(f"beat-{number}", (*CELERY, "beat"))
        wait_until(lambda: len(plant.begun()) >= scale(12, 100), "enough effects", scale(60, 300))
        plant.settle()
    finally:
        watch.close()

    assert plant.violations() == []
    assert len({document["id"] for document in watch.documents}) > 5
    assert watch.overlaps() == []


def test_f4_a_supervisor_frozen_in_a_tick_changes_nothing_when_it_wakes(make_plant: MakePlant, scale: Scale) -> None:
    plant = make_plant(Shape(processes=2, life=1.0, supervisors=0))
    proxy = plant.proxy("supervisor-1")
    plant.start(wait=False)
    plant.start_supervisor("supervisor-1", "-P", "solo")
    plant.wait_all_up()
    plant.start_supervisor("supervisor-2", "-P", "solo")
    for _ in range(scale(1, 20)):
        freeze_in_a_tick(plant, proxy)
        late = commands_after_waking(plant, proxy)
        assert is_apply(late[-1])
        assert [command for command in late if is_publication(command)] == []
    plant.settle()

    assert plant.violations() == []


def freeze_in_a_tick(plant: Plant, proxy: Proxy) -> None:
    """Freeze the first supervisor when it loads its world: it has a tick, and no plan yet. See the other take over."""
    frozen = threading.Event()

    def freeze(command: Command) -> Command:
        if command[0] == b"MGET" and not frozen.is_set():
            frozen.set()
            plant.freeze("supervisor-1")
        return command

    proxy.edit = freeze
    assert frozen.wait(30)
    at = now()
    held = plant.store.last_tick(SUPERVISOR)
    wait_until(lambda: plant.store.last_tick(SUPERVISOR) != held, "another supervisor's tick", 30)
    assert now() - at <= TICK_LEASE + 2 * TICK + MARGIN
    wait_until(lambda: now() - at >= 2 * TICK_LEASE, "twice the tick lease", 30)
    wait_until(lambda: plant.begun(since=at + TICK_LEASE), "an effect meanwhile", 30)
    proxy.edit = None


def commands_after_waking(plant: Plant, proxy: Proxy) -> list[Command]:
    """Thaw the first supervisor; return what it sends until it takes the next message, its apply last."""
    sent: list[Command] = []
    proxy.sent = sent.append
    plant.thaw("supervisor-1")
    wait_until(lambda: next_taken(sent) is not None, "the late tick to end", 30)
    proxy.sent = None
    return sorted(sent[: next_taken(sent)], key=is_apply)


def next_taken(sent: list[Command]) -> int | None:
    """Return where it asks for the next message after an apply, if both were sent: a solo pool does when it is free."""
    applied = next((number for number, command in enumerate(sent) if is_apply(command)), len(sent))
    later = (number for number, command in enumerate(sent) if number > applied and command[0] == b"BRPOP")
    return next(later, None)


def is_apply(command: Command) -> bool:
    """Tell whether a command is apply.lua's: the only script whose last argument has items."""
    return command[0] in (b"EVALSHA", b"EVAL") and b'"items":' in command[-1]


@pytest.mark.slow
@pytest.mark.parametrize("point", ["after the claim", "after the message"])
def test_f5_a_supervisor_killed_at_a_failpoint_leaves_no_worker_locked(
    make_plant: MakePlant, scale: Scale, point: str
) -> None:
    plant = make_plant(Shape(processes=4, supervisors=2))
    proxy = plant.proxy("supervisor-1")
    plant.start()
    plant.pieces["supervisor-2"].kill()
    for _ in range(scale(1, 20)):
        killed = threading.Event()

        def kill(command: Command, killed: threading.Event = killed) -> None:
            claims = is_apply(command) and b'"claim":' in command[-1]
            if not killed.is_set() and (claims if point == "after the claim" else is_publication(command)):
                killed.set()
                plant.pieces["supervisor-1"].signal(9)

        proxy.sent = kill
        for worker in plant.workers:
            plant.kill_process(worker)
        assert killed.wait(60)
        at = now()
        plant.pieces["supervisor-1"].kill()
        plant.start_supervisor("supervisor-2")
        plant.wait_all_up(QUEUED_TTL + 60)
        # the lease of a message that was never sent, its loss, backoff (1 s), a look, and a tick for each
        assert now() - at <= max(QUEUED_TTL, TICK_LEASE) + 1.0 + 4 * TICK + MARGIN + 2.0
        plant.pieces["supervisor-2"].kill()
        proxy.sent = None
        plant.start_supervisor("supervisor-1")
    plant.settle()

    assert plant.violations() == []
    assert eventually(lambda: not plant.in_progress(), "no lease left", 5) < 5
