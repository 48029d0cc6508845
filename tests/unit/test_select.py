"""Which rows of a list are shown, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.output import fitted, table
from supervisor.cli.select import Filter, changed, chosen, named, ordered, parse_labels, parse_words
from supervisor.errors import NotFound, UsageError


def row(worker_id: str, **changes: Any) -> dict[str, Any]:
    own = {"node": "edge-1", "type": "process", "labels": {"line": "1"}, "state": "running", "phase": "running"}
    return {"id": worker_id, **own, "since": 100.0, "state_age": "5s", "observed_age_seconds": 1.0, **changes}


A, B, C = row("a"), row("b", labels={}, node="edge-2", since=50.0), row("c", phase="failed", state="failed", since=None)
ROWS = [A, B, C]
COLUMNS = [("ID", "id"), ("FOR", "state_age")]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (Filter(), "abc"),
        (Filter(labels=parse_labels(["line=1"])), "ac"),
        (Filter(labels=parse_labels(["line!=1"])), "b"),
        (Filter(labels=parse_labels(["line=1, node=edge-1", "type=process"])), "ac"),
        (Filter(labels=parse_labels(["node!=edge-1"])), "b"),
        (Filter(states=parse_words(["failed", "running"])), "abc"),
        (Filter(phases=parse_words(["failed,degraded"])), "c"),
        (Filter(nodes=parse_words(["edge-2"])), "b"),
        (Filter(nodes=parse_words(["edge-9"])), ""),
    ],
)
def test_rows_are_chosen_by_label_state_phase_and_node(asked: Filter, found: str) -> None:
    assert "".join(one["id"] for one in chosen(ROWS, asked, "state")) == found


@pytest.mark.parametrize("text", ["line", "=1", "!=1", "line=1,,"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected key=value"):
        parse_labels([text])


def test_what_a_kind_does_not_have_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match="--phase is for workers"):
        chosen(
            [{"name": "broker", "node": "edge-1", "verdict": "ok"}], Filter(phases=frozenset({"running"})), "verdict"
        )
    with pytest.raises(UsageError, match="--node is for what is on a node"):
        chosen([{"supervisor": "plant-1", "state": "open"}], Filter(nodes=frozenset({"edge-1"})), "state")
    node = {"name": "edge-1", "heartbeat_age": "1s", "status": "ready"}
    assert chosen([node], Filter(nodes=frozenset({"edge-1"})), "status") == [node]


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("id", "abc"),
        ("-id", "cba"),
        ("FOR", "abc"),
        ("-for", "bac"),
        ("since", "bac"),
        ("-since", "abc"),
        ("labels", "acb"),
    ],
)
def test_rows_are_sorted_by_heading_or_key_with_what_is_not_there_last(by: str, found: str) -> None:
    assert "".join(one["id"] for one in ordered(ROWS, by, COLUMNS)) == found


def test_nothing_is_sorted_by_what_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot sort by 'colour': expected one of id, for, or a key of -o json"):
        ordered(ROWS, "colour", COLUMNS)
    assert ordered([], "colour", COLUMNS) == []


def test_rows_are_named_whole_or_by_their_beginning() -> None:
    rows = [row("line-1"), row("line-1-flow"), row("uplink")]
    assert [one["id"] for one in named(rows, ["u", "line-1"], ("id",), "worker")] == ["line-1", "uplink"]
    with pytest.raises(NotFound):
        named(rows, ["x"], ("id",), "worker")


def test_a_row_that_only_grew_older_is_no_news() -> None:
    older = {**A, "state_age": "6s", "observed_age_seconds": 2.0}
    assert changed([older, {**B, "state": "failed"}, C], [A, B], "id") == [{**B, "state": "failed"}, C]


def test_rows_of_one_name_in_several_supervisors_are_told_apart() -> None:
    one, other = ({"name": "broker", "supervisor": name, "verdict": "ok"} for name in ("plant-1", "plant-2"))
    assert changed([one, other], [], "name") == [one, other]
    assert changed([one, other], [one, other], "name") == []
    failed = {**one, "verdict": "failed"}
    assert changed([failed, other], [one, other], "name") == [failed]


def test_a_table_is_whole_unless_there_is_too_little_room() -> None:
    columns, rows = ["ID", "REASON"], [["flow-1", "a long reason"], ["flow-2", None]]
    assert table(columns, rows) == "ID      REASON\nflow-1  a long reason\nflow-2  -"
    assert table(columns, rows, 16) == "ID      REASON\nflow-1  a long …\nflow-2  -"
    assert table(columns, rows, 3) == "ID  REASON\nf…  a lon…\nf…  -"
    assert table(columns, []) == "ID  REASON"


def test_the_widest_give_way_but_none_below_its_least() -> None:
    assert fitted([10, 4, 20], [2, 4, 3], 24) == [10, 4, 10]
    assert fitted([10, 4], [8, 4], 3) == [8, 4]
