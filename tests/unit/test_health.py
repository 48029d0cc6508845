"""Children: the verdict on what was seen (pure), and the probes against real servers on loopback."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import httpcore  # noqa: F401 - httpx imports it at first use; Python 3.11 can fail there when a finalizer imports too
import pytest

from supervisor.breaker import Verdict
from supervisor.health import CheckFailed, judge, probe
from supervisor.model import Check, ChildObserved, ChildSpec, Lease
from tests.factories import NOW, make_child, make_child_observed, make_lease

RESTARTED = make_lease(action="restart_child", ended_at=NOW - 1)
FOREIGN = make_child(process=None)
PATIENT = make_child(check=Check(address="127.0.0.1:7390", failures=3))

VERDICTS = {
    "its node is away": (
        (make_child(), make_child_observed(), True, None),
        Verdict("unknown", "node edge-1 is away"),
    ),
    "nobody has looked": ((make_child(), None, False, None), Verdict("unknown", "not observed yet")),
    "seen 9.9 s ago": (
        (make_child(), make_child_observed(age=9.9), False, None),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "seen 10 s ago": (
        (make_child(), make_child_observed(age=10.0), False, None),
        Verdict("unknown", "last observed 10s ago"),
    ),
    "not seen since its restart": (
        (make_child(), make_child_observed(age=1.0, failures=1), False, RESTARTED),
        Verdict("starting", "not observed since its restart_child ended"),
    ),
    "seen after its restart": (
        (make_child(), make_child_observed(age=0.9), False, RESTARTED),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "its restart has not ended": (
        (make_child(), make_child_observed(), False, make_lease(ended_at=None)),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "the look itself failed": (
        (make_child(), make_child_observed(pid=None, unknown=True, error="probe timed out"), False, None),
        Verdict("unknown", "probe timed out"),
    ),
    "the look itself failed, without a reason": (
        (make_child(), make_child_observed(pid=None, unknown=True), False, None),
        Verdict("unknown", "the look failed"),
    ),
    "nobody has started it": (
        (make_child(), make_child_observed(started=False, pid=None, failures=9), False, None),
        Verdict("absent", "not started yet"),
    ),
    "its process is gone, with the reason": (
        (PATIENT, make_child_observed(pid=None, failures=1, error="pid 42 was ended by signal 9"), False, None),
        Verdict("failed", "pid 42 was ended by signal 9"),
    ),
    "its process is gone, without a reason": (
        (PATIENT, make_child_observed(pid=None), False, None),
        Verdict("failed", "its process is gone"),
    ),
    "it passes and is not ours": (
        (FOREIGN, make_child_observed(pid=None), False, None),
        Verdict("ok", "passes its check"),
    ),
    "it fails and is not ours": (
        (FOREIGN, make_child_observed(pid=None, started_at=None, failures=1, error="no answer"), False, None),
        Verdict("failed", "no answer"),
    ),
    "it fails within its start_grace": (
        (make_child(), make_child_observed(started_at=NOW - 4.9, failures=1, error="no answer"), False, None),
        Verdict("starting", "no answer"),
    ),
    "it fails at the end of its start_grace": (
        (make_child(), make_child_observed(started_at=NOW - 5, failures=1, error="no answer"), False, None),
        Verdict("failed", "no answer"),
    ),
    "it failed two looks of three": (
        (PATIENT, make_child_observed(failures=2, error="no answer"), False, None),
        Verdict("unknown", "2 of 3 looks failed: no answer"),
    ),
    "it failed three looks of three": (
        (PATIENT, make_child_observed(failures=3), False, None),
        Verdict("failed", "check failed"),
    ),
}


@pytest.mark.parametrize(("seen", "verdict"), VERDICTS.values(), ids=VERDICTS.keys())
def test_a_child_is_judged_by_what_was_seen_of_it(
    seen: tuple[ChildSpec, ChildObserved | None, bool, Lease | None], verdict: Verdict
) -> None:
    assert judge(*seen, NOW) == verdict


def test_all_verdicts_that_exist_are_tested_here() -> None:
    assert {verdict.state for _, verdict in VERDICTS.values()} == {"ok", "failed", "absent", "starting", "unknown"}


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


def ask(kind: str, handle: Handler, *, path: str = "/", timeout: float = 5.0) -> str:
    """Probe a server that serves `handle`; return its address. Raises what the probe raises."""

    async def serve() -> str:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
            await probe(make_child(type=kind, check=Check(address=address, path=path, timeout=timeout)))
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
        ("redpanda", "/", b"GET /v1/status/ready HTTP/1.1\r\n"),
        ("benthos", "/", b"GET /ping HTTP/1.1\r\n"),
    ],
)
def test_an_http_child_is_asked_where_its_type_answers(kind: str, path: str, request_line: bytes) -> None:
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


@pytest.mark.parametrize("kind", ["redis", "http", "redpanda", "benthos"])
def test_a_child_that_takes_the_connection_and_hangs_has_failed_within_its_timeout(kind: str) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the probe gives up and closes
        writer.close()

    with pytest.raises(CheckFailed, match=r"^(no answer from )?127\.0\.0\.1:\d+(: ReadTimeout| within 0\.05s)$"):
        ask(kind, hang, timeout=0.05)


@pytest.mark.parametrize("kind", ["tcp", "redis", "http"])
def test_a_child_that_listens_nowhere_has_failed(kind: str) -> None:
    async def refused() -> None:
        server = await asyncio.start_server(answering(b"")[0], "127.0.0.1", 0)
        address = "127.0.0.1:{1}".format(*server.sockets[0].getsockname())
        server.close()
        await server.wait_closed()
        with pytest.raises(CheckFailed, match=f"^{address}: .*[Cc]onnect"):
            await probe(make_child(type=kind, check=Check(address=address)))

    asyncio.run(refused())


def test_a_process_child_is_not_asked_over_the_network() -> None:
    assert asyncio.run(probe(make_child(type="process", check=Check(address="127.0.0.1:1")))) is None
