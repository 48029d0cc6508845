"""A TCP server that plays a PLC: ask it for a tag, get a value.

    python3 plc.py --port 7301

A client sends "READ <tag>" and a newline, any number of times on one connection, and gets one JSON line for each:
{"tag": "line-1.temperature", "value": 61.482, "at": 1700000000.123}, or {"error": "..."} for anything else.
Any tag has a value: a slow sine with a little noise around a level that follows from the tag's name.
SIGTERM or SIGINT ends it with exit code 0. Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import signal
import sys
import time
import zlib

MAX_LINE = 1024  # bytes of one request; a longer one is answered with an error and the connection closed
LEVELS = {"temperature": (60.0, 5.0), "pressure": (4.0, 0.5), "vibration": (2.5, 0.8)}  # (level, swing) by kind of tag
OTHER_LEVEL = (50.0, 10.0)


def value_of(tag: str, at: float) -> float:
    """Return what `tag` reads at a time: its last word gives the level, its whole name the offset, phase and period."""
    level, swing = LEVELS.get(tag.rpartition(".")[2], OTHER_LEVEL)
    share = zlib.crc32(tag.encode()) / 2**32
    wave = math.sin(2 * math.pi * (at / (30 + 60 * share) + share))
    return round(level + swing * (share + wave + random.gauss(0, 0.02)), 3)


def answer(line: bytes) -> dict[str, object]:
    """Return the reply to one request line."""
    verb, _, tag = line.decode(errors="replace").strip().partition(" ")
    tag = tag.strip()
    if verb != "READ":
        return {"error": f"unknown verb {verb!r}: expected READ <tag>"}
    if not tag:
        return {"error": "READ without a tag: expected READ <tag>"}
    at = time.time()
    return {"tag": tag, "value": value_of(tag, at), "at": at}


async def send(writer: asyncio.StreamWriter, reply: dict[str, object]) -> None:
    """Send one reply as one JSON line."""
    writer.write(json.dumps(reply).encode() + b"\n")
    await writer.drain()


async def serve_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client line by line until it hangs up, or until the loop ends, which cancels this."""
    with contextlib.closing(writer), contextlib.suppress(ConnectionError, asyncio.CancelledError):
        try:
            while line := await reader.readline():
                await send(writer, answer(line))
        except ValueError:  # how readline says that MAX_LINE was reached
            await send(writer, {"error": f"line longer than {MAX_LINE} bytes"})


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError if the address cannot be listened on."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(serve_client, host, port, limit=MAX_LINE)
    print(f"plc: listening on {host}:{port}", flush=True)
    await stop.wait()
    server.close()  # clients still connected are cut off when the loop ends
    print("plc: stopped", flush=True)


def port_number(text: str) -> int:
    """Return a TCP port. Raises argparse's error for anything else."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: expected a number from 1 to 65535")
    return int(text)


def main() -> int:
    """Run the server and return the exit code."""
    parser = argparse.ArgumentParser(description="A TCP server that plays a PLC.")
    parser.add_argument("--port", type=port_number, required=True, help="TCP port to listen on")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.host, options.port))
    except OSError as error:
        print(f"plc: cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
