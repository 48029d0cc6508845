"""A small, real data flow: it reads one tag from a PLC and appends every reading to a Redis stream.

All configuration is in the environment:

    FLOW_NAME       name of the flow, in its log and its messages      line-1-temperature
    FLOW_TAG        tag to read                                        line-1.temperature
    FLOW_SOURCE     the PLC (plc.py), host:port                        127.0.0.1:7301
    FLOW_BROKER     the Redis, host:port                               127.0.0.1:7390
    FLOW_TOPIC      stream to append to                                umh.v1.acme.line-1.temperature
    FLOW_HTTP       where to serve /ping, /ready, /metrics, host:port  127.0.0.1:7311
    FLOW_INTERVAL   seconds between two readings; optional             0.5

The HTTP interface and the metric names are those of Benthos. The process outlives an outage of either end: it marks
that end as not connected and tries again after 0.5, 1, 2, 2 ... seconds. Nothing is buffered: a reading that the broker
did not confirm is dropped and counted, so input_received = output_sent + output_error once a reading is dealt with.

Exit codes: 0 after SIGTERM or SIGINT, 1 if the HTTP address cannot be listened on, 2 for a bad environment.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

import redis
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT = 2.0  # seconds, for every wait on a socket
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 2.0  # seconds between two attempts to reconnect an end
STREAM_LENGTH = 1000  # messages kept in the topic, about
MAX_REPLY = 512  # bytes of one line from the source; too short to nest deeper than the JSON parser goes
STOP_WITHIN = 0.5  # seconds that a message in flight gets when we are told to stop
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Address = tuple[str, int]


class ConfigError(Exception):
    """The environment is not usable; the text names the variable, the value seen and what was expected."""


@dataclass(frozen=True)
class Config:
    """What the environment says."""

    name: str
    tag: str
    source: Address
    broker: Address
    topic: str
    http: Address
    interval: float


def config_from(env: Mapping[str, str]) -> Config:
    """Return the configuration. Raises ConfigError."""
    return Config(
        name=word(env, "FLOW_NAME", "line-1-temperature"),
        tag=word(env, "FLOW_TAG", "line-1.temperature"),
        source=address(env, "FLOW_SOURCE", "127.0.0.1:7301"),
        broker=address(env, "FLOW_BROKER", "127.0.0.1:7390"),
        topic=word(env, "FLOW_TOPIC", "umh.v1.acme.line-1.temperature"),
        http=address(env, "FLOW_HTTP", "127.0.0.1:7311"),
        interval=interval(env, "FLOW_INTERVAL", 0.5),
    )


def word(env: Mapping[str, str], key: str, example: str) -> str:
    """Return a variable that is one word."""
    text = env.get(key)
    if text is None or text.split() != [text]:
        raise bad(key, text, f"one word without spaces, as {example}")
    return text


def address(env: Mapping[str, str], key: str, example: str) -> Address:
    """Return a variable that is host:port."""
    text = env.get(key)
    host, _, port = (text or "").rpartition(":")
    if host.split() != [host] or not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise bad(key, text, f"host:port with a port from 1 to 65535, as {example}")
    return host, int(port)


def interval(env: Mapping[str, str], key: str, default: float) -> float:
    """Return a variable that is a number of seconds, or the default if it is not set."""
    text = env.get(key)
    if text is None:
        return default
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    raise bad(key, text, f"seconds, a number above 0, as {default}")


def bad(key: str, seen: str | None, expected: str) -> ConfigError:
    """Return the error for one variable."""
    return ConfigError(f"{key} is {'not set' if seen is None else repr(seen)}: expected {expected}")


class Metrics:
    """What Prometheus sees, under Benthos' names (a Counter adds "_total" to its own)."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.input_up = Gauge("input_connection_up", "1 if the source answers", registry=self.registry)
        self.output_up = Gauge("output_connection_up", "1 if the broker answers", registry=self.registry)
        self.received = Counter("input_received", "Readings from the source", registry=self.registry)
        self.input_errors = Counter("input_error", "Attempts to read that failed", registry=self.registry)
        self.sent = Counter("output_sent", "Readings the broker confirmed", registry=self.registry)
        self.output_errors = Counter("output_error", "Readings dropped, not confirmed", registry=self.registry)


