"""Calls one ahead: in order, one at a time, under way while their answers are worked on, and none after a no."""

from __future__ import annotations

import threading

import pytest

from supervisor.ahead import one_ahead

WAIT = 10.0  # seconds until an event that never comes fails the test


def test_each_part_comes_with_its_answer_in_order() -> None:
    assert list(one_ahead([1, 2, 3], str, lambda text: text * 2)) == [(1, "11"), (2, "22"), (3, "33")]


def test_of_no_parts_nothing_is_called() -> None:
    assert list(one_ahead([], str, _never)) == []


def test_a_single_call_is_made_in_the_thread_of_who_asks() -> None:
    asked = list(one_ahead([1], str, lambda _: threading.current_thread()))
    assert asked == [(1, threading.current_thread())]


def test_the_next_call_is_under_way_while_an_answer_is_worked_on() -> None:
    called = {number: threading.Event() for number in (1, 2, 3)}

    def call(number: int) -> int:
        called[number].set()
        return number

    for part, _ in one_ahead([1, 2, 3], int, call):
        assert called[min(part + 1, 3)].wait(WAIT)
        assert not called[3].is_set() or part >= 2, "one ahead, not two"


def test_the_next_part_is_prepared_while_a_call_is_under_way() -> None:
    prepared = threading.Event()

    def prepare(number: int) -> int:
        if number == 2:
            prepared.set()
        return number

    assert [one for one, _ in one_ahead([1, 2], prepare, lambda _: prepared.wait(WAIT))] == [1, 2]
    assert all(answer for _, answer in one_ahead([1, 2], prepare, lambda _: prepared.wait(WAIT)))


def test_nothing_is_called_after_an_answer_that_says_no() -> None:
    called: list[int] = []

    def call(number: int) -> bool:
        called.append(number)
        return number < 2

    assert list(one_ahead([1, 2, 3, 4], int, call, bool)) == [(1, True), (2, False)]
    assert called == [1, 2]


def test_what_a_call_raises_is_raised_where_its_answer_is_asked_for() -> None:
    answers = one_ahead([1, 0, 2], int, lambda number: 1 // number)
    assert next(answers) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(answers)


def _never(_: str) -> None:
    raise AssertionError("nothing should be called")
