"""The words of a worker: what a transition may be, how an exit is told, when a snapshot is stale."""

from __future__ import annotations

import msgspec
import pytest

from actions.start import Start
from supervisor.model import Stage
from supervisor.store import decode, encode
from tests.factories import NOW, make_child, make_lease, make_snapshot
from workers.model import Desired, Exit, Metadata, Observed, Signal, Status, Transition


def test_a_transition_is_a_state_or_an_action() -> None:
    to_state = Transition(reason="pid 7 runs", state="running")
    to_action = Transition(reason="nothing runs", action=Start())
    assert (to_state.state, to_state.action, to_state.signal) == ("running", None, Signal.NONE)
    assert (to_action.state, to_action.action, to_action.signal) == (None, Start(), Signal.NONE)


def test_a_transition_is_never_both() -> None:
    with pytest.raises(ValueError, match=r"a state or an action: got state 'running' and action Start\(\)"):
        Transition(reason="pid 7 runs", state="running", action=Start())


def test_a_transition_is_never_neither() -> None:
    with pytest.raises(ValueError, match="a state or an action: got state None and action None"):
        Transition(reason="pid 7 runs")


def test_a_transition_must_give_its_reason() -> None:
    with pytest.raises(ValueError, match="must give its reason"):
        Transition(reason="", state="running")


@pytest.mark.parametrize(
    ("code", "signal", "words"),
    [
        (3, 0, "pid 7 ended with exit code 3 after 2.5s"),
        (0, 0, "pid 7 ended with exit code 0 after 2.5s"),
        (None, 9, "pid 7 was ended by signal 9 after 2.5s"),
        (None, 0, "pid 7 vanished together with its holder after 2.5s"),
    ],
)
def test_an_exit_is_told_in_words(code: int | None, signal: int, words: str) -> None:
    assert Exit(7, 70, NOW, NOW + 2.5, code=code, signal=signal).words() == words


def test_an_exit_without_a_pid_is_told_with_what_its_manager_says() -> None:
    assert Exit(0, 70, NOW, NOW + 2.5).words() == "it was gone after 2.5s"
    oom = Exit(0, 70, NOW, NOW + 2.5, code=137, reason="out of memory")
    assert oom.words() == "it ended with exit code 137 (out of memory) after 2.5s"


def test_an_exit_is_identified_by_pid_and_start_never_by_pid_alone() -> None:
    assert (Exit(7, 70, NOW, NOW).id, Exit(7, 71, NOW, NOW).id) == ("7-70", "7-71")


@pytest.mark.parametrize(("age", "stale"), [(0.0, False), (9.999, False), (10.0, True), (500.0, True), (None, True)])
def test_a_snapshot_is_stale_from_ten_seconds_or_without_an_age(age: float | None, stale: bool) -> None:
    assert make_snapshot(metadata=Metadata(NOW, NOW, None, age)).is_stale is stale


@pytest.mark.parametrize(
    ("desired", "wants_stop"),
    [
        (Desired(state="running"), False),
        (Desired(state="stopped"), True),
        (Desired(state="running", removed=True), True),
        (Desired(state="running", moves_to="edge-2"), True),
    ],
)
def test_a_snapshot_wants_a_stop_when_stopped_is_desired_or_its_worker_leaves_its_place(
    desired: Desired, wants_stop: bool
) -> None:
    assert msgspec.structs.replace(make_snapshot(), desired=desired).wants_stop is wants_stop


def test_a_stored_document_with_another_schema_number_is_refused() -> None:
    text = msgspec.json.encode(Status(state="running", since=NOW))
    assert msgspec.json.decode(text, type=Status) == Status(state="running", since=NOW)
    with pytest.raises(msgspec.ValidationError, match="schema"):
        msgspec.json.decode(text.replace(b'"schema":1', b'"schema":2'), type=Status)


@pytest.mark.parametrize(("stage", "held"), [(Stage.QUEUED, True), (Stage.RUNNING, True), (Stage.FREE, False)])
def test_a_lease_is_in_progress_from_claim_to_end(stage: Stage, held: bool) -> None:
    assert make_lease(stage=stage).in_progress is held


def test_a_child_is_stored_beside_workers_under_an_id_of_its_own() -> None:
    assert make_child(name="broker").id == "child/broker"


def test_what_is_as_by_default_is_not_stored_of_workers_and_older_documents_that_have_it_are_the_same() -> None:
    seen, status = Observed(collected_at=5.0, pid=7), Status(state="running", since=4.0)
    assert encode(seen) == '{"schema":1,"collected_at":5.0,"pid":7}'
    assert encode(status) == '{"schema":1,"state":"running","since":4.0}'
    older = msgspec.json.encode({name: getattr(seen, name) for name in seen.__struct_fields__}).decode()
    assert decode(older, Observed, "key") == decode(encode(seen), Observed, "key") == seen
