"""Keys in files: made, read, refused, changed in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from supervisor.envelope import Verify
from supervisor.errors import Refused, UsageError
from supervisor.keyring import (
    NEXT_KEY,
    SIGNING_KEY,
    VERIFY_KEYS,
    KeyFile,
    add_key,
    drop_key,
    make_keys,
    read_signing_key,
    read_verify_keys,
    use_key,
)
from tests.conftest import missing

WHAT = b"what is signed"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a first key."""
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


def known(folder: Path) -> Mapping[str, Verify]:
    return read_verify_keys(folder / VERIFY_KEYS)


def is_known(folder: Path, private: str = SIGNING_KEY) -> bool:
    """Tell whether what a private key signs is taken for right."""
    key = read_signing_key(folder / private)
    return key.id in known(folder) and known(folder)[key.id](key.sign(WHAT), WHAT)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def test_a_new_key_signs_what_its_public_half_knows_and_nothing_else(folder: Path) -> None:
    key = read_signing_key(folder / SIGNING_KEY)
    assert list(known(folder)) == [key.id]
    assert is_known(folder)
    assert key.verify(key.sign(WHAT), WHAT)
    assert not known(folder)[key.id](key.sign(WHAT), WHAT + b"!")
    assert not known(folder)[key.id](b"", WHAT)


def test_only_the_owner_can_read_a_private_key_and_everybody_a_public_one(folder: Path) -> None:
    before = os.umask(0)
    try:
        add_key(folder)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}
    assert modes == {SIGNING_KEY: "0o600", NEXT_KEY: "0o600", VERIFY_KEYS: "0o644"}


def test_in_a_rotation_the_old_and_the_new_key_are_known_until_the_end(folder: Path) -> None:
    (old,) = known(folder)
    new = add_key(folder)
    assert list(known(folder)) == [old, new]
    assert is_known(folder)
    assert is_known(folder, NEXT_KEY)
    assert use_key(folder) == new
    assert read_signing_key(folder / SIGNING_KEY).id == new
    assert list(known(folder)) == [old, new]
    assert drop_key(folder) == new
    assert list(known(folder)) == [new]
    assert sorted(path.name for path in folder.iterdir()) == [SIGNING_KEY, VERIFY_KEYS]


@pytest.mark.parametrize(
    ("steps", "refused", "says"),
    [
        ([], make_keys, "signing.key is there already; begin a rotation with: fsmctl keys add "),
        ([], use_key, "next.key is not there; make it with: fsmctl keys add "),
        ([add_key], add_key, "next.key is there already; sign with it by: fsmctl keys use "),
        ([add_key], drop_key, "next.key is not in use yet; sign with it by: fsmctl keys use "),
        ([add_key, use_key], add_key, "the last rotation has not ended; end it with: fsmctl keys drop "),
    ],
)
def test_a_step_out_of_turn_is_refused_with_the_one_to_take_and_changes_nothing(
    folder: Path, steps: list[Callable[[Path], str]], refused: Callable[[Path], str], says: str
) -> None:
    for step in steps:
        step(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Refused, match=says):
        refused(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o644, 0o666])
def test_a_private_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    (folder / SIGNING_KEY).chmod(mode)
    with pytest.raises(UsageError, match=rf"signing.key: has mode {mode:o}, so that others can read it .* chmod 600 "):
        read_signing_key(folder / SIGNING_KEY)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_service_manager_may_let_its_group_read_a_private_key(folder: Path, mode: int) -> None:
    (folder / SIGNING_KEY).chmod(mode)
    assert is_known(folder)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_public_keys_that_others_can_write_are_refused(folder: Path, mode: int) -> None:
    (folder / VERIFY_KEYS).chmod(mode)
    with pytest.raises(UsageError, match=rf"verify.keys: has mode {mode:o}, so that others can write it: chmod 644 "):
        known(folder)


def test_keys_that_openssl_made_are_taken(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        missing("no openssl was found")
    private, public = tmp_path / SIGNING_KEY, tmp_path / VERIFY_KEYS
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(private))
    openssl("pkey", "-in", str(private), "-pubout", "-out", str(public))
    private.chmod(0o600)
    public.chmod(0o644)
    assert is_known(tmp_path)


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_private_key_is_refused_with_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / SIGNING_KEY
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=r"signing.key: expected an Ed25519 private key in PEM without a password"):
        read_signing_key(path)


def test_a_key_of_another_kind_or_with_a_password_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SIGNING_KEY
    path.touch(0o600)
    other = X25519PrivateKey.generate()
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UsageError, match="expected an Ed25519 private key"):
        read_signing_key(path)
    locked = BestAvailableEncryption(b"x")
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    with pytest.raises(UsageError, match="without a password"):
        read_signing_key(path)


def test_no_key_three_keys_a_private_one_and_one_of_another_kind_are_no_public_keys(folder: Path) -> None:
    public = folder / VERIFY_KEYS
    one = public.read_text()
    key = X25519PrivateKey.generate().public_key()
    other = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    broken = one.replace("MCow", "MCox")
    for text, holds in (("", 0), (one * 3, 3), ((folder / SIGNING_KEY).read_text(), 0), (one + other, 2)):
        public.write_text(text)
        with pytest.raises(UsageError, match=rf"verify.keys: holds {holds} keys: expected one or two Ed25519 public"):
            known(folder)
    public.write_text(broken)
    with pytest.raises(UsageError, match="expected one or two Ed25519 public"):
        known(folder)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none: cannot be read: No such file or directory; expected an Ed25519"):
        read_signing_key(tmp_path / "none")
    with pytest.raises(UsageError, match=r"cannot be read: Is a directory; expected one or two"):
        read_verify_keys(tmp_path)


def test_a_file_is_read_again_when_it_has_changed_and_only_then(folder: Path) -> None:
    reads = []

    def read(path: Path) -> list[str]:
        reads.append(path)
        return sorted(read_verify_keys(path))

    file = KeyFile(folder / VERIFY_KEYS, read)
    (old,) = file.get()
    assert file.get() == [old]
    assert len(reads) == 1
    new = add_key(folder)
    assert file.get() == sorted([old, new])
    assert file.get() == sorted([old, new])
    assert len(reads) == 2


def test_a_file_that_breaks_is_told_once_and_what_it_held_counts_until_it_is_mended(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = folder / VERIFY_KEYS
    file = KeyFile(path, lambda path: sorted(read_verify_keys(path)))
    held, whole = file.get(), path.read_text()
    path.write_text("half a")
    assert [file.get(), file.get()] == [held, held]
    path.unlink()
    assert file.get() == held
    path.write_text(whole)
    path.chmod(0o644)
    assert file.get() == held
    said = [line for line in capfd.readouterr().err.splitlines() if "keys.unreadable" in line]
    assert len(said) == 2
    assert "verify.keys: holds 0 keys" in said[0]
    assert '"event": "keys.unreadable.over"' in said[1]


def test_a_file_must_be_right_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        KeyFile(tmp_path / "none", read_signing_key)
