"""The one admission: who may act under all limits at once, and why the others may not."""

from __future__ import annotations

from supervisor.admission import Admission, Candidate, Limit, Skip, SkipReason, admit

QUEUE = Limit(SkipReason.QUEUE_FULL, {"edge-1": 2, "edge-2": 2}, {"edge-1": 1}, "{used} of {most} queued at {name}")
BUDGET = Limit(SkipReason.BUDGET, {"line": 1}, {}, "{used} of {most} in action in group {name}")


def candidate(worker_id: str, since: float = 0.0, place: str = "edge-1", group: str = "") -> Candidate:
    names = {SkipReason.QUEUE_FULL: place, **({SkipReason.BUDGET: group} if group else {})}
    return Candidate(worker_id, since, names)


def test_nobody_waits_and_nobody_is_admitted() -> None:
    assert admit([], [QUEUE, BUDGET]) == Admission(frozenset(), ())


def test_the_longest_waiting_go_first_whatever_their_order() -> None:
    found = admit([candidate("a", 30.0), candidate("b", 10.0), candidate("c", 20.0)], [QUEUE])
    held = [Skip(name, SkipReason.QUEUE_FULL, "2 of 2 queued at edge-1") for name in "ca"]
    assert found == Admission(frozenset("b"), tuple(held))


def test_those_who_wait_equally_long_keep_their_order() -> None:
    assert admit([candidate("b"), candidate("a")], [QUEUE]).admitted == frozenset("b")


def test_what_one_limit_holds_back_takes_nothing_of_another() -> None:
    wanted = [candidate("a", 1.0, group="line"), candidate("b", 2.0, group="line"), candidate("c", 3.0, "edge-2")]
    more = Limit(SkipReason.QUEUE_FULL, {"edge-1": 2, "edge-2": 1}, {}, QUEUE.words)
    found = admit([*wanted, candidate("d", 4.0)], [BUDGET, more])
    assert found == Admission(frozenset("acd"), (Skip("b", SkipReason.BUDGET, "1 of 1 in action in group line"),))


def test_a_name_without_a_number_is_not_limited_and_one_of_0_lets_nobody_pass() -> None:
    none = Limit(SkipReason.QUEUE_FULL, {"edge-1": 0}, {}, QUEUE.words)
    found = admit([candidate("a"), candidate("b", place="edge-9")], [none])
    assert found == Admission(frozenset("b"), (Skip("a", SkipReason.QUEUE_FULL, "0 of 0 queued at edge-1"),))


def test_more_taken_than_there_may_be_holds_back_too() -> None:
    over = Limit(SkipReason.BUDGET, {"line": 1}, {"line": 3}, BUDGET.words)
    assert admit([candidate("a", group="line")], [over]).skips == (
        Skip("a", SkipReason.BUDGET, "3 of 1 in action in group line"),
    )


def test_the_values_given_are_left_as_they_were() -> None:
    used = {"edge-1": 1}
    admit([candidate("a")], [Limit(SkipReason.QUEUE_FULL, {"edge-1": 5}, used, QUEUE.words)])
    assert used == {"edge-1": 1}


def test_a_further_limit_is_a_further_value() -> None:
    """As few as a half-open circuit lets act, whatever their place and group."""
    few = Limit(SkipReason.CIRCUIT_OPEN, {"circuit": 1}, {}, "{used} of {most} act while the {name} is half open")
    both = [Candidate(name, 0.0, {SkipReason.CIRCUIT_OPEN: "circuit"}) for name in "ab"]
    assert admit(both, [QUEUE, few]) == Admission(
        frozenset("a"), (Skip("b", SkipReason.CIRCUIT_OPEN, "1 of 1 act while the circuit is half open"),)
    )
