"""Time is injected: the fake clock moves only when told to, the real one follows the host's.

Usage: `clock = FakeClock()`, hand it in, then `clock.advance(60)`.
"""

from __future__ import annotations

import time

import pytest

from supervisor.clock import Clock, FakeClock, StepWatch, SystemClock, skew_of


def test_s15_the_fake_clock_stands_still_until_it_is_advanced() -> None:
    clock = FakeClock(start=100.0)
    assert (clock.now(), clock.monotonic(), clock.now()) == (100.0, 100.0, 100.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 102.5)


def test_s15_a_sleep_on_the_fake_clock_passes_at_once() -> None:
    clock = FakeClock(start=100.0)
    clock.sleep(3600)
    assert clock.now() == 3700.0


def test_s15_a_timeout_of_sixty_seconds_is_tested_without_waiting() -> None:
    began = time.perf_counter()
    clock = FakeClock()
    timeout = clock.after(60.0)
    clock.advance(59.999)
    assert not timeout.is_set()
    clock.advance(0.001)
    assert timeout.is_set()
    assert time.perf_counter() - began < 1.0


def test_s15_after_fires_for_whoever_is_due_and_nobody_else() -> None:
    clock = FakeClock()
    timers = [clock.after(seconds) for seconds in (0.0, 1.0, 5.0, 5.0, 9.0)]
    assert [timer.is_set() for timer in timers] == [True, False, False, False, False]
    clock.sleep(5.0)
    assert [timer.is_set() for timer in timers] == [True, True, True, True, False]
    clock.advance(100.0)
    assert timers[-1].is_set()


def test_s15_time_does_not_go_back() -> None:
    clock = FakeClock(start=100.0)
    with pytest.raises(ValueError, match="cannot advance by -1 seconds: time does not go back"):
        clock.advance(-1)
    assert clock.now() == 100.0


def test_s15_code_written_for_the_clock_runs_on_the_fake_and_the_system_clock_alike() -> None:
    def deadline(clock: Clock) -> tuple[bool, bool]:
        began = clock.monotonic()
        clock.sleep(0.0)
        return clock.monotonic() >= began, clock.after(0.0).wait(5.0)

    assert [deadline(clock) for clock in (FakeClock(), SystemClock())] == [(True, True), (True, True)]


def test_the_system_clock_reads_the_hosts_clocks() -> None:
    clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=5.0)
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=5.0)
    assert not clock.after(3600).is_set()


def test_a_clock_that_moves_on_with_the_monotonic_one_was_not_set() -> None:
    watch = StepWatch()
    assert [watch.stepped(1000.0 + n, 50.0 + n, 50.01 + n) for n in range(3)] == [False, False, False]


@pytest.mark.parametrize("step", [-3600.0, -1.5, 1.5, 3600.0])
def test_a_clock_that_was_set_is_noticed_once(step: float) -> None:
    watch = StepWatch()
    assert watch.stepped(1000.0, 50.0, 50.01) is False
    assert watch.stepped(1001.0 + step, 51.0, 51.01) is True
    assert watch.stepped(1002.0 + step, 52.0, 52.01) is False


def test_a_slow_or_an_old_measurement_says_nothing() -> None:
    watch = StepWatch()
    watch.stepped(1000.0, 50.0, 50.01)
    assert watch.stepped(1005.0, 51.0, 52.0) is False
    assert watch.stepped(1009.0, 53.0, 53.01) is False
    assert watch.stepped(1400.0, 174.0, 174.01) is False


def test_a_process_that_did_nothing_for_a_minute_still_notices() -> None:
    watch = StepWatch()
    watch.stepped(1000.0, 50.0, 50.01)
    assert watch.stepped(1065.0, 110.0, 110.01) is True


@pytest.mark.parametrize(
    ("here", "shared", "round_trip", "skew"),
    [
        (7300.0, 100.0, 0.0, 7200.0),
        (100.0, 7300.0, 0.0, -7200.0),
        (100.2, 100.0, 0.4, 0.0),
        (100.00049, 100.0, 0.0, 0.0),
    ],
    ids=["ahead", "behind", "no skew: Redis was read in the middle of the round trip", "to the millisecond"],
)
def test_a_skew_is_counted_from_the_middle_of_the_round_trip(
    here: float, shared: float, round_trip: float, skew: float
) -> None:
    assert skew_of(here, shared, round_trip) == pytest.approx(skew, abs=1e-9)
