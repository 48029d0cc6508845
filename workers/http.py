"""HTTP requests of observers to what runs on the same host.

Connections are kept, for making one costs as much as a look. By aiohttp: a collector makes hundreds of requests a
second, and each costs it a third of what it costs httpx' transport (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import aiohttp  # imported where it is used: fsmctl knows of all types, and never looks

_KEPT_FOR = 60.0  # seconds for which an unused connection is kept: several looks
_NOT_SENT = ("Accept", "Accept-Encoding", "User-Agent")
_MOST = 1_048_576  # bytes of a reply's body that are read: no interface of ours needs more


class NoReply(Exception):
    """What was asked gave no usable reply; the message says how."""


@dataclass(frozen=True)
class Reply:
    """The status and body of a reply."""

    status: int
    text: str


async def get(address: str, path: str) -> Reply:
    """Ask `address` ("host:port") for `path`. The caller bounds the time. Raises `NoReply`."""
    import aiohttp

    session = await _session()
    try:
        async with session.get(f"http://{address}{path}", allow_redirects=False) as response:
            body = b""
            async for part in response.content.iter_any():
                body = (body + part)[:_MOST]
                if len(body) == _MOST:
                    break
            return Reply(response.status, body.decode(errors="replace"))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NoReply(f"{type(error).__name__}: {error}") from None


async def text(address: str, path: str) -> str:
    """Return the body of a reply with status 200. The caller bounds the time. Raises `NoReply`."""
    reply = await get(address, path)
    if reply.status != 200:
        raise NoReply(f"{path} answered {reply.status}, expected 200")
    return reply.text


Sessions = AsyncGenerator["aiohttp.ClientSession", None]
_open: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Sessions, aiohttp.ClientSession]] = WeakKeyDictionary()


async def _session() -> aiohttp.ClientSession:
    """Return the running loop's session."""
    loop = asyncio.get_running_loop()
    if loop not in _open:
        sessions = _sessions()
        _open[loop] = (sessions, await anext(sessions))
    return _open[loop][1]


async def _sessions() -> Sessions:
    """Yield one session; a loop that ends closes its generators, and so its session."""
    import aiohttp

    # the number of connections is that of the targets; these are not to set cookies, nor to make us unpack anything
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_FOR)
    jar, no_limit = aiohttp.DummyCookieJar(), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=jar, timeout=no_limit, auto_decompress=False, skip_auto_headers=_NOT_SENT
    ) as session:
        yield session
