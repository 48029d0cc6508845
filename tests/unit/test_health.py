"""Children: the verdict on what was seen (pure)."""

from __future__ import annotations

import pytest

from actions.create_topics import Topic
from supervisor.circuit import Verdict
from supervisor.health import judge
from supervisor.model import Check, ChildObserved, ChildSpec, Lease
from tests.factories import NOW, make_child, make_child_observed, make_lease

RESTARTED = make_lease(action="restart_child", ended_at=NOW - 1)
WITH_TOPICS = make_child(process=None, topics=tuple(Topic(name=name) for name in "abcdefg"))
FOREIGN = make_child(process=None)
WARY = make_child(check=Check(address="127.0.0.1:7390", successes=3))
PATIENT = make_child(check=Check(address="127.0.0.1:7390", failures=3))

VERDICTS = {
    "its node is away": (
        (make_child(), make_child_observed(), True, None),
        Verdict("unknown", "node edge-1 is away"),
    ),
    "nobody has looked": ((make_child(), None, False, None), Verdict("unknown", "not observed yet")),
    "seen 9.9 s ago": (
        (make_child(), make_child_observed(age=9.9), False, None),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "seen 10 s ago": (
        (make_child(), make_child_observed(age=10.0), False, None),
        Verdict("unknown", "last observed 10s ago"),
    ),
    "not seen since its restart": (
        (make_child(), make_child_observed(age=1.0, failures=1), False, RESTARTED),
        Verdict("starting", "not observed since its restart_child ended"),
    ),
    "seen after its restart": (
        (make_child(), make_child_observed(age=0.9), False, RESTARTED),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "its restart has not ended": (
        (make_child(), make_child_observed(), False, make_lease(ended_at=None)),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "the look itself failed": (
        (make_child(), make_child_observed(pid=None, unknown=True, error="probe timed out"), False, None),
        Verdict("unknown", "probe timed out"),
    ),
    "the look itself failed, without a reason": (
        (make_child(), make_child_observed(pid=None, unknown=True), False, None),
        Verdict("unknown", "the look failed"),
    ),
    "two of three looks passed": (
        (WARY, make_child_observed(passes=2), False, None),
        Verdict("unknown", "2 of 3 looks passed"),
    ),
    "three of three looks passed": (
        (WARY, make_child_observed(passes=3), False, None),
        Verdict("ok", "pid 42 passes its check"),
    ),
    "nobody has started it": (
        (make_child(), make_child_observed(started=False, pid=None, failures=9), False, None),
        Verdict("absent", "not started yet"),
    ),
    "its process is gone, with the reason": (
        (PATIENT, make_child_observed(pid=None, failures=1, error="pid 42 was ended by signal 9"), False, None),
        Verdict("failed", "pid 42 was ended by signal 9"),
    ),
    "its process is gone, without a reason": (
        (PATIENT, make_child_observed(pid=None), False, None),
        Verdict("failed", "its process is gone"),
    ),
    "it passes and is not ours": (
        (FOREIGN, make_child_observed(pid=None), False, None),
        Verdict("ok", "passes its check"),
    ),
    "it passes, with what was seen": (
        (FOREIGN, make_child_observed(pid=None, detail="3 of 3 brokers alive"), False, None),
        Verdict("ok", "passes its check: 3 of 3 brokers alive"),
    ),
    "it passes and lacks topics": (
        (WITH_TOPICS, make_child_observed(pid=None, missing=("a", "b", "not wished for any more")), False, None),
        Verdict("ok", "passes its check; lacks topics a, b", "topics a, b"),
    ),
    "it passes and lacks many topics": (
        (WITH_TOPICS, make_child_observed(missing=tuple("abcdefg")), False, None),
        Verdict(
            "ok", "pid 42 passes its check; lacks topics a, b, c, d, e and 2 more", "topics a, b, c, d, e and 2 more"
        ),
    ),
    "it fails and is not ours": (
        (FOREIGN, make_child_observed(pid=None, started_at=None, failures=1, error="no answer"), False, None),
        Verdict("failed", "no answer"),
    ),
    "it fails within its start_grace": (
        (make_child(), make_child_observed(started_at=NOW - 4.9, failures=1, error="no answer"), False, None),
        Verdict("starting", "no answer"),
    ),
    "it fails at the end of its start_grace": (
        (make_child(), make_child_observed(started_at=NOW - 5, failures=1, error="no answer"), False, None),
        Verdict("failed", "no answer"),
    ),
    "it failed two looks of three": (
        (PATIENT, make_child_observed(failures=2, error="no answer"), False, None),
        Verdict("unknown", "2 of 3 looks failed: no answer"),
    ),
    "it failed three looks of three": (
        (PATIENT, make_child_observed(failures=3), False, None),
        Verdict("failed", "check failed"),
    ),
}


@pytest.mark.parametrize(("seen", "verdict"), VERDICTS.values(), ids=VERDICTS.keys())
def test_a_child_is_judged_by_what_was_seen_of_it(
    seen: tuple[ChildSpec, ChildObserved | None, bool, Lease | None], verdict: Verdict
) -> None:
    assert judge(*seen, NOW) == verdict


def test_all_verdicts_that_exist_are_tested_here() -> None:
    assert {verdict.state for _, verdict in VERDICTS.values()} == {"ok", "failed", "absent", "starting", "unknown"}
