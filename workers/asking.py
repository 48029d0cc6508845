"""Questions to what answers on a network: async, read-only. Checks of children and looks at workers ask them.

Nothing here has a time limit of its own: who asks sets one.
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

MAX_REPLY = 65_536  # bytes of an answer that are read: no question needs more
MAX_SHOWN = 60  # bytes of an answer that are shown


class Unexpected(Exception):
    """Something answered, and not as it should; the message says how."""


class CannotLook(Exception):
    """Nobody can be asked for want of something on this host; the message says of what."""


async def in_thread(call: Callable[[], T]) -> T:
    """Return what a blocking call returns, made in a thread of its own, which nobody waits for once that was given up.

    Not asyncio's own threads, nor an executor's: a few calls that hang would keep them all, or the process' end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # without an error it is a T

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop has ended, and so has who asked
            return

    threading.Thread(target=run, name="asking", daemon=True).start()
    return await answer


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to "HOST:PORT". Raises OSError."""
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), limit=MAX_REPLY)


async def get(url: str, statuses: Sequence[int], body: str = "", ca: str = "") -> int:
    """Return the status of a page; `body` is a pattern that has to be somewhere in it, `ca` as for `trust`.

    Raises `Unexpected` for another status or body, httpx.HTTPError or httpx.InvalidURL.
    """
    import httpx  # not at the top: fsmctl knows of who asks, too, and never does

    verify = trust(url.startswith("https:"), ca)
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False, verify=verify) as client,  # noqa: S113 - who asks sets it
        client.stream("GET", url) as answer,
    ):
        if answer.status_code not in statuses:
            expected = " or ".join(map(str, statuses))
            raise Unexpected(f"{url} answered {answer.status_code}, expected {expected}")
        if not body:
            return answer.status_code
        page = b""
        async for part in answer.aiter_bytes():
            page = (page + part)[:MAX_REPLY]
            if len(page) == MAX_REPLY:
                break
    if re.search(body, page.decode(errors="replace")) is None:
        raise Unexpected(f"{url} answered {page[:MAX_SHOWN]!r}, expected a match of {body!r} in it")
    return answer.status_code


@functools.cache
def trust(tls: bool, ca: str) -> ssl.SSLContext | bool:
    """Return whose certificates are believed: the file's, else the host's. Made once: it costs more than a look."""
    return ssl.create_default_context(cafile=ca or None) if tls else False
