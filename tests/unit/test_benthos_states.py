"""What a Benthos needs next: the process table with what Benthos says of itself laid over it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from tests.factories import NOW, make_snapshot
from workers.benthos.config import BenthosConfig
from workers.benthos.states import BenthosObserved, Flow, classify, derive, flow_of
from workers.benthos.window import Window
from workers.duration import Duration
from workers.model import Exit, Observed, Signal, Snapshot, Transition
from workers.process.states import Condition

FLOWING = BenthosObserved(
    collected_at=NOW - 1,
    pid=42,
    start_ticks=7,
    started_at=NOW - 100,
    config_id="c1",
    version="v4.60.0",
    ready=True,
    input_connected=True,
    output_connected=True,
    messages_in=1200,
    messages_out=1190,
    write_ms=0.43,
    window=Window(seconds=60.0, received=120, sent=118, errors=1),
)
GONE = BenthosObserved(collected_at=NOW - 1)
REFUSED = "output: dial tcp 127.0.0.1:9092: connect: connection refused"


def benthos(observed: Observed, state: str = "active", desired: str = "running", **config: Any) -> Snapshot:
    snapshot = make_snapshot(kind="benthos", observed=observed, state=state, desired=desired)
    wanted = msgspec.structs.replace(snapshot.desired, config={**snapshot.desired.config, **config})
    return msgspec.structs.replace(snapshot, desired=wanted)


def but(**changes: Any) -> BenthosObserved:
    """Return a flow that flows but for `changes`."""
    return msgspec.structs.replace(FLOWING, **changes)


SILENT = but(http_error="127.0.0.1:4195: ConnectError")
UNCONNECTED = but(ready=False, output_connected=False, lost=REFUSED)
ERRING = but(window=Window(seconds=60.0, received=120, sent=90, errors=10))
QUIET = but(window=Window(seconds=60.0))
CASES = {
    "flows": (FLOWING, (Flow.FLOWING, "pid 42 is connected, in 2.0/s, out 2.0/s, a write takes 0.4 ms")),
    "flows and tells no latency": (but(write_ms=None), (Flow.FLOWING, "pid 42 is connected, in 2.0/s, out 2.0/s")),
    "only sends": (
        but(window=Window(seconds=60.0, sent=60), write_ms=None),
        (Flow.FLOWING, "pid 42 is connected, in 0.0/s, out 1.0/s"),
    ),
    "first look": (but(window=Window()), (Flow.FLOWING, "pid 42 is connected, 1200 in, 1190 out")),
    "first look, nothing yet": (
        but(window=Window(), messages_in=0, messages_out=0),
        (Flow.QUIET, "pid 42 is connected, 0 in, 0 out"),
    ),
    "first look, nothing out yet": (
        but(window=Window(), messages_out=0),
        (Flow.FLOWING, "pid 42 is connected, 1200 in, 0 out"),
    ),
    "nothing lately": (QUIET, (Flow.QUIET, "pid 42 is connected, no message for 60s")),
    "too many errors": (
        ERRING,
        (Flow.ERRING, "pid 42 is connected, 10 of 100 writes failed in 60s (10.0%, at most 5.0% may)"),
    ),
    "as many errors as may be": (
        but(window=Window(seconds=60.0, received=100, sent=95, errors=5), write_ms=None),
        (Flow.FLOWING, "pid 42 is connected, in 1.7/s, out 1.6/s"),
    ),
    "no output": (
        UNCONNECTED,
        (Flow.UNCONNECTED, f"pid 42 runs, input connected, output not connected ({REFUSED})"),
    ),
    "no input": (
        but(ready=False, input_connected=False),
        (Flow.UNCONNECTED, "pid 42 runs, input not connected, output connected"),
    ),
    "an input not connected that /ready has not noticed": (
        but(input_connected=False),
        (Flow.UNCONNECTED, "pid 42 runs, input not connected, output connected"),
    ),
    "not ready": (but(ready=False), (Flow.UNCONNECTED, "pid 42 runs, input connected, output connected")),
    "no answer": (SILENT, (Flow.SILENT, "pid 42 runs and does not answer: 127.0.0.1:4195: ConnectError")),
    "outdated": (but(config_id="c0"), (Condition.OUTDATED, "pid 42 runs configuration c0, wanted is c1")),
    "gone": (
        GONE,
        (Condition.MISSING, "desired is running and nothing runs: nothing has been started since the host booted"),
    ),
    "only looked at as a process": (
        Observed(collected_at=NOW - 1, pid=42, config_id="c1"),
        (Flow.UNCONNECTED, "pid 42 runs, input not connected, output not connected"),
    ),
}


@pytest.mark.parametrize(("observed", "expected"), CASES.values(), ids=CASES.keys())
def test_a_benthos_is_classified_with_the_values_that_decided(observed: Observed, expected: tuple[str, str]) -> None:
    assert classify(benthos(observed), observed) == expected


def test_the_connections_of_a_benthos_in_streams_mode_are_its_streams_and_no_matter_of_its_own() -> None:
    assert classify(benthos(UNCONNECTED, streams=True), UNCONNECTED) == (
        Flow.FLOWING,
        "pid 42 runs streams, in 2.0/s, out 2.0/s, a write takes 0.4 ms",
    )
    empty = but(window=Window(seconds=9.0), ready=True, input_connected=False, output_connected=False)
    assert classify(benthos(empty, streams=True), empty) == (Flow.QUIET, "pid 42 runs streams, no message for 9s")
    assert classify(benthos(SILENT, streams=True), SILENT)[0] == Flow.SILENT


@pytest.mark.parametrize("seen", [FLOWING, SILENT, UNCONNECTED, ERRING, QUIET])
def test_what_passes_through_it_is_news_as_it_is_told_to_derive(seen: BenthosObserved) -> None:
    assert flow_of(seen, streams=False, max_error_rate=0.05) == classify(benthos(seen), seen)[0]


def test_how_many_errors_there_may_be_is_configured() -> None:
    assert classify(benthos(ERRING, max_error_rate=0.1), ERRING)[0] == Flow.FLOWING
    assert classify(benthos(ERRING, max_error_rate=0.09), ERRING) == (
        Flow.ERRING,
        "pid 42 is connected, 10 of 100 writes failed in 60s (10.0%, at most 9.0% may)",
    )


@pytest.mark.parametrize(
    ("state", "observed", "desired", "expected"),
    [
        ("stopped", GONE, "running", "starting"),
        ("stopped", FLOWING, "running", "starting"),
        ("starting", GONE, "running", Start()),
        ("starting", SILENT, "running", "starting"),
        ("starting", UNCONNECTED, "running", "waiting"),
        ("starting", QUIET, "running", "idle"),
        ("starting", FLOWING, "running", "active"),
        ("waiting", UNCONNECTED, "running", "waiting"),
        ("waiting", SILENT, "running", "degraded"),
        ("waiting", FLOWING, "running", "active"),
        ("waiting", GONE, "running", "starting"),
        ("waiting", but(config_id="c0"), "running", Reconfigure()),
        ("waiting", UNCONNECTED, "stopped", "stopping"),
        ("idle", FLOWING, "running", "active"),
        ("idle", QUIET, "running", "idle"),
        ("idle", UNCONNECTED, "running", "degraded"),
        ("active", FLOWING, "running", "active"),
        ("active", QUIET, "running", "idle"),
        ("active", ERRING, "running", "degraded"),
        ("active", UNCONNECTED, "running", "degraded"),
        ("active", SILENT, "running", "degraded"),
        ("active", GONE, "running", "starting"),
        ("degraded", ERRING, "running", "degraded"),
        ("degraded", FLOWING, "running", "active"),
        ("degraded", QUIET, "running", "idle"),
        ("degraded", GONE, "stopped", "stopped"),
        ("degraded", but(config_id="c0"), "running", Reconfigure()),
        ("stopping", UNCONNECTED, "stopped", Stop()),
        ("stopping", GONE, "stopped", "stopped"),
        ("stopping", UNCONNECTED, "running", "waiting"),
        ("stopping", but(config_id="c0"), "running", "starting"),
        ("failed", SILENT, "running", "starting"),
        ("failed", UNCONNECTED, "running", "waiting"),
        ("failed", FLOWING, "running", "active"),
    ],
)
def test_derive_takes_the_step_that_the_table_has_for_the_condition(
    state: str, observed: BenthosObserved, desired: str, expected: object
) -> None:
    snapshot = benthos(observed, state, desired)
    step = {"state": expected} if isinstance(expected, str) else {"action": expected}
    assert derive(snapshot, NOW) == Transition(reason=classify(snapshot, observed)[1], **step)


def test_a_benthos_that_ended_early_is_told_so() -> None:
    ended = Exit(41, 6, started_at=NOW - 4, ended_at=NOW - 2, code=1)
    assert derive(benthos(msgspec.structs.replace(GONE, last_exit=ended)), NOW) == Transition(
        state="starting",
        reason="desired is running and nothing runs: pid 41 ended with exit code 1 after 2.0s",
        signal=Signal.EXITED_EARLY,
    )


def test_derive_raises_when_the_look_itself_failed() -> None:
    with pytest.raises(ValueError, match="worker 'flow-1' has no observation to derive from"):
        derive(benthos(but(error="probe timed out")), NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0.5}, "window is 0.5s: expected at least 1s and at most 3600s"),
        ({"window": 3601.0}, "window is 3601s: expected at least 1s and at most 3600s"),
        ({"max_error_rate": 1.5}, r"Expected `float` <= 1.0 - at `\$.max_error_rate`"),
        ({"command": [""]}, "command begins with an empty word"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(
            {"command": ["benthos"], "http": "127.0.0.1:4195", **changes},
            BenthosConfig,
            dec_hook=lambda kind, value: kind(value),
        )


def test_a_configuration_has_the_defaults_that_are_documented() -> None:
    config = BenthosConfig(command=("benthos",), http="127.0.0.1:4195")
    assert (config.window, config.max_error_rate) == (Duration(60.0), 0.05)
