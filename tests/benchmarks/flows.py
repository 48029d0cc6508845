"""Many data flows' HTTP interfaces in one process: `python -m tests.benchmarks.flows ANSWERING HUNG`.

Each flow has a port of its own and says what a Benthos does; a hung one accepts and never answers. Prints the ports as
JSON, the hung ones last, and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

_METRICS = """input_connection_up{{label="",path="root.input"}} 1
input_connection_lost{{label="",path="root.input"}} 0
output_connection_up{{label="",path="root.output"}} 1
output_connection_lost{{label="",path="root.output"}} 0
input_received{{label="",path="root.input"}} {0}
output_sent{{label="",path="root.output"}} {0}
output_error{{label="",path="root.output"}} 0
"""
_messages = itertools.count(1)


def _answer(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer request after request, as long as the client stays."""
    try:
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            is_metrics = request.startswith(b"GET /metrics")
            writer.write(_answer(_METRICS.format(next(_messages)) if is_metrics else '{"statuses":[]}'))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read and say nothing, until the client leaves."""
    await reader.read()
    writer.close()


async def main(answering: int, hung: int) -> None:
    """Serve."""
    handlers = [_serve] * answering + [_hang] * hung
    servers = [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in handlers]
    sys.stdout.write(json.dumps([server.sockets[0].getsockname()[1] for server in servers]) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
