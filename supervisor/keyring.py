"""The keys that seal messages: PEM files, as openssl writes them too, read again when they have changed.

The only module that knows the cipher, Ed25519, and its library, which is imported when a key is read or made.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from supervisor.envelope import Verify
from supervisor.errors import Refused, UsageError
from supervisor.logs import RawLog, Trouble

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNING_KEY = "signing.key"  # of a key folder: what supervisors sign with
NEXT_KEY = "next.key"  # what they will sign with, once every node knows it
VERIFY_KEYS = "verify.keys"  # what nodes know
_END = "-----END PUBLIC KEY-----"
_MOST_KEYS = 2  # the one in use, and in a rotation the one before or after it
_NOT_FOR_SECRETS = 0o027  # mode bits that a private key must not have: written by the group, anything by others
_NOT_FOR_KEYS = 0o022  # mode bits that a file of public keys must not have: who writes it decides what nodes run
_MOST_BYTES = 10_000
T = TypeVar("T")
log = RawLog()


@dataclass(frozen=True)
class SigningKey:
    """A private key, by what it does. `id` is the same as its public key's."""

    id: str
    sign: Callable[[bytes], bytes]
    verify: Verify


def read_signing_key(path: Path) -> SigningKey:
    """Read a private key. Raises `UsageError` for no such file, for one that others can read, and for none."""
    return _signing_key(_private(path))


def read_verify_keys(path: Path) -> Mapping[str, Verify]:
    """Read one or two public keys, by their ids. Raises `UsageError`, also for a file that others can write."""
    return {id_of(key): _verify(key) for key in _public(path)}


class KeyFile(Generic[T]):
    """A file of keys, read again when it has changed. While it cannot be read that is told, and what it held counts."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Read the file. Raises `UsageError`."""
        self._path, self._read = path, read
        self._trouble = Trouble(log, "keys.unreadable")
        self._seen = self._look()
        self._held = read(path)

    def get(self) -> T:
        """Return what the file holds."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._held = self._read(self._path)
                self._trouble.is_now("")
            except UsageError as error:
                self._trouble.is_now("unreadable", file=str(self._path), error=str(error))
        return self._held

    def _look(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def make_keys(folder: Path) -> str:
    """Make a key and the file of its public half in a folder; return its id. Raises `Refused` when there is one."""
    if (folder / SIGNING_KEY).exists():
        raise Refused(f"{folder / SIGNING_KEY} is there already; begin a rotation with: fsmctl keys add {folder}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _write_private(folder / SIGNING_KEY)
    _write_public(folder, key)
    return id_of(key)


def add_key(folder: Path) -> str:
    """Make the next key and let the old and the new one count; return its id. Raises `Refused` or `UsageError`."""
    used = _private(folder / SIGNING_KEY).public_key()
    if (folder / NEXT_KEY).exists():
        raise Refused(f"{folder / NEXT_KEY} is there already; sign with it by: fsmctl keys use {folder}")
    if len(_public(folder / VERIFY_KEYS)) == _MOST_KEYS:
        raise Refused(f"the last rotation has not ended; end it with: fsmctl keys drop {folder}")
    key = _write_private(folder / NEXT_KEY)
    _write_public(folder, used, key)
    return id_of(key)


def use_key(folder: Path) -> str:
    """Make the next key the one to sign with, and forget the private half of the old one; return its id.

    Raises `Refused` when there is none, `UsageError`.
    """
    if not (folder / NEXT_KEY).exists():
        raise Refused(f"{folder / NEXT_KEY} is not there; make it with: fsmctl keys add {folder}")
    key = _private(folder / NEXT_KEY).public_key()
    (folder / NEXT_KEY).replace(folder / SIGNING_KEY)
    return id_of(key)


def drop_key(folder: Path) -> str:
    """Let the key in use alone count; return its id. Raises `Refused` while the next is not in use, `UsageError`."""
    if (folder / NEXT_KEY).exists():
        raise Refused(f"{folder / NEXT_KEY} is not in use yet; sign with it by: fsmctl keys use {folder}")
    key = _private(folder / SIGNING_KEY).public_key()
    _write_public(folder, key)
    return id_of(key)


def id_of(key: Ed25519PublicKey) -> str:
    """Return the name of a key and its public half: the beginning of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _signing_key(key: Ed25519PrivateKey) -> SigningKey:
    public = key.public_key()
    return SigningKey(id_of(public), key.sign, _verify(public))


def _verify(key: Ed25519PublicKey) -> Verify:
    from cryptography.exceptions import InvalidSignature

    def verify(signature: bytes, what: bytes) -> bool:
        try:
            key.verify(signature, what)
        except InvalidSignature:
            return False
        return True

    return verify


def _private(path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    expected = "an Ed25519 private key in PEM without a password, as `fsmctl keys new DIR` makes it"
    text = _read(path, _NOT_FOR_SECRETS, "read it or its group write it: chmod 600", expected)
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path}: expected {expected}")
    return key


def _public(path: Path) -> list[Ed25519PublicKey]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    expected = "one or two Ed25519 public keys in PEM, as `fsmctl keys new DIR` makes them"
    text = _read(path, _NOT_FOR_KEYS, "write it: chmod 644", expected).decode(errors="replace")
    blocks = [block + _END for block in text.split(_END)[:-1]]
    try:
        keys = [load_pem_public_key(block.encode()) for block in blocks]
    except (ValueError, UnsupportedAlgorithm):
        keys = []
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not 1 <= len(keys) <= _MOST_KEYS or len(found) < len(keys):
        raise UsageError(f"{path}: holds {len(blocks)} keys: expected {expected}")
    return found


def _read(path: Path, forbidden: int, who: str, expected: str) -> bytes:
    """Read a small regular file whose mode has none of the `forbidden` bits; looked at as it is open."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path}: is no regular file; expected {expected}")
            if mode & forbidden:
                raise UsageError(f"{path}: has mode {stat.S_IMODE(mode):o}, so that others can {who} {path}")
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; expected {expected}") from None


def _write_private(path: Path) -> Ed25519PublicKey:
    """Make a key, write it, and return its public half."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return key.public_key()


def _write_public(folder: Path, *keys: Ed25519PublicKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = b"".join(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys)
    _write(folder / VERIFY_KEYS, text, 0o644)


def _write(path: Path, text: bytes, mode: int) -> None:
    """Write a file that is there wholly or not at all, and never with another mode."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - of a descriptor
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
