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

from workers import http

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


async def connect(
    address: str, tls: ssl.SSLContext | bool = False
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to "HOST:PORT", over TLS if `trust` says whom to believe. Raises OSError."""
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), limit=MAX_REPLY, ssl=tls or None)


async def get(url: str, statuses: Sequence[int], body: str = "", ca: str = "") -> int:
    """Return the status of a page; `body` is a pattern that has to be somewhere in it, `ca` as for `trust`.

    Raises `Unexpected` for another status or body, or `NoReply`.
    """
    page = await http.get_anew(url, trust(url.startswith("https:"), ca), MAX_REPLY if body else 0)
    if page.status not in statuses:
        raise Unexpected(f"{url} answered {page.status}, expected {' or '.join(map(str, statuses))}")
    if body and re.search(body, page.text) is None:
        raise Unexpected(f"{url} answered {page.body[:MAX_SHOWN]!r}, expected a match of {body!r} in it")
    return page.status


@functools.cache
def trust(tls: bool, ca: str) -> ssl.SSLContext | bool:
    """Return whose certificates are believed: the file's, else the host's. Made once: it costs more than a look."""
    return ssl.create_default_context(cafile=ca or None) if tls else False
