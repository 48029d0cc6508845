"""The quick benchmark's gate: what falls by 30 % below what was recorded, each time that it is measured, fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.__main__ import TRIES, fallen, key_of, tried
from tests.benchmarks.rows import Row, Scale

RECORDED = {"rate": 10.0, "cost": 100.0}


def rate(value: float) -> Row:
    return Row(f"rate (of {value}/s)", "times", 12.0, [value], more=True, is_ratio=True)


def cost(value: float) -> Row:
    return Row("cost", "bytes", 50.0, [value], is_ratio=True)


def test_a_ratio_is_known_by_its_name_without_what_it_says_of_its_peer() -> None:
    assert key_of(rate(3.0)) == "rate"


@pytest.mark.parametrize("row", [rate(7.1), rate(20.0), cost(142.0), cost(1.0)])
def test_what_is_less_than_30_percent_worse_has_not_fallen(row: Row) -> None:
    assert fallen([row], RECORDED) == []


@pytest.mark.parametrize(("row", "said"), [(rate(6.9), "rate: 6.9, 31% worse"), (cost(150.0), "cost: 150, 33% worse")])
def test_what_is_more_than_30_percent_worse_has(row: Row, said: str) -> None:
    (told,) = fallen([row], RECORDED)
    assert told.startswith(said)


def test_what_was_never_recorded_is_told_and_what_is_no_ratio_is_not_judged() -> None:
    absolute = Row("speed", "actions/s", 12_000.0, [1.0], more=True)
    (told,) = fallen([Row("new", "times", 1.0, [1.0], is_ratio=True), absolute], RECORDED)
    assert told.startswith("new: no figure recorded")


@pytest.mark.parametrize(
    ("values", "asked", "falls"),
    [([9.0], 1, False), ([5.0, 9.0], 2, False), ([5.0] * TRIES, TRIES, True)],
    ids=["well", "well the second time", "never well"],
)
def test_what_has_fallen_is_measured_again_before_it_counts(values: list[float], asked: int, falls: bool) -> None:
    left = iter(values)

    def part(_: Scale) -> Iterator[Row]:
        yield rate(next(left))

    found, said = tried(part, RECORDED)
    assert [row.judged for row in found] == [values[asked - 1]]
    assert bool(said) is falls
    assert list(left) == []
