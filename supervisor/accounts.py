"""Who may read: user names and passwords from a file, checked against HTTP basic authentication (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from supervisor.errors import UsageError

_HASHED = "sha256:"
_NOBODY = bytes(32)  # the digest that an unknown user is compared with, so that it takes as long as a known one


@dataclass(frozen=True)
class Accounts:
    """Users with the SHA-256 digests of their passwords."""

    digests: Mapping[str, bytes]

    def admit(self, header: str) -> bool:
        """Tell whether an `Authorization` header names a user with the right password; in a time that tells nothing."""
        user, password = _credentials(header)
        expected = self.digests.get(user, _NOBODY)
        return hmac.compare_digest(hashlib.sha256(password.encode()).digest(), expected)


def _credentials(header: str) -> tuple[str, str]:
    """Return user and password of a basic `Authorization` header, both empty when it is none."""
    scheme, _, encoded = header.partition(" ")
    try:
        text = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:  # no base64, or no UTF-8 in it
        return "", ""
    user, _, password = text.partition(":")
    return user, password


def read_accounts(path: Path) -> Accounts:
    """Read lines `USER:PASSWORD` or `USER:sha256:HEX`; empty lines and those that begin with # do not count.

    Raises `UsageError` naming file, line and what was expected, never a password.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; expected lines USER:PASSWORD") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8 text; expected lines USER:PASSWORD") from None
    digests: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        where = f"{path}: line {number}"
        user, colon, secret = line.partition(":")
        if not colon or not user or not secret:
            raise UsageError(f"{where}: expected USER:PASSWORD or USER:{_HASHED}HEX, both not empty")
        if user in digests:
            raise UsageError(f"{where}: user {user!r} is there twice; expected each once")
        digests[user] = _digest(where, user, secret)
    if not digests:
        raise UsageError(f"{path}: holds no user; expected lines USER:PASSWORD")
    return Accounts(digests)


def _digest(where: str, user: str, secret: str) -> bytes:
    if not secret.startswith(_HASHED):
        return hashlib.sha256(secret.encode()).digest()
    text = secret.removeprefix(_HASHED)
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise UsageError(
            f"{where}: the digest of user {user!r} has {len(text)} characters; expected 64 hexadecimal digits, "
            "as `printf %s PASSWORD | sha256sum` prints them"
        )
    return bytes.fromhex(text)
