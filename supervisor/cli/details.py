"""Everything that is stored of one worker, child, node, circuit, incident or action, as data. The keys are stable.

Secrets are kept back here, so that no form of output shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from supervisor.cli import leaserows, rows
from supervisor.cli.matching import pick
from supervisor.cli.session import Session
from supervisor.errors import NotFound
from supervisor.history import Run, is_of, runs_of
from supervisor.keys import CHILD_PREFIX
from supervisor.logs import redact
from supervisor.streams import Event, Streams
from supervisor.view import World
from workers.model import Observed, Status

EVENTS = 10  # the newest, at the end of a description
_LAST = 5  # actions and transitions
_SCANNED = 500  # events of one worker in which those are looked for
Document = dict[str, Any]


def _plain(document: object) -> Any:
    if isinstance(document, Status | Observed):
        document = msgspec.structs.asdict(document)  # with what is as by default, which is not stored
    return None if document is None else msgspec.to_builtins(document, enc_hook=float)  # a duration is seconds


def _events(session: Session, world: World, supervisor: str, most: int, wanted: Callable[[Event], bool]) -> list[Event]:
    return Streams.all_of(session.runtime.store, {supervisor: world.index.places_used}).newest(most, wanted)


def _ran(run: Run) -> Document:
    return {
        "action": run.action,
        "action_id": run.action_id,
        "outcome": run.outcome or None,
        "detail": run.detail or run.reason,
        "claimed_at": run.claimed_at,
        "begun_at": run.begun_at,
        "ended_at": run.ended_at,
        "duration_seconds": run.took,
    }


def _past(events: Sequence[Event]) -> Document:
    """Return what events of one worker or child tell: its last actions and transitions, and the last of them all."""
    transitions = [event for event in events if event["event"] == "worker.transition"]
    return {
        "last_actions": [_ran(run) for run in runs_of(events)[-_LAST:]],
        "last_transitions": [
            {key: event.get(key) for key in ("time", "from", "to", "reason")} for event in transitions[-_LAST:]
        ],
        "events": list(events[-EVENTS:]),
    }


def worker(session: Session, name: str) -> Document:
    """Return all about a worker. Raises `NotFound`."""
    item, supervisor, _ = session.match(name)
    if item.startswith(CHILD_PREFIX):
        raise NotFound(f"no worker {name!r}; it is a child: `fsmctl describe {item}`")
    world = session.world(supervisor)
    subject = next((one for one in world.view.subjects if one.id == item), None)
    if subject is None:
        raise NotFound(f"worker {item!r} has just been forgotten")
    row = next(row for row in rows.worker_rows(supervisor, world) if row["id"] == item)
    snapshot = subject.snapshot
    events = _events(session, world, supervisor, _SCANNED, lambda event: is_of(event, item))
    return {
        **rows.public(row),
        "now": world.now,
        "generation": subject.generation,
        "identity": _plain(snapshot.identity) if snapshot else None,
        "config": redact(snapshot.desired.config) if snapshot else None,
        "config_id": snapshot.desired.config_id if snapshot else None,
        "depends_on": list(snapshot.desired.depends_on) if snapshot else [],
        "control": _plain(snapshot.control) if snapshot else None,
        "observed": _plain(snapshot.observed) if snapshot else None,
        "status": _plain(snapshot.status) if snapshot else None,
        "metadata": _plain(snapshot.metadata) if snapshot else None,
        "lease": _plain(subject.lease),
        **_past(events),
    }


def child(session: Session, name: str) -> Document:
    """Return all about a child. Raises `NotFound`."""
    item, supervisor, _ = session.match(CHILD_PREFIX + name.removeprefix(CHILD_PREFIX))
    world = session.world(supervisor)
    found = next((one for one in world.children if one.spec.id == item), None)
    if found is None:
        row = rows.unreadable_child_row(supervisor, item, world.unreadable_children[item], world)
    else:
        row = rows.child_row(supervisor, found, world)
    plain = item.removeprefix(CHILD_PREFIX)
    events = _events(session, world, supervisor, _SCANNED, lambda event: is_of(event, item))
    dependents = [
        one.id for one in world.view.subjects if one.snapshot is not None and plain in one.snapshot.desired.depends_on
    ]
    return {
        **rows.public(row),
        "now": world.now,
        "generation": world.index.generations.get(item, 0),
        "specification": redact(_plain(found.spec)) if found else None,
        "dependents": dependents,
        "observed": _plain(found.observed) if found else None,
        "lease": _plain(found.lease) if found else None,
        **{key: value for key, value in _past(events).items() if key != "last_transitions"},
    }


def node(session: Session, name: str) -> Document:
    """Return all about a node: its two heartbeats, what is placed there, what it does. Raises `NotFound`."""
    worlds = dict(session.worlds())
    known = {place for world in worlds.values() for place in world.nodes}
    chosen = pick("node", name, sorted(known))
    supervisor, world = next((one, world) for one, world in worlds.items() if chosen in world.nodes)
    executor, collector = world.nodes[chosen]
    placed = [row for row in rows.worker_lines(supervisor, world) if row["node"] == chosen]
    held = [one for one in leaserows.leases_of(world) if one[1] == chosen and one[2].in_progress]
    events = _events(session, world, supervisor, EVENTS, lambda event: event["place"] == chosen)
    return {
        **rows.public(rows.node_row(supervisor, chosen, world)),
        "now": world.now,
        "heartbeat": _plain(executor),
        "collector": _plain(collector),
        "children": [one.spec.name for one in world.children if one.place == chosen],
        "workers": [row["id"] for row in placed],
        "phases": dict(Counter(row["phase"] for row in placed)),
        "in_progress": [rows.public(leaserows.lease_row(supervisor, one, world.now)) for one in held],
        "events": events,
    }


def circuit(session: Session, name: str) -> Document:
    """Return all about a supervisor's circuit. Raises `NotFound`."""
    supervisor = pick("supervisor", name, [one for one, _ in session.indexes()])
    world = session.world(supervisor)
    settings = world.index.settings
    names = ("max_attempts", "flap_window", "half_open_workers", "half_open_for", "recovery_rate")
    incidents = {one.id: one for one in session.runtime.store.incidents(supervisor)}
    return {
        **rows.public(rows.circuit_row(supervisor, world)),
        "now": world.now,
        "checks": {
            one.spec.name: {"verdict": one.verdict.state, "detail": one.verdict.detail} for one in world.children
        },
        "recoveries": {name: _plain(one) for name, one in world.breaker.children.items()},
        "probes": sorted(world.breaker.probes),
        "settings": {key: getattr(settings, key) for key in names},
        "last_incident": _plain(incidents.get(world.breaker.incident)),
        "events": _events(session, world, supervisor, EVENTS, _is_of_circuit),
    }


