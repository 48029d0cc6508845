"""The proxy takes commands apart and puts them together as they were, wherever they were cut."""

from __future__ import annotations

import socket

import pytest
import redis

from tests.conftest import RedisServer
from tests.faults.proxy import Command, Proxy, joined, split

pytestmark = pytest.mark.fault
COMMANDS: list[Command] = [[b"LPUSH", b"queue", b"one\r\ntwo", b""], [b"PING"]]


@pytest.mark.parametrize("cut", range(len(joined(COMMANDS[0])) + 1))
def test_commands_are_split_wherever_the_bytes_were_cut(cut: int) -> None:
    data = b"".join(joined(command) for command in COMMANDS)
    first, rest = split(data[:cut])
    second, left = split(rest + data[cut:])
    assert (first + second, left) == (COMMANDS, b"")


def test_what_a_client_sends_can_be_edited_and_cut(redis_server: RedisServer, real_client: redis.Redis) -> None:
    proxy = Proxy(redis_server.port)
    try:
        with redis.Redis(port=proxy.port, decode_responses=True, retry=None) as client:
            assert client.ping()
            proxy.edit = lambda command: [*command, command[2]] if command[0] == b"LPUSH" else command
            assert client.lpush("queue", "twice") == 2
            proxy.edit = lambda command: None if command[0] == b"LPUSH" else command
            with pytest.raises(redis.ConnectionError):
                client.lpush("queue", "never")
            assert client.lrange("queue", 0, -1) == ["twice", "twice"]
    finally:
        proxy.close()


def test_a_deaf_proxy_keeps_connections_open_and_answers_nobody(redis_server: RedisServer) -> None:
    proxy = Proxy(redis_server.port)
    try:
        with redis.Redis(port=proxy.port, socket_timeout=0.3, retry=None) as client:
            assert client.ping()
            proxy.blackhole()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            proxy.blackhole(False)
            assert client.ping()
    finally:
        proxy.close()


def test_a_reset_is_seen_at_once(redis_server: RedisServer) -> None:
    proxy = Proxy(redis_server.port)
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
            client.sendall(b"PING\r\n")
            assert client.recv(100) == b"+PONG\r\n"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(100)
    finally:
        proxy.close()
