"""The two Celery tasks, thin: tick and execute."""

from __future__ import annotations

from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from supervisor import execute as execution
from supervisor import tick as ticking
from supervisor.celery import EXECUTE, TICK, app, publisher, runtime
from supervisor.connection import STORE_ERRORS
from supervisor.errors import SupervisorError
from supervisor.leases import Grant
from supervisor.logs import INFRASTRUCTURE, logger

log = logger("supervisor.tasks")


@app.task(name=TICK)  # type: ignore[untyped-decorator]  # celery ships no types
def tick() -> None:
    """Request a tick of every supervisor; each one's gate decides."""
    try:
        for supervisor in runtime().store.supervisors():
            _tick_one(supervisor)
    except STORE_ERRORS as error:
        log.warning("Tick given up: the store does not answer", event_name="tick.store_away", error=str(error))


def _tick_one(supervisor: str) -> None:
    """Tick one supervisor; a document of its own that cannot be read costs that supervisor its tick, not the others."""
    try:
        ticking.run(runtime(), publisher(), supervisor)
    except SupervisorError as error:
        fields = {"supervisor": supervisor, "error": str(error), **INFRASTRUCTURE}
        log.warning("Tick failed", event_name="tick.failed", **fields)


@app.task(name=EXECUTE, bind=True)  # type: ignore[untyped-decorator]  # celery ships no types
def execute(
    self: Any, supervisor: str, place: str, worker_id: str, action: str, token: str, params: dict[str, object]
) -> str:
    """Run one action under its lease; the task's id is the action's."""
    grant = Grant(supervisor, place, worker_id, action, self.request.id, token)
    return execution.run(runtime(), grant, params, self.request.hostname, SoftTimeLimitExceeded).value
