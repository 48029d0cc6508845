"""The one backoff: doubling, capped, and nobody sleeps."""

from __future__ import annotations

import pytest

from supervisor.backoff import delay, jittered


def test_s2_backoff_doubles_from_one_second_and_caps_at_sixty() -> None:
    assert [delay(attempts) for attempts in range(1, 11)] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.parametrize("attempts", [0, -1])
def test_without_a_try_there_is_nothing_to_wait_for(attempts: int) -> None:
    assert delay(attempts) == 0.0


def test_the_cap_holds_after_any_number_of_tries() -> None:
    assert delay(10**9) == 60.0


def test_without_jitter_a_delay_is_what_it_was() -> None:
    assert [jittered(attempts, 0.0, "flow-1") for attempts in range(9)] == [delay(attempts) for attempts in range(9)]


def test_jitter_prolongs_by_at_most_its_fraction_and_spreads_those_who_failed_together() -> None:
    waits = [jittered(4, 0.5, f"flow-{number}") for number in range(1000)]
    assert (min(waits) >= 8.0, max(waits) < 12.0) == (True, True)
    parts = [sum(8.0 + tenth * 0.4 <= wait < 8.4 + tenth * 0.4 for wait in waits) for tenth in range(10)]
    assert min(parts) > 50


def test_jitter_is_the_same_for_everybody_who_asks_and_another_one_after_the_next_failure() -> None:
    assert jittered(3, 0.2, "flow-1") == jittered(3, 0.2, "flow-1")
    assert jittered(7, 1.0, "flow-1") != jittered(8, 1.0, "flow-1")
