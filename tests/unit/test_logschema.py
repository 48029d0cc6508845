"""The schema of log lines, and that the code says what is in it and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from supervisor import failures, tick
from supervisor.logschema import COMMON, EVENTS, FIELDS, TRACE, faults, line_faults

ROOT = Path(__file__).parent.parent.parent
SOURCES = [path for part in ("supervisor", "workers", "actions") for path in sorted((ROOT / part).rglob("*.py"))]
SAYERS = ("tell", "is_now", "_is", "Trouble")
LEVELS = ("debug", "info", "warning", "warn", "error", "exception", "critical")
# named by a pure decision's notices, which the tick only passes on
OF_NOTICES = {*tick.EVENTS.values(), *(notice.value for notice in failures.Notice)}
SPEC_5 = """event timestamp error error_scope impact circuit_open child_name worker_id worker_type action_type action_id
token retry_attempt max_attempts backoff_delay next_retry_in elapsed_downtime total_downtime recovery_status
attempts_remaining runbook_url manual_steps duration success"""


class Call(NamedTuple):
    """A call that says something of events, with the fields that can be read off it."""

    where: str
    events: list[str]
    fields: list[str]


class Calls(ast.NodeVisitor):
    """Finds the calls of a file, and the dicts with constant keys that each function's names are bound to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[Call] = []
        self.other: list[str] = []
        self.dicts: dict[str, list[str]] = {}
        self.visit(ast.parse(path.read_text()))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.dicts = {
            target.id: _keys(one.value)
            for one in ast.walk(node)
            if isinstance(one, ast.Assign) and isinstance(one.value, ast.Dict)
            for target in one.targets
            if isinstance(target, ast.Name)
        }
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        where = f"{self.path.name}:{node.lineno}"
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        events = [event for argument in node.args[:2] for event in _constants(argument) if "." in event]
        if name in SAYERS and events:
            self.found.append(Call(where, events, [field for one in node.keywords for field in self._fields(one)]))
        if _speaks_past_the_schema(node.func):
            self.other.append(where)
        self.generic_visit(node)

    def _fields(self, keyword: ast.keyword) -> list[str]:
        if keyword.arg is not None:
            return [keyword.arg]
        return self.dicts.get(keyword.value.id, []) if isinstance(keyword.value, ast.Name) else []


def _keys(value: ast.Dict) -> list[str]:
    return [str(key.value) for key in value.keys if isinstance(key, ast.Constant)]


def _constants(argument: ast.expr) -> Iterator[str]:
    for one in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _speaks_past_the_schema(function: ast.expr) -> bool:
    """Tell whether a call logs by a level's name; Redis has a command INFO."""
    if not isinstance(function, ast.Attribute) or function.attr not in LEVELS:
        return False
    return "client" not in ast.unparse(function.value)


def all_calls() -> list[Calls]:
    return [Calls(path) for path in SOURCES]


def test_everything_that_is_logged_is_in_the_schema_with_its_fields() -> None:
    wrong = []
    for call in (call for calls in all_calls() for call in calls.found):
        for event in call.events:
            if event not in EVENTS:
                wrong.append(f"{call.where}: {event} is no event")
                continue
            known = (*EVENTS[event].fields, *EVENTS[event].optional, "exc_info")
            wrong += [f"{call.where}: {event} has no {field}" for field in call.fields if field not in known]
    assert wrong == []


def test_nothing_is_logged_past_the_schema_whose_levels_and_messages_are_the_only_ones() -> None:
    past = [where for calls in all_calls() for where in calls.other]
    assert [where for where in past if not where.startswith("logs.py:")] == []


def test_nothing_in_the_schema_is_unused() -> None:
    said = {event for calls in all_calls() for call in calls.found for event in call.events} | OF_NOTICES
    assert EVENTS.keys() - said - {f"{event}.over" for event in said} == set()
    used = {field for event in EVENTS.values() for field in (*event.fields, *event.optional)}
    assert FIELDS.keys() - used - {*COMMON, *TRACE, "logger"} == set()


def test_every_field_of_an_event_is_described() -> None:
    used = {field for event in EVENTS.values() for field in (*event.fields, *event.optional)}
    assert used - FIELDS.keys() == set()
    assert {event.scope for event in EVENTS.values()} == {"infrastructure", "worker"}
    assert {event.level for event in EVENTS.values()} <= {"debug", "info", "warning", "error"}


def test_the_fields_that_the_specification_names_are_known() -> None:
    assert set(SPEC_5.split()) - FIELDS.keys() == set()


FORGOTTEN = {
    "timestamp": "2026-01-01T00:00:00Z",
    "level": "info",
    "event": "worker.forgotten",
    "message": "Worker forgotten",
    "error_scope": "worker",
    "impact": "single_worker",
    "worker_id": "flow-1",
}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"trace_id": "a1", "span_id": "b2"}, []),
        ({"level": "error"}, ["worker.forgotten: level is 'error', not 'info'"]),
        ({"message": "Gone"}, ["worker.forgotten: message is 'Gone', not 'Worker forgotten'"]),
        ({"impact": "all_workers"}, ["worker.forgotten: impact is 'all_workers', not 'single_worker'"]),
        ({"worker_id": 3}, ["worker.forgotten: worker_id is 3, expected string"]),
        (
            {"pid": True},
            ["worker.forgotten: pid is not one of its fields", "worker.forgotten: pid is True, expected integer"],
        ),
        ({"event": "worker.lost"}, ["worker.lost: no such event"]),
        ({"worker_id": None}, ["worker.forgotten: worker_id is None, expected string"]),
    ],
)
def test_a_line_that_differs_from_the_schema_is_found(changes: dict[str, Any], wrong: list[str]) -> None:
    assert line_faults(FORGOTTEN | changes) == wrong


def test_what_is_missing_is_found() -> None:
    assert line_faults({}) == [f"None: {field} is missing" for field in COMMON] + ["None: no such event"]
    assert faults("worker.forgotten", {}) == ["worker.forgotten: worker_id is missing"]
    assert faults("circuit.heartbeat", {"next_retry_in": "1s"})[-1] == (
        "circuit.heartbeat: next_retry_in is '1s', expected number or null"
    )


def test_a_librarys_line_needs_its_logger_and_may_have_anything_else() -> None:
    line = {**FORGOTTEN, "event": "library.said", "logger": "celery.beat", "level": "critical", "data": {}}
    assert line_faults(line) == []
    assert line_faults(line | {"level": "loud"}) == ["library.said: level is 'loud'"]
    assert line_faults({key: value for key, value in line.items() if key != "logger"}) == [
        "library.said: logger is missing"
    ]
