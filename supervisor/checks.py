"""Reads the check of a child: of which kind it is, whom it asks, and what is usual for the child's type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from supervisor.fleetfile import ChildTable, FleetError, Sasl, beside, failure, label_of, plain
from supervisor.model import Check, CheckKind, OptionValue

_SASL_KEYS = ("sasl", "username", "password_file")
_KIND_KEYS = ("address", "path", "status", "body", "tls", "ca", *_SASL_KEYS, "command", "file", "max_age", "options")
_REDPANDA_KEYS = ("admin", "brokers", "nodes", "leaderless", "under_replicated")
_OWN_KEYS = ("address", "options")  # of a check that an installed package adds
_KEYS_OF: dict[str, tuple[str, ...]] = {
    "tcp": ("address",),
    "redis": ("address",),
    "http": ("address", "path", "status", "body", "tls", "ca"),
    "kafka": ("address", "tls", "ca", *_SASL_KEYS),
    "process": (),
    "command": ("command",),
    "freshness": ("file", "max_age"),
    "redpanda": (*_REDPANDA_KEYS, "tls", "ca", *_SASL_KEYS),
}
_ADDRESS = {"address": 'the "HOST:PORT"'}
_REQUIRED: dict[str, dict[str, str]] = {
    "process": {},
    "tcp": _ADDRESS,
    "redis": _ADDRESS,
    "kafka": _ADDRESS,
    "http": _ADDRESS,
    "command": {"command": "the command"},
    "freshness": {"file": "the file"},
}
_USUAL_KIND: dict[str, CheckKind] = {
    "redis": "redis",
    "redpanda": "http",
    "benthos": "http",
    "tcp": "tcp",
    "http": "http",
    "process": "process",
}
_USUAL_PATH = {"redpanda": "/v1/status/ready", "benthos": "/ping"}  # where these types answer
MAX_TICK_TIMEOUT = 2.0  # seconds: the tick that looks at a child without a node holds a lease of 5 s
_FROM_ANYWHERE = ("tcp", "http", "redis", "kafka", "redpanda")
MAX_CHECK_TIMEOUT = 5.0  # seconds: a verdict must be in long before an observation is stale


@dataclass(frozen=True)
class Checks:
    """The checks of a fleet file; `own` are the kinds that installed packages add."""

    path: Path
    own: tuple[str, ...]

    def _fail(self, number: int, child: ChildTable, key: str, value: object, expected: str) -> FleetError:
        return failure(self.path, "children", number, label_of(child), key, value, expected)

    def from_anywhere(self, number: int, child: ChildTable) -> None:
        """See that a check needs no host of its child's: the tick makes it. Raises `FleetError`."""
        kind = self.kind(number, child)
        if kind not in _FROM_ANYWHERE:
            expected = f"a check of kind {kind} needs the child's node; one of {', '.join(_FROM_ANYWHERE)} does not"
            raise self._fail(number, child, "node", None, expected)
        if child.check.timeout > MAX_TICK_TIMEOUT:
            expected = f"expected at most {MAX_TICK_TIMEOUT:g}s: the tick itself looks at a child without a node"
            raise self._fail(number, child, "check.timeout", str(child.check.timeout), expected)

    def kind(self, number: int, child: ChildTable) -> str:
        """Return the kind of a child's check. Raises `FleetError` for one that there is not."""
        kind = child.check.kind or _USUAL_KIND[child.type]
        if kind not in _KEYS_OF and kind not in self.own:
            expected = f"expected one of {', '.join((*_KEYS_OF, *sorted(self.own)))}"
            raise self._fail(number, child, "check.kind", kind, expected)
        return kind

    def read(self, number: int, child: ChildTable) -> Check:
        """Return the check of a child, whose type says which kind is usual. Raises `FleetError`."""
        table = child.check
        kind = self.kind(number, child)
        usual = _KEYS_OF.get(kind, _OWN_KEYS)
        for key in (*_KIND_KEYS, *_REDPANDA_KEYS):
            value = getattr(table, key)
            if value is not None and key not in usual:
                keys = ", ".join((*usual, "timeout", "failures", "successes"))
                expected = f"a check of kind {kind} has no such key; expected one of {keys}"
                raise self._fail(number, child, f"check.{key}", plain(value), expected)
        self._whom(number, child, kind)
        if not 0 < table.timeout <= MAX_CHECK_TIMEOUT:
            expected = f"expected more than 0s and at most {MAX_CHECK_TIMEOUT:g}s"
            raise self._fail(number, child, "check.timeout", str(table.timeout), expected)
        path = table.path if table.path is not None else _USUAL_PATH.get(child.type, "/")
        if not path.startswith("/"):
            raise self._fail(number, child, "check.path", path, 'expected a path that begins with "/"')
        try:
            re.compile(table.body or "")
        except re.error as error:
            expected = f"expected a regular expression: {error}"
            raise self._fail(number, child, "check.body", table.body, expected) from None
        status = (200,) if table.status is None else table.status
        return Check(
            kind=kind,
            address=table.address or "",
            path=path,
            status=status if isinstance(status, tuple) else (status,),
            body=table.body or "",
            tls=bool(table.tls),
            ca=beside(self.path, table.ca or ""),
            command=table.command or (),
            file=beside(self.path, table.file or ""),
            max_age=float(table.max_age) if table.max_age is not None else 30.0,
            admin=table.admin or "",
            brokers=table.brokers or (),
            nodes=table.nodes or 1,
            leaderless=table.leaderless or 0,
            under_replicated=table.under_replicated,
            sasl=table.sasl or "",
            username=table.username or "",
            password_file=beside(self.path, table.password_file or ""),
            options=self._options(number, child),
            timeout=float(table.timeout),
            failures=table.failures,
            successes=table.successes,
        )

    def _whom(self, number: int, child: ChildTable, kind: str) -> None:
        """See that a check says whom or what it asks. Raises `FleetError`."""
        table = child.check
        for key, what in _REQUIRED.get(kind, {}).items():
            if not getattr(table, key):
                expected = f"expected {what} that a check of kind {kind} asks"
                raise self._fail(number, child, f"check.{key}", getattr(table, key), expected)
        if kind == "redpanda" and not (table.admin or table.brokers):
            expected = 'expected the URL of its admin API ("http://HOST:9644"), or Kafka brokers ["HOST:9092"], or both'
            raise self._fail(number, child, "check.admin", table.admin, expected)
        self._login(number, child, kind)

    def _login(self, number: int, child: ChildTable, kind: str) -> None:
        """See that a login to Kafka is a whole one. Raises `FleetError`."""
        table = child.check
        if table.sasl and kind == "redpanda" and not table.brokers:
            expected = "expected the Kafka brokers beside it that want a login; the admin API is asked without one"
            raise self._fail(number, child, "check.sasl", table.sasl, expected)
        for key in _SASL_KEYS:
            value = getattr(table, key)
            if table.sasl and not value:
                expected = "expected it beside sasl: sasl, username and password_file make a login"
                raise self._fail(number, child, f"check.{key}", value, expected)
            if value and not table.sasl:
                expected = f"expected sasl beside it: one of {', '.join(get_args(Sasl))}"
                raise self._fail(number, child, f"check.{key}", value, expected)

    def _options(self, number: int, child: ChildTable) -> dict[str, OptionValue]:
        options: Mapping[str, object] = child.check.options or {}
        for name, value in options.items():
            if not isinstance(value, OptionValue):
                expected = "expected text, a number, true or false"
                raise self._fail(number, child, f"check.options.{name}", value, expected)
        return {name: value for name, value in options.items() if isinstance(value, OptionValue)}
