"""HTTP requests of observers and checks. The caller bounds their time.

What runs on the same host is asked over connections that are kept, for making one costs as much as a look. Checks make
one anew each time: that one can be made is part of what they ask. By aiohttp: a collector makes hundreds of requests a
second, and each costs it a third of what it cost with httpx (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import ssl

    import aiohttp  # imported where it is used: fsmctl knows of all types, and never looks

_KEPT_FOR = 60.0  # seconds for which an unused connection is kept: several looks
_NAME = {"User-Agent": "fsm-supervisor"}  # told by checks, which may ask anybody: some answer nobody who has no name
_NOT_SENT = ("Accept", "Accept-Encoding", "User-Agent")
MOST = 1_048_576  # bytes of a reply's body that are read: no interface of ours needs more


class NoReply(Exception):
    """What was asked gave no usable reply; the message says how."""


class NoConnection(NoReply):
    """No connection came about; the message says why."""


@dataclass(frozen=True)
class Reply:
    """The status and body of a reply."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Return the body as text."""
        return self.body.decode(errors="replace")


async def get(address: str, path: str) -> Reply:
    """Ask `address` ("host:port") for `path`, over a connection that is kept. Raises `NoReply`."""
    return await _ask(await _session(kept=True), f"http://{address}{path}", MOST, trust=True)


async def text(address: str, path: str) -> str:
    """Return the body of a reply with status 200, as `get` does. Raises `NoReply`."""
    reply = await get(address, path)
    if reply.status != 200:
        raise NoReply(f"{path} answered {reply.status}, expected 200")
    return reply.text


async def get_anew(url: str, trust: ssl.SSLContext | bool, most: int = MOST) -> Reply:
    """Ask for `url` over a connection of its own; read up to `most` bytes of the body. Raises `NoReply`.

    `trust` says whose certificates are believed, if it is asked over TLS.
    """
    return await _ask(await _session(kept=False), url, most, trust)


async def _ask(session: aiohttp.ClientSession, url: str, most: int, trust: ssl.SSLContext | bool) -> Reply:
    import aiohttp

    try:
        async with session.get(url, allow_redirects=False, ssl=trust) as response:
            body = b""
            while len(body) < most and (part := await response.content.readany()):
                body = (body + part)[:most]
            return Reply(response.status, body)
    except aiohttp.ClientConnectorError as error:
        raise NoConnection(f"cannot connect: {getattr(error, 'certificate_error', error.os_error)}") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoReply(f"{type(error).__name__}: {error}") from None


Sessions = AsyncGenerator["aiohttp.ClientSession", None]
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[bool, tuple[Sessions, aiohttp.ClientSession]]] = (
    WeakKeyDictionary()
)


async def _session(*, kept: bool) -> aiohttp.ClientSession:
    """Return the running loop's session, whose connections are `kept` or not."""
    of_loop = _open.setdefault(asyncio.get_running_loop(), {})
    if kept not in of_loop:
        sessions = _sessions(kept=kept)
        of_loop[kept] = (sessions, await anext(sessions))
    return of_loop[kept][1]


async def _sessions(*, kept: bool) -> Sessions:
    """Yield one session; a loop that ends closes its generators, and so its session."""
    import aiohttp

    # the number of connections is that of the targets; these are not to set cookies, nor to make us unpack anything
    keeping: dict[str, Any] = {"keepalive_timeout": _KEPT_FOR} if kept else {"force_close": True}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, **keeping),
        headers=None if kept else _NAME,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_NOT_SENT,
    ) as session:
        yield session
