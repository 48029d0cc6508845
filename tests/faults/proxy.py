"""A TCP proxy that can be slow, deaf, or rude: between one part of an installation and Redis."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
Command = list[bytes]
_CHUNK = 65536


@dataclass
class Weather:
    """What the connections suffer from now. Changed at any time; it holds for the next bytes.

    `latency`: seconds added each way. `stall`: share of the chunks that come `stalled` seconds late, as after a lost
    packet. `deaf_up`, `deaf_down`: what is sent to, or comes from, Redis vanishes, and connections stay open; new ones
    are accepted and lead nowhere.
    """

    latency: float = 0.0
    stall: float = 0.0
    stalled: float = 0.2
    deaf_up: bool = False
    deaf_down: bool = False


@dataclass
class Proxy:
    """Listens on a free port of the loopback and passes bytes on to `target` (a port there)."""

    target: int
    seed: int = 0
    weather: Weather = field(default_factory=Weather)
    port: int = 0
    edit: Callable[[Command], Command | None] | None = None
    """Called with each command on its way to Redis; what it returns is sent instead. None: the connection is cut."""
    sent: Callable[[Command], None] | None = None
    """Called with each command after it was passed on: a failpoint."""

    def __post_init__(self) -> None:
        """Listen, in a thread of its own."""
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def blackhole(self, on: bool = True) -> None:
        """Cut both ways, silently, or heal."""
        self.weather.deaf_up = self.weather.deaf_down = on

    def reset(self) -> None:
        """End every connection with RST, as a firewall that forgot it."""
        self._call(self._reset())

    async def _reset(self) -> None:
        for writer in [one for one in self._open if not one.is_closing()]:
            one = writer.get_extra_info("socket")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        """End everything."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on; while deaf, accept it and keep it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            while self.weather.deaf_up:
                await asyncio.sleep(0.05)
            with suppress(OSError):
                await self._both_ways(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            self._open.discard(writer)
            writer.close()

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above, below = await asyncio.open_connection("127.0.0.1", self.target)
        self._open.add(below)
        ways = [
            asyncio.create_task(self._pass(reader, below, up=True)),
            asyncio.create_task(self._pass(above, writer, up=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(below)
            below.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        """Pass one direction on until it ends; while that way is deaf, bytes and ends vanish."""
        rest = b""
        while True:
            data = await reader.read(_CHUNK)
            deaf = self.weather.deaf_up if up else self.weather.deaf_down
            if not data:
                while self.weather.deaf_up if up else self.weather.deaf_down:
                    await asyncio.sleep(0.05)
                return
            if deaf:
                continue
            await self._delay()
            if not up or (self.edit is None and self.sent is None and not rest):
                writer.write(data)
                await writer.drain()
                continue
            commands, rest = split(rest + data)
            for command in commands:
                await self._send(command, writer)

    async def _send(self, command: Command, writer: asyncio.StreamWriter) -> None:
        """Pass one command on, as edited."""
        edited = self.edit(command) if self.edit is not None else command
        if edited is None:
            raise ConnectionAbortedError("cut by the test")
        writer.write(joined(edited))
        await writer.drain()
        if self.sent is not None:
            self.sent(edited)

    async def _delay(self) -> None:
        wait = self.weather.latency
        if self.weather.stall and self._random.random() < self.weather.stall:
            wait += self.weather.stalled
        if wait:
            await asyncio.sleep(wait)


def split(data: bytes) -> tuple[list[Command], bytes]:
    """Return the whole commands at the beginning of what a client of Redis has sent, and the rest."""
    commands = []
    while (found := _one(data)) is not None:
        command, data = found
        commands.append(command)
    return commands, data


def _one(data: bytes) -> tuple[Command, bytes] | None:
    """Return the first command and what follows it, or None when it is not whole yet."""
    head, found, rest = data.partition(b"\r\n")
    if not found:
        return None
    command = []
    for _ in range(int(head[1:])):
        size, found, rest = rest.partition(b"\r\n")
        length = int(size[1:]) if found else 0
        if not found or len(rest) < length + 2:
            return None
        command.append(rest[:length])
        rest = rest[length + 2 :]
    return command, rest


def joined(command: Command) -> bytes:
    """Return a command as a client sends it."""
    parts = [b"*%d\r\n" % len(command), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in command)]
    return b"".join(parts)
