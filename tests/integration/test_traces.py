"""A tick that acts and its actions are one trace, which leases, events, logs and messages name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_trace_id
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

import tests.integration.processes as real
from supervisor import execute
from supervisor.dispatch import Message
from supervisor.targets import folder_of
from supervisor.traces import OpenTraces
from tests.integration.plant import NAME, NODE, Plant, grant_of, worker


class SoftTimeout(BaseException):
    """What the pool raises in an action whose time is up."""


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(plant: Plant, spans: InMemorySpanExporter) -> Iterator[Plant]:
    """Return a plant that is traced and whose flow-1 is a real process; leaves none behind."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    plant.runtime = dataclasses.replace(plant.runtime, traces=OpenTraces(provider.get_tracer("t"), provider.shutdown))
    plant.apply_fleet(worker("flow-1", command=["sh", "-c", "exec sleep 300"]))
    yield plant
    yard = real.Yard(plant.runtime.settings.data_dir)
    yard.folders = {folder_of(plant.runtime.settings.data_dir, NAME, NODE, "flow-1")}
    yard.clear()


def until_it_acts(plant: Plant) -> Message:
    """Tick until an action is claimed, and return its message."""
    plant.observe({"flow-1": plant.down()})
    assert plant.must_tick()[1] == []
    (message,) = plant.must_tick()[1]
    return message


def run(plant: Plant, message: Message) -> None:
    pool = execute.Pool("edge-1@h1", "r1", SoftTimeout, nullcontext)
    execute.run(plant.runtime, grant_of(message), message.params, pool, message.traceparent)


def test_an_actions_span_is_a_part_of_its_ticks_and_everything_told_of_it_names_the_trace(
    traced: Plant, spans: InMemorySpanExporter
) -> None:
    with capture_logs(processors=[merge_contextvars]) as logs:
        message = until_it_acts(traced)
        run(traced, message)

    tick, action = spans.get_finished_spans()
    assert (tick.name, tick.parent) == ("tick", None), "the tick that did not act is not traced"
    assert tick.attributes is not None
    told = {name: tick.attributes[name] for name in ("fsm.supervisor", "fsm.claimed", "fsm.refused")}
    assert told == {"fsm.supervisor": NAME, "fsm.claimed": 1, "fsm.refused": 0}
    assert action.parent is not None
    assert (action.name, action.parent.span_id) == ("actions.start", tick.context.span_id)
    assert action.attributes is not None
    assert (action.attributes["fsm.worker_id"], action.attributes["fsm.outcome"]) == ("flow-1", "success")
    assert action.status.status_code is StatusCode.UNSET

    trace_id = format_trace_id(tick.context.trace_id)
    lease = traced.lease()
    assert lease is not None
    assert (lease.outcome, lease.trace_id) == ("success", trace_id)
    events = {event["event"]: event.get("trace_id") for event in traced.events() if event["event"].startswith("action")}
    assert events == dict.fromkeys(("action.claimed", "action.begun", "action.ended"), trace_id)
    named = {log["event_name"]: log.get("trace_id") for log in logs if log["event_name"].startswith("action")}
    assert named == dict.fromkeys(("action.enqueued", "action.ended"), trace_id)


def test_an_action_that_fails_or_comes_too_late_says_so(traced: Plant, spans: InMemorySpanExporter) -> None:
    message = until_it_acts(traced)
    run(traced, msgspec.structs.replace(message, action="no_such_action"))
    run(traced, message)
    failed, late = spans.get_finished_spans()[1:]
    assert failed.attributes is not None
    assert late.attributes is not None
    assert (failed.attributes["fsm.outcome"], failed.status.status_code) == ("error", StatusCode.ERROR)
    assert "no_such_action" in str(failed.status.description)
    assert (late.attributes["fsm.outcome"], late.attributes["fsm.detail"]) == ("discarded", "ended")
    assert late.status.status_code is StatusCode.UNSET


def test_a_cancelled_action_is_told_under_its_trace(traced: Plant) -> None:
    message = until_it_acts(traced)
    assert traced.begin(grant_of(message)) is None
    assert traced.runtime.leases.cancel(NAME, NODE, "flow-1", "", "enough") == "asked"
    (asked,) = (event for event in traced.events() if event["event"] == "action.cancel_asked")
    lease = traced.lease()
    assert lease is not None
    assert asked["trace_id"] == lease.trace_id != ""


def test_without_traces_nothing_of_them_is_written_or_sent(plant: Plant) -> None:
    message = until_it_acts(plant)
    assert message.traceparent == ""
    everything: dict[str, Any] = plant.dump()
    assert "trace" not in str(everything)
