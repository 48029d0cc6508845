"""The contexts file: several installations by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.address import FORMS
from supervisor.cli.context import Contexts, Installation, contexts_file, enter, name_of, read_contexts
from supervisor.errors import NotFound, UsageError

WHOLE = """
current = "plant-1"

[contexts.plant-1]
url = "rediss://operator@redis.plant-1:6380/2"
namespace = "north"
supervisor = "line-1"
password_file = "password"
tls_ca = "ca.pem"
tls_cert = "me.pem"
tls_key = "me.key"

[contexts.here]
url = "unix:///run/redis.sock"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a contexts file with all the files that it names."""
    path = tmp_path / "contexts.toml"
    path.write_text(WHOLE)
    for name in ("ca.pem", "me.pem", "me.key"):
        (tmp_path / name).touch()
    (tmp_path / "password").write_text("pa@ss/word\n")
    return path


def test_a_whole_file_is_read(file: Path) -> None:
    plant = Installation(
        name="plant-1",
        url="rediss://operator@redis.plant-1:6380/2",
        namespace="north",
        supervisor="line-1",
        password_file="password",
        tls_ca="ca.pem",
        tls_cert="me.pem",
        tls_key="me.key",
    )
    here = Installation(name="here", url="unix:///run/redis.sock")
    assert read_contexts(file) == Contexts(file, "plant-1", {"plant-1": plant, "here": here})


def test_without_a_file_there_are_no_contexts(tmp_path: Path) -> None:
    assert read_contexts(tmp_path / "none.toml") == Contexts(tmp_path / "none.toml")


def test_a_context_is_what_redis_is_told(file: Path) -> None:
    contexts = read_contexts(file)
    environment = contexts.get("plant-1").environment(file.parent)
    files = {"FSM_REDIS_PASSWORD_FILE": "password", "FSM_REDIS_CA": "ca.pem", "FSM_REDIS_CERT": "me.pem"}
    files["FSM_REDIS_KEY"] = "me.key"
    none = {"FSM_SENTINEL_PASSWORD_FILE": ""}
    plain = {"FSM_REDIS_URL": "rediss://operator@redis.plant-1:6380/2", "FSM_NAMESPACE": "north"}
    assert environment == {**plain, **none, **{name: str(file.parent / path) for name, path in files.items()}}
    nothing = dict.fromkeys(files, "")
    assert contexts.get("here").environment(file.parent) == {
        "FSM_REDIS_URL": "unix:///run/redis.sock",
        "FSM_NAMESPACE": "fsm",
        **none,
        **nothing,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = [", "Invalid value (at end of document)"),
        ("colour = 1", "colour is not known: expected current, contexts"),
        ("contexts = 3", "contexts is 3: expected tables [contexts.NAME]"),
        ("contexts.a = 3", "contexts.a is 3: expected a table [contexts.a]"),
        ("[contexts.a]", f"contexts.a.url is missing: expected {FORMS}"),
        (
            "contexts.a.url = 'http://me:secret@x'",
            f"contexts.a.url is 'http://…@x': expected {FORMS}",
        ),
        ("contexts.a = { url = 'redis://x', tls_ca = 1 }", "contexts.a.tls_ca is 1: expected a text"),
        (
            "contexts.a = { url = 'redis://x', tls = 'y' }",
            "contexts.a.tls is not known: expected url, namespace, supervisor, password_file, "
            "sentinel_password_file, tls_ca, tls_cert, tls_key",
        ),
        ("current = 'b'\ncontexts.a.url = 'redis://x'", "current is 'b': expected one of a"),
        ("current = ['a']\ncontexts.a.url = 'redis://x'", "current is ['a']: expected one of a"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "contexts.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        read_contexts(path)
    assert str(raised.value) == f"{path}: {told}"


def test_a_file_that_a_context_names_must_be_there(file: Path) -> None:
    (file.parent / "password").unlink()
    with pytest.raises(UsageError, match="password cannot be read: expected a file that the context names"):
        read_contexts(file).get("plant-1").environment(file.parent)


def test_an_unknown_context_is_told_with_those_that_there_are(file: Path) -> None:
    with pytest.raises(NotFound, match=r"no context 'plant-2' in .*: expected one of plant-1, here"):
        read_contexts(file).get("plant-2")


def test_what_is_said_goes_before_what_the_file_says(file: Path) -> None:
    contexts = read_contexts(file)
    assert name_of("here", "dir", contexts, {"FSM_REDIS_URL": "redis://x"}) == "here"
    assert name_of(None, None, contexts, {}) == "plant-1"
    assert name_of(None, "dir", contexts, {}) is None
    assert name_of(None, None, contexts, {"FSM_REDIS_URL": "redis://x"}) is None
    assert name_of(None, None, contexts, {"FSM_DATA_DIR": "dir"}) is None


def test_the_file_is_where_the_environment_says() -> None:
    assert contexts_file({"FSM_CONTEXTS": "/a/b.toml"}) == Path("/a/b.toml")
    assert contexts_file({"XDG_CONFIG_HOME": "/c"}) == Path("/c/fsmctl/contexts.toml")
    assert contexts_file({}) == Path("~/.config/fsmctl/contexts.toml").expanduser()


def test_a_context_is_entered_by_name_and_by_the_file_where_nothing_is_run(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ("FSM_REDIS_CA", "FSM_REDIS_CERT", "FSM_REDIS_KEY", "FSM_REDIS_PASSWORD_FILE", "FSM_SENTINEL_PASSWORD_FILE")
    for name in ("FSM_REDIS_URL", "FSM_NAMESPACE", "FSM_DATA_DIR", *files):
        monkeypatch.setenv(name, "")  # so that it is as it was afterwards
    monkeypatch.setenv("FSM_CONTEXTS", str(file))
    assert enter(None, None, "up") is None, "make run does not run a demo in somebody's plant"
    assert enter("plant-1", None, "completion") is None
    entered = enter("here", None, "up")
    assert entered is not None
    assert entered.name == "here"
    monkeypatch.setenv("FSM_REDIS_URL", "")
    entered = enter(None, None, "get")
    assert entered is not None
    assert (entered.name, entered.supervisor) == ("plant-1", "line-1")
