"""The checker finds every violation that is planted in a journal, and none in a journal without."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.checker import Recovery, Violation, Wait, percentile, recoveries, violations, waits


def begin(worker: str, token: int, pid: int = 1, time: float = 0.0, **fields: Any) -> dict[str, Any]:
    line = {"do": "begin", "worker": worker, "verb": "start", "token": token, "pid": pid, "node": "edge-1"}
    return {**line, "alone": True, "time": time, **fields}


def commit(worker: str, token: int, pid: int = 1, time: float = 0.0, **fields: Any) -> dict[str, Any]:
    line = {"do": "commit", "worker": worker, "verb": "start", "token": token, "pid": pid, "node": "edge-1"}
    return {**line, "until": time, "time": time, **fields}


def refused(worker: str, token: int, pid: int = 1) -> dict[str, Any]:
    return {"do": "refused", "worker": worker, "verb": "start", "token": token, "pid": pid, "node": "edge-1", "time": 0}


def fault(what: str, *nodes: str, time: float = 0.0) -> dict[str, Any]:
    return {"do": "fault", "what": what, "nodes": list(nodes), "time": time}


def kinds(*lines: dict[str, Any]) -> list[tuple[str, int]]:
    return [(violation.kind, violation.line) for violation in violations(lines)]


def test_effects_one_after_the_other_under_growing_tokens_are_in_order() -> None:
    assert (
        violations([begin("a", 1), commit("a", 1), begin("b", 1), begin("a", 2), commit("b", 1), commit("a", 2)]) == []
    )


def test_an_effect_that_begins_while_another_is_under_way_overlaps() -> None:
    lines = [begin("a", 1, pid=1), begin("a", 2, pid=2, alone=False)]
    assert violations(lines) == [Violation("overlap", "a", 2, "start under 1 on edge-1 was under way")]


def test_an_effect_whose_process_was_killed_is_not_under_way_any_more() -> None:
    assert kinds(begin("a", 1, pid=1), fault("kill", "edge-1"), begin("a", 2, pid=2)) == []


def test_an_effect_that_outlived_its_killed_executor_overlaps_all_the_same() -> None:
    assert kinds(begin("a", 1, pid=1), fault("kill", "edge-1"), begin("a", 2, pid=2, alone=False)) == [("overlap", 3)]


def test_an_effect_of_a_frozen_executor_may_overlap_its_successor() -> None:
    lines = [begin("a", 1, pid=1), fault("freeze", "edge-1"), begin("a", 2, pid=2, node="edge-2", alone=False)]
    assert kinds(*lines, fault("thaw", "edge-1"), refused("a", 1, pid=1), commit("a", 2, pid=2, node="edge-2")) == []


def test_a_process_is_not_excused_for_a_frozen_executor() -> None:
    lines = [begin("a", 1, pid=1, verb="run"), fault("freeze", "edge-1")]
    assert kinds(*lines, begin("a", 2, pid=2, verb="run", alone=False)) == [("overlap", 3)]


def test_another_nodes_freeze_excuses_nothing() -> None:
    lines = [begin("a", 1, pid=1), fault("freeze", "edge-2")]
    assert kinds(*lines, begin("a", 2, pid=2, alone=False)) == [("overlap", 3)]


def test_a_thawed_nodes_later_effects_are_not_excused() -> None:
    lines = [fault("freeze", "edge-1"), fault("thaw", "edge-1"), begin("a", 1, pid=1)]
    assert kinds(*lines, begin("a", 2, pid=2, alone=False)) == [("overlap", 4)]


def test_a_smaller_token_went_back() -> None:
    assert kinds(begin("a", 2), commit("a", 2), begin("a", 1)) == [("token", 3)]


def test_a_second_effect_under_one_token_is_repeated() -> None:
    assert kinds(begin("a", 1), commit("a", 1), begin("a", 1)) == [("repeated", 3)]


def test_a_stop_and_a_start_under_one_token_are_a_restart() -> None:
    assert kinds(begin("a", 1, verb="stop"), commit("a", 1, verb="stop"), begin("a", 1), commit("a", 1)) == []


def test_a_commit_after_a_larger_token_was_seen_is_fenced() -> None:
    lines = [begin("a", 1, pid=1), fault("freeze", "edge-1"), begin("a", 2, pid=2, node="edge-2", alone=False)]
    assert kinds(*lines, commit("a", 1, pid=1)) == [("fenced", 4)]


def test_a_start_of_what_runs_is_needless() -> None:
    lines = [begin("a", 1), commit("a", 1, time=1.0, until=5.0)]
    assert kinds(*lines, begin("a", 2, time=4.9)) == [("needless", 3)]
    assert kinds(*lines, begin("a", 2, time=5.0)) == []


def test_a_stop_of_what_runs_is_not_needless() -> None:
    assert kinds(begin("a", 1), commit("a", 1, until=None), begin("a", 2, verb="stop", time=4.9)) == []


def test_a_start_decided_on_before_a_thawed_effect_was_committed_is_excused_once() -> None:
    lines = [begin("a", 1, pid=1), fault("freeze", "edge-1"), fault("thaw", "edge-1"), commit("a", 1, until=None)]
    lines += [begin("a", 2, pid=2), commit("a", 2, pid=2, until=None)]
    assert kinds(*lines) == []
    assert kinds(*lines, begin("a", 3, pid=3)) == [("needless", 7)]


def test_a_commit_without_a_beginning_is_impossible() -> None:
    assert kinds(commit("a", 1)) == [("impossible", 1)]


def test_a_commit_whose_successor_began_alone_overlaps_it() -> None:
    lines = [begin("a", 1, pid=1), begin("a", 2, pid=2), commit("a", 1, pid=1)]
    assert kinds(*lines) == [("overlap", 3), ("fenced", 3)]


def test_a_lock_that_nobody_journaled_is_impossible() -> None:
    assert kinds(begin("a", 1, alone=False)) == [("impossible", 1)]


def test_a_line_that_is_not_known_is_impossible() -> None:
    assert kinds({"do": "dance", "worker": "a"}) == [("impossible", 1)]


def test_a_process_that_ends_by_itself_is_not_under_way_any_more() -> None:
    end = {"do": "end", "worker": "a", "pid": 1, "node": "edge-1", "time": 0.0, "token": 1, "verb": "run"}
    assert kinds(begin("a", 1, verb="run"), end, begin("a", 2, verb="run")) == []
    assert kinds(begin("a", 1, verb="run"), begin("a", 2, pid=2, verb="run"), end) == [("overlap", 3)]


def test_a_recovery_lasts_from_the_kill_to_the_next_beginning() -> None:
    lines = [begin("a", 1, time=1.0), begin("b", 1, pid=2, node="edge-2"), fault("kill", "edge-1", time=2.0)]
    assert recoveries([*lines, begin("a", 2, pid=3, time=12.5)]) == [Recovery("a", "edge-1", 2.0, 10.5)]
    assert recoveries(lines) == [Recovery("a", "edge-1", 2.0, None)]


def test_an_effect_that_was_committed_was_not_cut_off() -> None:
    killed = fault("kill", "edge-1", time=2.0)
    assert recoveries([begin("a", 1), commit("a", 1), killed]) == []
    assert recoveries([begin("a", 1), killed, commit("a", 1)]) == []


def test_a_wish_waits_until_it_is_committed() -> None:
    lines = [{"do": "want", "worker": "a", "state": "stopped", "time": 1.0}]
    assert waits(lines) == [Wait("a", "stopped", 1.0, None)]
    done = commit("a", 1, time=3.0, verb="stop", until=None)
    assert waits([*lines, commit("a", 1, time=2.0, until=None), done]) == [Wait("a", "stopped", 1.0, 3.0)]
    assert [wait.seconds(9.0) for wait in (*waits(lines), *waits([*lines, done]))] == [8.0, 2.0]


def test_what_stops_by_itself_is_wanted_again_unless_it_is_wanted_stopped() -> None:
    lines = [commit("a", 1, time=1.0, until=4.0), commit("a", 2, time=6.0, until=9.0)]
    assert waits(lines) == [Wait("a", "running", 4.0, 6.0), Wait("a", "running", 9.0, None)]
    stopped = [{"do": "want", "worker": "a", "state": "stopped", "time": 0.0}, *lines[:1]]
    assert waits(stopped) == [Wait("a", "stopped", 0.0, None)]


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert [percentile(range(1, 101), share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)
