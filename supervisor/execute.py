"""Runs one action under its lease: begin → run → end. The only way from a message to an effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from actions.model import ActionContext, ActionError, Cancelled, Fenced, Outcome
from supervisor.backoff import delay
from supervisor.connection import STORE_ERRORS, trouble_with
from supervisor.errors import SupervisorError
from supervisor.leases import Begin, Grant
from supervisor.logs import Trouble, logger
from supervisor.model import QUEUED_TTL
from supervisor.runtime import Runtime
from supervisor.targets import component_of, wished_at

log = logger("supervisor.execute")
T = TypeVar("T")
_RETRY = 0.2  # seconds before the first repetition of a call that Redis did not answer
_RETRY_CAP = 1.0  # seconds
_WRONG = (Outcome.ERROR, Outcome.TIMEOUT)  # outcomes that tell of a fault, beside what was cancelled or came too late


@dataclass(frozen=True)
class Pool:
    """What the pool process gives an execution.

    `runner` names it: executor process and pool process. `soft_timeout` is what the pool raises in an action whose time
    is up. Only inside `cancellable()` is `Cancelled` raised, when the executor tells the process to give up.
    """

    executor: str
    runner: str
    soft_timeout: type[BaseException]
    cancellable: Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class _End:
    """How an execution ended, as `Leases.end` takes it."""

    outcome: Outcome
    detail: str
    by_executor: str = ""
    fence: int = 0


def run(runtime: Runtime, grant: Grant, params: Mapping[str, object], pool: Pool, traceparent: str = "") -> Outcome:
    """Run the action of `grant` and return how it ended; a message without a valid lease is discarded.

    `traceparent` names the span of what claimed it, if that was traced.
    """
    with runtime.traces.span(f"actions.{grant.action}", traceparent) as span:
        span.set(supervisor=grant.supervisor, worker_id=grant.worker_id, place=grant.place, executor=pool.executor)
        end = _run(runtime, grant, params, pool)
        span.set(action_id=grant.action_id, token=grant.token, outcome=end.outcome.value, detail=end.detail)
        if end.outcome in _WRONG:
            span.failed(end.detail)
    return end.outcome


def _run(runtime: Runtime, grant: Grant, params: Mapping[str, object], pool: Pool) -> _End:
    """Begin, run and end."""
    begin = _begin(runtime, grant, pool)
    if begin.refused is not None:
        log.tell("action.discarded", reason=begin.refused, **_named(grant))
        return _End(Outcome.DISCARDED, begin.refused)
    started = runtime.clock.monotonic()
    end = _execute(runtime, grant, params, pool, begin.documents)
    written = _end(runtime, grant, pool, end)
    log.tell(
        "action.ended" if written else "action.ended_late",
        duration=round(runtime.clock.monotonic() - started, 3),
        success=end.outcome is Outcome.SUCCESS,
        outcome=end.outcome.value,
        detail=end.detail,
        **_named(grant),
    )
    return end


def _named(grant: Grant) -> dict[str, str]:
    """Return what a log line says of whose action it is about."""
    return {
        "worker_id": grant.worker_id,
        "action_type": grant.action,
        "action_id": grant.action_id,
        "token": grant.token,
    }


def _begin(runtime: Runtime, grant: Grant, pool: Pool) -> Begin:
    """Begin, waiting for a Redis that is away no longer than the claim can live."""
    documents = wished_at(runtime.store.keys(grant.supervisor), grant.place, grant.worker_id)
    try:
        with pool.cancellable():
            return _persist(runtime, lambda: runtime.leases.begin(grant, pool.runner, pool.executor, documents))
    except (Cancelled, pool.soft_timeout) as error:  # whether Redis has begun it is not known
        why = "told to give up" if isinstance(error, Cancelled) else "its time was up"
        _end(runtime, grant, pool, _End(Outcome.CANCELLED, f"{why} before it began", by_executor="gone"))
        return Begin(f"{why} before it began")
    except STORE_ERRORS as error:
        return Begin(f"the store does not answer: {error}")


def _end(runtime: Runtime, grant: Grant, pool: Pool, end: _End) -> bool:
    """Write the end, waiting for a Redis that is away. Ending twice is harmless, so an interrupted call is repeated."""

    def write() -> bool:
        return runtime.leases.end(grant, pool.runner, end.outcome, end.detail, end.by_executor, end.fence)

    try:
        return _persist(runtime, write)
    except pool.soft_timeout:  # the time ran out just after the effect
        return _end(runtime, grant, pool, end)
    except STORE_ERRORS as error:
        log.tell("action.end_failed", error=str(error), **_named(grant))
        return False


def _persist(runtime: Runtime, call: Callable[[], T]) -> T:
    """Repeat a call that Redis does not answer, for as long as a claim may wait. Raises the last error after that."""
    give_up = runtime.clock.monotonic() + QUEUED_TTL
    trouble = Trouble(log, "store.away", runtime.clock.monotonic)
    tries = 0
    while True:
        try:
            answer = call()
            trouble.is_now("")
            return answer  # noqa: TRY300 - an `else` would be reached by no loop
        except STORE_ERRORS as error:
            if runtime.clock.monotonic() >= give_up:
                raise
            trouble.is_now(trouble_with(error), error=str(error))
            tries += 1
            runtime.clock.sleep(min(_RETRY_CAP, _RETRY * delay(tries)))


def _execute(
    runtime: Runtime, grant: Grant, params: Mapping[str, object], pool: Pool, documents: Sequence[str | None]
) -> _End:
    """Run the effect on what the documents say, and put its end into words."""
    try:
        with pool.cancellable():
            action = runtime.actions.build(grant.action, params)
            where = (grant.supervisor, grant.place, grant.worker_id)
            component = component_of(runtime, *where, documents, grant.action)
            return _End(Outcome.SUCCESS, action.execute(ActionContext(component, int(grant.token))))
    except Cancelled:
        return _End(Outcome.CANCELLED, "told to give up")
    except Fenced as error:
        return _End(Outcome.DISCARDED, str(error), fence=error.newest)
    except (ActionError, SupervisorError) as error:
        return _End(Outcome.ERROR, str(error))
    except pool.soft_timeout:
        return _End(Outcome.TIMEOUT, f"did not end within {runtime.actions.get(grant.action).timeout:g}s")
    except Exception as error:  # noqa: BLE001 - an action may raise anything; it is logged with its traceback
        words = f"{type(error).__name__}: {error}"
        log.tell("action.raised", error=words, exc_info=True, **_named(grant))
        return _End(Outcome.ERROR, words)
