"""A worker's history on one axis: what is put where, and how it is drawn."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from supervisor.cli import drawsvg, drawtext
from supervisor.timeline import Mark, Now, Row, Span, Timeline, make_timeline, ticks_of
from workers.model import Phase

PHASES = {"stopped": "stopped", "starting": "starting", "running": "running", "degraded": "degraded"}
NOW = Now("flow-1", "running", 50.0, PHASES, "closed", 100.0)
ITEMS = {"supervisor": "plant-1", "place": "edge-1"}


def told(event: str, at: float, worker_id: str = "flow-1", **fields: str) -> dict[str, Any]:
    return {"event": event, "time": at, "worker_id": worker_id, **ITEMS, **fields}


def moved(at: float, before: str, after: str) -> dict[str, Any]:
    return told("worker.transition", at, **{"from": before, "to": after, "reason": f"{before} no more"})


def of_circuit(event: str, at: float, **fields: str) -> dict[str, Any]:
    return {"event": f"circuit.{event}", "time": at, "child_name": "broker", **ITEMS, **fields}


def acted(name: str, at: float, worker_id: str = "flow-1", outcome: str = "success") -> list[dict[str, Any]]:
    whose = {"action": name, "action_id": f"{worker_id}{name}{at}", "token": "7"}
    return [
        told("action.claimed", at, worker_id, reason="wanted", **whose),
        told("action.begun", at + 1, worker_id, executor="edge-1@h1", queue_wait="1.000", **whose),
        told("action.ended", at + 3, worker_id, outcome=outcome, detail="done", duration="2.000", **whose),
    ]


def made(*events: dict[str, Any], start: float = 0.0, end: float = 100.0, now: Now = NOW) -> Timeline:
    return make_timeline("flow-1", sorted(events, key=lambda event: event["time"]), now, start, end)


def spans(timeline: Timeline, label: str) -> list[tuple[str, str, float, float]]:
    (row,) = (row for row in timeline.rows if row.label == label)
    return [(span.name, span.kind, span.start, span.end) for span in row.spans]


def test_without_any_event_all_is_as_it_is_now() -> None:
    timeline = made()
    assert spans(timeline, "state") == [("running", "running", 0.0, 100.0)]
    assert spans(timeline, "circuit") == [("closed", "closed", 0.0, 100.0)]
    assert spans(timeline, "action") == []


def test_states_go_from_change_to_change_and_begin_with_what_the_first_came_from() -> None:
    timeline = made(moved(40.0, "running", "degraded"), moved(60.0, "degraded", "running"))
    assert spans(timeline, "state") == [
        ("running", "running", 0.0, 40.0),
        ("degraded", "degraded", 40.0, 60.0),
        ("running", "running", 60.0, 100.0),
    ]


def test_the_axis_of_a_new_worker_begins_with_it() -> None:
    timeline = made(moved(40.0, "stopped", "starting"), moved(60.0, "starting", "running"))
    assert (timeline.start, spans(timeline, "state")[0]) == (40.0, ("starting", "starting", 40.0, 60.0))


def test_a_state_that_the_type_does_not_know_any_more_is_unknown() -> None:
    assert spans(made(moved(40.0, "running", "gone")), "state")[1] == ("gone", "unknown", 40.0, 100.0)


def test_actions_go_from_claim_to_end_and_know_when_they_began() -> None:
    timeline = made(*acted("start", 10.0), *acted("restart_child", 20.0, "child/broker", "error"))
    assert spans(timeline, "action") == [("start", "success", 10.0, 13.0)]
    assert spans(timeline, "child/broker") == [("restart_child", "error", 20.0, 23.0)]
    (row, *_) = (row for row in timeline.rows if row.label == "action")
    assert (row.spans[0].waited_until, row.spans[0].detail) == (11.0, "done; wanted")


def test_an_action_without_an_end_lasts_until_now_and_one_without_a_claim_as_long_as_it_says() -> None:
    first, second, third = acted("start", 90.0)
    assert spans(made(first, second), "action") == [("start", "running", 90.0, 100.0)]
    assert spans(made(third), "action") == [("start", "success", 91.0, 93.0)]


def test_the_circuit_is_what_its_changes_and_operators_make_of_it() -> None:
    forced = {"event": "operator.circuit", "time": 80.0, "forced": "open", "by": "pat", **ITEMS}
    reset = {"event": "operator.circuit", "time": 85.0, "forced": "", "by": "pat", **ITEMS}
    timeline = made(
        of_circuit("opened", 20.0, error="no answer"),
        of_circuit("half_opened", 40.0),
        of_circuit("closed", 45.0),
        of_circuit("escalated", 30.0),
        *(forced, reset),
    )
    assert spans(timeline, "circuit") == [
        ("closed", "closed", 0.0, 20.0),
        ("open", "open", 20.0, 40.0),
        ("half_open", "half_open", 40.0, 45.0),
        ("closed", "closed", 45.0, 80.0),
        ("open", "open", 80.0, 85.0),
        ("closed", "closed", 85.0, 100.0),
    ]
    assert [(mark.name, mark.detail) for mark in timeline.marks] == [
        ("escalated", ""),
        ("circuit", "by pat"),
        ("circuit", "by pat"),
    ]


def by_operator(at: float, forced: str) -> dict[str, Any]:
    return {"event": "operator.circuit", "time": at, "forced": forced, "by": "pat", "reason": "upgrade", **ITEMS}


def test_under_what_an_operator_forces_the_checks_go_on_and_a_reset_shows_what_they_say() -> None:
    (row,) = (
        row
        for row in made(
            by_operator(20.0, "closed"), of_circuit("opened", 30.0, error="no answer"), by_operator(60.0, "")
        ).rows
        if row.label == "circuit"
    )
    assert [(span.name, span.start, span.end, span.detail) for span in row.spans] == [
        ("closed", 0.0, 60.0, ""),
        ("open", 60.0, 100.0, "reset by pat: upgrade"),
    ]


def test_what_was_forced_before_the_window_counts_until_it_is_reset() -> None:
    forced = Now("flow-1", "running", 50.0, PHASES, "closed", 100.0, forced="open")
    assert spans(made(now=forced), "circuit") == [("open", "open", 0.0, 100.0)]
    assert spans(made(of_circuit("opened", 30.0), now=forced), "circuit") == [("open", "open", 0.0, 100.0)]


def test_what_happened_after_the_end_tells_what_was_before_it_and_is_not_drawn() -> None:
    later = (moved(70.0, "degraded", "running"), of_circuit("closed", 80.0), *acted("restart", 60.0))
    timeline = made(*later, told("operator.pause", 90.0, by="pat"), start=10.0, end=50.0)
    assert spans(timeline, "state") == [("degraded", "degraded", 10.0, 50.0)]
    assert spans(timeline, "circuit") == [("open", "open", 10.0, 50.0)]
    assert (spans(timeline, "action"), timeline.marks, timeline.now) == ([], (), 100.0)


def test_a_worker_that_was_new_after_the_end_has_the_whole_axis() -> None:
    timeline = made(moved(70.0, "stopped", "starting"), start=10.0, end=50.0)
    assert (timeline.start, spans(timeline, "state")) == (10.0, [("stopped", "stopped", 10.0, 50.0)])


def test_a_circuit_that_changed_when_the_window_begins_was_nothing_before() -> None:
    assert spans(made(of_circuit("opened", 20.0), start=20.0), "circuit") == [("open", "open", 20.0, 100.0)]


@pytest.mark.parametrize(("first", "before"), [("opened", "closed"), ("half_opened", "open"), ("closed", "open")])
def test_what_the_circuit_was_before_its_first_change_is_told_by_that(first: str, before: str) -> None:
    assert spans(made(of_circuit(first, 20.0)), "circuit")[0] == (before, before, 0.0, 20.0)


def test_what_is_of_before_or_of_others_is_left_out() -> None:
    timeline = made(*acted("start", 10.0), told("operator.pause", 45.0, "flow-2", by="pat"), start=50.0)
    assert (spans(timeline, "action"), timeline.marks) == ([], ())
    across = made(*acted("start", 48.0), start=50.0)
    assert spans(across, "action") == [("start", "success", 50.0, 51.0)]


def test_what_operators_do_to_the_worker_is_marked() -> None:
    timeline = made(told("operator.pause", 45.0, by="pat@desk"), told("worker.quarantined", 50.0, reason="failures: 5"))
    assert timeline.marks == (Mark(45.0, "pause", "by pat@desk"), Mark(50.0, "quarantined", "failures: 5"))


@pytest.mark.parametrize(
    ("start", "end", "most", "expected"),
    [(7.0, 67.0, 6, (10.0, 10.0)), (0.0, 3600.0, 5, (0.0, 900.0)), (1.0, 864001.0, 5, (172800.0, 172800.0))],
)
def test_an_axis_has_round_ticks(start: float, end: float, most: int, expected: tuple[float, float]) -> None:
    assert ticks_of(start, end, most) == expected


INCIDENT = (
    of_circuit("opened", 30.0, error="no answer"),
    of_circuit("half_opened", 50.0),
    of_circuit("closed", 53.0),
    *acted("restart_child", 31.0, "child/broker", "error"),
    *acted("restart_child", 44.0, "child/broker"),
    moved(32.0, "running", "degraded"),
    moved(55.0, "degraded", "running"),
    *acted("restart", 70.0),
    told("operator.pause", 80.0, by="pat@desk"),
)


TEXT = """flow-1
                 -1m30s               -1m                  -30s              now
          -------|--------------------|--------------------|-------------------|
