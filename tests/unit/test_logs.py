"""The form of log lines."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from supervisor.clock import FakeClock
from supervisor.logs import RawLog, SaidOnce, Trouble, Troubles, configure, logger, redact
from tests.loglines import faults_in

URL = "redis://ops:s3cr@t@h:1/0"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_is_json_that_begins_with_when_how_bad_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logger("t").tell("worker.moved", worker_id="flow-1", from_place="edge-1", to_place="pool")
    text = capsys.readouterr().err
    (line,) = lines(text)
    assert list(line)[:4] == ["timestamp", "level", "event", "message"]
    assert {key: value for key, value in line.items() if key != "timestamp"} == {
        "level": "info",
        "event": "worker.moved",
        "message": "Worker moved",
        "worker_id": "flow-1",
        "from_place": "edge-1",
        "to_place": "pool",
        "error_scope": "worker",
        "impact": "single_worker",
    }
    assert faults_in(text) == []


def test_what_is_about_a_child_is_of_the_infrastructure_whoever_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logger("t").tell("worker.forgotten", worker_id="child/broker")
    (line,) = lines(capsys.readouterr().err)
    assert (line["error_scope"], line["impact"]) == ("infrastructure", "all_workers")


def test_celerys_own_logs_take_the_same_form_and_its_noise_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "info")
    logging.getLogger("celery.worker").info("edge-1@h1 ready.")
    logging.getLogger("celery.app.trace").info("Task supervisor.tick succeeded")
    text = capsys.readouterr().err
    (line,) = lines(text)
    assert {key: value for key, value in line.items() if key != "timestamp"} == {
        "level": "info",
        "event": "library.said",
        "message": "edge-1@h1 ready.",
        "logger": "celery.worker",
        "error_scope": "infrastructure",
        "impact": "all_workers",
    }
    assert faults_in(text) == []


def test_the_level_decides_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json", "warning")
    for log in (logger("t2"), RawLog()):
        log.tell("hook.ended", command="not this")
        log.tell("hook.failed", command="this", error="")
    assert [line["command"] for line in lines(capsys.readouterr().err)] == ["this"]


def test_console_lines_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure("console", "info")
    logger("t3").tell("collector.started", node="edge-1", pid=1)
    text = capsys.readouterr().err
    assert "Collector started" in text
    assert not text.startswith("{")


def test_a_raw_line_is_as_any_other_and_goes_to_stderr_without_a_handler(capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        configure(form, "info")
        logging.getLogger().handlers = []
        RawLog().tell("executor.refused", error=f"no answer from {URL}")
        text = capfd.readouterr().err
        assert text.count("\n") == 1
        assert text.startswith("{") == (form == "json")
        assert "no answer from redis://ops:***@h:1/0" in text
        assert faults_in(text) == []


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "written"),
    [
        (URL, "redis://ops:***@h:1/0"),
        ("redis://:pw@h:1 and amqp://u:pw@i:2/v", "redis://:***@h:1 and amqp://u:***@i:2/v"),
        ("http://h:80/path?a=b@c", "http://h:80/path?a=b@c"),
        ("redis://h:1/0 at 12:30 by me@h", "redis://h:1/0 at 12:30 by me@h"),
        ("connect(password='s3 cr', port=1)", "connect(password=***, port=1)"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": ***, "n": 1}'),
        ("?db=1&password=abc&x=2", "?db=1&password=***&x=2"),
        ("the password is wrong", "the password is wrong"),
        ("FSM_REDIS_PASSWORD=abc FSM_NODE=edge-1", "FSM_REDIS_PASSWORD=*** FSM_NODE=edge-1"),
        ({"FLOWER_PASSWORD": "abc", "user": "ops"}, {"FLOWER_PASSWORD": "***", "user": "ops"}),
        ({"url": [URL, ("a", URL)]}, {"url": ["redis://ops:***@h:1/0", ["a", "redis://ops:***@h:1/0"]]}),
        (ValueError(URL), "redis://ops:***@h:1/0"),
        (None, None),
        (1.5, 1.5),
        (True, True),
    ],
)
def test_secrets_are_not_written(said: object, written: object) -> None:
    assert redact(said) == written


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_has_the_password_of_an_url_in_a_field_an_exception_or_a_record_of_celerys(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure(form, "info")
    named = {"worker_id": "flow-1", "action_type": "start", "action_id": "a1", "token": "1"}

    def connect() -> None:
        raise ConnectionError(f"Error 111 connecting to {URL}")

    try:
        connect()
    except ConnectionError as error:
        logger("t6").tell("action.raised", error=str(error), exc_info=True, **named)
        logging.getLogger("celery.worker.consumer").exception("Cannot connect to %s", URL)
        logging.getLogger("kombu.connection").critical("gone", extra={"data": {"broker": URL}})
    said = capsys.readouterr().err
    assert said.count("ops:***@h") >= 5
    assert "s3cr" not in said
    assert said.count("ConnectionError: ") >= 2  # the tracebacks are there
    assert faults_in(said) == []


# -- what is said again and again -------------------------------------------------------------------------------------


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


def told(text: str) -> list[tuple[object, ...]]:
    """Return level, event, reason or what was, and count of each line."""
    return [(line["level"], line["event"], line.get("reason", line.get("was")), line["count"]) for line in lines(text)]


def test_a_trouble_is_told_when_it_begins_when_it_is_another_and_when_it_is_over(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    configure("json", "info")
    trouble = Trouble(logger("t5"), "tick.given_up", clock.monotonic)
    for reason in ("", "away", "away", "full", "full", "", ""):
        trouble.is_now(reason, **({"error": "no answer"} if reason else {}))
        clock.advance(1)
    text = capsys.readouterr().err
    assert told(text) == [
        ("warning", "tick.given_up", "away", 1),
        ("warning", "tick.given_up", "full", 3),
        ("info", "tick.given_up.over", "full", 4),
    ]
    assert lines(text)[-1]["duration"] == 4.0
    assert faults_in(text) == []


def test_a_trouble_that_lasts_is_told_every_30_s_with_how_often_it_was_met_and_the_next_one_begins_anew(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    configure("json", "info")
    trouble = Trouble(logger("t7"), "tick.given_up", clock.monotonic)
    for _ in range(61):
        trouble.is_now("away")
        clock.advance(1)
    trouble.is_now("")
    trouble.is_now("away")
    assert told(capsys.readouterr().err) == [
        ("warning", "tick.given_up", "away", 1),
        ("warning", "tick.given_up", "away", 31),
        ("warning", "tick.given_up", "away", 61),
        ("info", "tick.given_up.over", "away", 61),
        ("warning", "tick.given_up", "away", 1),
    ]


def test_troubles_are_told_of_each_by_its_name_and_their_ends_say_whose_they_were(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    configure("json", "info")
    troubles = Troubles(logger("t8"), clock.monotonic)
    for _ in range(3):
        for name in ("plant-1", "plant-2"):
            troubles.is_now("tick.failed", name, "BadDocument", supervisor=name, error="no such field")
    troubles.is_now("tick.failed", "plant-3", "")
    troubles.is_now("tick.failed", "plant-2", "")
    text = capsys.readouterr().err
    assert [(line["event"], line["supervisor"], line["count"]) for line in lines(text)] == [
        ("tick.failed", "plant-1", 1),
        ("tick.failed", "plant-2", 1),
        ("tick.failed.over", "plant-2", 3),
    ]
    assert faults_in(text) == []
