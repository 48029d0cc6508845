"""fsmctl replay: what the code as it is now would decide of what was seen."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import click
import msgspec

from supervisor.admission import SkipReason
from supervisor.cli.duration import DurationType
from supervisor.cli.output import document_option, print_data, table
from supervisor.cli.session import Session, item_of, with_session
from supervisor.errors import BadDocument, Refused
from supervisor.frames import Frame, Mark, Outcome, decide_again, is_same, mark_of, subject_of
from supervisor.keys import CHILD_PREFIX
from supervisor.plan import Subject
from supervisor.rules import Declared
from supervisor.store import decode, event_order
from workers.duration import Duration, ago
from workers.registry import UnknownWorkerType

_WIDTH = 80
_EPILOG = """\b
Examples:
  fsmctl replay worker/line-1-temperature
  fsmctl replay line-1-temperature --since 15m --all
  fsmctl replay line-1-temperature --since 1h -o json
"""


class _Kept(NamedTuple):
    """A recorded decision, and the worker as it was then; None if this version cannot read it."""

    frame: Frame
    subject: Subject | None
    error: str = ""


def replayed(session: Session, item: str, supervisor: str, place: str, since: float) -> dict[str, Any]:
    """Return a worker's recorded decisions of the last `since` seconds, each with what would be decided now."""
    runtime, now = session.runtime, session.runtime.store.now()
    settings = dict(session.indexes())[supervisor].settings
    rules = (*(Declared(rule) for rule in settings.rules), *runtime.rules)
    decisions: list[dict[str, Any]] = []
    history, unreadable = _history(session, item, supervisor, place, now - since)
    for frame, subject, error in history:
        failed = Outcome(skip=SkipReason.DERIVE_FAILED.value, reason=error)
        again = failed if subject is None else decide_again(frame, subject, settings, rules)
        decisions.append(_decision(frame, again, now))
    return {
        "worker": item,
        "supervisor": supervisor,
        "since_seconds": round(float(since), 1),
        "recorded": len(decisions),
        "unreadable": unreadable,
        "differ": sum(not one["same"] for one in decisions),
        "decisions": decisions,
    }


def _history(session: Session, item: str, supervisor: str, place: str, oldest: float) -> tuple[list[_Kept], int]:
    """Return what was recorded since then, oldest first, and how many records cannot be read at all.

    What several processes that tick kept of one change is returned once.
    """
    key = session.runtime.store.keys(supervisor).history(place)
    kept: list[_Kept] = []
    unreadable = 0
    for entry, text in session.runtime.store.history(supervisor, place, item):
        try:
            frame = decode(text, Frame, f"{key} {entry}")
        except BadDocument:  # of another version, or written by the node
            unreadable += event_order(entry)[0] / 1000 >= oldest
            continue
        if frame.at < oldest:
            break
        kept.append(_kept(session, frame))
    before: Mark | None = None
    once = []
    for one in reversed(kept):
        mark = None
        if one.subject is not None and one.subject.snapshot is not None:
            mark = mark_of(one.subject, one.subject.snapshot, one.frame.outcome)
        if mark is None or mark != before:
            once.append(one)
        before = mark
    return once, unreadable


def _kept(session: Session, frame: Frame) -> _Kept:
    try:
        return _Kept(frame, subject_of(frame, session.runtime.workers.get(frame.identity.type)))
    except (msgspec.MsgspecError, UnknownWorkerType) as error:
        return _Kept(frame, None, f"it cannot be read any more: {error}")


def _decision(frame: Frame, again: Outcome, now: float) -> dict[str, Any]:
    return {
        "at": round(frame.at, 3),
        "age_seconds": round(now - frame.at, 1),
        "state": frame.status.state,
        "then": _outcome(frame.outcome),
        "now": _outcome(again),
        "same": is_same(frame.outcome, again),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "state": outcome.state or None,
        "action": outcome.action or None,
        "skip": outcome.skip or None,
        "cancel": outcome.cancel,
        "leave": outcome.leave,
        "reason": outcome.reason or None,
    }


def _words(outcome: dict[str, Any]) -> str:
    """Return an outcome in a few words."""
    said = [f"to {outcome['state']}"] if outcome["state"] else []
    said += [outcome["action"]] if outcome["action"] else []
    said += [word for word in ("cancel", "leave") if outcome[word]]
    said += [outcome["skip"]] if outcome["skip"] else []
    return ", ".join(said) or "nothing"


def lines(document: dict[str, Any], every: bool) -> list[str]:
    """Return a replay for a person: the decisions that differ, or all."""
    shown = [one for one in document["decisions"] if every or not one["same"]]
    rows = [
        [
            ago(one["age_seconds"]),
            one["state"],
            _words(one["then"]),
            "the same" if one["same"] else _words(one["now"]),
            one["then" if one["same"] else "now"]["reason"],
        ]
        for one in shown
    ]
    return table(("AGO", "STATE", "DECIDED", "WOULD NOW", "BECAUSE"), rows, _WIDTH).splitlines() if rows else []


def _summary(document: dict[str, Any]) -> str:
    since = ago(document["since_seconds"])
    if not document["recorded"]:
        return f"worker/{document['worker']}: nothing was recorded in the last {since}"
    number = document["recorded"]
    differ = document["differ"]
    same = "all would be made again" if not differ else f"{differ} would be made otherwise now"
    decisions = "1 decision" if number == 1 else f"{number} decisions"
    return f"worker/{document['worker']}: {decisions} recorded in the last {since}; {same}"


@click.command("replay", epilog=_EPILOG)
@click.argument("worker", metavar="ID")
@click.option("--since", type=DurationType(), default="1h", show_default=True, help="How far to go back.")
@click.option("--all", "every", is_flag=True, help="Show the decisions that are the same, too.")
@document_option
@with_session
def command(session: Session, worker: str, since: Duration, every: bool, output: str) -> None:
    """Run what was seen of a worker through the FSM code as it is now, and show where it would decide otherwise.

    Ticks keep what they decided and on what, whenever something has changed for a worker: about 5,000 decisions for
    each place. One that takes more than 8,192 characters, as with a very long configuration, is not kept. Settings and
    rules are those of now. Limits that workers share (queues, budgets, ramp, half open) are taken as they were.

    Exit code 0: all would be decided again; 1: not all, or not all can be read.
    """
    item, supervisor, place = session.match(item_of(worker))
    if item.startswith(CHILD_PREFIX):
        raise Refused(f"{item} is a child: only decisions about workers are recorded; see `fsmctl explain {item}`")
    document = replayed(session, item, supervisor, place, since)
    if output != "text":
        print_data(output, document)
    else:
        if told := lines(document, every):
            click.echo("\n".join(told))
        click.echo(_summary(document), err=True)
    if unreadable := document["unreadable"]:
        click.echo(f"{unreadable} of its records cannot be read by this version, and are left out", err=True)
    sys.exit(int(document["differ"] > 0 or unreadable > 0))
