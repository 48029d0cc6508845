"""fsmctl describe: one worker, child, node, circuit, incident or action in full."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click

from supervisor.cli import details
from supervisor.cli.events import event_line, fit
from supervisor.cli.kinds import asked, complete
from supervisor.cli.leaserows import until
from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from workers.duration import ago

_EPILOG = """\b
Examples:
  fsmctl describe worker/line-1-temperature
  fsmctl describe worker line-1-t             a beginning that it alone has
  fsmctl describe child/broker -o yaml
  fsmctl describe node edge-1
  fsmctl describe circuit plant-1
  fsmctl describe incident 1893456000
  fsmctl describe action line-1-temperature   its last one
"""
Document = dict[str, Any]
Lines = Iterator[tuple[str, str | Iterable[str]]]  # a heading with its text, or with lines of their own below it
_UNTOLD = {"schema", "collected_at", "log", "last_exit", "started_at", "config_id", "start_ticks"}


def _ago(document: Document, time: float | None) -> str:
    """Return how long ago something was, for a sentence."""
    return "never" if not time else f"{ago(document['now'] - time)} ago"


def _values(fields: Mapping[str, Any]) -> str:
    """Return fields for a sentence, but those that say nothing."""
    told = {key: value for key, value in fields.items() if key not in _UNTOLD and value not in (None, "", ())}
    shown = {key: f"{value:.1f}" if isinstance(value, float) else str(value) for key, value in told.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


def _worker(one: Document) -> Lines:
    identity = one["identity"]
    yield (
        "Worker",
        f"{one['id']}, {one['type'] or 'nobody knows what'} on {one['node']} of {one['supervisor']}" + _going(one),
    )
    yield "Known", f"since {_ago(one, identity['created_at'])}" if identity else "its documents cannot be read"
    yield "Labels", ", ".join(f"{key}={value}" for key, value in one["labels"].items()) or "none"
    if one["group"]:
        yield "Group", one["group"]
    by = " (set by an operator)" if one["overridden"] else ""
    wanted = f"{one['desired']}{by}, configuration {one['config_id']}" if one["desired"] else "nobody knows"
    yield "Desired", f"{wanted}, generation {one['generation']}"
    yield "Observed", _observed(one)
    yield "State", f"{one['state']} for {_lasting(one, one['since'])}, phase {one['phase']}"
    yield "Reason", one["reason"]
    yield "Next", one["next_state"] or "it keeps its state"
    yield "Held back", f"{one['skip']['reason']}: {one['skip']['detail']}" if one["skip"] else "no"
    yield "Restarts", str(one["restarts"])
    yield from _conditions(one)
    yield "Lease", _lease(one, one["lease"])
    yield "Depends on", ", ".join(one["depends_on"]) or "nothing"
    yield from _actions(one)
    yield "Transitions", [_transition(one, told) for told in reversed(one["last_transitions"])]
    yield "Configuration", _aligned(_flat(one["config"] or {}))


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each value with its key; of a table inside as `env.NAME`."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", one) for inner, one in _flat(value))
        else:
            yield key, value


def _aligned(pairs: Iterable[tuple[str, Any]]) -> list[str]:
    """Return a line for each key with its value, a command as it is typed."""
    shown = {key: shlex.join(map(str, value)) if isinstance(value, list) else str(value) for key, value in pairs}
    width = max(map(len, shown), default=0)
    return [f"{key:<{width}}  {value}" for key, value in shown.items()]


def _going(one: Document) -> str:
    """Say that a worker is about to leave its place."""
    if one["removed"]:
        return ", has left the fleet file"
    return f", moves to {one['moves_to']}" if one["moves_to"] else ""


def _lasting(document: Document, since: float | None) -> str:
    return ago(None if since is None else document["now"] - since)


def _which(pid: int) -> str:
    return f"pid {pid}" if pid else "it"


def _observed(one: Document) -> str:
    seen = one["observed"]
    if seen is None:
        return "not yet"
    ended = seen.get("last_exit")
    last = f"; {_which(ended['pid'])} ended {_ago(one, ended['ended_at'])}" if ended else ""
    return f"{ago(one['observed_age_seconds'])} ago: {_values(seen) or 'nothing runs'}{last}"


def _conditions(one: Document) -> Lines:
    told = []
    for held in one["conditions"]:
        lasting = "" if held["since"] is None else f" for {_lasting(one, held['since'])}"
        told.append(f"{held['type']}{lasting}: {held['reason']}")
    first, *others = told or ["none"]
    yield "Conditions", first
    for line in others:
        yield "", line


def _lease(one: Document, lease: Document | None) -> str:
    """Say who holds the lease, and until when; or what the last action was."""
    if lease is None:
        return "free, no action yet"
    name = f"{lease['action']} ({lease['action_id']})"
    if lease["stage"] == "free":
        detail = f": {lease['detail']}" if lease.get("detail") else ""
        return f"free; last was {name}: {lease['outcome']} {_ago(one, lease.get('ended_at'))}{detail}"
    since = lease.get("begun_at") or lease["claimed_at"]
    by = f" by {lease['executor']}" if lease.get("executor") else ""
    ends = until(lease["deadline"] - one["now"])
    return f"{name} {lease['stage']} for {_lasting(one, since)}{by}, token {lease['token']}, deadline {ends}"


def _actions(one: Document) -> Lines:
    yield "Actions", [_action_line(one, ran) for ran in reversed(one["last_actions"])]


def _action_line(one: Document, ran: Document) -> str:
    """Return an action in a line: when it was heard of last, what, how it ended, how long it took."""
    last = ran["ended_at"] or ran["begun_at"] or ran["claimed_at"]
    took = "" if ran["duration_seconds"] is None else f" in {ran['duration_seconds']:.1f}s"
    return f"{_lasting(one, last):>7}  {ran['action']} {ran['outcome'] or 'not ended'}{took}: {ran['detail']}"


def _transition(one: Document, told: Document) -> str:
    return f"{_lasting(one, told['time']):>7}  {told['from'] or '?'} to {told['to']}: {told['reason']}"


def _child(one: Document) -> Lines:
    spec = one["specification"]
    yield "Child", f"{one['name']}, {one['type'] or '?'} on {one['node'] or 'no node'} of {one['supervisor']}"
    yield "Verdict", f"{one['verdict']}: {one['detail']}"
    if spec is not None:
        check = spec["check"]
        asks = check["address"] or check["file"] or " ".join(check["command"])
        asks = asks or " ".join(filter(None, (check["admin"], ",".join(check["brokers"])))) or "whether it runs"
        rule = f"timeout {check['timeout']:g}s, failed after {check['failures']} in a row"
        yield "Check", f"{check['kind']} {asks}, {rule}, well after {check['successes']}"
        yield "Restart", _restart(spec)
    seen = one["observed"]
    usual = {"unknown": False, "started": True}  # said where it is otherwise
    told = {key: value for key, value in (seen or {}).items() if usual.get(key) != value}
    yield "Observed", f"{_ago(one, seen['collected_at'])}: {_values(told)}" if seen else "not yet"
    yield from _conditions(one)
    yield "Lease", _lease(one, one["lease"])
    yield "Dependents", ", ".join(one["dependents"]) or "none"
    yield "Runbook", one["runbook_url"] or "none"
    yield "By hand", [f"- {step}" for step in one["manual_steps"]]
    yield from _actions(one)


def _restart(spec: Document) -> str:
    """Say how a child is restarted."""
    if spec["process"]:
        return f"as a process of ours: {shlex.join(spec['process']['command'])}"
    if spec["service"]:
        return f"as the service {spec['service']}"
    if spec["restart"]:
        return f"by {shlex.join(spec['restart'])}"
    return "it looks after itself" if spec["type"] == "supervisor" else "by a person"


def _node(one: Document) -> Lines:
    beat, collector = one["heartbeat"], one["collector"]
    yield "Node", f"{one['name']}, {one['status']}"
    if beat is not None:
        yield "Host", f"{beat['host']}, boot {beat['boot_id']}"
        yield (
            "Executor",
            f"{beat['executor']}, pid {beat['pid']}, {beat['slots']} slots, heard of {_ago(one, beat['at'])}",
        )
    if collector is not None:
        looks = f"looks at {collector['observed']}"
        yield "Collector", f"pid {collector['pid']}, {looks}, heard of {_ago(one, collector['at'])}"
    skew = one["clock_skew_seconds"]
    yield "Clock", "not measured" if skew is None else f"{skew:+.3f}s from Redis' clock"
    yield "Children", ", ".join(one["children"]) or "none"
    phases = ", ".join(f"{number} {phase}" for phase, number in sorted(one["phases"].items()))
    yield "Workers", f"{len(one['workers'])}: {phases}" if one["workers"] else "none"
    yield (
        "In progress",
        [
            f"{held['id']:<22} {held['action']} {held['stage']}, {until(held['deadline_in_seconds'])}"
            for held in one["in_progress"]
        ],
    )


def _circuit(one: Document) -> Lines:
    yield "Circuit", f"of {one['supervisor']}, generation {one['generation']}"
    yield "State", one["state"] + (f" for {ago(one['downtime_seconds'])}" if one["downtime_seconds"] else "")
    forced = one["forced"]
    if forced is not None:
        yield (
            "Forced",
            f"{forced['state']} by {forced['by']} {_ago(one, forced['at'])}: {forced['reason'] or 'no reason'}",
        )
    yield "Reason", one["reason"] or "none"
    recovery = f", {one['recovery_status']}" if one["recovery_status"] else ""
    yield "Attempts", f"{one['retry_attempt']} of {one['max_attempts']}{recovery}"
    yield "Escalated", "yes" if one["escalated"] else "no"
    yield "Opened", _ago(one, one["opened_at"])
    yield "Closed", _ago(one, one["closed_at"])
    yield "Incident", one["incident"] or "none yet"
    yield "Checks", [f"{name:<16} {check['verdict']}: {check['detail']}" for name, check in one["checks"].items()]
    yield (
        "Recoveries",
        [
            f"{name:<16} {told['attempts']} restarts, the last asked for {_ago(one, told['asked_at'])}"
            for name, told in one["recoveries"].items()
        ],
    )
    yield "Settings", [f"{key:<18} {value}" for key, value in one["settings"].items()]


def _incident(one: Document) -> Lines:
    yield "Incident", f"{one['id']} of {one['supervisor']}, {one['state']}"
    yield "Opened", _ago(one, one["opened_at"])
    yield "Closed", _ago(one, one["closed_at"]) if one["closed_at"] else "not yet"
    yield "Lasted", ago(one["duration_seconds"])
    yield "Reason", one["reason"]
    yield "Children", ", ".join(one["children"]) or "none"
    yield "Attempts", str(one["attempts"])
    yield "Escalated", _ago(one, one["escalated_at"]) if one["escalated_at"] else "no"
    for name, book in one["runbooks"].items():
        yield "Runbook", f"{name}: {book['url'] or 'none'}"
        yield "By hand", [f"- {step}" for step in book["steps"]]


def _action(one: Document) -> Lines:
    lease, told = one["lease"], one["told"]
    yield "Action", f"{one['action']} of {one['worker_id']}, {one['id']}, {one['supervisor']}"
    if told is not None:
        yield "Outcome", _action_line(one, told).strip()
    if lease is not None:
        yield "Lease", _lease(one, lease)
        yield "Reason", lease.get("reason") or "none"
        yield "Executor", f"{lease.get('executor') or 'none yet'}, runner {lease.get('runner') or 'none yet'}"
        yield "Token", lease["token"]
        yield "Timeout", f"{lease.get('timeout', 30.0):g}s"
        yield "Failures", f"{lease.get('failures', 0)} in a row"


_KINDS: dict[str, tuple[Callable[[Session, str], Document], Callable[[Document], Lines]]] = {
    "worker": (details.worker, _worker),
    "child": (details.child, _child),
    "node": (details.node, _node),
    "circuit": (details.circuit, _circuit),
    "incident": (details.incident, _incident),
    "action": (details.action, _action),
}


def text_of(document: Document, lines: Lines) -> Iterator[str]:
    """Yield a description for a person, the events at its end."""
    for heading, said in lines:
        if isinstance(said, str):
            yield f"{heading:<12} {said}".rstrip()
        else:
            below = list(said)
            yield heading if below else f"{heading:<12} none"
            yield from (f"  {line}" for line in below)
    events = document["events"]
    yield "Events" if events else f"{'Events':<12} none"
    yield from (fit(f"  {event_line(event, document['now'])}") for event in events)


@click.command("describe", epilog=_EPILOG)
@click.argument("words", metavar="KIND NAME", nargs=-1, required=True, shell_complete=complete)
@document_option
@with_session
def command(session: Session, words: tuple[str, ...], output: str) -> None:
    """Show one worker, child, node, circuit, incident or action in full.

    Who it is, what is wanted and what is seen, its state and why, what lasts and since when, its lease, its last
    actions and transitions, at the end the events. KIND/NAME says the same as KIND NAME; the beginning of a name is
    enough where it is the only one.
    """
    kind, names = asked(words)
    context = click.get_current_context()
    if kind.name not in _KINDS:
        expected = f"expected one of {', '.join(_KINDS)}"
        raise click.UsageError(f"a {kind.name} is not described: {expected}; see `fsmctl get {kind.plural}`", context)
    if len(names) != 1:
        raise click.UsageError(f"expected the name of one {kind.name}: {kind.name}/NAME, or {kind.name} NAME", context)
    load, tell = _KINDS[kind.name]
    document = load(session, names[0])
    if output == "text":
        click.echo("\n".join(text_of(document, tell(document))))
    else:
        print_data(output, {key: value for key, value in document.items() if key != "now"})
