"""What ticks remember of failures: backoff, window, quarantine, poison, resume; whatever the clock does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.failures import (
    Notice,
    Said,
    count_failure,
    failures_of,
    kills_of,
    kind_of,
    not_before,
    quarantine_length,
    remember,
    told,
)
from supervisor.model import Lease, Stage, SupervisorSettings
from tests.factories import NOW, make_lease
from workers.model import Control, Status

SETTINGS = SupervisorSettings(name="plant-1")
NONE = Control()
NEW = Status(state="starting", since=NOW - 50)


def status(**changes: Any) -> Status:
    return msgspec.structs.replace(NEW, **changes)


def failed(action_id: str = "a1", at: float = NOW - 1, **changes: Any) -> Lease:
    fields = {"outcome": "error", "failures": 1, "ended_at": at, "begun_at": at - 1, "action_id": action_id}
    return make_lease(**{**fields, **changes})


def quarantined(**changes: Any) -> Status:
    fields = {"quarantined_at": NOW - 100, "quarantined_until": NOW + 500, "quarantined_for": "failures: 5 in 31s"}
    return status(**{**fields, "quarantines": 1, "counted_action": "a1", **changes})


def after(moments: list[float], before: Status = NEW, settings: SupervisorSettings = SETTINGS) -> Status:
    """Return the status after failures at these times, each told at once."""
    for moment in moments:
        before = count_failure(before, moment, "start: error", settings, moment)
    return before


@pytest.mark.parametrize(
    ("before", "lease", "due"),
    [
        (NEW, None, 0.0),
        (NEW, make_lease(), 0.0),
        (NEW, failed(at=NOW, failures=3), NOW + 4),
        (NEW, failed(at=NOW, deadline=NOW - 0.5), NOW + 0.5),
        (NEW, make_lease(stage=Stage.RUNNING, failures=1), 0.0),
        (status(early_exits=2, died_at=NOW), None, NOW + 2),
        (status(early_exits=2, died_at=NOW), failed(at=NOW, failures=3), NOW + 4),
        (status(early_exits=99, died_at=NOW), failed(at=NOW, failures=3), NOW + 60),
        (status(forgiven_action="a1"), failed(at=NOW, failures=3), 0.0),
    ],
)
def test_the_next_action_waits_for_the_later_of_both_backoffs(before: Status, lease: Lease | None, due: float) -> None:
    assert not_before("flow-1", before, lease, 0.0, NOW) == due


def test_with_jitter_the_next_action_waits_a_little_longer_each_worker_its_own_while() -> None:
    waits = {name: not_before(name, NEW, failed(at=NOW, failures=4), 0.5, NOW) - NOW for name in ("a", "b", "c")}
    assert all(8 <= wait < 12 for wait in waits.values())
    assert len(set(waits.values())) == 3


def test_nobody_waits_for_a_time_from_before_the_clock_was_set_back() -> None:
    ahead = NOW + 3600
    assert not_before("flow-1", status(early_exits=3, died_at=ahead), failed(at=ahead, failures=3), 0.0, NOW) == 0.0
    assert not_before("flow-1", NEW, failed(at=NOW + 0.5, failures=3), 0.0, NOW) == NOW + 4.5


@pytest.mark.parametrize("outcome", ["error", "timeout", "lost"])
def test_a_failed_action_is_counted_once(outcome: str) -> None:
    lease = failed(outcome=outcome, detail="no such file")
    once = remember(NEW, lease, NONE, SETTINGS, NOW)
    assert once == status(failed_at=(NOW - 1,), counted_action="a1")
    assert remember(once, lease, NONE, SETTINGS, NOW + 1) is once
    twice = remember(once, failed("a2", at=NOW + 3), NONE, SETTINGS, NOW + 4)
    assert twice == status(failed_at=(NOW - 1, NOW + 3), counted_action="a2")


@pytest.mark.parametrize(
    "lease",
    [
        None,
        make_lease(),
        failed(outcome="cancelled"),
        failed(outcome="discarded"),
        failed(stage=Stage.RUNNING, outcome=""),
        failed(stage=Stage.QUEUED, outcome=""),
        failed(outcome="lost", begun_at=None),
    ],
    ids=["none", "success", "cancelled", "discarded", "running", "queued", "lost before it began"],
)
def test_what_is_no_failure_of_the_worker_is_not_counted(lease: Lease | None) -> None:
    assert remember(NEW, lease, NONE, SETTINGS, NOW) is NEW


def test_five_failures_within_ten_minutes_quarantine_for_ten() -> None:
    four = after([NOW - 599, NOW - 300, NOW - 200, NOW - 100])
    assert four.failed_at == (NOW - 599, NOW - 300, NOW - 200, NOW - 100)
    assert after([NOW], four) == status(
        quarantined_at=NOW,
        quarantined_until=NOW + 600,
        quarantined_for="failures: 5 in 9m59s, last: start: error",
        quarantines=1,
    )


def test_failures_that_are_older_than_the_window_no_longer_count() -> None:
    assert after([NOW - 600, NOW - 300, NOW - 200, NOW - 100, NOW]).failed_at == (
        NOW - 300,
        NOW - 200,
        NOW - 100,
        NOW,
    )


def test_how_many_failures_how_fast_and_for_how_long_are_settings() -> None:
    settings = SupervisorSettings(name="p", quarantine_after=2, quarantine_window=3.0, quarantine_for=4.0)
    assert not after([NOW - 3, NOW], NEW, settings).quarantined_for
    found = after([NOW - 2, NOW], NEW, settings)
    assert (found.quarantined_for, found.quarantined_until) == ("failures: 2 in 2s, last: start: error", NOW + 4)


def test_a_failure_during_a_quarantine_is_not_held_against_the_worker() -> None:
    before = quarantined()
    assert count_failure(before, NOW, "stop: error", SETTINGS, NOW) is before
    assert remember(before, failed("a2"), NONE, SETTINGS, NOW) == quarantined(counted_action="a2")


def test_failures_from_before_the_clock_was_set_back_are_dropped() -> None:
    before = status(failed_at=tuple(NOW + 3600 + number for number in range(4)))
    assert count_failure(before, NOW, "start: error", SETTINGS, NOW).failed_at == (NOW,)
    assert count_failure(NEW, NOW + 9, "start: error", SETTINGS, NOW).failed_at == (NOW,)


def test_quarantines_in_a_row_double_up_to_an_hour() -> None:
    found, at, lengths = NEW, NOW, []
    for _ in range(5):
        found = after([at + second for second in range(5)], found)
        lengths.append(found.quarantined_until - found.quarantined_at)
        at = found.quarantined_until + 60
        found = remember(found, None, NONE, SETTINGS, at)
    assert lengths == [600, 1200, 2400, 3600, 3600]


def test_a_quarantine_that_was_made_longer_than_an_hour_does_not_double_but_keeps_its_length() -> None:
    settings = SupervisorSettings(name="p", quarantine_for=7200.0)
    assert [quarantine_length(settings, number) for number in (1, 2, 9, 10_000)] == [7200.0] * 4


@pytest.mark.parametrize(("later", "number"), [(1199, 3), (1200, 1), (1201, 1)])
def test_a_worker_that_kept_well_for_two_windows_begins_a_new_row(later: float, number: int) -> None:
    before = status(quarantines=2, quarantined_at=NOW - 2000, quarantined_until=NOW - later)
    assert after([NOW - 4, NOW - 3, NOW - 2, NOW - 1, NOW], before).quarantines == number


def test_a_quarantine_ends_when_its_time_is_up_and_not_before() -> None:
    before = quarantined()
    assert remember(before, None, NONE, SETTINGS, NOW + 499.9) is before
    ended = remember(before, None, NONE, SETTINGS, NOW + 500)
    assert ended == msgspec.structs.replace(before, quarantined_for="")


def test_a_quarantine_lasts_no_longer_than_its_length_from_now_wherever_the_clock_was_set() -> None:
    back = NOW - 7200
    found = remember(quarantined(), None, NONE, SETTINGS, back)
    assert found.quarantined_until == back + 600
    assert remember(found, None, NONE, SETTINGS, back + 1) is found


def test_three_actions_in_a_row_that_killed_their_pool_process_quarantine_at_once() -> None:
    assert not remember(NEW, failed(kills=2), NONE, SETTINGS, NOW).quarantined_for
    found = remember(NEW, failed(kills=3, failures=3), NONE, SETTINGS, NOW)
    assert found == status(
        counted_action="a1",
        quarantined_at=NOW,
        quarantined_until=NOW + 600,
        quarantined_for="poison: 3 actions in a row killed their pool process, last: start",
        quarantines=1,
    )


def test_poison_is_tried_once_after_its_quarantine_and_quarantined_for_twice_as_long_if_it_kills_again() -> None:
    first = remember(NEW, failed(kills=3), NONE, SETTINGS, NOW)
    ended = remember(first, failed(kills=3), NONE, SETTINGS, NOW + 600)
    assert ended.quarantined_for == ""
    again = remember(ended, failed("a2", at=NOW + 610, kills=4), NONE, SETTINGS, NOW + 611)
    assert (again.quarantined_until - again.quarantined_at, again.quarantines) == (1200, 2)


RESUMED = Control(resumed_at=NOW - 0.5, by="me", at=NOW - 0.5)


def test_a_resume_forgives_failures_kills_and_quarantine() -> None:
    lease = failed(failures=7, kills=3)
    before = quarantined(early_exits=4, died_at=NOW - 2, failed_at=(NOW - 3,), quarantines=3)
    found = remember(before, lease, RESUMED, SETTINGS, NOW)
    assert found == status(
        died_at=NOW - 2,
        counted_action="a1",
        quarantined_at=NOW - 100,
        resumed_at=NOW - 0.5,
        forgiven_action="a1",
    )
    assert (failures_of(found, lease), kills_of(found, lease)) == (0, 0)
    assert not_before("flow-1", found, lease, 0.0, NOW) == 0.0


def test_a_resume_forgives_once_and_what_fails_after_it_counts() -> None:
    found = remember(NEW, failed(), RESUMED, SETTINGS, NOW)
    later = remember(found, failed("a2", at=NOW + 1), RESUMED, SETTINGS, NOW + 2)
    assert (later.failed_at, later.counted_action) == ((NOW + 1,), "a2")
    assert failures_of(later, failed("a2", failures=1)) == 1


def test_a_resume_forgives_what_nobody_has_counted_yet_poison_too() -> None:
    found = remember(NEW, failed(kills=3), RESUMED, SETTINGS, NOW)
    assert (found.failed_at, found.quarantined_for) == ((), "")


def test_a_resume_works_from_whatever_time_it_seems_to_be() -> None:
    ahead = Control(resumed_at=NOW + 3600)
    found = remember(quarantined(), None, ahead, SETTINGS, NOW)
    assert (found.quarantined_for, found.forgiven_action) == ("", "")
    assert remember(found, None, ahead, SETTINGS, NOW + 1) is found
    assert remember(found, failed("a2", at=NOW + 2), ahead, SETTINGS, NOW + 3).failed_at == (NOW + 2,)


def test_a_pause_forgives_nothing() -> None:
    before = quarantined(resumed_at=NOW - 900)
    assert remember(before, None, Control(paused=True, at=NOW), SETTINGS, NOW) is before


def test_without_a_lease_nothing_has_failed() -> None:
    assert (failures_of(NEW, None), kills_of(NEW, None)) == (0, 0)
    assert (failures_of(NEW, failed(failures=2)), kills_of(NEW, failed(kills=1))) == (2, 1)


def test_the_words_of_a_quarantine_name_the_last_failure_and_do_not_run_on() -> None:
    settings = SupervisorSettings(name="p", quarantine_after=1)
    found = remember(NEW, failed(detail="x" * 500), NONE, settings, NOW)
    assert found.quarantined_for == f"failures: 1 in 1s, last: start: error ({'x' * 120})"


BEGUN = quarantined(quarantined_at=NOW, quarantined_until=NOW + 600)
BEGUN_SAID = Said(Notice.QUARANTINED, {"reason": "failures: 5 in 31s", "duration": 600.0, "in_a_row": 1})


def ended_said(why: str) -> Said:
    return Said(Notice.QUARANTINE_ENDED, {"reason": why, "was": "failures: 5 in 31s"})


@pytest.mark.parametrize(
    ("before", "later", "said"),
    [
        (NEW, NEW, []),
        (NEW, status(failed_at=(NOW,)), []),
        (NEW, BEGUN, [BEGUN_SAID]),
        (BEGUN, BEGUN, []),
        (BEGUN, msgspec.structs.replace(BEGUN, quarantined_until=NOW + 5), []),
        (BEGUN, msgspec.structs.replace(BEGUN, quarantined_for=""), [ended_said("its time is up")]),
        (BEGUN, status(resumed_at=NOW), [ended_said("resumed")]),
        (quarantined(), BEGUN, [ended_said("its time is up"), BEGUN_SAID]),
    ],
)
def test_a_quarantine_is_told_when_it_begins_and_when_it_ends(before: Status, later: Status, said: list[Said]) -> None:
    assert told(before, later, None) == said


def test_an_action_that_is_stuck_is_told_once() -> None:
    lease = make_lease(stage=Stage.RUNNING, executor="edge-1@h1")
    stuck = status(stuck_action="a1")
    said = Said(Notice.STUCK, {"action": "start", "timeout": 30.0, "executor": "edge-1@h1"})
    assert (told(NEW, stuck, lease), told(stuck, stuck, lease), told(NEW, stuck, None)) == ([said], [], [])


def test_the_kind_of_a_quarantine_is_what_its_reason_begins_with() -> None:
    assert kind_of(BEGUN_SAID) == "failures"
    assert kind_of(Said(Notice.QUARANTINED, {"reason": "poison: 3 actions in a row"})) == "poison"
