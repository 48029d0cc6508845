"""When what has rung is answered by a pulse."""

from __future__ import annotations

import math

import pytest

from supervisor.bell import COST, GAP, MOST, Bell


def rested() -> Bell:
    """Return a bell at 100 s, long after the last pulse."""
    bell = Bell()
    bell.pulsed(0.0, is_scheduled=True)
    return bell


def test_nothing_is_due_while_nothing_rings() -> None:
    assert rested().due(100.0) == math.inf


def test_what_rings_is_due_at_once() -> None:
    bell = rested()
    bell.ring()
    assert bell.due(100.0) == 100.0


def test_what_rings_just_after_a_pulse_is_due_when_its_gate_is_open_again() -> None:
    bell = rested()
    bell.pulsed(100.0, is_scheduled=True)
    bell.ring()
    assert bell.due(100.01) == pytest.approx(100.0 + GAP)


def test_a_pulse_answers_all_that_has_rung() -> None:
    bell = rested()
    bell.ring()
    bell.ring()
    bell.pulsed(100.0, is_scheduled=False)
    assert bell.due(101.0) == math.inf


def pulses_in(seconds: float, bell: Bell) -> int:
    """Ring without end from 100 s on, and return how many pulses that gives."""
    now, sent = 100.0, 0
    while now < 100.0 + seconds:
        bell.ring()
        now = max(now + 0.001, bell.due(now))
        bell.pulsed(now, is_scheduled=False)
        sent += 1
    return sent


def test_who_rings_without_end_drives_five_pulses_a_second_beside_those_of_a_rest() -> None:
    assert pulses_in(20.0, rested()) == pytest.approx(20.0 / COST + MOST / COST, abs=2)


def test_a_scheduled_pulse_costs_no_credit() -> None:
    bell = rested()
    for number in range(20):
        bell.pulsed(100.0 + number / 1000, is_scheduled=True)
    bell.ring()
    assert bell.due(200.0) == 200.0
