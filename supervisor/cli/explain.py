"""fsmctl explain: why it is so, why nothing is done, and what comes next."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import click

from supervisor.cli.matching import pick
from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from supervisor.decide import decide
from supervisor.errors import NotFound
from supervisor.keys import CHILD_PREFIX
from supervisor.why import Moment, explain_child, explain_circuit, explain_node, explain_worker
from workers.duration import ago

_WIDTH = 80
_INDENT = 10
_EPILOG = """\b
Examples:
  fsmctl explain line-1-temperature       why this state, why no action
  fsmctl explain child/broker
  fsmctl explain circuit/plant-1 -o json
  fsmctl explain node/edge-1
"""
Document = dict[str, Any]
Sentence = tuple[str, str]


def explain(session: Session, target: str) -> Document:
    """Return the explanation of `worker/ID`, a bare ID, `child/NAME`, `node/NAME` or `circuit/NAME`."""
    kind, _, name = target.rpartition("/")
    if kind == "circuit":
        return explain_circuit(_moment(session, pick("supervisor", name, [found for found, _ in session.indexes()])))
    if kind == "node":
        return _node(session, name)
    if kind not in ("", "worker", "child"):
        raise click.UsageError(
            f"{target!r} cannot be explained: expected worker/ID, child/NAME, node/NAME or circuit/SUPERVISOR"
        )
    item, supervisor, _ = session.match(target if kind == "child" else name)
    moment = _moment(session, supervisor)
    if item.startswith(CHILD_PREFIX):
        return _child_of(moment, item)
    subject = next((subject for subject in moment.world.view.subjects if subject.id == item), None)
    if subject is None:
        raise NotFound(f"worker {item!r} has just left; see `fsmctl get workers`")
    return explain_worker(moment, subject)


def _child_of(moment: Moment, item: str) -> Document:
    found = next((child for child in moment.world.children if child.spec.id == item), None)
    if found is None:
        raise NotFound(f"{item} cannot be read: {moment.world.unreadable_children.get(item, 'it has just left')}")
    return explain_child(moment, found)


def _moment(session: Session, supervisor: str) -> Moment:
    world = session.world(supervisor)
    return Moment(supervisor, world, decide(world))


def _node(session: Session, text: str) -> Document:
    """Return the explanation of a node by the first supervisor that knows it."""
    moments = [_moment(session, supervisor) for supervisor, _ in session.indexes()]
    place = pick("node", text, sorted({place for moment in moments for place in moment.world.nodes}))
    return explain_node(next(moment for moment in moments if place in moment.world.nodes), place)


def lines(document: Document) -> list[str]:
    """Return an explanation for a person: sentences, each under a word that says what it is about."""
    kind = document["id"].partition("/")[0]
    told = []
    for label, sentence in _TELL[kind](document):
        wrapped = textwrap.wrap(sentence, _WIDTH - _INDENT, break_long_words=False) or [""]
        told.append(f"{label:<{_INDENT}}{wrapped[0]}")
        told += [" " * _INDENT + line for line in wrapped[1:]]
    return told


def _worker(document: Document) -> Iterator[Sentence]:
    since = f" for {ago(document['for_seconds'])}" if document["for_seconds"] is not None else ""
    phase = "" if document["phase"] == document["state"] else f" (phase {document['phase']})"
    by = ", as an operator has set it" if document["overridden"] else ""
    where = f"{document['id']} on {document['node']} of {document['supervisor']}"
    if document["desired"] is None:
        yield "State", f"{where} cannot be read."
    else:
        yield "State", f"{where} has been {document['state']}{phase}{since}; desired is {document['desired']}{by}."
    yield "Why", _sentence(document["reason"])
    yield "Action", _action(document)
    yield from _next(document)
    yield "Lease", _lease(document["lease"])
    yield "Observed", _observed(document["observation"])
    yield from (("Note", f"{one['type']}: {_sentence(one['reason'])}") for one in document["conditions"])


def _sentence(text: str) -> str:
    """Return words as a sentence; a name at their beginning stays as it is."""
    begins = text.partition(" ")[0].rstrip(",").isalpha()
    return (f"{text[:1].upper()}{text[1:]}" if begins else text) + ("" if text.endswith(".") else ".")


def _action(document: Document) -> str:
    skip, would = document["skip"], document["would"]
    if skip is not None:
        return f"None is asked for, {skip['reason']}: {skip['detail']}."
    if would is not None and would["action"] is not None:
        return f"{_sentence(would['action'])[:-1]} is due: {would['reason']}."
    return "None is needed."


def _next(document: Document) -> Iterator[Sentence]:
    label = "Next"
    for one in document["next"]:
        ahead = one["in_seconds"]
        when = f", in {_short(ahead)}" if ahead is not None and ahead > 0 else ""
        see = f" (fsmctl explain {one['see']})" if one["see"] else ""
        yield label, f"{_sentence(one['what'])[:-1]}{when}{see}."
        label = ""


def _short(seconds: float) -> str:
    """Return seconds ahead, to a tenth while that says something."""
    return f"{seconds:.1f}s" if seconds < 10 else ago(seconds)


def _lease(lease: Document | None) -> str:
    if lease is None:
        return "Nobody holds it; no action was ever asked for."
    since = ago(lease["since_seconds"])
    if lease["stage"] == "free":
        detail = f" ({lease['detail']})" if lease["detail"] else ""
        return f"Nobody holds it. The last action was {lease['action']}: {lease['outcome']} {since} ago{detail}."
    until = _short(max(0.0, lease["until_in_seconds"]))
    if lease["stage"] == "queued":
        return f"{lease['action']} has been queued for {since}; nobody has begun it, and the claim ends in {until}."
    asked = f" It was asked to give up: {lease['cancel']}." if lease["cancel"] else ""
    holder = lease["holder"] or "An executor"
    return f"{holder} holds it for {lease['action']}, since {since}; unless renewed it ends in {until}.{asked}"


def _observed(seen: Document) -> str:
    if seen["age_seconds"] is None:
        return "Not yet."
    due = seen["due_in_seconds"]
    when = f"the next look is due in {_short(due)}" if due > 0 else f"the next look is overdue by {ago(-due)}"
    error = f" It told nothing: {seen['error']}." if seen["error"] else ""
    return f"{_short(seen['age_seconds'])} ago{', which is too old to act on' if seen['stale'] else ''}; {when}.{error}"


def _child(document: Document) -> Iterator[Sentence]:
    where = f"{document['id']} on {document['node']} of {document['supervisor']}"
    yield "Verdict", f"{where} is {document['verdict']}."
    yield "Why", f"{_sentence(document['reason'])} Its check is {document['check']}."
    if document["attempts"]:
        yield "Restarts", f"{document['attempts']} of {document['max_attempts']} attempts were made."
    yield from _next(document)
    yield "Lease", _lease(document["lease"])
    yield "Observed", _observed({**document["observation"], "error": None})  # it is what the verdict says
    if document["dependents"]:
        yield "Carries", f"{', '.join(document['dependents'])}."
    yield from (("Note", f"{one['type']}: {_sentence(one['reason'])}") for one in document["conditions"])
    if document["verdict"] == "failed":
        yield "Runbook", document["runbook_url"]
        yield from (("By hand" if not number else "", step) for number, step in enumerate(document["manual_steps"]))


def _circuit(document: Document) -> Iterator[Sentence]:
    down = document["downtime_seconds"]
    yield (
        "State",
        f"{document['id']} is {document['state']}" + (f", down for {ago(down)}." if down is not None else "."),
    )
    if (forced := document["forced"]) is not None:
        yield "Forced", f"By {forced['by']}: {forced['reason'] or 'no reason given'}."
    yield "Why", _sentence(document["reason"])
    if down is not None:
        told = ", escalated" if document["escalated"] else ""
        attempts = f"{document['attempts']} of {document['max_attempts']} attempts"
        yield "Recovery", f"{document['recovery_status']}: {attempts}{told}; incident {document['incident']}."
    yield from (("Child", f"child/{one['name']} is {one['verdict']}: {one['reason']}.") for one in document["children"])
    held = ", ".join(f"{number} {reason}" for reason, number in document["held_back"].items())
    yield "Holds", f"{held}." if held else "Nobody back."
    yield from _next(document)


def _node_lines(document: Document) -> Iterator[Sentence]:
    slots = f", with {document['slots']} slots" if document["slots"] else ""
    yield "State", f"{document['id']} is {document['status']}{slots}: {document['reason']}."
    seen = document["collector_age_seconds"]
    told = "No collector has ever looked here." if seen is None else f"Its collector looked {ago(seen)} ago."
    stale = f" Too old: {', '.join(document['stale_workers'])}." if document["stale_workers"] else ""
    yield "Observes", told + stale
    skew = document["clock_skew_seconds"]
    if skew is not None and abs(skew) > 1:
        yield "Clock", f"{abs(skew):.1f}s {'ahead of' if skew > 0 else 'behind'} Redis'; nothing depends on it."
    yield "Runs", f"{', '.join(document['running'])}." if document["running"] else "No action."
    if document["queued"]:
        yield "Queued", f"{', '.join(document['queued'])}."
    skips = ", ".join(f"{number} {reason}" for reason, number in document["skips_by_reason"].items())
    yield "Workers", f"{document['workers']}; " + (f"nothing is done for {skips}." if skips else "none is held back.")
    yield from _next(document)


_TELL: dict[str, Callable[[Document], Iterator[Sentence]]] = {
    "worker": _worker,
    "child": _child,
    "circuit": _circuit,
    "node": _node_lines,
}


@click.command("explain", epilog=_EPILOG)
@click.argument("target", metavar="KIND/NAME")
@document_option
@with_session
def command(session: Session, target: str, output: str) -> None:
    """Say why a worker, child, node or circuit is as it is, and what comes next.

    For a worker: why it is in its state, why no action runs (the planner's own reason), who holds its lease and until
    when, how old its observation is, and what would happen next and when. KIND is worker, child, node or circuit; a
    bare ID is a worker's.
    """
    document = explain(session, target)
    if output != "text":
        print_data(output, document)
    else:
        click.echo("\n".join(lines(document)))