class Link:
    """Whether one end is connected, and when it is due again. It logs changes of state only."""

    def __init__(self, label: str, where: Address, gauge: Gauge) -> None:
        self._label = f"{label} {where[0]}:{where[1]}"
        self._gauge = gauge
        self._backoff = FIRST_BACKOFF
        self.up: bool | None = None  # None before the first attempt
        self.due_at = 0.0  # of time.monotonic()

    def worked(self, due_at: float) -> None:
        """Take note that this end answered."""
        if not self.up:
            log(f"{self._label} connected")
        self.up = True
        self._gauge.set(1)
        self._backoff = FIRST_BACKOFF
        self.due_at = due_at

    def failed(self, error: Exception) -> None:
        """Take note that this end did not answer, and put off the next attempt."""
        if self.up is not False:
            log(f"{self._label} {'lost' if self.up else 'not connected'}: {type(error).__name__}: {error}")
        self.up = False
        self._gauge.set(0)
        self.due_at = time.monotonic() + self._backoff
        self._backoff = min(2 * self._backoff, LAST_BACKOFF)


class Reading(NamedTuple):
    """One reading of the tag; `at` in seconds since 1970, by the source's clock."""

    value: float
    at: float


class Source:
    """The PLC's end: connects when it has to, hangs up after any failure."""

    def __init__(self, where: Address, tag: str) -> None:
        self._where = where
        self._tag = tag
        self._socket: socket.socket | None = None
        self._replies: io.BufferedReader | None = None

    def read(self) -> Reading:
        """Return one reading. Raises OSError or ValueError."""
        try:
            return self._parse(self._ask())
        except (OSError, ValueError):
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        for end in (self._replies, self._socket):
            if end is not None:
                end.close()
        self._replies = self._socket = None

    def _ask(self) -> bytes:
        """Send the request and return the line that comes back."""
        if self._socket is None or self._replies is None:
            self._socket = socket.create_connection(self._where, timeout=TIMEOUT)
            self._replies = self._socket.makefile("rb")
        self._socket.sendall(f"READ {self._tag}\n".encode())
        line = self._replies.readline(MAX_REPLY)
        if not line:
            raise ConnectionError("the source hung up")
        if not line.endswith(b"\n"):
            raise ValueError(f"the source sent no whole line of at most {MAX_REPLY} bytes: {line[:100]!r}")
        return line

    def _parse(self, line: bytes) -> Reading:
        """Return the reading in a reply to our request."""
        reply = json.loads(line)
        if not isinstance(reply, dict) or reply.get("tag") != self._tag:
            raise ValueError(f"the source answered {line[:100]!r} to READ {self._tag}")
        return Reading(number(reply.get("value")), number(reply.get("at")))


