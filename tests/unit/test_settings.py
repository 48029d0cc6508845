"""The installation's settings: defaults, the environment, the data folder, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.errors import UsageError
from supervisor.settings import URL_FILE, Settings, has_own_redis


def test_without_any_variable_the_defaults_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env({}) == Settings(
        redis_url="",
        namespace="fsm",
        data_dir=tmp_path / ".fsm",
        log_format="auto",
        log_level="info",
        pulse=1.0,
        slots=5,
        drain_timeout=5.0,
        traces="off",
    )


def test_every_variable_is_read(tmp_path: Path) -> None:
    environ = {
        "FSM_REDIS_URL": "redis://10.0.0.1:6379/3",
        "FSM_NAMESPACE": "plant.a_1",
        "FSM_DATA_DIR": str(tmp_path),
        "FSM_LOG_FORMAT": "JSON",
        "FSM_LOG_LEVEL": "debug",
        "FSM_PULSE": "0.25",
        "FSM_SLOTS": "8",
        "FSM_DRAIN_TIMEOUT": "2.5",
        "FSM_TRACES": "otlp",
        "FSM_REMOTE_CONTROL": "off",
    }
    assert Settings.from_env(environ) == Settings(
        redis_url="redis://10.0.0.1:6379/3",
        namespace="plant.a_1",
        data_dir=tmp_path,
        log_format="json",
        log_level="debug",
        pulse=0.25,
        slots=8,
        drain_timeout=2.5,
        traces="otlp",
        remote_control="off",
    )


def test_the_process_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FSM_NAMESPACE", "from-the-environment")
    monkeypatch.setenv("FSM_REDIS_URL", "redis://10.0.0.1")
    assert Settings.from_env(data_dir=str(tmp_path)).namespace == "from-the-environment"
    assert has_own_redis() is True


def test_a_data_folder_given_by_hand_wins_over_the_variable(tmp_path: Path) -> None:
    assert Settings.from_env({"FSM_DATA_DIR": "/nowhere"}, data_dir=str(tmp_path)).data_dir == tmp_path


def test_empty_variables_are_no_variables(tmp_path: Path) -> None:
    names = ("FSM_REDIS_URL", "FSM_NAMESPACE", "FSM_LOG_FORMAT", "FSM_LOG_LEVEL", "FSM_PULSE", "FSM_SLOTS")
    assert Settings.from_env(dict.fromkeys(names, ""), str(tmp_path)) == Settings.from_env({}, str(tmp_path))


def test_the_private_redis_is_found_through_the_data_folder_unless_the_user_named_one(tmp_path: Path) -> None:
    (tmp_path / URL_FILE).write_text("redis://127.0.0.1:7390/0\n")
    assert Settings.from_env({}, str(tmp_path)).redis_url == "redis://127.0.0.1:7390/0"
    own = {"FSM_REDIS_URL": "redis://10.0.0.1"}
    assert Settings.from_env(own, str(tmp_path)).redis_url == "redis://10.0.0.1"


@pytest.mark.parametrize("url", ["redis://h", "rediss://h:1/2", "unix:///run/redis.sock", "redis+socket:///run/r.sock"])
def test_every_form_of_redis_address_is_taken(url: str, tmp_path: Path) -> None:
    assert Settings.from_env({"FSM_REDIS_URL": url}, str(tmp_path)).redis_url == url


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("FSM_REDIS_URL", "http://h", "FSM_REDIS_URL is 'http://h': expected redis://HOST:PORT/DB"),
        ("FSM_REDIS_URL", "localhost:6379", "FSM_REDIS_URL is 'localhost:6379': expected redis://HOST:PORT/DB"),
        ("FSM_NAMESPACE", "a:b", "FSM_NAMESPACE is 'a:b': expected letters, digits, - _ ."),
        ("FSM_NAMESPACE", "a" * 33, f"FSM_NAMESPACE is '{'a' * 33}': expected letters, digits, - _ ."),
        ("FSM_NAMESPACE", "-a", "FSM_NAMESPACE is '-a': expected letters, digits, - _ ."),
        ("FSM_LOG_FORMAT", "xml", "FSM_LOG_FORMAT is 'xml': expected one of auto, json, console"),
        ("FSM_LOG_LEVEL", "loud", "FSM_LOG_LEVEL is 'loud': expected one of info, debug, warning, error"),
        ("FSM_PULSE", "fast", "FSM_PULSE is 'fast': expected a number from 0.05 to 60"),
        ("FSM_PULSE", "0.01", "FSM_PULSE is '0.01': expected a number from 0.05 to 60"),
        ("FSM_PULSE", "nan", "FSM_PULSE is 'nan': expected a number from 0.05 to 60"),
        ("FSM_SLOTS", "0", "FSM_SLOTS is '0': expected a whole number from 1 to 256"),
        ("FSM_SLOTS", "2.7", "FSM_SLOTS is '2.7': expected a whole number from 1 to 256"),
        ("FSM_SLOTS", "257", "FSM_SLOTS is '257': expected a whole number from 1 to 256"),
        ("FSM_REDIS_URL", "http://:secret@h", "FSM_REDIS_URL is 'http://…@h': expected redis://HOST:PORT/DB"),
    ],
)
def test_a_wrong_variable_is_refused_with_its_name_the_value_and_what_was_expected(
    name: str, value: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_env({name: value}, str(tmp_path))
    assert str(caught.value).startswith(complaint)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@h:1/2", "redis://…@h:1/2"),
        ("redis://:secret@h:1/2", "redis://…@h:1/2"),
        ("redis://:p@ss/w@h:1/2", "redis://…@h:1/2"),
        ("redis://h:1/2", "redis://h:1/2"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str, tmp_path: Path) -> None:
    assert Settings.from_env({"FSM_REDIS_URL": url}, str(tmp_path)).shown_url == shown


def test_a_part_that_is_started_gets_the_same_settings(tmp_path: Path) -> None:
    environ = {"FSM_REDIS_URL": "redis://h:1/2", "FSM_NAMESPACE": "a", "FSM_PULSE": "0.2", "FSM_SLOTS": "3"}
    settings = Settings.from_env(environ, str(tmp_path))
    assert Settings.from_env(settings.environment()) == settings


@pytest.mark.parametrize(
    ("environ", "own"), [({}, False), ({"FSM_REDIS_URL": ""}, False), ({"FSM_REDIS_URL": "redis://h"}, True)]
)
def test_the_user_has_a_redis_of_their_own_exactly_when_they_name_it(environ: dict[str, str], own: bool) -> None:
    assert has_own_redis(environ) is own
