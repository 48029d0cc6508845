"""What a data flow needs next: the process table with what the flow says of itself laid over it."""

from __future__ import annotations

import msgspec
import pytest

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from supervisor.plan import next_status
from tests.factories import NOW, make_snapshot
from workers.dfc_read.states import CONNECTED, UNCONNECTED, FlowObserved, classify, derive
from workers.model import Exit, Observed, Signal, Snapshot, Status, Transition
from workers.process.states import Condition

FLOWING = FlowObserved(
    collected_at=NOW - 1,
    pid=42,
    start_ticks=7,
    started_at=NOW - 100,
    config_id="c1",
    ready=True,
    input_connected=True,
    output_connected=True,
    messages_in=120,
    messages_out=118,
    messages_in_per_second=2.04,
    messages_out_per_second=1.96,
)
EARLY = Exit(41, 6, started_at=NOW - 4, ended_at=NOW - 2, code=1)


def flow(observed: Observed, state: str = "running", desired: str = "running", **changes: object) -> Snapshot:
    return make_snapshot(kind="dfc_read", observed=observed, state=state, desired=desired, **changes)


def but(**changes: object) -> FlowObserved:
    """Return a flow that flows but for `changes`."""
    return msgspec.structs.replace(FLOWING, **changes)


CASES = {
    "flows": (FLOWING, (CONNECTED, "connected, in 2.0/s, out 2.0/s")),
    "first look, no rate in": (but(messages_in_per_second=None), (CONNECTED, "connected, 120 in, 118 out")),
    "first look, no rate out": (but(messages_out_per_second=None), (CONNECTED, "connected, 120 in, 118 out")),
    "no answer": (
        but(http_error="ConnectTimeout: 2s"),
        (UNCONNECTED, "pid 42 runs and does not answer: ConnectTimeout: 2s"),
    ),
    "no input": (
        but(input_connected=False),
        (UNCONNECTED, "pid 42 runs, input not connected, output connected"),
    ),
    "no output": (
        but(output_connected=False),
        (UNCONNECTED, "pid 42 runs, input connected, output not connected"),
    ),
    "not ready": (but(ready=False), (UNCONNECTED, "pid 42 runs, input connected, output connected")),
    "outdated": (but(config_id="c0"), (Condition.OUTDATED, "pid 42 runs configuration c0, wanted is c1")),
    "gone": (
        FlowObserved(collected_at=NOW - 1),
        (Condition.MISSING, "desired is running and nothing runs: nothing has been started since the host booted"),
    ),
    "only looked at as a process": (
        Observed(collected_at=NOW - 1, pid=42, config_id="c1"),
        (UNCONNECTED, "pid 42 runs, input not connected, output not connected"),
    ),
}


@pytest.mark.parametrize(("observed", "expected"), CASES.values(), ids=CASES.keys())
def test_a_flow_is_classified_with_the_values_that_decided(observed: Observed, expected: tuple[str, str]) -> None:
    assert classify(flow(observed), observed) == expected


@pytest.mark.parametrize(
    ("state", "observed", "desired", "expected"),
    [
        ("starting", but(ready=False), "running", "starting"),
        ("starting", FLOWING, "running", "running"),
        ("running", FLOWING, "running", "running"),
        ("running", but(output_connected=False), "running", "degraded"),
        ("degraded", but(output_connected=False), "running", "degraded"),
        ("degraded", FLOWING, "running", "running"),
        ("degraded", FlowObserved(collected_at=NOW), "running", "starting"),
        ("degraded", FLOWING, "stopped", "stopping"),
        ("degraded", FlowObserved(collected_at=NOW), "stopped", "stopped"),
        ("degraded", but(config_id="c0"), "running", Reconfigure()),
        ("starting", FlowObserved(collected_at=NOW), "running", Start()),
        ("stopping", but(ready=False), "stopped", Stop()),
        ("stopping", but(ready=False), "running", "degraded"),
        ("failed", but(ready=False), "running", "starting"),
        ("failed", FLOWING, "running", "running"),
    ],
)
def test_derive_takes_the_step_that_the_table_has_for_the_condition(
    state: str, observed: FlowObserved, desired: str, expected: object
) -> None:
    snapshot = flow(observed, state, desired)
    step = {"state": expected} if isinstance(expected, str) else {"action": expected}
    assert derive(snapshot, NOW) == Transition(reason=classify(snapshot, observed)[1], **step)


def test_derive_raises_when_the_look_itself_failed() -> None:
    with pytest.raises(ValueError, match="worker 'flow-1' has no observation to derive from"):
        derive(flow(but(error="probe timed out")), NOW)


def test_a_flow_that_ended_early_says_so_once() -> None:
    snapshot = flow(FlowObserved(collected_at=NOW - 1, last_exit=EARLY))
    first = derive(snapshot, NOW)
    assert first == Transition(
        reason="desired is running and nothing runs: pid 41 ended with exit code 1 after 2.0s",
        state="starting",
        signal=Signal.EXITED_EARLY,
    )
    after = next_status(snapshot, first, NOW)
    assert after == Status(
        state="starting",
        since=NOW,
        reason=first.reason,
        restarts=1,
        early_exits=1,
        counted_exit="41-6",
        died_at=EARLY.ended_at,
        failed_at=(EARLY.ended_at,),
    )
    assert derive(msgspec.structs.replace(snapshot, status=after), NOW).signal is Signal.NONE


def test_a_flow_that_has_lived_for_its_min_uptime_has_settled() -> None:
    before = Status(state="running", since=NOW - 50, early_exits=2, counted_exit="41-6")
    snapshot = flow(but(last_exit=EARLY), status=before)
    assert derive(snapshot, NOW).signal is Signal.SETTLED
    assert next_status(snapshot, derive(snapshot, NOW), NOW) == msgspec.structs.replace(before, early_exits=0)