class Flow:
    """Carries readings from the source to the broker."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.metrics = Metrics()
        self.input = Link("input", config.source, self.metrics.input_up)
        self.output = Link("output", config.broker, self.metrics.output_up)
        self._source = Source(config.source, config.tag)
        self._broker = redis.Redis(
            *config.broker,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),  # `Link` alone decides when to try again
        )

    def run(self, stop: threading.Event) -> None:
        """Read and send until told to stop."""
        while not stop.is_set():
            self.step()
            stop.wait(max(0.0, min(self.input.due_at, self.output.due_at) - time.monotonic()))
        self._source.close()
        self._broker.close()

    def step(self) -> None:
        """Do what is due. Without a reading to send, the broker is tried, so that an outage shows all the same."""
        reading = self._receive() if time.monotonic() >= self.input.due_at else None
        output_due = time.monotonic() >= self.output.due_at
        if reading is not None and not (self.output.up or output_due):
            self.metrics.output_errors.inc()
        elif reading is not None or output_due:
            self._send(reading)

    def _receive(self) -> Reading | None:
        """Return one reading, or None if the source failed."""
        started = time.monotonic()
        try:
            reading = self._source.read()
        except (OSError, ValueError) as error:
            self.metrics.input_errors.inc()
            self.input.failed(error)
            return None
        self.metrics.received.inc()
        self.input.worked(started + self._config.interval)
        return reading

    def _send(self, reading: Reading | None) -> None:
        """Append a reading to the topic; it counts as sent once the broker replied. None only tries the broker.

        The trial is a trim, not a ping: it is refused where an append would be, as for a topic that is no stream.
        """
        topic = self._config.topic
        try:
            if reading is None:
                self._broker.xtrim(topic, maxlen=STREAM_LENGTH, approximate=True)
            else:
                self._broker.xadd(topic, self._message(reading), maxlen=STREAM_LENGTH, approximate=True)
        except (redis.RedisError, OSError) as error:
            self.metrics.output_errors.inc(0 if reading is None else 1)
            self.output.failed(error)
            return
        self.metrics.sent.inc(0 if reading is None else 1)
        self.output.worked(time.monotonic() + self._config.interval)

    def _message(self, reading: Reading) -> dict[Any, Any]:
        """Return the fields of one message."""
        return {"flow": self._config.name, "tag": self._config.tag, **reading._asdict()}


class Handler(BaseHTTPRequestHandler):
    """Answers GET /ping, /ready and /metrics."""

    timeout = TIMEOUT
    server: Server

    def do_GET(self) -> None:
        """Answer one request."""
        flow = self.server.flow
        match self.path:
            case "/ping":
                self._reply(200, b"pong\n")
            case "/ready":
                both = flow.input.up and flow.output.up
                text = f"input {in_words(flow.input.up)}, output {in_words(flow.output.up)}\n"
                self._reply(200 if both else 503, text.encode())
            case "/metrics":
                self._reply(200, generate_latest(flow.metrics.registry), CONTENT_TYPE_LATEST)
            case _:
                self._reply(404, b"not found: try /ping, /ready or /metrics\n")

    def log_message(self, format: str, *args: object) -> None:
        """Keep requests out of the log."""

    def _reply(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        """Send one whole response."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(socketserver.ThreadingTCPServer):
    """The HTTP interface. Not http.server's own class, which looks up the host's name in the DNS when it binds."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, where: Address, flow: Flow) -> None:
        super().__init__(where, Handler)
        self.flow = flow

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that went away; report the rest as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def number(value: object) -> float:
    """Return a number from JSON. Raises ValueError for anything else, and for NaN and infinities."""
    with contextlib.suppress(OverflowError):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    raise ValueError(f"the source answered with {value!r} where a number was expected")


def in_words(up: bool | None) -> str:
    """Return the state of an end as people say it."""
    return "connected" if up else "not connected"


def log(text: str) -> None:
    """Print one line with the time, in UTC."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}", flush=True)


def carry(flow: Flow) -> int:
    """Run the flow until a stop signal and return the exit code: 1 if the flow ended by itself, which is a bug."""
    stop = threading.Event()
    thread = threading.Thread(target=flow.run, args=(stop,), daemon=True)
    thread.start()
    while thread.is_alive():
        if signal.sigtimedwait(STOP_SIGNALS, 0.5):
            stop.set()
            thread.join(STOP_WITHIN)  # a daemon: one that hangs on a dead end does not keep us
            return 0
    return 1


def main() -> int:
    """Run the flow that the environment describes and return the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # `carry` waits for them; threads inherit this
    try:
        config = config_from(os.environ)
    except ConfigError as error:
        print(f"flow: {error}", file=sys.stderr)
        return 2
    flow = Flow(config)
    try:
        server = Server(config.http, flow)
    except OSError as error:
        print(f"flow: FLOW_HTTP is '{config.http[0]}:{config.http[1]}': cannot listen there: {error}", file=sys.stderr)
        return 1
    threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"flow {config.name} started: {config.tag} to {config.topic} every {config.interval:g} s")
    code = carry(flow)
    log(f"flow {config.name} stopped")
    return code


if __name__ == "__main__":
    sys.exit(main())
