"""Traces: a span for each tick that acts, and in it one for each action, across the queue. Off by default.

The only place that knows OpenTelemetry, which is an extra and is imported when traces are on. What is traced opens a
span whether they are on or off; off, that is one call.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from supervisor.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OpenSpan
    from opentelemetry.trace import Tracer

_EXTRA = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_LAST_WORD = 1.0  # seconds that a process which ends gives to what it has not sent yet


class Span:
    """What happens now. `traceparent` names it to others, as W3C's header does; "" when nothing is traced."""

    traceparent = ""

    def set(self, **attributes: str | int) -> None:
        """Add to what is told of it."""

    def failed(self, why: str) -> None:
        """Say that it went wrong."""


class Traces:
    """No traces."""

    def span(self, name: str, parent: str = "", started: float | None = None) -> AbstractContextManager[Span]:
        """Open a span, a part of `parent` (a traceparent) if there is one; it began at `started`, in epoch seconds."""
        return _NOTHING

    def end(self) -> None:
        """Send what has not been sent yet, if that takes no longer than a moment; then nothing is traced any more."""


OFF = Traces()
_NOTHING = nullcontext(Span())


class OpenTraces(Traces):
    """Traces by OpenTelemetry. While a span is open, its ids stand in all logs."""

    def __init__(self, tracer: Tracer, shutdown: Callable[[], None]) -> None:
        """Trace by `tracer`; `shutdown` sends what is left, however long that takes."""
        self._tracer = tracer
        self._shutdown = shutdown

    @contextmanager
    def span(self, name: str, parent: str = "", started: float | None = None) -> Iterator[Span]:
        """Open a span."""
        from opentelemetry.context import Context
        from opentelemetry.trace import format_span_id, format_trace_id
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        from structlog.contextvars import bound_contextvars

        w3c = TraceContextTextMapPropagator()
        context = w3c.extract({"traceparent": parent}, Context())
        start = None if started is None else int(started * 1e9)
        with self._tracer.start_as_current_span(name, context=context, start_time=start) as span:
            carrier: dict[str, str] = {}
            w3c.inject(carrier)
            ids = span.get_span_context()
            with bound_contextvars(trace_id=format_trace_id(ids.trace_id), span_id=format_span_id(ids.span_id)):
                yield _Open(span, carrier.get("traceparent", ""))

    def end(self) -> None:
        """Send in a thread: who ends must not wait for a receiver that is away."""
        last = threading.Thread(target=self._shutdown, daemon=True)
        last.start()
        last.join(_LAST_WORD)


class _Open(Span):
    """A span by OpenTelemetry."""

    def __init__(self, span: OpenSpan, traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent

    def set(self, **attributes: str | int) -> None:
        self._span.set_attributes({f"fsm.{name}": value for name, value in attributes.items()})

    def failed(self, why: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self._span.set_status(Status(StatusCode.ERROR, why))


def trace_id_of(traceparent: str) -> str:
    """Return the id of the whole trace; "" when nothing is traced."""
    return traceparent.split("-")[1] if traceparent else ""


def check(kind: str) -> None:
    """See that what FSM_TRACES asks for can be had. Raises `UsageError`."""
    if kind == "otlp" and not all(_is_there(name) for name in _EXTRA):
        raise UsageError(
            "FSM_TRACES is 'otlp', and OpenTelemetry is not installed here: expected the extra `traces`, as by "
            "pip install 'fsm-supervisor[traces]'"
        )


def make_traces(kind: str, namespace: str) -> Traces:
    """Return what FSM_TRACES asks for; called in the process that traces, for a thread of it sends the spans."""
    check(kind)
    return OFF if kind == "off" else _over_otlp(namespace)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of what it is a part of
        return False


def _over_otlp(namespace: str) -> Traces:
    """Send spans in batches, by HTTP; where to, and how much, is said by OpenTelemetry's own variables."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours: dict[str, str | int] = {"service.name": "fsm-supervisor", "service.namespace": namespace}
    ours |= {"host.name": socket.gethostname(), "process.pid": os.getpid()}
    resource = Resource(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTraces(provider.get_tracer("fsm-supervisor"), provider.shutdown)
