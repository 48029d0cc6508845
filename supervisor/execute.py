"""Runs one action under its lease: begin → run → end. The only way from a message to an effect."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from actions.model import ActionContext, ActionError, Fenced, Outcome
from actions.registry import ActionRegistry
from supervisor.errors import SupervisorError
from supervisor.leases import Grant
from supervisor.logs import WORKER, logger
from supervisor.runtime import Runtime
from supervisor.targets import component_of

log = logger("supervisor.execute")


def run(
    runtime: Runtime,
    grant: Grant,
    params: Mapping[str, object],
    executor: str,
    soft_timeout: type[BaseException],
) -> Outcome:
    """Run the action of `grant` and return how it ended; a message without a valid lease is discarded.

    `soft_timeout` is what the pool raises in the action when its time is up.
    """
    runner = str(uuid.uuid4())
    fields = {
        "worker_id": grant.worker_id,
        "action_type": grant.action,
        "action_id": grant.action_id,
        "token": grant.token,
    }
    refused = runtime.leases.begin(grant, runner, executor)
    if refused is not None:
        log.warning("Action discarded", event_name="action.discarded", reason=refused, **fields, **WORKER)
        return Outcome.DISCARDED
    started = runtime.clock.monotonic()
    outcome, detail = _execute(runtime, runtime.actions, grant, params, soft_timeout)
    written = runtime.leases.end(grant, runner, outcome, detail)
    log.info(
        "Action completed",
        event_name="action.ended",
        duration=round(runtime.clock.monotonic() - started, 3),
        success=outcome is Outcome.SUCCESS,
        outcome=outcome.value,
        detail=detail,
        written=written,
        **fields,
    )
    return outcome


def _execute(
    runtime: Runtime,
    actions: ActionRegistry,
    grant: Grant,
    params: Mapping[str, object],
    soft_timeout: type[BaseException],
) -> tuple[Outcome, str]:
    """Run the effect and put its end into words."""
    try:
        action = actions.build(grant.action, params)
        component = component_of(runtime, grant.supervisor, grant.place, grant.worker_id)
        return Outcome.SUCCESS, action.execute(ActionContext(component, int(grant.token)))
    except Fenced as error:
        return Outcome.DISCARDED, str(error)
    except (ActionError, SupervisorError) as error:
        return Outcome.ERROR, str(error)
    except soft_timeout:
        return Outcome.TIMEOUT, f"did not end within {actions.get(grant.action).timeout:g}s"
    except Exception as error:
        log.exception("Action raised", event_name="action.raised", worker_id=grant.worker_id, action_type=grant.action)
        return Outcome.ERROR, f"{type(error).__name__}: {error}"
