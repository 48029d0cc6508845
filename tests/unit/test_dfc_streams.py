"""A data flow that is a stream of a Benthos: what its configuration may be, and what it needs next."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from tests.factories import NOW, make_snapshot
from workers.dfc_read.config import DfcReadConfig
from workers.dfc_read.states import AWAY, CONNECTED, LOST, UNCONNECTED, FlowObserved, classify, derive
from workers.duration import Duration
from workers.model import Exit, Signal, Snapshot, Transition
from workers.process.states import Condition

AT = "127.0.0.1:4195"
FLOWING = FlowObserved(
    collected_at=NOW - 1,
    benthos=AT,
    running=True,
    started_at=NOW - 100,
    config_id="c1",
    ready=True,
    input_connected=True,
    output_connected=True,
    messages_in=120,
    messages_out=118,
)
GONE = FlowObserved(collected_at=NOW - 1, benthos=AT)
ABSENT = FlowObserved(collected_at=NOW - 1, benthos=AT, away="nothing listens")
ENDED = Exit(0, 7, started_at=NOW - 4, ended_at=NOW - 1)


def flow(observed: FlowObserved, state: str = "running", desired: str = "running", **changes: Any) -> Snapshot:
    return make_snapshot(kind="dfc_write", observed=observed, state=state, desired=desired, **changes)


def but(**changes: Any) -> FlowObserved:
    """Return a stream that flows but for `changes`."""
    return msgspec.structs.replace(FLOWING, **changes)


@pytest.mark.parametrize(
    ("observed", "desired", "expected"),
    [
        (FLOWING, "running", (CONNECTED, "connected, 120 in, 118 out")),
        (
            but(messages_in_per_second=2.0, messages_out_per_second=1.5),
            "running",
            (CONNECTED, "connected, in 2.0/s, out 1.5/s"),
        ),
        (
            but(output_connected=False),
            "running",
            (UNCONNECTED, "its stream runs, input connected, output not connected, 120 in, 118 out"),
        ),
        (
            but(input_connected=False),
            "running",
            (UNCONNECTED, "its stream runs, input not connected, output connected, 120 in, 118 out"),
        ),
        (
            but(config_id="c0"),
            "running",
            (Condition.OUTDATED, f"its stream in Benthos at {AT} runs configuration c0, wanted is c1"),
        ),
        (
            GONE,
            "running",
            (Condition.MISSING, f"desired is running and nothing runs: Benthos at {AT} has no such stream"),
        ),
        (
            msgspec.structs.replace(GONE, last_exit=ENDED),
            "running",
            (
                Condition.MISSING,
                f"desired is running and nothing runs: Benthos at {AT} has no such stream; the last ran for 3.0s",
            ),
        ),
        (ABSENT, "running", (AWAY, "its Benthos is away: nothing listens")),
        (ABSENT, "stopped", (Condition.DOWN, "desired is stopped and nothing runs")),
        (FLOWING, "stopped", (Condition.UNWANTED, f"desired is stopped and its stream in Benthos at {AT} runs")),
    ],
)
def test_a_stream_is_classified_with_the_values_that_decided(
    observed: FlowObserved, desired: str, expected: tuple[str, str]
) -> None:
    assert classify(flow(observed, desired=desired), observed) == expected


@pytest.mark.parametrize(
    ("state", "observed", "desired", "expected"),
    [
        ("stopped", GONE, "running", "starting"),
        ("starting", GONE, "running", Start()),
        ("starting", ABSENT, "running", "starting"),
        ("running", ABSENT, "running", "starting"),
        ("degraded", ABSENT, "running", "starting"),
        ("failed", ABSENT, "running", "starting"),
        ("starting", but(output_connected=False), "running", "starting"),
        ("running", but(output_connected=False), "running", "degraded"),
        ("degraded", FLOWING, "running", "running"),
        ("running", but(config_id="c0"), "running", Reconfigure()),
        ("stopping", FLOWING, "stopped", Stop()),
        ("stopping", ABSENT, "stopped", "stopped"),
    ],
)
def test_derive_takes_the_step_that_the_table_has_for_a_stream(
    state: str, observed: FlowObserved, desired: str, expected: object
) -> None:
    snapshot = flow(observed, state, desired)
    step = {"state": expected} if isinstance(expected, str) else {"action": expected}
    assert derive(snapshot, NOW) == Transition(reason=classify(snapshot, observed)[1], **step)


def test_a_stream_that_ended_early_by_itself_says_so() -> None:
    snapshot = flow(msgspec.structs.replace(GONE, last_exit=ENDED))
    snapshot = msgspec.structs.replace(snapshot, status=msgspec.structs.replace(snapshot.status, since=NOW - 3))
    assert derive(snapshot, NOW).signal is Signal.EXITED_EARLY


@pytest.mark.parametrize("observed", [GONE, ABSENT])
def test_a_stream_that_went_with_its_benthos_has_not_failed_however_early(observed: FlowObserved) -> None:
    lost = msgspec.structs.replace(ENDED, reason=LOST)
    snapshot = flow(msgspec.structs.replace(observed, last_exit=lost))
    snapshot = msgspec.structs.replace(snapshot, status=msgspec.structs.replace(snapshot.status, since=NOW - 3))
    assert derive(snapshot, NOW).signal is Signal.EXITED


STREAM: dict[str, Any] = {"input": {"generate": {"mapping": "root = 1"}}, "output": {"drop": {}}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "expected command and http, for a process, or stream and benthos, for a stream"),
    ({"command": ["./flow"]}, "expected command and http, for a process, or stream and benthos, for a stream"),
    ({"command": [" "], "http": AT}, "command begins with an empty word: expected the program to run"),
    ({"command": ["./flow"], "http": AT, "benthos": AT}, "benthos is set without stream: a process has no such key"),
    ({"stream": STREAM}, 'benthos is missing: expected the "HOST:PORT" of a Benthos in streams mode'),
    ({"stream": "", "benthos": AT}, "the stream is empty: expected its input and output"),
    (
        {"stream": STREAM, "stream_file": "a.yaml", "benthos": AT},
        "stream and stream_file are both set: expected one of them",
    ),
    (
        {"stream": STREAM, "benthos": AT, "http": AT},
        "http is set beside a stream: that has no process of its own",
    ),
    (
        {"stream": STREAM, "benthos": AT, "active_within": "11s"},
        "active_within is 11s: expected more than 0s and at most 10s",
    ),
]


@pytest.mark.parametrize(("config", "message"), REFUSED)
def test_what_is_neither_a_process_nor_a_stream_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(config, DfcReadConfig, dec_hook=lambda _kind, value: Duration.parse(value))


def test_a_stream_and_a_process_are_told_apart() -> None:
    assert DfcReadConfig(stream=STREAM, benthos=AT, active_within=Duration(5.0)).is_stream
    assert DfcReadConfig(stream_file="a.yaml", benthos=AT).is_stream
    assert not DfcReadConfig(command=("./flow",), http=AT).is_stream


def test_what_a_process_does_not_set_is_not_stored_so_that_its_configuration_keeps_its_id() -> None:
    stored = msgspec.to_builtins(DfcReadConfig(command=("./flow",), http=AT), enc_hook=float)
    assert sorted(stored) == ["command", "cwd", "env", "http", "min_uptime", "stop_signal", "stop_timeout"]
