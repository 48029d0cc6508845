"""Which readings of a collector are believed, and which are news."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.model import ChildObserved
from supervisor.readings import KEPT_ASIDE, Rejected, check, news, unknown
from tests.factories import NOW, make_child_observed
from workers.command.states import CommandObserved
from workers.dfc_read.states import FlowObserved
from workers.model import Exit, Observed

FLOW = FlowObserved(collected_at=NOW, pid=42, started_at=NOW - 9, messages_in=7, messages_in_per_second=0.5)
ENDED = Exit(41, 6, started_at=NOW - 60, ended_at=NOW - 2, signal=9)


def flow(**changes: Any) -> FlowObserved:
    return msgspec.structs.replace(FLOW, **changes)


@pytest.mark.parametrize(
    "seen",
    [
        FLOW,
        flow(last_exit=ENDED),
        Observed(collected_at=NOW, error="x"),
        make_child_observed(),
        CommandObserved(collected_at=0.0),
    ],
)
def test_a_reading_that_can_be_is_believed(seen: object) -> None:
    assert check(seen) is None


@pytest.mark.parametrize(
    ("seen", "reason", "why"),
    [
        (flow(messages_in=-1), "absurd", "messages_in is -1"),
        (flow(messages_in_per_second=float("nan")), "absurd", "messages_in_per_second is nan"),
        (flow(started_at=float("inf")), "absurd", "started_at is inf"),
        (flow(last_exit=Exit(41, 6, started_at=-1.0, ended_at=2.0)), "absurd", "started_at is -1.0"),
        (make_child_observed(failures=-3), "absurd", "failures is -3"),
        (flow(pid="42"), "unreadable", "Expected `int | null`, got `str` - at `$.pid`"),
        (flow(error=object()), "unreadable", "float() argument must be"),
        (None, "unreadable", "NoneType is no observation"),
        ({"pid": 42}, "unreadable", "dict is no observation"),
    ],
)
def test_a_reading_that_cannot_be_is_rejected_with_its_text(seen: object, reason: str, why: str) -> None:
    rejected = check(seen)
    assert rejected is not None
    assert (rejected.reason, rejected.text) == (reason, repr(seen))
    assert rejected.why.startswith(why)


def test_what_is_kept_of_a_rejected_reading_is_bounded() -> None:
    rejected = check("x" * 100_000)
    assert rejected == Rejected("unreadable", "str is no observation", "'" + "x" * (KEPT_ASIDE - 1))


def test_a_list_of_numbers_is_looked_through() -> None:
    class Sampled(Observed, frozen=True, kw_only=True):
        samples: tuple[float, ...] = ()

    assert check(Sampled(collected_at=NOW, samples=(1.0, 2.0))) is None
    rejected = check(Sampled(collected_at=NOW, samples=(1.0, -2.0)))
    assert rejected is not None
    assert rejected.why == "samples is -2.0"


def test_a_look_that_failed_is_an_observation_that_knows_why() -> None:
    assert unknown("flow-1", NOW, FLOW, "timed out") == Observed(collected_at=NOW, error="timed out")
    for previous, failures in ((None, 0), (make_child_observed(failures=2), 2)):
        assert unknown("child/broker", NOW, previous, "timed out") == ChildObserved(
            collected_at=NOW, failures=failures, unknown=True, error="unknown: timed out"
        )


def test_what_changes_with_every_look_is_no_news() -> None:
    assert news(flow(collected_at=NOW + 5, messages_in=9)) == news(FLOW)
    assert news(flow(pid=43)) != news(FLOW)
