"""What real Benthos programs answered (tests/recorded, made by tests/record_benthos.py), read as a collector would.

Benthos v4.60.0 tells its connections in JSON, and its metrics by `json_api`; Bento v1.10.0 tells its connections in
text, and its metrics as Prometheus reads them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.factories import NOW, make_snapshot
from workers.benthos.observe import Answers, described
from workers.benthos.replies import Connection, Meters, connections, meters, version
from workers.benthos.states import BenthosObserved, Flow, classify
from workers.benthos.window import Sample, Window
from workers.dfc_read.observe import _with_metrics
from workers.dfc_read.states import FlowObserved

RECORDED = Path(__file__).parent.parent / "recorded"
PROGRAMS = {"benthos-v4.60.0": "v4.60.0", "bento-v1.10.0": "v1.10.0"}
BASE = BenthosObserved(collected_at=NOW, pid=42, start_ticks=7, started_at=NOW - 60, config_id="c1")

each_program = pytest.mark.parametrize("program", PROGRAMS)


def recorded(program: str, part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{program}.json").read_text())[part]
    return found


def seen_in(program: str, situation: str, base: BenthosObserved = BASE) -> BenthosObserved:
    """Return what a collector makes of the answers in a situation."""
    said = recorded(program, "flows")[situation]
    status, ready = said["/ready"]
    told = Answers(status == 200, connections(ready), version(said["/version"][1]), meters(said["/metrics"][1]))
    return described(base, told, 60.0)


def condition(seen: BenthosObserved) -> str:
    return classify(make_snapshot(kind="benthos", state="active", observed=seen), seen)[0]


@each_program
def test_a_flow_that_flows(program: str) -> None:
    seen = seen_in(program, "flowing")
    assert (seen.version, seen.ready, seen.input_connected, seen.output_connected, seen.lost) == (
        PROGRAMS[program],
        True,
        True,
        True,
        "",
    )
    assert min(seen.messages_in, seen.messages_out) > 100
    assert seen.errors == 0
    assert seen.write_ms is not None
    assert 0 < seen.write_ms < 100
    assert condition(seen) == Flow.FLOWING


@each_program
@pytest.mark.parametrize("situation", ["unconnected", "lost"])
def test_a_flow_whose_output_is_not_there_or_not_there_any_more(program: str, situation: str) -> None:
    seen = seen_in(program, situation)
    assert (seen.ready, seen.input_connected, seen.output_connected) == (False, True, False)
    assert seen.lost.startswith("output: ")
    assert condition(seen) == Flow.UNCONNECTED
    told = classify(make_snapshot(kind="benthos", state="active", observed=seen), seen)[1]
    assert told == f"pid 42 runs, input connected, output not connected ({seen.lost})"


def test_the_words_of_benthos_for_what_is_wrong_with_a_connection_are_kept() -> None:
    seen = seen_in("benthos-v4.60.0", "unconnected")
    assert seen.lost.startswith("output: dial tcp 127.0.0.1:")
    assert seen.lost.endswith(": connect: connection refused")


@each_program
def test_a_connection_that_was_lost_is_not_up_though_its_counter_of_connects_says_one(program: str) -> None:
    said = meters(recorded(program, "flows")["lost"]["/metrics"][1])
    assert (said.input_connected, said.output_connected) == (True, False)
    assert said.sent > 0


@each_program
def test_a_dfc_read_reads_the_same_ends_from_the_metrics(program: str) -> None:
    flows = recorded(program, "flows")
    before = FlowObserved(collected_at=NOW, pid=42)
    seen = {at: _with_metrics(before, True, meters(flows[at]["/metrics"][1]), None) for at in ("flowing", "lost")}
    assert {at: (one.input_connected, one.output_connected) for at, one in seen.items()} == {
        "flowing": (True, True),
        "lost": (True, False),
    }


@each_program
def test_a_flow_that_fails_too_often_is_told_with_its_numbers(program: str) -> None:
    first = Sample(NOW - 60)
    seen = seen_in(program, "erring", msgspec.structs.replace(BASE, samples=(first,)))
    assert seen.errors > 0
    assert seen.messages_out > 0
    assert seen.window == Window(60.0, seen.messages_in, seen.messages_out, seen.errors)
    assert condition(seen) == Flow.ERRING
    rate = seen.errors / (seen.errors + seen.messages_out)
    told = classify(make_snapshot(kind="benthos", state="active", observed=seen), seen)[1]
    assert told.endswith(f"writes failed in 60s ({rate:.1%}, at most 5.0% may)")


@each_program
def test_the_metrics_of_one_stream_are_told_from_those_of_another(program: str) -> None:
    text = recorded(program, "streams")["both"]["/metrics"][1]
    flowing, stuck = meters(text, "a"), meters(text, "b")
    assert (flowing.input_connected, flowing.output_connected) == (True, True)
    assert (stuck.input_connected, stuck.output_connected, stuck.sent) == (True, False, 0)
    assert flowing.sent > 100
    assert meters(text).received == flowing.received + stuck.received
    assert meters(text, "nobody") == Meters()


@each_program
def test_what_streams_mode_says_when_a_stream_is_not_connected(program: str) -> None:
    assert recorded(program, "streams")["both"]["/ready"] == [503, "streams b are not connected\n"]


TWO_OUTPUTS = """# TYPE output_connection_up counter
output_connection_up{label="",path="root.output.broker.outputs.0"} 3
output_connection_up{label="",path="root.output.broker.outputs.1"} 1
# TYPE output_connection_lost counter
output_connection_lost{label="",path="root.output.broker.outputs.0"} LOST
# TYPE output_latency_ns summary
output_latency_ns{label="",path="root.output.broker.outputs.0",quantile="0.99"} 2.5e+06
output_latency_ns{label="",path="root.output.broker.outputs.1",quantile="0.99"} NaN
# TYPE processor_error counter
processor_error{label="",path="root.pipeline.processors.0"} 4
# TYPE output_error counter
output_error{label="",path="root.output.broker.outputs.0"} 2
"""


@pytest.mark.parametrize(("lost", "connected"), [("2", True), ("3", False)])
def test_all_connections_of_an_end_have_to_be_up(lost: str, connected: bool) -> None:
    assert meters(TWO_OUTPUTS.replace("LOST", lost)) == Meters(errors=6, write_ms=2.5, output_connected=connected)


def test_of_a_timer_in_json_only_the_quantiles_are_read() -> None:
    text = '{"output_latency_ns{label=\\"\\"}":{"p99":3e6,"max":9e9},"output_latency_ns":{"p99":9e9},"uptime_ns":5}'
    assert meters(text) == Meters(write_ms=3.0)


def test_metrics_of_older_versions_with_total_in_their_names_are_read_alike() -> None:
    assert meters('input_received_total{path="root.input"} 7\n').received == 7


@pytest.mark.parametrize("text", ["<html>", "{", 'output_sent{label="} 1\n'])
def test_what_is_no_metrics_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parsers' own words
        meters(text)


@pytest.mark.parametrize("text", ["pong", "[1]", "{"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own words
        version(text)


def test_connections_are_read_from_json_and_from_text() -> None:
    both = '{"statuses":[{"label":"tags","path":"input","connected":false},{"path":"output","connected":true}]}'
    assert connections(both) == (Connection("input", label="tags"), Connection("output", connected=True))
    assert connections(both)[0].words == "tags: not connected"
    assert connections('{"statuses":null}') == ()
    assert connections("OK") == ()
    assert connections("input not connected\noutput not connected\n") == (Connection("input"), Connection("output"))
    with pytest.raises(ValueError, match="truncated"):
        connections('{"statuses":')


def test_a_labelled_connection_deep_in_a_broker_belongs_to_its_end() -> None:
    told = (Connection("input", connected=True), Connection("root.output.broker.outputs.1", label="b"))
    seen = described(BASE, Answers(False, told, "v1", Meters(output_connected=True)), 60.0)
    assert (seen.input_connected, seen.output_connected, seen.lost) == (True, False, "b: not connected")
