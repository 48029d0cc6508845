"""The forms of Redis' address, and what proves who we are: what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.address import Access, Sentinels, broker_options, broker_url, read_access, sentinels_of
from supervisor.errors import UsageError
from supervisor.settings import Settings
from tests.certificates import make_certificates

TLS = "rediss://edge-1@10.0.0.1:6379/0"
SENTINELS = "sentinels://edge-1@10.0.0.1:26379,10.0.0.2,[fd00::3]:26380/plant%201?db=2"


def test_an_address_of_sentinels_names_hosts_service_database_and_user() -> None:
    hosts = (("10.0.0.1", 26379), ("10.0.0.2", 26379), ("fd00::3", 26380))
    assert sentinels_of(SENTINELS) == Sentinels(hosts, "plant 1", 2, "edge-1", "")
    assert sentinels_of("sentinel://:p%40ss@h/plant") == Sentinels((("h", 26379),), "plant", 0, "", "p@ss")
    assert sentinels_of(TLS) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sentinel://10.0.0.1:26379", "the name of the service"),
        ("sentinel://10.0.0.1:26379/a/0", "the name of the service"),
        ("sentinel://10.0.0.1:26379,/plant", "'' is no HOST:PORT of a sentinel"),
        ("sentinel://10.0.0.1:70000/plant", "'10.0.0.1:70000' is no HOST:PORT of a sentinel"),
        ("sentinel://h/plant?db=x", "after the ? stands 'db=x', and only db=NUMBER may"),
        ("sentinel://h/plant?ssl=1", "after the ? stands 'ssl=1', and only db=NUMBER may"),
        ("redis+sentinel://h/plant", "expected redis://HOST:PORT/DB, rediss://"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_what_is_wrong_with_it(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.from_env({"FSM_REDIS_URL": url}, str(tmp_path))
    assert str(refused.value).startswith(f"FSM_REDIS_URL is {url!r}: ")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("url", "for_kombu"),
    [
        ("redis://10.0.0.1:6379/3", "redis://:p%40%2F@10.0.0.1:6379/3"),
        (TLS, "rediss://edge-1:p%40%2F@10.0.0.1:6379/0"),
        ("redis://:own@10.0.0.1", "redis://:own@10.0.0.1"),
        ("unix:///run/redis.sock", "redis+socket://:p%40%2F@/run/redis.sock"),
        (
            SENTINELS,
            "sentinel://edge-1:p%40%2F@10.0.0.1:26379/2;sentinel://edge-1:p%40%2F@10.0.0.2:26379/2;"
            "sentinel://edge-1:p%40%2F@[fd00::3]:26380/2",
        ),
    ],
)
def test_kombu_gets_the_address_in_its_own_form_with_the_password_of_the_file(url: str, for_kombu: str) -> None:
    assert broker_url(url, "p@/") == for_kombu


def test_without_a_password_kombu_gets_none() -> None:
    assert broker_url("redis://10.0.0.1:6379/3", "") == "redis://10.0.0.1:6379/3"
    assert broker_url("sentinel://a,b:1/plant", "") == "sentinel://a:26379/0;sentinel://b:1/0"


def test_kombu_asks_sentinels_for_the_service_as_we_do() -> None:
    access = Access(ca="/ca.pem", sentinel_password="s")
    asked = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "password": "s"}
    encrypted = {"ssl": True, "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert broker_options(SENTINELS, access) == {"master_name": "plant 1", "sentinel_kwargs": {**asked, **encrypted}}
    assert broker_options("sentinel://h/a", access) == {"master_name": "a", "sentinel_kwargs": asked}
    assert broker_options(TLS, access) == {}


def test_passwords_come_from_files_and_go_on_to_the_parts_as_paths_alone(tmp_path: Path) -> None:
    password, sentinels = tmp_path / "password", tmp_path / "sentinels"
    password.write_text("s3cret \n")
    sentinels.write_text("other")
    environ = {
        "FSM_REDIS_URL": "sentinel://edge-1@h/plant",
        "FSM_REDIS_PASSWORD_FILE": str(password),
        "FSM_SENTINEL_PASSWORD_FILE": str(sentinels),
    }
    settings = Settings.from_env(environ, str(tmp_path))
    assert (settings.access.password, settings.access.sentinel_password) == ("s3cret ", "other")
    assert environ.items() <= settings.environment().items()
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.environment())
    assert "s3cret" not in str(settings.shown())
    assert settings.shown()["redis_password_file"] == str(password)


def test_certificates_are_loaded_once_to_see_that_they_can_be(tmp_path: Path) -> None:
    made = make_certificates(tmp_path)
    access = read_access(made.environ(), TLS)
    assert access.environment() == made.environ()
    assert access.tls == {
        "ssl_cert_reqs": "required",
        "ssl_ca_certs": made.pem("ca"),
        "ssl_certfile": made.pem("client"),
        "ssl_keyfile": made.key("client"),
    }
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN NOTHING-----\n")
    for environ, words in (
        ({"FSM_REDIS_CA": str(tmp_path / "none")}, f"FSM_REDIS_CA is '{tmp_path}/none': No such file or directory"),
        ({"FSM_REDIS_CA": str(bad)}, f"FSM_REDIS_CA is '{bad}': "),
        ({"FSM_REDIS_CA": str(tmp_path)}, f"FSM_REDIS_CA is '{tmp_path}': Is a directory"),
        ({"FSM_REDIS_CERT": made.pem("client")}, "FSM_REDIS_KEY is missing"),
        ({"FSM_REDIS_KEY": made.key("client")}, "FSM_REDIS_CERT is missing"),
        (
            {"FSM_REDIS_CERT": made.pem("client"), "FSM_REDIS_KEY": made.key("server")},
            f"FSM_REDIS_CERT '{made.pem('client')}' and FSM_REDIS_KEY '{made.key('server')}' do not go together",
        ),
    ):
        with pytest.raises(UsageError) as refused:
            read_access(environ, TLS)
        assert str(refused.value).startswith(words)
        assert "expected" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name", "words"),
    [
        ("redis://h", "FSM_REDIS_CA", "FSM_REDIS_URL is 'redis://h': expected rediss://… or sentinels://…"),
        ("", "FSM_REDIS_CERT", "FSM_REDIS_URL is not set: expected rediss://"),
        ("redis://:a@h", "FSM_REDIS_PASSWORD_FILE", "is 'redis://…@h': expected an address without a password"),
        ("", "FSM_REDIS_PASSWORD_FILE", "FSM_REDIS_URL is not set: expected an address without a password"),
        ("rediss://h", "FSM_SENTINEL_PASSWORD_FILE", "expected sentinel://… or sentinels://…"),
    ],
)
def test_a_file_that_the_address_has_no_use_for_is_refused(url: str, name: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_access({name: "/some/file"}, url)
    assert str(refused.value).startswith(f"{name} is set and ")
    assert words in str(refused.value)


@pytest.mark.parametrize(("text", "words"), [("", "which has 0 lines"), ("a\nb\n", "which has 2 lines")])
def test_a_password_file_holds_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "password"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_access({"FSM_REDIS_PASSWORD_FILE": str(file)}, "redis://h")
    with pytest.raises(UsageError, match="cannot be read: No such file or directory; expected a password"):
        read_access({"FSM_REDIS_PASSWORD_FILE": str(file) + "x"}, "redis://h")