state     = running ============~ degraded ~~~~~= running ======================
action                                                     **  restart
broker                         !!       **  restart_child
circuit   - closed ------------# open #######++- closed ------------------------
                                                                  ^ pause

= running  ~ degraded  - closed  # open  + half_open  * action  ! failed action

  1m10s  circuit open           no answer
  1m09s  broker restart_child   error 3.0s: done; wanted
  1m08s  degraded               running no more
    56s  broker restart_child   success 3.0s: done; wanted
    50s  circuit half_open
    47s  circuit closed
    45s  running                degraded no more
    30s  restart                success 3.0s: done; wanted
    20s  pause                  by pat@desk"""


def test_a_timeline_is_drawn_in_characters() -> None:
    assert drawtext.draw(made(*INCIDENT), 80) == TEXT


def test_ages_are_of_now_where_the_axis_ends_before() -> None:
    timeline = made(moved(30.0, "running", "degraded"), end=70.0)
    title, ages, axis, *_, last = drawtext.draw(timeline, 80).splitlines()
    assert (title, ages.split()) == ("flow-1", ["-1m30s", "-1m15s", "-1m", "-45s", "-30s"])
    assert (len(ages), len(axis)) == (80, 80)
    assert last == "  1m10s  degraded               running no more"


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_it_may_be_and_every_row_is_on_the_same_axis(width: int) -> None:
    lines = drawtext.draw(made(*INCIDENT), width).splitlines()
    assert max(map(len, lines)) <= width
    at = {line.split()[0]: line for line in lines[3:7]}
    room = width - 10
    assert (at["circuit"].index("#"), at["broker"].index("!")) == (10 + int(0.3 * room), 10 + int(0.31 * room))


def test_a_span_that_is_too_short_to_see_still_has_its_column() -> None:
    row = Row(
        "state",
        (Span("running", "running", 0, 50), Span("failed", "failed", 50, 50.01), Span("x", "running", 50.01, 100)),
    )
    assert "x" in drawtext.draw(Timeline("t", 0, 100, 100, (row,)), 80).splitlines()[3]


def test_the_picture_is_well_formed_and_shows_all_of_it() -> None:
    picture = ElementTree.fromstring(drawsvg.draw(made(*INCIDENT)))
    texts = [element.text for element in picture.iter() if element.tag.endswith("}text")]
    assert {"flow-1", "state", "action", "broker", "circuit", "degraded", "open", "pause"} <= set(texts)
    tips = [element.text or "" for element in picture.iter() if element.tag.endswith("}title")]
    assert "restart_child error, 3.0s from 00:00:31: done; wanted" in tips
    for box in picture.iter("{http://www.w3.org/2000/svg}rect"):
        assert 0 <= float(box.get("x", 0)) + float(box.get("width", 0)) <= 1000


def test_names_in_a_picture_are_text_and_no_markup() -> None:
    row = Row("state", (Span("<b>", "running", 0, 100, 'a "quoted" & <reason>'),))
    picture = ElementTree.fromstring(drawsvg.draw(Timeline("</svg>", 0, 100, 100, (row,))))
    assert [element.text for element in picture.iter() if element.tag.endswith("}title")] == [
        "</svg>",
        '<b>, 100.0s from 00:00:00: a "quoted" & <reason>',
    ]


def test_every_phase_and_outcome_can_be_drawn() -> None:
    kinds = [*(phase.value for phase in Phase), "closed", "open", "half_open"]
    assert {kind for kind in kinds if kind not in drawtext.FILLS} == set()
    for outcome in ("success", "error", "timeout", "cancelled", "lost", "discarded", "running"):
        row = Row("action", (Span("start", outcome, 10, 20, waited_until=12.0),))
        ElementTree.fromstring(drawsvg.draw(Timeline("t", 0, 100, 100, (row,))))
