"""HTTP as observers and checks ask, against a server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import free_port
from workers.http import NoConnection, NoReply, Reply, get, get_anew, text


class Server:
    """Answers every request with its path, and keeps each request and how many connections there were."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while request := await self._request(reader):
            self.asked.append(request)
            path = request.split()[1].encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
            await writer.drain()
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> str:
        try:
            return (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return ""


def serve(ask: Callable[[str], Awaitable[Any]]) -> Server:
    """Return a server after it was asked by `ask(address)`."""
    server = Server()

    async def run() -> None:
        async with await asyncio.start_server(server.handle, "127.0.0.1", 0) as serving:
            await ask("127.0.0.1:{1}".format(*serving.sockets[0].getsockname()))

    asyncio.run(run())
    return server


def test_an_observers_connection_is_kept() -> None:
    async def ask(address: str) -> None:
        assert await get(address, "/a") == Reply(200, b"/a")
        assert await text(address, "/b") == "/b"

    assert serve(ask).connections == 1


def test_a_check_connects_anew_reads_no_more_than_it_needs_and_says_who_asks() -> None:
    async def ask(address: str) -> None:
        await get(address, "/kept")
        assert await get_anew(f"http://{address}/a?b=1", trust=True) == Reply(200, b"/a?b=1")
        assert await get_anew(f"http://{address}/long", trust=True, most=3) == Reply(200, b"/lo")
        assert await get_anew(f"http://{address}/long", trust=True, most=0) == Reply(200, b"")

    server = serve(ask)
    assert server.connections == 4
    assert ["User-Agent: fsm-supervisor" in request for request in server.asked] == [False, True, True, True]


def test_where_nothing_listens_no_connection_comes_about() -> None:
    with pytest.raises(NoConnection, match=r"^cannot connect: \[Errno \d+\] Connect call failed"):
        asyncio.run(get(f"127.0.0.1:{free_port()}", "/"))


def test_what_does_not_answer_in_http_gives_no_reply() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+PONG\r\n")
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as serving:
            await get("127.0.0.1:{1}".format(*serving.sockets[0].getsockname()), "/")

    with pytest.raises(NoReply) as caught:
        asyncio.run(run())
    assert not isinstance(caught.value, NoConnection)