def _is_of_circuit(event: Event) -> bool:
    return str(event["event"]).startswith("circuit.") or event["event"] == "operator.circuit"


def incident(session: Session, name: str) -> Document:
    """Return all about an incident, with what happened to the circuit in it. Raises `NotFound`."""
    store = session.runtime.store
    found = {one.id: (supervisor, one) for supervisor, _ in session.indexes() for one in store.incidents(supervisor)}
    supervisor, one = found[pick("incident", name, list(found))]
    world = session.world(supervisor)
    until = one.closed_at if one.closed_at is not None else world.now
    events = _events(
        session,
        world,
        supervisor,
        _SCANNED,
        lambda event: _is_of_circuit(event) and one.opened_at - 1 <= event["time"] <= until + 1,
    )
    books = [rows.child_row(supervisor, child, world) for child in world.children if child.spec.name in one.children]
    return {
        **rows.public(rows.incident_row(supervisor, one, world.now)),
        "now": world.now,
        "runbooks": {book["name"]: {"url": book["runbook_url"], "steps": book["manual_steps"]} for book in books},
        "events": events,
    }


def action(session: Session, name: str) -> Document:
    """Return all about an action by its id, or of a worker or `child/NAME` its last one. Raises `NotFound`."""
    known: list[str] = []
    for supervisor, world in session.worlds():
        held = list(leaserows.leases_of(world))
        known += [text for item, _, lease in held for text in (lease.action_id, item)]
        for item, place, lease in held:
            if name in (lease.action_id, item):
                return _action(session, world, supervisor, lease.action_id, (item, place, lease))
        if _events(session, world, supervisor, 1, lambda event: event.get("action_id") == name):
            return _action(session, world, supervisor, name, None)
    return action(session, pick("action", name, known))


def _action(session: Session, world: World, supervisor: str, action_id: str, held: leaserows.Held | None) -> Document:
    events = _events(session, world, supervisor, EVENTS, lambda event: event.get("action_id") == action_id)
    ran = [_ran(run) for run in runs_of(events)]
    return {
        "id": action_id,
        "now": world.now,
        "supervisor": supervisor,
        "worker_id": held[0] if held else next((event.get("worker_id") for event in events), None),
        "action": held[2].action if held else next((one["action"] for one in ran), None),
        "lease": _plain(held[2]) if held else None,
        "told": ran[-1] if ran else None,
        "events": events,
    }
