"""Every line that the supervisor's processes log: its event, level, message, scope and fields. Pure data, and a check.

The tables of `docs/observability.md` are written from here. An event has one level and one message, which never change;
what varies is in its fields. A line of a library (Celery, kombu) is the event `library.said`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.keys import CHILD_PREFIX

Kind = type | tuple[type, ...]
NUMBER = (int, float)
SECONDS = "seconds"
SCOPES = {
    "infrastructure": {"error_scope": "infrastructure", "impact": "all_workers"},
    "worker": {"error_scope": "worker", "impact": "single_worker"},
}
LIBRARY = "library.said"


@dataclass(frozen=True)
class Field:
    """A field: what its values are of (as JSON has them), in which unit, and what it means."""

    kind: Kind
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Event:
    """A kind of line. `fields` are always there, `optional` ones where they are known.

    `scope` is a key of `SCOPES`; an event of the scope "worker" that is about a child is of "infrastructure".
    """

    level: str
    message: str
    scope: str
    fields: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def knows(self, field: str) -> bool:
        """Tell whether its lines may have a field besides the common ones."""
        return field in self.fields or field in self.optional


FIELDS = {
    # in every line
    "timestamp": Field(str, "When it was said, by this host's clock: ISO 8601, UTC"),
    "level": Field(str, "debug, info, warning, error or critical"),
    "event": Field(str, "What happened, as listed here; never changes"),
    "message": Field(str, "The same in words; constant"),
    "error_scope": Field(str, "`infrastructure` or `worker`: what it concerns"),
    "impact": Field(str, "`all_workers` or `single_worker`: whom it concerns"),
    # in every line that belongs to a trace
    "trace_id": Field(str, "Id of the trace, where actions are traced"),
    "span_id": Field(str, "Id of the span"),
    # whom it is about
    "supervisor": Field(str, "Name of the supervisor"),
    "node": Field(str, "Name of the node"),
    "child_name": Field(str, "Name of the child"),
    "worker_id": Field(str, "Id of the worker, or `child/NAME`"),
    "worker_type": Field(str, "Type of the worker"),
    "logger": Field(str, "The library's own name for the part that speaks"),
    "pid": Field(int, "Process id"),
    "key": Field(str, "Key in Redis"),
    "file": Field(str, "Path of a file"),
    "command": Field(str, "Name of the command that was run"),
    # actions
    "action": Field(str, "Name of the action, as in the events"),
    "action_type": Field(str, "Name of the action"),
    "action_id": Field(str, "Id of the action: of its lease, its message and its events"),
    "token": Field(str, "Fencing token of the lease"),
    "stage": Field(str, "Stage of the lease: queued or running"),
    "success": Field(bool, "Whether the action did what it should"),
    "outcome": Field(str, "success, error, timeout, cancelled, lost or discarded"),
    "duration": Field(NUMBER, "How long it ran, took or lasts", SECONDS),
    "timeout": Field(NUMBER, "How long it may take", SECONDS),
    "executor": Field(str, "Name of the executor"),
    "in_flight": Field(int, "Actions that ran when the executor was told to stop"),
    "cancelled": Field(int, "Actions that were told to give up"),
    # the circuit
    "circuit_open": Field(bool, "Whether the circuit is open after what the line tells"),
    "incident": Field(str, "Id of the incident, empty before the first"),
    "retry_attempt": Field(int, "Restarts started in this incident"),
    "max_attempts": Field(int, "Restarts after which a person is called"),
    "attempts_remaining": Field(int, "Restarts left before that"),
    "backoff_delay": Field(NUMBER, "Pause before the next restart, from the end of this one", SECONDS),
    "next_retry_in": Field((*NUMBER, type(None)), "Time to the next restart; null while one runs", SECONDS),
    "elapsed_downtime": Field(NUMBER, "Time since the circuit opened", SECONDS),
    "total_downtime": Field(NUMBER, "Time since the circuit opened, up to its end or to now", SECONDS),
    "recovery_status": Field(str, "attempting_recovery, persistent_failure or escalation_imminent"),
    "runbook_url": Field(str, "Where to read what to do"),
    "manual_steps": Field(list, "What to do by hand"),
    "half_open_workers": Field(int, "How many workers may try whether all is well"),
    # states
    "from_state": Field(str, "State before"),
    "to_state": Field(str, "State after"),
    "from_place": Field(str, "Place before"),
    "to_place": Field(str, "Place after"),
    "skip": Field(str, "Why the worker is skipped, as in `supervisor_skips_total`"),
    "in_a_row": Field(int, "How many quarantines in a row this is"),
    # why, and how often
    "reason": Field(str, "Why, of few kinds or with the values that decided"),
    "detail": Field(str, "Why, with its values"),
    "error": Field(str, "What went wrong, in words"),
    "exception": Field(str, "Traceback"),
    "count": Field(int, "How often this process has met the condition since it began"),
    "was": Field((str, int), "What it was before"),
    "seconds": Field(NUMBER, "How long it lasts", SECONDS),
    "skew_seconds": Field(NUMBER, "How far this host's clock is ahead of Redis'", SECONDS),
    "revision": Field(int, "Revision of the fleet and its overrides"),
    "items": Field(int, "Workers and children"),
    "keys": Field(list, "Names of the message's fields"),
}
TRACE = ("trace_id", "span_id")
COMMON = ("timestamp", "level", "event", "message", "error_scope", "impact")
_ACTION = ("worker_id", "action_type", "action_id", "token")
_CIRCUIT = ("supervisor", "child_name", "circuit_open", "incident")
_TROUBLE = ("reason", "count")
_OVER = ("was", "count", "duration")


def _infrastructure(level: str, message: str, *fields: str, optional: tuple[str, ...] = ()) -> Event:
    return Event(level, message, "infrastructure", fields, optional)


def _worker(level: str, message: str, *fields: str, optional: tuple[str, ...] = ()) -> Event:
    return Event(level, message, "worker", fields, optional)


def _trouble(
    wrong: str, over: str, *fields: str, optional: tuple[str, ...] = (), scope: str = "infrastructure"
) -> tuple[Event, Event]:
    """Return what is said of a condition that lasts: at first and every 30 s with a count, and when it is over."""
    return (
        Event("warning", wrong, scope, (*fields, *_TROUBLE), optional),
        Event("info", over, scope, (*fields, *_OVER)),
    )


_TROUBLES = {
    "infrastructure.check_failed": _trouble(
        "Infrastructure check failed", "Infrastructure check fails no more", *_CIRCUIT, optional=("error",)
    ),
    "store.away": _trouble("The store does not answer", "The store answers again", optional=("node", "error")),
    "store.full": _trouble(
        "Redis is full: nothing is begun, and history gives way", "Redis has room again", optional=("node",)
    ),
    "store.bad_document": _trouble(
        "Heartbeat cannot be read", "Heartbeat can be read again", "key", optional=("error",)
    ),
    "beat.silent": _trouble("Pulses are not published", "Pulses are published again", optional=("error",)),
    "beat.deaf": _trouble(
        "Beat does not hear marks: changes wait for the next pulse", "Beat hears marks again", optional=("error",)
    ),
    "tick.given_up": _trouble("Ticks are given up: the store takes nothing", "Ticks go on", optional=("error",)),
    "tick.failed": _trouble("Tick failed", "Ticks of this supervisor succeed again", "supervisor", optional=("error",)),
    "dispatch.failed": _trouble(
        "Actions not published", "Actions are published again", "supervisor", optional=("error",)
    ),
    "child.unreadable": _trouble(
        "Child cannot be read", "Child can be read again", "supervisor", "child_name", optional=("error",)
    ),
    "observation.rejected": _trouble(
        "Reading rejected", "Readings are believed again", "worker_id", optional=("error",), scope="worker"
    ),
    "node.clock_skew": _trouble(
        "This node's clock is wrong; only its logs go by it",
        "This node's clock is right again",
        "node",
        optional=("skew_seconds",),
    ),
    "collector.heartbeat": _trouble(
        "The collector cannot say to its executor that it lives",
        "The collector can say to its executor that it lives",
        "node",
        optional=("error",),
    ),
    "collector.bad_document": _trouble(
        "Supervisor cannot be read", "Supervisor can be read again", "supervisor", optional=("error",)
    ),
    "exporter.bad_document": _trouble(
        "Supervisor left out of this scrape", "Supervisor is scraped again", "supervisor", optional=("error",)
    ),
    "attendant.failed": _trouble(
        "A part of the executor's attendant failed; it goes on",
        "The executor's attendant works again",
        optional=("error",),
    ),
    "keys.unreadable": _trouble(
        "Keys cannot be read any more; those read before count",
        "Keys can be read again",
        "file",
        optional=("error",),
    ),
    "mirror.bad_file": _trouble(
        "Mirror cannot be read and is ignored", "Mirror can be read again", "supervisor", optional=("error",)
    ),
    "mirror.not_written": _trouble(
        "Mirror cannot be written", "Mirror is written again", "supervisor", optional=("error",)
    ),
}

EVENTS: Mapping[str, Event] = {
    # the circuit
    "circuit.opened": _infrastructure(
        "warning",
        "Infrastructure check failed, opening circuit breaker",
        *(*_CIRCUIT, "error", "retry_attempt", "backoff_delay"),
    ),
    "circuit.restart": _infrastructure(
        "warning", "Restarting failed child", *_CIRCUIT, "retry_attempt", "backoff_delay"
    ),
    "circuit.heartbeat": _infrastructure(
        "warning",
        "Circuit breaker open, retrying infrastructure checks",
        *(*_CIRCUIT, "retry_attempt", "max_attempts", "elapsed_downtime", "next_retry_in", "recovery_status"),
    ),
    "circuit.one_attempt_left": _infrastructure(
        "warning",
        "WARNING: One retry attempt remaining before escalation",
        *(*_CIRCUIT, "attempts_remaining", "total_downtime"),
    ),
    "circuit.escalated": _infrastructure(
        "error",
        "ESCALATION REQUIRED: Infrastructure failure after max retry attempts. Manual intervention needed.",
        *(*_CIRCUIT, "max_attempts", "total_downtime"),
        optional=("runbook_url", "manual_steps"),
    ),
    "circuit.half_opened": _infrastructure(
        "info",
        "Infrastructure checks pass, circuit breaker is half open",
        *(*_CIRCUIT, "elapsed_downtime", "retry_attempt", "half_open_workers"),
    ),
    "circuit.closed": _infrastructure(
        "info", "Infrastructure recovered, closing circuit breaker", *_CIRCUIT, "total_downtime", "retry_attempt"
    ),
    "hook.ended": _infrastructure("info", "Escalation command has ended", "command"),
    "hook.failed": _infrastructure("warning", "Escalation command failed", "command", "error"),
    # actions
    "action.enqueued": _worker("debug", "Action enqueued for execution", *_ACTION),
    "action.ended": _worker("info", "Action completed", *_ACTION, "duration", "success", "outcome", "detail"),
    "action.ended_late": _worker(
        "warning",
        "Action ended too late, its outcome is discarded",
        *(*_ACTION, "duration", "success", "outcome", "detail"),
    ),
    "action.end_failed": _worker("warning", "Outcome not written", *_ACTION, "error"),
    "action.raised": _worker("error", "Action raised", *_ACTION, "error", "exception"),
    "action.discarded": _worker("warning", "Action discarded", *_ACTION, "reason"),
    "action.lost": _worker("warning", "Action lost", *_ACTION, "stage"),
    "action.stuck": _worker(
        "warning",
        "Action runs for twice its timeout",
        *("worker_id", "action", "action_type", "action_id", "timeout", "executor"),
        optional=("worker_type",),
    ),
    "action.given_up": _worker("warning", "Action is told to give up", *_ACTION, "reason"),
    "message.refused": _worker(
        *("warning", "Message refused", "action_id", "reason", "error"),
        optional=("keys", "count", "worker_id", "action_type"),
    ),
    "message.not_put_back": _infrastructure(
        "warning",
        "Messages that were taken cannot be put back; what has not begun is asked for again",
        "count",
        "error",
    ),
    # workers
    "worker.transition": _worker("info", "Worker changed state", "worker_id", "from_state", "to_state", "reason"),
    "worker.in_progress": _worker(
        "debug", "Worker action in progress, skipping derivation", "worker_id", "skip", "detail"
    ),
    "worker.skipped": _worker("debug", "Worker skipped", "worker_id", "skip", "detail"),
    "worker.quarantined": _worker(
        "warning", "Worker quarantined", "worker_id", "reason", "duration", "in_a_row", optional=("worker_type",)
    ),
    "worker.quarantine_ended": _worker(
        "info", "Worker's quarantine ended", "worker_id", "reason", "was", optional=("worker_type",)
    ),
    "worker.moved": _worker("info", "Worker moved", "worker_id", "from_place", "to_place"),
    "worker.forgotten": _worker("info", "Worker forgotten", "worker_id"),
    # the store
    "store.hold_off": _infrastructure("warning", "Nothing is claimed for a while", "supervisor", "reason", "seconds"),
    "store.restored": _infrastructure(
        "warning",
        "Redis had lost what was wished for: restored from the mirror",
        *("supervisor", "revision", "was", "items"),
    ),
    # processes
    "executor.refused": _infrastructure("error", "This executor may not run", "error"),
    "executor.draining": _infrastructure(
        "info", "Executor stops: waiting for its actions in flight", "in_flight", "timeout"
    ),
    "executor.drained": _infrastructure("info", "Executor has drained: all actions ended", "in_flight", "duration"),
    "executor.cut_short": _infrastructure(
        "warning", "Executor has drained: actions were cancelled", "in_flight", "duration", "cancelled"
    ),
    "executor.left_at_once": _infrastructure(
        "warning", "Executor told twice to stop: leaving at once, what runs is killed", "in_flight"
    ),
    "executor.ends_not_written": _infrastructure("warning", "The ends of killed actions were not written", "error"),
    "node.end_not_written": _infrastructure("warning", "The node's end was not written", "error"),
    "collector.started": _infrastructure("info", "Collector started", "node", "pid"),
    "collector.stopped": _infrastructure("info", "Collector stopped", "node", "pid"),
    "collector.refused": _infrastructure("error", "Another collector of this node lives", "node"),
    "collector.hung": _infrastructure("warning", "Collector hangs: replacing it", "node", "pid"),
    "exporter.request_failed": _infrastructure("info", "Request failed", "error"),
    **{name: wrong for name, (wrong, _) in _TROUBLES.items()},
    **{f"{name}.over": over for name, (_, over) in _TROUBLES.items()},
}
_LEVELS = ("debug", "info", "warning", "error", "critical")
_OF_LIBRARY = {True: ("logger",), False: ()}


def scope_of(event: Event, fields: Mapping[str, object]) -> Mapping[str, str]:
    """Return error_scope and impact of an event with these fields; a child is nobody's worker."""
    of_child = str(fields.get("worker_id", "")).startswith(CHILD_PREFIX)
    return SCOPES["infrastructure" if of_child else event.scope]


