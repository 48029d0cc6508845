"""What can be waited for, and when it is so."""

from __future__ import annotations

from typing import Any

import click
import pytest

from supervisor.cli.goals import Goal, make_goals, queue_name, told

ROW: dict[str, Any] = {
    "state": "running",
    "phase": "running",
    "next_state": None,
    "reason": "pid 42 runs",
    "action": None,
    "conditions": [{"type": "paused"}],
}


def goal(condition: str, target: str = "worker/flow-1") -> Goal:
    (made,) = make_goals([target], [condition])
    return made


@pytest.mark.parametrize(
    ("condition", "changes", "met"),
    [
        ("state=running", {}, True),
        ("state=stopped", {}, False),
        ("state=running", {"next_state": "starting"}, False),
        ("state=running", {"phase": "unknown"}, False),
        ("phase=unknown", {"phase": "unknown"}, True),
        ("condition=paused", {}, True),
        ("condition=stale", {}, False),
        ("no-condition=stale", {}, True),
        ("no-condition=paused", {}, False),
        ("no-condition", {}, False),
        ("no-condition", {"conditions": []}, True),
        ("action=none", {}, True),
        ("action=none", {"action": {"name": "start"}, "phase": "unknown"}, False),
        ("action=start", {"action": {"name": "start"}, "phase": "unknown"}, True),
    ],
)
def test_a_worker_is_as_wanted_when_its_row_says_so_now(condition: str, changes: dict[str, Any], met: bool) -> None:
    assert goal(condition).is_met({**ROW, **changes}) == met


def test_a_queue_is_empty_when_no_message_and_no_claim_is_in_it() -> None:
    drained = goal("empty", "queue/edge-1")
    assert drained == Goal("queue", "actions.edge-1", "empty")
    rows = [{"messages": messages, "queued": queued} for messages, queued in ((0, 0), (1, 0), (0, 1))]
    assert [drained.is_met(row) for row in rows] == [True, False, False]
    assert drained.seen(rows[1]) == "1 in it"


def test_circuits_and_queues_need_no_target() -> None:
    assert make_goals([], ["circuit=closed", "queue=edge-1"]) == [
        Goal("circuit", "", "state", "closed"),
        Goal("queue", "actions.edge-1", "empty"),
    ]
    assert make_goals(["flow-1"], ["circuit=closed", "state=running"]) == [
        Goal("circuit", "", "state", "closed"),
        Goal("worker", "flow-1", "state", "running"),
    ]


def test_everything_is_wanted_of_every_target() -> None:
    made = make_goals(["worker/a", "child/b"], ["no-condition", "condition=stuck"])
    assert [(one.target, one.wanted) for one in made] == [
        ("worker/a", "no-condition"),
        ("worker/a", "condition=stuck"),
        ("child/b", "no-condition"),
        ("child/b", "condition=stuck"),
    ]


@pytest.mark.parametrize("name", ["supervisor", "actions", "actions.edge-1"])
def test_a_queue_may_be_named_as_it_is(name: str) -> None:
    assert queue_name(name) == name


@pytest.mark.parametrize(
    ("targets", "conditions", "words"),
    [
        ([], ["state=running"], "'state=running' is wanted of nobody: expected targets, as worker/ID, or --all"),
        (["flow-1"], ["circuit=closed"], "nothing is wanted of 'flow-1': expected --for FIELD=VALUE"),
        ([], ["circuit="], "'circuit=' is not complete: expected circuit=STATE or queue=NAME"),
        (["flow/1"], ["state=up"], "'flow/1' is not something to wait for: expected worker/NAME, child/NAME, circuit"),
        (["worker/"], ["state=up"], "'worker/' is not something to wait for"),
        (["a"], ["colour=red"], "'colour=red' cannot be waited for on a worker: expected state=VALUE or phase=VALUE"),
        (["a"], ["state="], "'state=' cannot be waited for on a worker"),
        (["a"], ["condition"], "'condition' cannot be waited for on a worker"),
        (["a"], ["no-condition="], "'no-condition=' cannot be waited for on a worker"),
        (["queue/edge-1"], ["state=up"], "'state=up' cannot be waited for on a queue: expected empty"),
        (["node/edge-1"], ["condition=stuck"], "cannot be waited for on a node: expected status=VALUE"),
    ],
)
def test_what_fits_nothing_is_said_with_what_would(targets: list[str], conditions: list[str], words: str) -> None:
    with pytest.raises(click.UsageError) as refused:
        make_goals(targets, conditions)
    assert refused.value.message.startswith(words) or words in refused.value.message


def test_what_is_not_as_wanted_is_told_by_the_first_few() -> None:
    goals = [goal("state=stopped"), goal("no-condition"), goal("action=start"), goal("phase=failed")]
    assert told([(one, one.seen(ROW)) for one in goals[:2]]) == (
        "worker/flow-1 is not state=stopped: seen state=running (pid 42 runs); "
        "worker/flow-1 is not no-condition: seen conditions paused"
    )
    assert told([(one, one.seen(ROW)) for one in goals]).endswith("seen action=none (pid 42 runs); and 1 more")
