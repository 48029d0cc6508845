"""The two Celery tasks, thin: tick and execute."""

from __future__ import annotations

import os
from typing import Any

import msgspec
from celery.exceptions import SoftTimeLimitExceeded

from actions.model import Outcome
from supervisor import execute as execution
from supervisor import tick as ticking
from supervisor.celery import app, publisher, runtime
from supervisor.connection import STORE_ERRORS, trouble_with
from supervisor.envelope import Order, Reason
from supervisor.errors import SupervisorError
from supervisor.keys import EXECUTE, TICK
from supervisor.leases import Grant
from supervisor.logs import Trouble, logger
from supervisor.poolprocess import cancellable, runner_of

log = logger("supervisor.tasks")
_trouble = Trouble(log, "tick.given_up")


@app.task(name=TICK, send_events=False)  # type: ignore[untyped-decorator]  # celery ships no types
def tick() -> None:
    """Request a tick of every supervisor; each one's gate decides.

    Flower is told nothing of it: two ticks a second would push the actions out of its history within the hour.
    """
    try:
        stepped = ticking.clock_was_set(runtime())
        for supervisor in ticking.supervisors(runtime()):
            _tick_one(supervisor, stepped)
    except STORE_ERRORS as error:
        _trouble.is_now(trouble_with(error), error=str(error))
        return
    _trouble.is_now("")


def _tick_one(supervisor: str, stepped: bool) -> None:
    """Tick one supervisor; a document of its own that cannot be read costs that supervisor its tick, not the others."""
    try:
        ticking.run(runtime(), publisher(), supervisor, stepped)
    except SupervisorError as error:
        reason = type(error).__name__
        runtime().troubles.is_now("tick.failed", supervisor, reason, supervisor=supervisor, error=str(error))
        return
    runtime().troubles.is_now("tick.failed", supervisor, "")


@app.task(name=EXECUTE, bind=True, Request="supervisor.bootsteps:ActionRequest")  # type: ignore[untyped-decorator]  # celery ships no types
def execute(self: Any, **message: object) -> str:
    """Run one action under its lease; the task's id is the action's."""
    try:
        order = msgspec.convert(message, Order)
    except msgspec.ValidationError as error:
        named = {"action_id": self.request.id, "keys": sorted(message)}
        log.tell("message.refused", reason=Reason.MALFORMED.value, error=str(error), **named)
        return Outcome.DISCARDED.value
    grant = Grant(order.supervisor, order.place, order.worker_id, order.action, self.request.id, order.token)
    runner = runner_of(os.getpid())
    pool = execution.Pool(self.request.hostname, runner, SoftTimeLimitExceeded, cancellable)
    traceparent = str(self.request.get("traceparent") or "")
    return execution.run(runtime(), grant, order.params, pool, traceparent).value
