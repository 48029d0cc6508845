"""The form of log lines."""

from __future__ import annotations

import json
import logging

import pytest

from supervisor.clock import FakeClock
from supervisor.logs import WORKER, SaidOnce, Trouble, configure, logger, raw_line


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


def heard(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> logging.Logger:
    """Return a logger of Celery's, whose records pass the filter; caplog has what is left of them."""
    theirs = logging.getLogger("celery.worker.consumer.heard")
    theirs.handlers = [caplog.handler]
    theirs.propagate = False
    caplog.handler.filters = [SaidOnce(clock.monotonic)]
    return theirs


def test_celery_says_once_that_the_broker_is_away_then_every_30_s_with_a_count(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    theirs = heard(clock, caplog)
    for seconds in range(61):
        theirs.error("consumer: Cannot connect to %s: %s", "redis://:**@h:1/0", f"try {seconds}")
        clock.advance(1)
    assert [record.getMessage() for record in caplog.records] == [
        "consumer: Cannot connect to redis://:**@h:1/0: try 0",
        "consumer: Cannot connect to redis://:**@h:1/0: try 30 (29 more of this since)",
        "consumer: Cannot connect to redis://:**@h:1/0: try 60 (29 more of this since)",
    ]


def test_a_warning_of_celerys_has_its_error_in_words_and_an_error_keeps_its_traceback(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    theirs = heard(clock, caplog)
    gone = ConnectionResetError("100% gone")
    theirs.warning("consumer: Connection to broker lost.\n", exc_info=gone)
    theirs.error("something else", exc_info=gone)
    lost, other = caplog.records
    assert (lost.getMessage(), lost.exc_info) == ("consumer: Connection to broker lost. 100% gone", None)
    assert other.exc_info is not None


def test_what_celery_says_without_alarm_and_what_others_say_is_never_left_out(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    theirs = heard(clock, caplog)
    theirs.setLevel(logging.INFO)
    ours = logging.getLogger("supervisor.heard")
    ours.handlers, ours.propagate = [caplog.handler], False
    advice = logging.getLogger("py.warnings")
    advice.handlers, advice.propagate = [caplog.handler], False
    advice.warning("consumer.py:397: CPendingDeprecationWarning: In Celery 5.1 we introduced an optional setting")
    for _ in range(3):
        theirs.info("received")
        ours.warning("Action lost")
    assert [record.getMessage() for record in caplog.records] == 3 * ["received", "Action lost"]


def test_a_thousand_different_messages_are_not_remembered_for_ever(
    caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    theirs = heard(clock, caplog)
    for number in range(1002):
        theirs.error(f"text {number}")
    theirs.error("text 0")
    assert len(caplog.records) == 1003


def test_a_trouble_is_told_when_it_begins_when_it_is_another_and_when_it_is_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("json", "info")
    trouble = Trouble(logger("t5"), "tick.given_up", "Ticks are given up", "Ticks go on")
    for reason in ("", "away", "away", "full", "full", "", ""):
        trouble.is_now(reason, **({"error": "no answer"} if reason else {}))
    told = [
        (line["level"], line["event"], line.get("reason"), line.get("was")) for line in lines(capsys.readouterr().err)
    ]
    assert told == [
        ("warning", "tick.given_up", "away", None),
        ("warning", "tick.given_up", "full", None),
        ("info", "tick.given_up.over", None, "full"),
    ]
