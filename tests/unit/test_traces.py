"""Spans: nothing when off; by OpenTelemetry, with their ids in the logs, when on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id, format_trace_id
from structlog.contextvars import get_contextvars

from supervisor import traces
from supervisor.errors import UsageError
from supervisor.traces import OFF, OpenTraces, make_traces, trace_id_of


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def on(exporter: InMemorySpanExporter) -> OpenTraces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTraces(provider.get_tracer("test"), provider.shutdown)


def test_off_a_span_is_nothing_to_logs_and_to_others() -> None:
    assert make_traces("off", "fsm") is OFF
    with OFF.span("tick", started=1.0) as span:
        span.set(claimed=1)
        span.failed("no")
        assert (span.traceparent, trace_id_of(span.traceparent), get_contextvars()) == ("", "", {})
    OFF.end()


def test_off_opentelemetry_is_not_imported() -> None:
    look = "import sys; from supervisor.traces import make_traces as make; make('off', 'fsm').span('tick'); "
    look += "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_a_span_is_a_part_of_the_one_that_its_traceparent_names(on: OpenTraces, exporter: InMemorySpanExporter) -> None:
    with on.span("tick", started=1_800_000_000.0) as tick:
        tick.set(claimed=2)
    with on.span("actions.start", tick.traceparent) as action:
        action.failed("no such program")

    first, second = exporter.get_finished_spans()
    assert (first.name, first.parent, first.start_time) == ("tick", None, 1_800_000_000_000_000_000)
    assert first.attributes == {"fsm.claimed": 2}
    assert second.parent is not None
    assert (second.parent.trace_id, second.parent.span_id) == (first.context.trace_id, first.context.span_id)
    assert (second.status.status_code, second.status.description) == (StatusCode.ERROR, "no such program")
    assert trace_id_of(tick.traceparent) == trace_id_of(action.traceparent) == format_trace_id(first.context.trace_id)


def test_its_ids_stand_in_logs_while_it_is_open(on: OpenTraces, exporter: InMemorySpanExporter) -> None:
    with on.span("tick"):
        seen = get_contextvars()
    assert get_contextvars() == {}
    (span,) = exporter.get_finished_spans()
    ids = {"trace_id": format_trace_id(span.context.trace_id), "span_id": format_span_id(span.context.span_id)}
    assert seen == ids


@pytest.mark.parametrize("forged", ["no traceparent", "00-0-0-01", "00-" + 32 * "0" + "-" + 16 * "0" + "-01"])
def test_a_traceparent_that_is_none_begins_a_trace(on: OpenTraces, exporter: InMemorySpanExporter, forged: str) -> None:
    with on.span("actions.start", forged):
        pass
    assert [span.parent for span in exporter.get_finished_spans()] == [None]


def test_what_is_raised_in_a_span_is_told_and_goes_on(on: OpenTraces, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError), on.span("tick"):
        raise ZeroDivisionError("division by zero")
    (span,) = exporter.get_finished_spans()
    assert (span.status.status_code, [event.name for event in span.events]) == (StatusCode.ERROR, ["exception"])
    assert get_contextvars() == {}


def test_the_end_waits_a_moment_for_what_is_not_sent_yet_and_no_longer(exporter: InMemorySpanExporter) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    sent, never = threading.Event(), threading.Event()
    OpenTraces(tracer, sent.set).end()
    assert sent.is_set()
    began = time.monotonic()
    OpenTraces(tracer, lambda: never.wait(30) and None).end()
    assert time.monotonic() - began < 2 * traces._LAST_WORD
    never.set()


def test_traces_without_opentelemetry_are_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    traces.check("otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    traces.check("off")
    with pytest.raises(UsageError, match=r"FSM_TRACES is 'otlp', .* pip install 'fsm-supervisor\[traces\]'"):
        traces.check("otlp")
