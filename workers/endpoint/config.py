"""The `config` tables of what answers on a network. Pure."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

import msgspec

from workers.duration import Duration
from workers.process.config import Address, ProcessConfig

MAX_TIMEOUT = 5.0  # seconds: the collector cuts a whole look off after 6 s
MAX_LATENCY = Duration(1.0)
_OF_PROCESSES = ("env", "user", "umask", "limits", "env_file", "secrets")
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]


class EndpointConfig(ProcessConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that answers: a process of ours with a `command`; without one it is watched only.

    No answer within `timeout` (seconds) is none; one after more than `max_latency` (seconds) is a slow one.
    """

    command: tuple[str, ...] = ()
    timeout: Duration = Duration(2.0)
    max_latency: Duration = MAX_LATENCY

    def __post_init__(self) -> None:
        """Refuse what `ProcessConfig` refuses, keys of a process where there is none, and times that cannot be."""
        if self.command:
            ProcessConfig.__post_init__(self)
        for key in _OF_PROCESSES:
            if getattr(self, key) and not self.command:
                raise ValueError(f"{key} is of a process: expected a command beside it, or no {key}")
        if not 0 < self.timeout <= MAX_TIMEOUT:
            raise ValueError(f"timeout is {self.timeout:g}s: expected more than 0s and at most {MAX_TIMEOUT:g}s")
        if self.max_latency <= 0:
            raise ValueError(f"max_latency is {self.max_latency:g}s: expected more than 0s")

    @property
    def peer(self) -> str:
        """Return who is asked, as messages name it."""
        raise NotImplementedError


class TcpConfig(EndpointConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What takes connections at `address`; `expect` is a pattern that its answer to `send` has to match somewhere.

    With `expect` alone it has to speak first.
    """

    address: Address
    send: str = ""
    expect: str = ""

    def __post_init__(self) -> None:
        """Refuse what `EndpointConfig` refuses, no pattern, and a question whose answer nobody reads."""
        EndpointConfig.__post_init__(self)
        _pattern("expect", self.expect)
        if self.send and not self.expect:
            raise ValueError(f"send is {self.send!r} without expect: expected a pattern that the answer has to match")

    @property
    def peer(self) -> str:
        """Return its address."""
        return self.address


class HttpConfig(EndpointConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What answers GET at `url` with one `status`; `body` is a pattern that has to be in the page.

    `ca` names a file of certificates that are believed for https; "" means the host's own.
    """

    FILES: ClassVar[tuple[str, ...]] = ("ca",)

    url: str
    status: Status | tuple[Status, ...] = 200
    body: str = ""
    ca: str = ""

    def __post_init__(self) -> None:
        """Refuse what `EndpointConfig` refuses, no address of a page, and no pattern."""
        EndpointConfig.__post_init__(self)
        _url(self.url, ("http", "https"))
        _pattern("body", self.body)
        if self.status == ():
            raise ValueError("status is []: expected one status at least")

    @property
    def peer(self) -> str:
        """Return the page that is asked for."""
        return self.url

    @property
    def statuses(self) -> tuple[int, ...]:
        """Return the statuses that are right."""
        return self.status if isinstance(self.status, tuple) else (self.status,)


class MqttConfig(EndpointConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A broker that speaks MQTT 3.1.1 at `address`; with `tls`, believed by the file `ca` or by the host's.

    A message of ours has to come back on `topic`; without one a connection that it acknowledges is enough.
    `password_file` is read on the node, at each look.
    """

    FILES: ClassVar[tuple[str, ...]] = ("ca", "password_file")

    address: Address
    topic: Annotated[str, msgspec.Meta(max_length=1024)] = "fsm/look"
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca: str = ""

    def __post_init__(self) -> None:
        """Refuse what `EndpointConfig` refuses, many topics at once, and what is of no use alone."""
        EndpointConfig.__post_init__(self)
        if re.search(r"[+#\0]", self.topic) or self.topic.startswith("$"):
            raise ValueError(f"topic is {self.topic!r}: expected one topic, without + and #, that begins without $")
        _of_user(self.username, self.password_file)
        if self.ca and not self.tls:
            raise ValueError("ca is of no use without tls: expected tls = true beside it")

    @property
    def peer(self) -> str:
        """Return its address."""
        return self.address


class OpcuaConfig(EndpointConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server that speaks OPC UA at `url`: its state has to be Running, and the value of `node`, if given, good.

    `password_file` is read on the fleet's node, at each look. Without `username` it is asked anonymously.
    """

    FILES: ClassVar[tuple[str, ...]] = ("password_file",)

    url: str
    node: str = ""
    username: str = ""
    password_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what `EndpointConfig` refuses, no address of a server, no id of a node, and a password of nobody."""
        EndpointConfig.__post_init__(self)
        _url(self.url, ("opc.tcp",))
        if self.node and not re.match(r"(ns=\d+;)?(i=\d+|[sgb]=.+)\Z", self.node):
            raise ValueError(f'node is {self.node!r}: expected a node id, as "ns=2;s=Line1.Speed" or "i=2258"')
        _of_user(self.username, self.password_file)

    @property
    def peer(self) -> str:
        """Return its address."""
        return self.url


def _of_user(username: str, password_file: str) -> None:
    if password_file and not username:
        raise ValueError("password_file is of no use without username: expected the user that it is of")


def _pattern(key: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key} is {pattern!r}: expected a regular expression: {error}") from None


def _url(url: str, schemes: tuple[str, ...]) -> None:
    """Refuse what has another scheme, no host, no sensible port, or a password, which every message would show."""
    expected = f"url is {url!r}: expected {' or '.join(f'{scheme}://HOST:PORT' for scheme in schemes)}"
    try:
        parts = urlsplit(url)
        right = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("url has a user or password in it, which every message would show: expected one without")
    if not right or re.search(r"\s", url):
        raise ValueError(expected)
