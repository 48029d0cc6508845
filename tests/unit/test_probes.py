"""The checks of children against real servers on loopback, real commands and real files."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import struct
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hypothesis.internal.observability  # noqa: F401 - its plugin does at the end of the run, where Python 3.11 can fail
import pytest

from supervisor.model import Check
from supervisor.probes import CheckFailed, Found, probe
from tests.factories import make_child
from workers.asking import MAX_REPLY, CannotLook

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(reply: bytes) -> tuple[Handler, list[bytes]]:
    """Return a handler that answers one line with `reply`, and the list of the lines that it was asked."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(reply)
        await writer.drain()
        writer.close()

    return handle, asked


def http(status: str) -> tuple[Handler, list[bytes]]:
    return answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


def ask(kind: Any, handle: Handler, *, timeout: float = 5.0, tls: ssl.SSLContext | None = None, **check: Any) -> str:
    """Probe a server that serves `handle`; return its address. Raises what the probe raises."""

    async def serve() -> str:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        async with server:
            address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            await probe(
                make_child(check=Check(kind=kind, address=address, timeout=timeout, tls=tls is not None, **check))
            )
            return address

    return asyncio.run(serve())


@pytest.mark.parametrize("reply", [b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n"])
def test_a_redis_that_answers_ping_is_well_also_when_it_wants_a_password(reply: bytes) -> None:
    handle, asked = answering(reply)
    assert ask("redis", handle).startswith("127.0.0.1:")
    assert asked == [b"PING\r\n"]


@pytest.mark.parametrize("reply", [b"-LOADING Redis is loading\r\n", b"HTTP/1.1 400 Bad Request\r\n", b""])
def test_a_redis_that_answers_something_else_has_failed(reply: bytes) -> None:
    handle, _ = answering(reply)
    with pytest.raises(
        CheckFailed, match=rf"^127\.0\.0\.1:\d+ answered {re.escape(repr(reply))} to PING, expected \+PONG$"
    ):
        ask("redis", handle)


def test_a_tcp_child_is_well_when_it_takes_a_connection_and_is_asked_nothing() -> None:
    handle, asked = answering(b"")
    assert ask("tcp", handle).startswith("127.0.0.1:")
    assert b"PING\r\n" not in asked


@pytest.mark.parametrize(
    ("kind", "path", "request_line"),
    [
        ("http", "/health?deep=1", b"GET /health?deep=1 HTTP/1.1\r\n"),
        ("http", "/", b"GET / HTTP/1.1\r\n"),
    ],
)
def test_an_http_child_is_asked_at_its_path(kind: str, path: str, request_line: bytes) -> None:
    handle, asked = http("200 OK")
    ask(kind, handle, path=path)
    assert asked == [request_line]


@pytest.mark.parametrize("status", ["503 Service Unavailable", "404 Not Found", "204 No Content", "302 Found"])
def test_an_http_child_that_answers_anything_but_200_has_failed(status: str) -> None:
    handle, _ = http(status)
    with pytest.raises(CheckFailed, match=rf"^http://127\.0\.0\.1:\d+/health answered {status[:3]}, expected 200$"):
        ask("http", handle, path="/health")


def test_an_http_child_that_does_not_speak_http_has_failed() -> None:
    handle, _ = answering(b"+PONG\r\n")
    with pytest.raises(CheckFailed, match=r"^127\.0\.0\.1:\d+: "):
        ask("http", handle)


@pytest.mark.parametrize("kind", ["redis", "http", "kafka"])
def test_a_child_that_takes_the_connection_and_hangs_has_failed_within_its_timeout(kind: Any) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the probe gives up and closes
        writer.close()

    with pytest.raises(CheckFailed, match=r"^no answer from 127\.0\.0\.1:\d+ within 0\.05s$"):
        ask(kind, hang, timeout=0.05)


@pytest.mark.parametrize("kind", ["tcp", "redis", "http", "kafka"])
def test_a_child_that_listens_nowhere_has_failed(kind: Any) -> None:
    async def refused() -> None:
        server = await asyncio.start_server(answering(b"")[0], "127.0.0.1", 0)
        address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        server.close()
        await server.wait_closed()
        with pytest.raises(CheckFailed, match=f"^{address}: .*[Cc]onnect"):
            await probe(make_child(check=Check(kind=kind, address=address)))

    asyncio.run(refused())


def test_a_process_child_is_not_asked_over_the_network() -> None:
    assert asyncio.run(probe(make_child(check=Check(kind="process")))) == Found()


# -- http: status, body, TLS ------------------------------------------------------------------------------------------


def page(body: str, status: str = "200 OK") -> Handler:
    """Return a handler that serves a page."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return answering((head + body).encode())[0]


def test_an_http_child_may_answer_another_status_and_has_to_say_what_is_expected() -> None:
    handle = page('{"state": "degraded", "leader": 3}', "207 Multi-Status")
    ask("http", handle, status=(200, 207), body=r'"leader": \d+')
    with pytest.raises(CheckFailed, match=r"/ answered 207, expected 200 or 204$"):
        ask("http", handle, status=(200, 204))
    with pytest.raises(CheckFailed, match=r"degraded.*, expected a match of 'ready' in it$"):
        ask("http", handle, status=(207,), body="ready")


def test_of_an_endless_body_no_more_is_read_than_a_check_needs() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x" * MAX_REPLY)
            try:
                await writer.drain()
            except ConnectionError:
                return

    with pytest.raises(CheckFailed, match=r"answered b'x+', expected a match of 'ready'"):
        ask("http", endless, body="ready")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return a self-signed certificate for 127.0.0.1, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(cert), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


def test_an_https_child_is_believed_by_its_authority_and_by_no_other(certificate: tuple[Path, ssl.SSLContext]) -> None:
    cert, context = certificate
    ask("http", page("ok"), tls=context, ca=str(cert))
    with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
        ask("http", page("ok"), tls=context)


def test_a_kafka_over_tls_is_believed_by_its_authority_and_by_no_other(
    certificate: tuple[Path, ssl.SSLContext],
) -> None:
    cert, context = certificate
    ask("kafka", broker(KAFKA), tls=context, ca=str(cert))
    with pytest.raises(CheckFailed, match="CERTIFICATE_VERIFY_FAILED"):
        ask("kafka", broker(KAFKA), tls=context)


def test_a_kafka_that_wants_a_login_is_not_asked_without_its_password(tmp_path: Path) -> None:
    login = {"sasl": "PLAIN", "username": "fsm", "password_file": str(tmp_path / "pw")}
    with pytest.raises(CannotLook, match=rf"^password_file: {tmp_path}/pw cannot be read: No such file or directory$"):
        ask("kafka", broker(KAFKA), **login)


# -- kafka ------------------------------------------------------------------------------------------------------------

# as a broker of librdkafka 2 answers it, but for the correlation id, which is the asker's
BROKER = (
    "000000000018"
    "00000000000a00010000001000020000000700030000000d000800000009000900000006000a00000003000b00000006000c00000005000d"
    "00000004000e00000004001200000002001600000004001700020002001800000001001900000001001a00000001001c0000000300440001"
    "0001004700000000004800000000004c00010001004e00010001004f00010001"
)

# as Apache Kafka 3.7.0 (KRaft) has answered it: error 0, 57 APIs, of which the first is Produce (0) from 0 to 10
KAFKA = (
    "00000000003900000000000a00010000001000020000000800030000000c000800000009000900000009000a00000004000b00000009"
    "000c00000004000d00000005000e00000005000f00000005001000000004001100000001001200000003001300000007001400000006"
    "001500000002001600000004001700000004001800000004001900000003001a00000003001b00000001001c00000003001d00000003"
    "001e00000003001f00000003002000000004002100000002002200000002002300000004002400000002002500000003002600000003"
    "002700000002002800000002002900000003002a00000002002b00000002002c00000001002d00000000002e00000000002f00000000"
    "003000000001003100000001003200000000003300000000003700000001003900000001003c00000001003d00000000004000000000"
    "004100000000004200000000004400000000004a00000000"
)


def broker(reply: str, *, echo: bool = True, size: int | None = None) -> Handler:
    """Return a handler that answers a request with `reply` (hex) after the asker's correlation id."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        key, version, correlation = struct.unpack_from(">hhi", await reader.readexactly(length))
        assert (key, version) == (18, 0)
        body = struct.pack(">i", correlation if echo else correlation + 1) + bytes.fromhex(reply)
        writer.write(struct.pack(">i", len(body) if size is None else size) + body)
        await writer.drain()
        writer.close()

    return handle


@pytest.mark.parametrize("reply", [BROKER, KAFKA], ids=["librdkafka", "Apache Kafka"])
def test_a_kafka_broker_is_well_when_it_shakes_hands(reply: str) -> None:
    assert ask("kafka", broker(reply)).startswith("127.0.0.1:")


def greeting(words: bytes) -> Handler:
    """Return a handler that says something and hangs up, whatever it is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(words)
        await writer.drain()
        writer.close()

    return handle


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        (broker(BROKER, echo=False), r"answered [0-9a-f]{24} to ApiVersions: that is no Kafka broker"),
        (
            broker("002300000001001200000004"),
            "answered error 35 and 1 APIs to ApiVersions, expected error 0",
        ),  # Kafka 3.9.1
        (broker("000000000000"), "answered error 0 and 0 APIs to ApiVersions, expected error 0"),
        (broker("000000000018"), "to ApiVersions: that is no Kafka broker"),
        (broker("", size=4), "answered 4 bytes to ApiVersions: that is no Kafka broker"),
        (broker("", size=2**30), "answered 1073741824 bytes to ApiVersions: that is no Kafka broker"),
        (broker("00", size=100), "hung up after 5 bytes of its answer"),
        (greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "that is no Kafka broker"),
        (greeting(b""), "hung up after 0 bytes of its answer"),
    ],
    ids=["another's", "an error", "no APIs", "too few", "short", "huge", "cut off", "no kafka", "nothing"],
)
def test_what_does_not_shake_hands_as_kafka_does_has_failed(handle: Handler, why: str) -> None:
    with pytest.raises(CheckFailed, match=why):
        ask("kafka", handle, timeout=1.0)


# -- command and freshness --------------------------------------------------------------------------------------------


def run(*command: str, timeout: float = 5.0, **child: Any) -> None:
    asyncio.run(probe(make_child(check=Check(kind="command", command=command, timeout=timeout), **child)))


def test_a_command_that_ends_with_0_passes_in_its_folder_with_its_environment(tmp_path: Path) -> None:
    script = 'test "$PWD" = "$1" && test "$COLOUR" = blue && test "$FSM_CHILD" = broker'
    run("sh", "-c", script, "sh", str(tmp_path), cwd=str(tmp_path), env={"COLOUR": "blue"})


def test_a_command_that_fails_says_how_with_its_last_line() -> None:
    with pytest.raises(CheckFailed, match=r"^sh ended with exit code 3: no leader$"):
        run("sh", "-c", "echo looking; echo no leader; exit 3")
    with pytest.raises(CheckFailed, match=r"no-such-command: cannot run \['no-such-command'\]"):
        run("no-such-command")


def test_a_command_that_hangs_has_failed_in_time_and_leaves_nothing_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    with pytest.raises(CheckFailed, match=r"(did not end|no answer from sh .*) within 0\.5s"):
        run("sh", "-c", f"echo $$ > {pids}; sleep 300 & wait", timeout=0.5)
    assert time.monotonic() - began < 5
    pid = int(pids.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_file_that_was_written_lately_passes_and_an_old_or_missing_one_fails(tmp_path: Path) -> None:
    beat = tmp_path / "beat"
    check = Check(kind="freshness", file=str(beat), max_age=30.0)
    with pytest.raises(CheckFailed, match="No such file"):
        asyncio.run(probe(make_child(check=check)))
    beat.touch()
    asyncio.run(probe(make_child(check=check)))
    os.utime(beat, (time.time() - 65, time.time() - 65))
    with pytest.raises(CheckFailed, match=rf"^{re.escape(str(beat))} was written 1m05s ago, expected 30s at most$"):
        asyncio.run(probe(make_child(check=check)))
