"""Which looks begin now (pure)."""

from __future__ import annotations

from supervisor.spread import Round, to_begin

ITEMS = [f"flow-{number:03}" for number in range(300)]
MANY = {"plant": Round(5.0, {item: 100.0 - number for number, item in enumerate(ITEMS)})}


def test_of_many_that_are_due_as_many_begin_as_spread_them_over_the_interval_and_what_is_asked_for_at_once() -> None:
    # 60 looks a second are needed, 90 are allowed: 4.5 in each of twenty passes, beside the 4 that always are
    oldest = [("plant", item) for item in reversed(ITEMS[-9:])]
    assert to_begin(MANY, {("plant", "flow-000")}, (), 200.0) == [("plant", "flow-000"), *oldest]


def test_what_is_being_looked_at_does_not_begin_again_and_stays_due() -> None:
    due = {"north": Round(1.0, {"a": 1.0, "b": 2.0}), "south": Round(1.0, {"a": 3.0})}
    assert to_begin(due, {("north", "a")}, {("north", "a")}, 5.0) == [("north", "b"), ("south", "a")]


def test_what_is_not_due_yet_waits() -> None:
    assert to_begin({"plant": Round(5.0, {"a": 5.0, "b": 5.5})}, (), (), 5.0) == [("plant", "a")]
    assert to_begin({}, {("plant", "gone")}, (), 5.0) == []
