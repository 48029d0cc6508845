"""The form of log lines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from supervisor.logs import WORKER, configure, logger, raw_line


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_json_that_begins_with_when_how_bad_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logger("t").warning("Action lost", event_name="action.lost", worker_id="flow-1", **WORKER)
    (line,) = lines(capsys.readouterr().err)
    assert list(line)[:4] == ["timestamp", "level", "event", "message"]
    assert {key: value for key, value in line.items() if key != "timestamp"} == {
        "level": "warning",
        "event": "action.lost",
        "message": "Action lost",
        "worker_id": "flow-1",
        "error_scope": "worker",
        "impact": "single_worker",
    }


def test_celerys_own_logs_take_the_same_form_and_its_noise_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logging.getLogger("celery.worker").info("edge-1@h1 ready.")
    logging.getLogger("celery.app.trace").info("Task supervisor.tick succeeded")
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["edge-1@h1 ready."]


def test_the_level_decides_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "warning")
    logger("t2").info("not this")
    logger("t2").error("this")
    assert [line["message"] for line in lines(capsys.readouterr().err)] == ["this"]


def test_console_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    logger("t3").info("Collector started", node="edge-1")
    text = capsys.readouterr().err
    assert "Collector started" in text
    assert not text.startswith("{")


def test_a_raw_line_goes_to_stderr_without_any_handler(capfd: pytest.CaptureFixture[str]) -> None:
    raw_line("the store answers again")
    assert capfd.readouterr().err == "the store answers again\n"
