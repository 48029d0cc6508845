"""fsmctl plan: what the next tick would do, asked of what a tick asks."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

import click

from supervisor.cli.output import document_option, print_data
from supervisor.cli.session import Session, with_session
from supervisor.decide import Decided, decide
from supervisor.plan import Step
from supervisor.view import World

_WIDTH = 80
_EPILOG = """\b
Examples:
  fsmctl plan                 what would be done, for whom nothing, and why
  fsmctl plan -o json
  fsmctl --supervisor plant-1 plan
"""


def plan_document(supervisor: str, world: World, decided: Decided) -> dict[str, Any]:
    """Return what a tick would do now, as JSON has it."""
    steps, skips = decided.plan.steps, decided.plan.skips
    concerned = {step.subject.id for step in steps} | {skip.worker_id for skip in skips}
    return {
        "supervisor": supervisor,
        "now": round(world.now, 3),
        "circuit": {"before": world.breaker.effective, "after": decided.decision.breaker.effective},
        "restarts": [
            {"child": child.spec.name, "node": child.place, "reason": f"{child.verdict.state}: {child.verdict.detail}"}
            for child in decided.restarts
        ],
        "creations": [
            {"child": child.spec.name, "node": child.place, "reason": f"lacks {child.verdict.lacks}"}
            for child in decided.creations
        ],
        "overdue": [
            {"id": item, "action": lease.action, "stage": lease.stage.value} for item, _, lease in decided.overdue
        ],
        "actions": [_action(step) for step in steps if step.action is not None],
        "transitions": [moved for step in steps if (moved := _transition(step))],
        "cancels": [_cancel(step) for step in steps if step.cancel],
        "leaves": [_leave(step) for step in steps if step.leave],
        "skips": [
            {"worker_id": skip.worker_id, "reason": skip.reason.value, "detail": skip.detail}
            for skip in sorted(skips, key=lambda skip: skip.worker_id)
        ],
        "skips_by_reason": dict(sorted(Counter(skip.reason.value for skip in skips).items())),
        "workers": len(world.view.subjects),
        "unchanged": len(world.view.subjects) - len(concerned),
    }


def _action(step: Step) -> dict[str, Any]:
    name = step.action.name if step.action is not None else None
    return {"worker_id": step.subject.id, "action": name, "place": step.subject.place, "reason": step.reason}


def _transition(step: Step) -> dict[str, Any] | None:
    """Return the change of state that a step brings, if it does."""
    snapshot = step.subject.snapshot
    if snapshot is None or step.status is None or step.status.state == snapshot.status.state:
        return None
    states = {"from": snapshot.status.state, "to": step.status.state}
    return {"worker_id": step.subject.id, **states, "reason": step.status.reason}


def _cancel(step: Step) -> dict[str, Any]:
    action = step.subject.lease.action if step.subject.lease is not None else None
    return {"worker_id": step.subject.id, "action": action, "reason": step.reason}


def _leave(step: Step) -> dict[str, Any]:
    to = step.subject.snapshot.desired.moves_to if step.subject.snapshot is not None else ""
    return {"worker_id": step.subject.id, "from": step.subject.place, "to": to or None, "reason": step.reason}


def plan_lines(document: dict[str, Any]) -> list[str]:
    """Return the plan for a person: what is done first, then for whom nothing is, then the sums."""
    circuit = document["circuit"]
    becomes = "" if circuit["before"] == circuit["after"] else f", which becomes {circuit['after']}"
    rows = list(_rows(document))
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [
        f"{document['supervisor']}: a tick now, under a circuit that is {circuit['before']}{becomes}",
        *(_fitted(f"  {what:<{widths[0]}}  {who:<{widths[1]}}  {why}") for what, who, why in rows),
        *textwrap.wrap(_sums(document), _WIDTH, initial_indent="  ", subsequent_indent="  "),
    ]


def _fitted(line: str) -> str:
    return line.rstrip() if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _rows(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, whose, why) of everything that the tick would do or leave."""
    return [
        *(("restart_child", f"child/{one['child']}", one["reason"]) for one in document["restarts"]),
        *(("create_topics", f"child/{one['child']}", one["reason"]) for one in document["creations"]),
        *(("lost", one["id"], f"{one['action']} {one['stage']} past its deadline") for one in document["overdue"]),
        *((one["action"], one["worker_id"], one["reason"]) for one in document["actions"]),
        *((f"to {one['to']}", one["worker_id"], one["reason"]) for one in document["transitions"]),
        *((f"cancel {one['action']}", one["worker_id"], one["reason"]) for one in document["cancels"]),
        *(("move" if one["to"] else "forget", one["worker_id"], one["reason"]) for one in document["leaves"]),
        *((one["reason"], one["worker_id"], one["detail"]) for one in document["skips"]),
    ]


def _sums(document: dict[str, Any]) -> str:
    done = (
        ("actions", "action"),
        ("transitions", "transition"),
        ("restarts", "restart"),
        ("creations", "creation"),
        ("leaves", "departure"),
    )
    counts = [_count(len(document[key]), word) for key, word in done if document[key]]
    skips = ", ".join(f"{number} {reason}" for reason, number in document["skips_by_reason"].items())
    skipped = [f"{len(document['skips'])} skipped ({skips})"] if skips else []
    return "; ".join(
        [*counts, *skipped, f"{document['unchanged']} of {_count(document['workers'], 'worker')} as they are"]
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@click.command("plan", epilog=_EPILOG)
@document_option
@with_session
def command(session: Session, output: str) -> None:
    """Show what a tick would do now: a dry run.

    It is exact, because a tick decides by the same pure function on the same documents. Only children without a node
    are judged by the last tick's look, as nothing is looked at here.
    """
    documents = [plan_document(name, world, decide(world)) for name, world in session.worlds()]
    if output != "text":
        print_data(output, documents)
    else:
        click.echo("\n".join(line for document in documents for line in plan_lines(document)))
