"""Which decisions are kept, and that each is made again from what is kept of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from supervisor.admission import SkipReason
from supervisor.circuit import Verdict
from supervisor.frames import Frame, Outcome, decide_again, is_same, outcomes, subject_of
from supervisor.model import Stage, SupervisorSettings
from supervisor.plan import Subject, View, make_plan
from supervisor.recorder import MOST_A_TICK, MOST_TEXT, Recorder
from tests.factories import NOW, TYPES, make_lease, make_snapshot, make_subject, make_view
from workers.dfc_read.states import FlowObserved
from workers.model import Control, Observed

SETTINGS = SupervisorSettings(name="plant-1")
KIND = TYPES.get("process")


def wanting(**changes: Any) -> Subject:
    """Return a worker that waits to be started."""
    return make_subject(make_snapshot(state="starting"), **changes)


def up(collected_at: float = NOW - 1, **changes: Any) -> Observed:
    seen = Observed(collected_at=collected_at, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1")
    return msgspec.structs.replace(seen, **changes)


def running(collected_at: float = NOW - 1, **changes: Any) -> Subject:
    return make_subject(make_snapshot(state="running", observed=up(collected_at)), **changes)


def recorded(recorder: Recorder, view: View) -> dict[str, Frame]:
    """Return the frames that a recorder keeps of the plan for a view, as they are read back."""
    kept = recorder.frames("plant-1", view, make_plan(view, NOW), {one.id: one.place for one in view.subjects})
    return {item: msgspec.json.decode(text, type=Frame) for item, text in kept.items()}


def with_desired(subject: Subject, **changes: Any) -> Subject:
    assert subject.snapshot is not None
    desired = msgspec.structs.replace(subject.snapshot.desired, **changes)
    return msgspec.structs.replace(subject, snapshot=msgspec.structs.replace(subject.snapshot, desired=desired))


DOWN = make_view(wanting(), verdicts={"broker": Verdict("failed", "no answer")})
VIEWS = {
    "starts": make_view(wanting()),
    "changes state": make_view(make_subject()),
    "acts": make_view(wanting(lease=make_lease(stage=Stage.RUNNING))),
    "gives up": make_view(make_subject(make_snapshot(desired="stopped"), make_lease(stage=Stage.RUNNING))),
    "paused": make_view(make_subject(make_snapshot(state="starting", control=Control(paused=True, by="me", at=NOW)))),
    "away": make_view(wanting(), slots={}),
    "circuit open": make_view(wanting(), circuit_open=True),
    "not observed": make_view(make_subject(msgspec.structs.replace(make_snapshot(), observed=None))),
    "stale": make_view(make_subject(make_snapshot(age=12.0))),
    "backs off": make_view(wanting(lease=make_lease(outcome="error", failures=2, ended_at=NOW - 1.5))),
    "held off": make_view(wanting(), hold_until=NOW + 3),
    "another Redis": make_view(wanting(), data_since=NOW),
    "child failed": make_view(
        with_desired(wanting(), depends_on=("broker",)), verdicts={"broker": Verdict("failed", "no answer")}
    ),
    "child lacks topics": make_view(
        with_desired(wanting(), depends_on=("broker",)), verdicts={"broker": Verdict("ok", "well", "topics a")}
    ),
    "worker down": make_view(
        with_desired(wanting(), depends_on=("flow-2",)), make_subject(make_snapshot(worker_id="flow-2"))
    ),
    "worker up": make_view(
        with_desired(wanting(), depends_on=("flow-2",)),
        make_subject(make_snapshot(worker_id="flow-2", state="running", observed=up())),
    ),
    "waits for nobody": make_view(with_desired(wanting(), depends_on=("elsewhere",))),
    "leaves": make_view(with_desired(make_subject(), removed=True)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_each_decision_is_made_again_from_its_frame(name: str) -> None:
    view, recorder = VIEWS[name], Recorder()
    recorded(recorder, make_view(running()))
    frame = recorded(recorder, view)["flow-1"]
    assert frame.outcome == outcomes(make_plan(view, NOW)).get("flow-1", Outcome())
    assert decide_again(frame, subject_of(frame, KIND), SETTINGS, ()).key == frame.outcome.key


@pytest.mark.parametrize("reason", [SkipReason.QUEUE_FULL, SkipReason.BUDGET, SkipReason.HALF_OPEN, SkipReason.RAMP])
def test_what_a_shared_limit_held_back_is_the_same_if_it_is_wanted_again(reason: SkipReason) -> None:
    then = Outcome(skip=reason.value)
    assert is_same(then, Outcome(action="start"))
    assert not is_same(then, Outcome())
    assert not is_same(then, Outcome(action="start", state="failed"))


def test_outcomes_are_compared_without_their_words() -> None:
    assert is_same(Outcome(state="running", reason="pid 1 runs"), Outcome(state="running", reason="up"))
    assert not is_same(Outcome(state="running"), Outcome(state="degraded"))
    assert is_same(Outcome(skip="dependency"), Outcome(action="stop"))
    assert not is_same(Outcome(skip="dependency"), Outcome(action="start"))


def test_a_worker_for_which_nothing_changes_is_not_kept() -> None:
    recorder = Recorder()
    first = recorded(recorder, make_view(running()))
    later = recorded(recorder, make_view(running(NOW - 0.5)))
    assert (first, later) == ({}, {})


class Tagged(Observed, frozen=True, kw_only=True):
    """What a type of another package may see: a value that cannot be hashed."""

    tags: dict[str, str] = {}


def test_a_type_may_observe_what_cannot_be_hashed() -> None:
    def tagged(collected_at: float, **tags: str) -> View:
        seen = Tagged(collected_at=collected_at, pid=42, start_ticks=7, started_at=NOW - 100, config_id="c1", tags=tags)
        return make_view(make_subject(make_snapshot(state="running", observed=seen)))

    recorder = Recorder()
    assert [
        list(recorded(recorder, view))
        for view in (tagged(NOW - 2, line="1"), tagged(NOW - 1, line="1"), tagged(NOW - 1, line="2"))
    ] == [[], [], ["flow-1"]]


def test_a_worker_that_is_seen_first_is_kept_if_something_is_done_about_it() -> None:
    assert recorded(Recorder(), make_view(wanting(), make_subject(make_snapshot(worker_id="b", age=15.0)))).keys() == {
        "flow-1"
    }


def test_numbers_alone_are_no_change_but_another_life_is() -> None:
    def flow(**changes: Any) -> View:
        seen = FlowObserved(
            collected_at=NOW - 1,
            pid=42,
            start_ticks=7,
            started_at=NOW - 100,
            config_id="c1",
            ready=True,
            input_connected=True,
            output_connected=True,
        )
        seen = msgspec.structs.replace(seen, **changes)
        return make_view(make_subject(make_snapshot(kind="dfc_read", state="running", observed=seen)))

    recorder = Recorder()
    recorded(recorder, flow())
    assert recorded(recorder, flow(messages_in=7, messages_in_per_second=1.5)) == {}
    assert recorded(recorder, flow(output_connected=False))["flow-1"].outcome.state == "degraded"
    assert recorded(recorder, flow(pid=43)).keys() == {"flow-1"}


def test_a_storm_is_kept_over_several_ticks() -> None:
    def view(**changes: Any) -> View:
        snapshots = (make_snapshot(worker_id=f"w{n}", state="running", observed=up()) for n in range(MOST_A_TICK + 5))
        return make_view(*(make_subject(snapshot) for snapshot in snapshots), **changes)

    recorder = Recorder()
    recorded(recorder, view())
    assert len(recorded(recorder, view(slots={}))) == MOST_A_TICK
    assert len(recorded(recorder, view(slots={}))) == 5
    assert len(recorded(recorder, view(slots={}))) == 0


def test_a_frame_that_is_too_long_is_not_kept() -> None:
    assert recorded(Recorder(), make_view(with_desired(wanting(), config={"env": {"A": "a" * MOST_TEXT}}))) == {}


def test_workers_that_have_gone_are_forgotten() -> None:
    recorder = Recorder()
    recorded(recorder, make_view(running(), make_subject(make_snapshot(worker_id="flow-2"))))
    recorded(recorder, make_view(running()))
    assert set(recorder._seen["plant-1"]) == {"flow-1"}


def test_a_worker_that_cannot_be_read_is_not_kept() -> None:
    unreadable = Subject("flow-1", "edge-1", 1, None, None, KIND.derive, {}, "document cannot be read")
    assert recorded(Recorder(), make_view(unreadable)) == {}


def test_a_frame_that_its_type_reads_no_more_says_so() -> None:
    frame = recorded(Recorder(), make_view(wanting()))["flow-1"]
    broken = msgspec.structs.replace(frame, observed=msgspec.Raw(b'{"collected_at":"long ago"}'))
    with pytest.raises(msgspec.MsgspecError, match="collected_at"):
        subject_of(broken, KIND)
