"""Accounts of the exporter: who is admitted, and how a bad file is refused without showing a password."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from supervisor.accounts import Accounts, read_accounts
from supervisor.errors import UsageError


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    path = tmp_path / "readers"
    digest = hashlib.sha256(b"hashed").hexdigest()
    path.write_text(f"# who scrapes\n\nprom:plain:with:colons\nzoë:sha256:{digest}\n")
    return read_accounts(path)


@pytest.mark.parametrize(
    "header", [basic("prom:plain:with:colons"), basic("zoë:hashed"), "b" + basic("zoë:hashed")[1:]]
)
def test_who_knows_the_password_is_admitted(accounts: Accounts, header: str) -> None:
    assert accounts.admit(header) is True


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ÿ",
        "Basic not-base64",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        basic("prom"),
        basic("prom:"),
        basic("prom:plain"),
        basic("zoë:plain:with:colons"),
        basic("nobody:hashed"),
        basic(":"),
        basic("zoë:sha256:" + hashlib.sha256(b"hashed").hexdigest()),
        basic("prom:plain:with:colons").replace("Basic", "Bearer"),
    ],
)
def test_nobody_else_is(accounts: Accounts, header: str) -> None:
    assert accounts.admit(header) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no user; expected lines USER:PASSWORD"),
        (b"# nobody\n", "holds no user; expected lines USER:PASSWORD"),
        (b"prom:x\nsecret\n", "line 2: expected USER:PASSWORD or USER:sha256:HEX, both not empty"),
        (b":secret\n", "line 1: expected USER:PASSWORD or USER:sha256:HEX, both not empty"),
        (b"prom:\n", "line 1: expected USER:PASSWORD or USER:sha256:HEX, both not empty"),
        (b"prom:x\nprom:secret\n", "line 2: user 'prom' is there twice; expected each once"),
        (
            b"prom:sha256:secret\n",
            "line 1: the digest of user 'prom' has 6 characters; expected 64 hexadecimal digits, as "
            "`printf %s PASSWORD | sha256sum` prints them",
        ),
        (b"prom:\xff\n", "is not UTF-8 text; expected lines USER:PASSWORD"),
    ],
)
def test_a_bad_file_is_refused_with_its_line_and_without_its_passwords(
    tmp_path: Path, text: bytes, message: str
) -> None:
    path = tmp_path / "readers"
    path.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        read_accounts(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="readers: cannot be read: No such file or directory; expected lines"):
        read_accounts(tmp_path / "readers")
