"""Values for tests: whole snapshots, subjects, leases and children with every field overridable."""

from __future__ import annotations

from typing import Any

import msgspec

import workers.registry
from supervisor.model import Check, ChildObserved, ChildSpec, Lease, Stage
from supervisor.plan import Subject, View
from workers.model import Desired, Identity, Metadata, Observed, Snapshot, Status
from workers.process.config import ProcessConfig

NOW = 1_800_000_000.0  # epoch seconds; the fake clock starts here too
TYPES = workers.registry.built_in()


def make_snapshot(
    *,
    worker_id: str = "flow-1",
    kind: str = "process",
    desired: str = "running",
    state: str = "stopped",
    observed: Observed | None = None,
    age: float = 1.0,
    now: float = NOW,
    **changes: Any,
) -> Snapshot:
    """Return a snapshot of a worker on edge-1, observed `age` seconds ago; by default nothing runs yet."""
    seen = observed or Observed(collected_at=now - age)
    snapshot = Snapshot(
        identity=Identity(id=worker_id, type=kind, supervisor="plant-1", node="edge-1", created_at=now - 100),
        desired=Desired(state=desired, config={"min_uptime": 10.0}, config_id="c1"),  # type: ignore[arg-type]
        overridden=False,
        observed=seen,
        status=Status(state=state, since=now - 50, reason="test"),
        metadata=Metadata(seen.collected_at, now, None, now - seen.collected_at),
    )
    return msgspec.structs.replace(snapshot, **changes)


def make_subject(snapshot: Snapshot | None = None, lease: Lease | None = None, **changes: Any) -> Subject:
    """Return a subject of the plan around a snapshot."""
    shown = snapshot or make_snapshot()
    kind = TYPES.get(shown.identity.type)
    subject = Subject(shown.id, "edge-1", 1, lease, shown, kind.derive, kind.machine.phases)
    return msgspec.structs.replace(subject, **changes)


def make_lease(*, stage: Stage = Stage.FREE, now: float = NOW, **changes: Any) -> Lease:
    """Return a lease of flow-1; free ones ended 60 seconds ago with success."""
    lease = Lease(
        worker_id="flow-1",
        action="start",
        action_id="a1",
        token="1",
        stage=stage,
        claimed_at=now - 62,
        deadline=now - 60 if stage is Stage.FREE else now + 8,
        begun_at=None if stage is Stage.QUEUED else now - 61,
        outcome="success" if stage is Stage.FREE else "",
        ended_at=now - 60 if stage is Stage.FREE else None,
    )
    over = {"deadline": changes["ended_at"]} if changes.get("ended_at") is not None else {}
    return msgspec.structs.replace(lease, **{**over, **changes})


def make_view(*subjects: Subject, **changes: Any) -> View:
    """Return a view with five slots on edge-1 and a closed circuit."""
    view = View(subjects=subjects, verdicts={}, slots={"edge-1": 5}, circuit_open=False)
    return msgspec.structs.replace(view, **changes)


def make_child(**changes: Any) -> ChildSpec:
    """Return a redis child named broker on edge-1 that is ours to restart."""
    process = ProcessConfig(command=("redis-server",))
    check = Check(kind="redis", address="127.0.0.1:7390")
    spec = ChildSpec(name="broker", type="redis", node="edge-1", check=check, process=process, config_id="b1")
    return msgspec.structs.replace(spec, **changes)


def make_child_observed(*, age: float = 1.0, now: float = NOW, **changes: Any) -> ChildObserved:
    """Return a look at the broker, running for 100 seconds and passing its check."""
    seen = ChildObserved(collected_at=now - age, passes=1, pid=42, start_ticks=7, started_at=now - 100)
    return msgspec.structs.replace(seen, **changes)
