"""The one backoff: doubling, capped, and nobody sleeps."""

from __future__ import annotations

import pytest

from supervisor.backoff import delay


def test_s2_backoff_doubles_from_one_second_and_caps_at_sixty() -> None:
    assert [delay(attempts) for attempts in range(1, 11)] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.parametrize("attempts", [0, -1])
def test_without_a_try_there_is_nothing_to_wait_for(attempts: int) -> None:
    assert delay(attempts) == 0.0


def test_the_cap_holds_after_any_number_of_tries() -> None:
    assert delay(10**9) == 60.0
