"""Durations as people write them, and ages as they are shown."""

from __future__ import annotations

import pytest

from workers.duration import Duration, ago


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("0s", 0.0), ("5s", 5.0), ("1.5s", 1.5), ("10m", 600.0), ("1h", 3600.0), ("0.5h", 1800.0)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5 s", "-5s", "5S", "5s5s", ".5s", "5.s", "1d", "5s\n", 5, 5.0, None, ["5s"]]
)
def test_what_is_no_duration_is_refused_with_the_value_and_the_form(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: expected a number with a unit") as caught:
        Duration.parse(text)
    assert str(caught.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0ms"), (0.05, "50ms"), (0.5, "500ms"), (1.0, "1s"), (1.5, "1.5s"), (600.0, "600s")]
)
def test_a_duration_is_shown_with_its_unit_and_can_be_read_again(seconds: float, shown: str) -> None:
    assert str(Duration(seconds)) == shown
    assert Duration.parse(shown) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "-"),
        (-3.0, "0s"),
        (0.9, "0s"),
        (59.9, "59s"),
        (60.0, "1m00s"),
        (312.0, "5m12s"),
        (3599.0, "59m59s"),
        (3600.0, "1h00m"),
        (7440.0, "2h04m"),
        (86399.0, "23h59m"),
        (86400.0, "1d00h"),
        (284_400.0, "3d07h"),
    ],
)
def test_an_age_is_shown_in_at_most_two_units(seconds: float | None, shown: str) -> None:
    assert ago(seconds) == shown