def faults(event_name: str, fields: Mapping[str, object]) -> list[str]:
    """Return what is wrong with what is said of an event beside the common fields; empty when nothing is."""
    event = EVENTS.get(event_name)
    if event is None:
        return [f"{event_name}: no such event"]
    missing = [f"{event_name}: {name} is missing" for name in event.fields if name not in fields]
    unknown = [f"{event_name}: {name} is not one of its fields" for name in fields if not event.knows(name)]
    return missing + unknown + [f"{event_name}: {fault}" for fault in _bad_values(fields)]


def line_faults(line: Mapping[str, object]) -> list[str]:
    """Return what is wrong with a line of JSON; empty when nothing is."""
    name = str(line.get("event"))
    missing = [f"{name}: {field} is missing" for field in (*COMMON, *_OF_LIBRARY[name == LIBRARY]) if field not in line]
    if name == LIBRARY:
        return missing + ([] if line.get("level") in _LEVELS else [f"{name}: level is {line.get('level')!r}"])
    fields = {key: value for key, value in line.items() if key not in COMMON + TRACE}
    return missing + _other_than_said(name, line, fields) + faults(name, fields)


def _other_than_said(name: str, line: Mapping[str, object], fields: Mapping[str, object]) -> list[str]:
    """Return the common fields whose values are not those of the event."""
    event = EVENTS.get(name)
    wanted = {} if event is None else {"level": event.level, "message": event.message, **scope_of(event, fields)}
    return [
        f"{name}: {key} is {line[key]!r}, not {value!r}"
        for key, value in wanted.items()
        if key in line and line[key] != value
    ]


def _bad_values(fields: Mapping[str, object]) -> list[str]:
    """Return the fields whose values are of another type than they should; True is no number."""
    return [
        f"{name} is {value!r}, expected {words(FIELDS[name].kind)}"
        for name, value in fields.items()
        if name in FIELDS
        and (not isinstance(value, FIELDS[name].kind) or (isinstance(value, bool) and FIELDS[name].kind is not bool))
    ]


_WORDS = {str: "string", int: "integer", bool: "boolean", list: "list of strings", type(None): "null"}


def words(kind: Kind) -> str:
    """Return a field's kind in words."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if float in kinds:
        return " or ".join(["number", *(_WORDS[one] for one in kinds if one not in NUMBER)])
    return " or ".join(_WORDS[one] for one in kinds)
