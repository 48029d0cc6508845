"""What has passed through a Benthos lately, from the counters of earlier looks."""

from __future__ import annotations

import pytest

from tests.factories import NOW
from workers.benthos.window import Sample, Window, between, keep


def looks(*seconds: float) -> tuple[Sample, ...]:
    """Return samples at these seconds; as many messages have come as seconds have passed."""
    return tuple(Sample(NOW + at, int(at), int(at), 0) for at in seconds)


def test_a_window_counts_from_its_first_sample() -> None:
    first, now = Sample(NOW, 10, 8, 1), Sample(NOW + 30, 40, 32, 4)
    assert between(first, now) == Window(seconds=30.0, received=30, sent=24, errors=3)
    assert between(now, now) == Window()


@pytest.mark.parametrize(
    ("window", "tried", "rate", "passes"),
    [
        (Window(), 0, 0.0, False),
        (Window(seconds=9.0, sent=3, errors=1), 4, 0.25, True),
        (Window(seconds=9.0, errors=2), 2, 1.0, False),
        (Window(seconds=9.0, received=1), 0, 0.0, True),
    ],
)
def test_a_window_tells_what_was_tried_and_what_failed_of_it(
    window: Window, tried: int, rate: float, passes: bool
) -> None:
    assert (window.tried, window.error_rate, window.passes) == (tried, rate, passes)


def test_the_first_look_is_kept() -> None:
    (now,) = looks(0)
    assert keep((), now, 60.0) == (now,)


def test_no_more_samples_are_kept_than_a_twelfth_of_the_window_apart() -> None:
    *earlier, now = looks(0, 5, 9.9)
    assert keep(tuple(earlier), now, 60.0) == tuple(earlier)
    assert keep(tuple(earlier), *looks(10), 60.0) == looks(0, 5, 10)


def test_the_first_kept_is_the_newest_that_is_as_old_as_the_window() -> None:
    assert keep(looks(0, 10, 20, 30), *looks(80), 60.0) == looks(20, 30, 80)
    assert keep(looks(0, 10, 20, 30), *looks(79), 60.0) == looks(10, 20, 30, 79)


def test_after_a_long_silence_what_has_passed_since_is_counted() -> None:
    assert keep(looks(0, 5), *looks(500), 60.0) == looks(5, 500)


@pytest.mark.parametrize("now", [Sample(NOW + 60, 1, 50, 0), Sample(NOW + 60, 50, 1, 0), Sample(NOW + 10, 50, 50, 0)])
def test_counters_and_times_that_went_back_begin_anew(now: Sample) -> None:
    assert keep(looks(0, 20, 40), now, 60.0) == (now,)


def test_a_day_of_looks_keeps_a_handful_and_a_window_not_much_longer_than_asked_for() -> None:
    kept: tuple[Sample, ...] = ()
    for second in range(0, 3600, 3):
        (now,) = looks(second)
        kept = keep(kept, now, 60.0)
        assert len(kept) <= 14
        if second >= 120:
            assert 60.0 <= between(kept[0], now).seconds <= 66.0
