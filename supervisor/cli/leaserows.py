"""What people and scripts are shown of leases and queues. The JSON keys are stable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from supervisor.cli.rows import rounded
from supervisor.keys import POOL, SUPERVISOR, queue_of
from supervisor.model import Lease, Stage, TickDocument
from supervisor.rendezvous import is_away
from supervisor.view import World
from workers.duration import ago

Held = tuple[str, str, Lease]  # whose, where, what


def leases_of(world: World) -> Iterator[Held]:
    """Yield (id, place, lease) of all workers and children that ever had one."""
    for subject in world.view.subjects:
        if subject.lease is not None:
            yield subject.id, subject.place, subject.lease
    for child in world.children:
        if child.lease is not None:
            yield child.spec.id, child.place, child.lease


def lease_row(supervisor: str, held: Held, now: float) -> dict[str, Any]:
    """Return the lease of a worker or child: who holds it, and until when; one that is free is nobody's."""
    item, place, lease = held
    return {
        "id": item,
        "stage": lease.stage.value,
        "action": lease.action,
        "action_id": lease.action_id,
        "token": lease.token,
        "node": place,
        "executor": lease.executor or None,
        "runner": lease.runner or None,
        "claimed_at": rounded(lease.claimed_at),
        "begun_at": rounded(lease.begun_at),
        "ended_at": rounded(lease.ended_at),
        "deadline": rounded(lease.deadline),
        "deadline_in_seconds": rounded(lease.deadline - now) if lease.in_progress else None,
        "timeout": lease.timeout,
        "cancel": lease.cancel or None,
        "failures": lease.failures,
        "supervisor": supervisor,
        "age": ago(now - lease.claimed_at),
        "until": until(lease.deadline - now) if lease.in_progress else "-",
    }


def tick_row(supervisor: str, tick: TickDocument, now: float) -> dict[str, Any]:
    """Return the tick lease, whose id is `tick/SUPERVISOR`, in the form of the others."""
    held = tick.ended_at < tick.started_at and now < tick.deadline
    return {
        "id": f"tick/{supervisor}",
        "stage": (Stage.RUNNING if held else Stage.FREE).value,
        "action": "tick",
        "action_id": tick.id,
        "token": None,
        "node": SUPERVISOR,
        "executor": None,
        "runner": None,
        "claimed_at": rounded(tick.started_at),
        "begun_at": rounded(tick.started_at),
        "ended_at": None if held else rounded(tick.ended_at),
        "deadline": rounded(tick.deadline),
        "deadline_in_seconds": rounded(tick.deadline - now) if held else None,
        "timeout": rounded(tick.deadline - tick.started_at),
        "cancel": None,
        "failures": 0,
        "supervisor": supervisor,
        "age": ago(now - tick.started_at),
        "until": until(tick.deadline - now) if held else "-",
    }


def until(seconds: float) -> str:
    """Return when something ends or has ended: "in 8s", "3s over"."""
    return f"in {ago(seconds)}" if seconds >= 0 else f"{ago(-seconds)} over"


def queues_of(worlds: Iterable[tuple[str, World]], known_nodes: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return, by queue, whose queue it is, the leases that wait in it, and the slots of who takes from it.

    Queues are of the whole installation: supervisors share them.
    """
    found = {SUPERVISOR: _queue(None)}
    for place in (POOL, *sorted(known_nodes)):
        found[queue_of(place)] = _queue(place)
    loaded = [world for _, world in worlds]
    for world in loaded:
        for place in world.index.places_used:
            found.setdefault(queue_of(place), _queue(place))
        for name, (node, _) in world.nodes.items():
            if node is not None and not is_away(node, world.now):
                found[queue_of(name)]["slots"] = node.slots
        for _, place, lease in leases_of(world):
            if lease.stage is Stage.QUEUED:
                found[queue_of(place)]["claimed"].append(world.now - lease.claimed_at)
    taking = [found[queue] for queue in map(queue_of, _taking_floating(loaded)) if queue in found]
    found[queue_of(POOL)]["slots"] = sum(queue["slots"] or 0 for queue in taking)
    return found


def _taking_floating(worlds: Sequence[World]) -> set[str]:
    """Return the nodes that are in a supervisor's pool, and drained by none."""
    pooled = {name for world in worlds for name in world.nodes if world.index.settings.in_pool(name)}
    return pooled.difference(*(world.drained for world in worlds))


def _queue(place: str | None) -> dict[str, Any]:
    return {"node": place, "slots": None, "claimed": []}


def queue_row(name: str, queue: Mapping[str, Any], messages: int) -> dict[str, Any]:
    """Return one queue: the messages in it, and the leases that wait for one to be taken from it."""
    oldest = max(queue["claimed"], default=None)
    return {
        "name": name,
        "node": queue["node"],
        "messages": messages,
        "queued": len(queue["claimed"]),
        "oldest_seconds": rounded(oldest),
        "slots": queue["slots"],
        "oldest": ago(oldest),
    }
