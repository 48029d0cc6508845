"""The circuit: opens on a failed check, restarts with backoff, escalates once, closes when all is well again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import pytest

from supervisor.breaker import (
    TABLE,
    Condition,
    Decision,
    Notice,
    Said,
    incident_of,
    next_attempt_at,
    recovery_status,
    settle,
    step,
)
from supervisor.circuit import Breaker, Forced, Recovery, Verdict
from supervisor.clock import FakeClock
from supervisor.model import Incident as Record
from supervisor.model import Lease, Stage, SupervisorSettings
from supervisor.plan import Plan, Skip, SkipReason, make_plan
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view

OK = Verdict("ok", "pid 42 passes its check")
FAILED = Verdict("failed", "no answer")
UNKNOWN = Verdict("unknown", "node edge-1 is away")
STARTING = Verdict("starting", "no answer")
ABSENT = Verdict("absent", "not started yet")
GRACE = 5.0


def decide(
    breaker: Breaker,
    verdict: Verdict | Mapping[str, Verdict],
    now: float = NOW,
    *,
    last: Lease | None = None,
    max_attempts: int = 5,
    grace: float = GRACE,
    not_before: float = 0.0,
    flap_window: float = 10.0,
    watched: Collection[str] = (),
    **changes: Any,
) -> Decision:
    """Return the decision about the broker, or about several children; by default nobody tries first."""
    verdicts = {"broker": verdict} if isinstance(verdict, Verdict) else verdict
    settings = settings_with(max_attempts=max_attempts, flap_window=flap_window, **changes)
    return step(breaker, verdicts, {"broker": last}, {"broker": grace}, settings, now, not_before, watched)


def settings_with(**changes: Any) -> SupervisorSettings:
    """Return settings under which a passing check closes at once, without a ramp."""
    return SupervisorSettings(name="plant-1", **{"half_open_workers": 0, "recovery_rate": 0.0, **changes})


def opened(attempts: int = 1, *, ago: float = 30.0, **changes: object) -> Breaker:
    """Return a circuit that the broker opened `ago` seconds before NOW."""
    children = {"broker": Recovery(attempts, NOW - ago)}
    breaker = Breaker(
        state="open",
        generation=1,
        opened_at=NOW - ago,
        reason="broker: no answer",
        children=children,
        incident=str(int(NOW - ago)),
    )
    return msgspec.structs.replace(breaker, **changes)


def ended(at: float) -> Lease:
    return make_lease(worker_id="child/broker", action="restart_child", ended_at=at)


def notices(decision: Decision) -> list[Notice]:
    return [said.notice for said in decision.said]


RUNNING = make_lease(stage=Stage.RUNNING, worker_id="child/broker", action="restart_child")


class Incident:
    """A failing broker under a fake clock: ticks each second, restarts take two, nobody sleeps."""

    def __init__(self, max_attempts: int = 5, grace: float = 0.0) -> None:
        self.clock = FakeClock(NOW)
        self.breaker = Breaker()
        self.max_attempts = max_attempts
        self.grace = grace
        self.last: Lease | None = None
        self.restarts: list[float] = []
        self.told: list[tuple[float, Said]] = []

    def tick(self, verdict: Verdict = FAILED) -> Decision:
        now = self.clock.now()
        if self.last is not None and self.last.in_progress and now >= self.last.claimed_at + 2:
            self.last = msgspec.structs.replace(ended(now), claimed_at=self.last.claimed_at)
        decision = decide(self.breaker, verdict, now, last=self.last, max_attempts=self.max_attempts, grace=self.grace)
        if decision.restarts:
            self.restarts.append(now - NOW)
            self.last = make_lease(stage=Stage.RUNNING, claimed_at=now)
        self.breaker = decision.breaker
        self.told += [(now - NOW, said) for said in decision.said]
        self.clock.advance(1.0)
        return decision

    def times(self, notice: Notice) -> list[float]:
        return [at for at, said in self.told if said.notice is notice]


def test_s1_a_failed_check_opens_the_circuit_and_restarts_the_child() -> None:
    assert decide(Breaker(), FAILED) == Decision(
        breaker=Breaker(
            state="open",
            generation=1,
            opened_at=NOW,
            failed_at=NOW,
            reason="broker: no answer",
            children={"broker": Recovery(1, NOW, NOW)},
            incident="1800000000",
        ),
        restarts=("broker",),
        said=(
            Said(Notice.CHECK_FAILED, "broker", {"error": "no answer"}),
            Said(Notice.OPENED, "broker", {"error": "broker: no answer", "retry_attempt": 0, "backoff_delay": 1.0}),
            Said(Notice.RESTART, "broker", {"retry_attempt": 1, "backoff_delay": 1.0}),
        ),
    )


def test_s1_under_an_open_circuit_nothing_is_derived_into_an_action_but_the_state_is_kept() -> None:
    subject = make_subject(make_snapshot(state="starting"))
    assert make_plan(make_view(subject, circuit_open=decide(Breaker(), FAILED).breaker.is_open), NOW) == Plan(
        (), (Skip("flow-1", SkipReason.CIRCUIT_OPEN, "start waits for the circuit to close"),)
    )


def test_s1_several_children_that_fail_at_once_are_all_named_and_restarted() -> None:
    decision = decide(Breaker(), {"broker": FAILED, "plc": OK, "cache": Verdict("failed", "its process is gone")})
    assert decision.restarts == ("broker", "cache")
    assert decision.breaker.reason == "broker: no answer; cache: its process is gone"
    assert notices(decision) == [Notice.CHECK_FAILED] * 2 + [Notice.OPENED] + [Notice.RESTART] * 2


def test_s2_attempts_double_their_distance_up_to_the_cap_and_nothing_sleeps() -> None:
    incident = Incident(max_attempts=5)
    for _ in range(400):
        incident.tick()
    gaps = [later - earlier for earlier, later in zip(incident.restarts, incident.restarts[1:], strict=False)]
    # a restart takes 2 s, then its backoff passes
    assert gaps[:8] == [2 + 1, 2 + 2, 2 + 4, 2 + 8, 2 + 16, 2 + 32, 2 + 60, 2 + 60]
    assert incident.clock.now() == NOW + 400


@pytest.mark.parametrize("attempts", [1, 2, 3, 4, 5, 6, 7, 50])
def test_s2_the_next_attempt_is_not_before_end_and_grace_and_backoff(attempts: int) -> None:
    backoff = [1, 2, 4, 8, 16, 32, 60][min(attempts, 7) - 1]
    due = NOW + GRACE + backoff
    circuit = opened(attempts, escalated=True)
    assert decide(circuit, FAILED, due - 0.001, last=ended(NOW)).restarts == ()
    on_time = decide(circuit, FAILED, due, last=ended(NOW))
    assert on_time.restarts == ("broker",)
    assert on_time.breaker.children == {"broker": Recovery(attempts + 1, NOW - 30, due)}


def test_s2_no_attempt_is_started_while_one_is_in_progress_however_long_it_takes() -> None:
    decision = decide(opened(1), FAILED, NOW + 3600, last=RUNNING)
    assert (decision.restarts, decision.breaker) == ((), opened(1, failed_at=NOW + 3600))


@pytest.mark.parametrize(
    ("recovery", "last", "due"),
    [
        (Recovery(0, NOW), None, 0.0),
        (Recovery(0, NOW), ended(NOW), 0.0),
        (Recovery(2, NOW - 9), RUNNING, float("inf")),
        (Recovery(2, NOW - 9), ended(NOW), NOW + GRACE + 2),
        (Recovery(2, NOW - 9), None, NOW - 9 + GRACE + 2),
    ],
)
def test_when_the_next_attempt_is_due(recovery: Recovery, last: Lease | None, due: float) -> None:
    assert next_attempt_at(recovery, last, GRACE) == due


def test_s3_a_passing_check_closes_with_attempts_zero_and_the_downtime_from_opening() -> None:
    before = opened(3, ago=30.0, escalated=True)
    assert decide(before, OK, NOW + 12) == Decision(
        breaker=Breaker(
            state="closed",
            generation=2,
            opened_at=NOW - 30,
            closed_at=NOW + 12,
            eased_at=NOW + 12,
            reason="all checks pass",
            incident=before.incident,
        ),
        restarts=(),
        said=(Said(Notice.CLOSED, "broker", {"total_downtime": 42.0, "retry_attempt": 3}),),
    )


def test_s3_after_closing_nobody_is_told_again_and_a_new_failure_starts_at_the_first_attempt() -> None:
    closed = decide(opened(4), OK).breaker
    assert (closed.attempts, closed.downtime(NOW + 100), closed.is_open) == (0, 0.0, False)
    assert decide(closed, OK, NOW + 1) == Decision(closed, (), ())
    again = decide(closed, FAILED, NOW + 60, last=ended(NOW))
    assert again.breaker.children == {"broker": Recovery(1, NOW + 60, NOW + 60)}
    assert (again.breaker.opened_at, again.breaker.generation, again.restarts) == (NOW + 60, 3, ("broker",))


def test_s3_a_circuit_that_no_child_holds_open_closes_and_names_none() -> None:
    decision = decide(opened(0, children={}), {}, NOW)
    assert decision.said == (Said(Notice.CLOSED, "", {"total_downtime": 30.0, "retry_attempt": 0}),)


def test_s4_closed_and_healthy_nothing_changes_and_nothing_is_told() -> None:
    assert decide(Breaker(), {"broker": OK, "plc": OK}) == Decision(Breaker(), (), ())


@pytest.mark.parametrize("verdict", [UNKNOWN, STARTING, ABSENT], ids=lambda verdict: verdict.state)
def test_a_verdict_that_is_no_failure_opens_nothing(verdict: Verdict) -> None:
    assert decide(Breaker(), verdict) == Decision(Breaker(), (), ())


@pytest.mark.parametrize("verdict", [UNKNOWN, STARTING, ABSENT], ids=lambda verdict: verdict.state)
def test_a_child_that_is_not_known_to_be_well_keeps_the_circuit_open(verdict: Verdict) -> None:
    decision = decide(opened(1), verdict, last=ended(NOW - 1))
    assert (decision.breaker, decision.restarts, notices(decision)) == (opened(1), (), [Notice.HEARTBEAT])


def test_another_child_that_is_unknown_does_not_keep_the_circuit_open() -> None:
    assert decide(opened(1), {"broker": OK, "plc": UNKNOWN}).breaker.state == "closed"


def test_a_child_that_left_the_fleet_file_does_not_keep_the_circuit_open() -> None:
    assert decide(opened(1), {"plc": OK}).breaker.state == "closed"


def test_a_second_child_that_fails_meanwhile_has_attempts_of_its_own() -> None:
    decision = decide(opened(3), {"broker": FAILED, "plc": FAILED}, last=RUNNING)
    assert decision.restarts == ("plc",)
    assert decision.breaker.children == {"broker": Recovery(3, NOW - 30), "plc": Recovery(1, NOW, NOW)}
    assert (decision.breaker.attempts, decision.breaker.generation, decision.breaker.opened_at) == (3, 1, NOW - 30)


def test_a_child_that_is_well_again_is_not_restarted_while_another_still_fails() -> None:
    before = opened(children={"broker": Recovery(2, NOW - 30), "plc": Recovery(1, NOW - 10)})
    decision = decide(before, {"broker": OK, "plc": FAILED}, NOW + 100)
    assert decision.restarts == ("plc",)
    assert decision.breaker.children == {"broker": Recovery(2, NOW - 30), "plc": Recovery(2, NOW - 10, NOW + 100)}


def test_s6_every_tick_while_open_tells_a_heartbeat_with_all_its_values() -> None:
    decision = decide(opened(3, ago=30.0), FAILED, NOW, last=ended(NOW - 4))
    assert decision.said == (
        Said(Notice.CHECK_FAILED, "broker", {"error": "no answer"}),
        Said(
            Notice.HEARTBEAT,
            "broker",
            {
                "retry_attempt": 3,
                "max_attempts": 5,
                "elapsed_downtime": 30.0,
                "next_retry_in": 5.0,
                "recovery_status": "persistent_failure",
            },
        ),
    )


@pytest.mark.parametrize(("last", "next_retry_in"), [(RUNNING, None), (ended(NOW - 3600), 0.0), (ended(NOW), 6.0)])
def test_s6_a_heartbeat_says_when_the_next_attempt_is(last: Lease, next_retry_in: float | None) -> None:
    heartbeat = next(said for said in decide(opened(1), FAILED, last=last).said if said.notice is Notice.HEARTBEAT)
    assert heartbeat.values["next_retry_in"] == next_retry_in


def test_s6_an_incident_has_one_heartbeat_each_tick_after_it_opened() -> None:
    incident = Incident()
    for _ in range(50):
        incident.tick()
    assert incident.times(Notice.HEARTBEAT) == [float(second) for second in range(1, 50)]
    assert incident.times(Notice.OPENED) == [0.0]


@pytest.mark.parametrize(
    ("attempts", "word"),
    [
        (0, "attempting_recovery"),
        (2, "attempting_recovery"),
        (3, "persistent_failure"),
        (4, "persistent_failure"),
        (5, "escalation_imminent"),
        (50, "escalation_imminent"),
    ],
)
def test_s6_how_far_recovery_has_got_in_the_plans_words(attempts: int, word: str) -> None:
    assert recovery_status(attempts) == word


@pytest.mark.parametrize("max_attempts", [2, 3, 5])
def test_s6_the_warning_comes_once_with_the_attempt_before_the_last(max_attempts: int) -> None:
    incident = Incident(max_attempts)
    for _ in range(200):
        incident.tick()
    assert incident.times(Notice.ONE_LEFT) == [incident.restarts[max_attempts - 2]]


def test_s6_the_warning_says_how_many_remain_and_for_how_long_it_is_down() -> None:
    decision = decide(opened(3, ago=30.0), FAILED, NOW + 20, last=ended(NOW))
    assert decision.said[-2:] == (
        Said(Notice.RESTART, "broker", {"retry_attempt": 4, "backoff_delay": 8.0}),
        Said(Notice.ONE_LEFT, "broker", {"attempts_remaining": 1, "total_downtime": 50.0}),
    )


@pytest.mark.parametrize("max_attempts", [1, 2, 3, 5])
def test_s5_escalation_is_told_once_and_only_after_the_last_attempt_ended(max_attempts: int) -> None:
    incident = Incident(max_attempts)
    for _ in range(400):
        incident.tick()
    assert incident.times(Notice.ESCALATED) == [incident.restarts[max_attempts - 1] + 2]
    assert incident.breaker.escalated is True
    assert len(incident.restarts) > max_attempts
    assert incident.breaker.is_open


def test_s5_escalation_gives_the_attempts_and_the_whole_downtime() -> None:
    decision = decide(opened(5, ago=90.0), FAILED, NOW, last=ended(NOW))
    assert decision.said[-1] == Said(Notice.ESCALATED, "broker", {"max_attempts": 5, "total_downtime": 90.0})
    assert (decision.restarts, decision.breaker) == (
        (),
        opened(5, ago=90.0, escalated=True, escalated_at=NOW, failed_at=NOW),
    )


def test_s5_while_the_last_attempt_runs_nobody_is_called() -> None:
    decision = decide(opened(5), FAILED, NOW, last=RUNNING)
    assert (Notice.ESCALATED in notices(decision), decision.breaker.escalated) == (False, False)


def test_s5_a_second_child_of_the_same_incident_does_not_escalate_again() -> None:
    before = opened(escalated=True, children={"broker": Recovery(5, NOW), "plc": Recovery(5, NOW)})
    assert Notice.ESCALATED not in notices(decide(before, {"broker": FAILED, "plc": FAILED}, NOW, last=ended(NOW)))


def test_s5_a_new_incident_may_escalate_again() -> None:
    incident = Incident(max_attempts=1)
    for _ in range(10):
        incident.tick()
    incident.tick(OK)
    assert incident.breaker.escalated is False
    for _ in range(10):
        incident.tick()
    assert len(incident.times(Notice.ESCALATED)) == 2
    assert incident.times(Notice.CLOSED) == [10.0]


def test_s5_escalation_is_not_skipped_when_the_next_attempt_is_already_due() -> None:
    """A slow tick may find the last attempt ended, its grace and backoff over, and the check still failing."""
    decision = decide(opened(5), FAILED, last=ended(NOW - 3600))
    assert Notice.ESCALATED in notices(decision)
    assert decision.breaker.escalated
    assert decision.restarts == ("broker",)


def test_a_hold_off_opens_the_circuit_but_starts_and_counts_no_restart() -> None:
    held = decide(Breaker(), FAILED, not_before=NOW + 1)
    assert (held.breaker.state, held.breaker.attempts, held.restarts) == ("open", 0, ())
    assert notices(held) == [Notice.CHECK_FAILED, Notice.OPENED]
    still = decide(held.breaker, FAILED, NOW + 0.5, not_before=NOW + 1)
    assert (still.breaker.children, still.restarts) == ({}, ())
    after = decide(held.breaker, FAILED, NOW + 1, not_before=NOW + 1)
    assert (after.breaker.attempts, after.restarts) == (1, ("broker",))


# -- flapping ---------------------------------------------------------------------------------------------------------


def swing(breaker: Breaker, seconds: int, **how: Any) -> list[str]:
    """Return the states of a circuit under a check that passes every other second from NOW on."""
    states = []
    for second in range(seconds):
        breaker = decide(breaker, OK if second % 2 else FAILED, NOW + second, **how).breaker
        states.append(breaker.state)
    return states


def test_a_check_that_flaps_opens_the_circuit_and_leaves_it_open() -> None:
    assert swing(Breaker(), 60) == ["open"] * 60


def test_a_check_that_passes_by_itself_closes_the_circuit_after_the_flap_window() -> None:
    before = decide(Breaker(), FAILED, NOW).breaker
    assert decide(before, OK, NOW + 9.9).breaker == before
    assert decide(before, OK, NOW + 10).breaker.state == "closed"
    failing = decide(before, FAILED, NOW + 8).breaker
    assert decide(failing, OK, NOW + 17.9).breaker.state == "open"
    assert decide(failing, OK, NOW + 18).breaker.state == "closed"


def test_what_was_restarted_since_closes_the_circuit_at_once() -> None:
    before = decide(Breaker(), FAILED, NOW).breaker
    assert decide(before, OK, NOW + 2, last=ended(NOW + 1)).breaker.state == "closed"
    earlier, failed = ended(NOW - 1), msgspec.structs.replace(ended(NOW + 1), outcome="error")
    other = msgspec.structs.replace(ended(NOW + 1), action="create_topics")
    for last in (None, earlier, failed, other, RUNNING):
        assert decide(before, OK, NOW + 2, last=last).breaker.state == "open"


def test_a_circuit_that_opens_again_just_after_it_closed_is_not_closed_by_a_restart() -> None:
    closed = decide(decide(Breaker(), FAILED, NOW).breaker, OK, NOW + 2, last=ended(NOW + 1)).breaker
    again = decide(closed, FAILED, NOW + 5).breaker
    assert again.flapping
    assert decide(again, OK, NOW + 8, last=ended(NOW + 7)).breaker.state == "open"
    later = decide(again, OK, NOW + 15, last=ended(NOW + 7)).breaker
    assert (later.state, later.flapping) == ("closed", False)
    assert not decide(later, FAILED, NOW + 60).breaker.flapping


def test_without_a_flap_window_a_passing_check_closes_at_once() -> None:
    assert swing(Breaker(), 4, flap_window=0.0) == ["open", "closed", "open", "closed"]


def test_nobody_waits_for_a_failure_from_before_the_clock_was_set_back() -> None:
    assert decide(opened(1, failed_at=NOW + 3600), OK).breaker.state == "closed"


# -- attempts that were not started -----------------------------------------------------------------------------------


def test_a_restart_whose_claim_was_refused_is_no_attempt_and_is_asked_for_again() -> None:
    asked = decide(Breaker(), FAILED)
    again = decide(asked.breaker, FAILED, NOW + 1)  # no lease has been claimed since
    assert again.restarts == ("broker",)
    assert again.breaker.children == {"broker": Recovery(1, NOW, NOW + 1)}
    assert Notice.RESTART not in notices(again)
    claimed = make_lease(stage=Stage.RUNNING, claimed_at=NOW + 1)
    assert decide(again.breaker, FAILED, NOW + 2, last=claimed).breaker.children == again.breaker.children


def test_nobody_is_called_for_restarts_that_a_full_redis_refused() -> None:
    breaker = Breaker()
    for second in range(300):
        decision = decide(breaker, FAILED, NOW + second)
        assert Notice.ESCALATED not in notices(decision)
        breaker = decision.breaker
    assert breaker.attempts == 1


def test_restarts_may_wait_a_little_longer_each_by_its_own_share() -> None:
    calm, shared = (next_attempt_at(Recovery(4, NOW), ended(NOW), 0.0, jitter, "broker") for jitter in (0.0, 0.5))
    other = next_attempt_at(Recovery(4, NOW), ended(NOW), 0.0, 0.5, "plc")
    assert calm == NOW + 8
    assert NOW + 8 < shared < NOW + 12
    assert shared != other


# -- half open --------------------------------------------------------------------------------------------------------


def half_open(**changes: Any) -> Breaker:
    """Return a circuit that has been half open for two seconds."""
    usual = opened(2, state="half_open", generation=2, eased_at=NOW - 2, incident="i")
    return msgspec.structs.replace(usual, **changes)


def settled(
    breaker: Breaker,
    acted: Collection[str] = (),
    unsettled: Collection[str] = (),
    *,
    waiting: bool = False,
    held_back: bool = False,
    now: float = NOW,
    **changes: Any,
) -> tuple[Breaker, list[Notice]]:
    settings = settings_with(**{"half_open_workers": 10, **changes})
    after, said = settle(breaker, acted, unsettled, waiting, held_back, settings, now)
    return after, [one.notice for one in said]


def test_s3b_a_passing_check_makes_an_open_circuit_half_open_and_that_counts_as_not_open() -> None:
    decision = decide(opened(2), OK, half_open_workers=10)
    assert decision.breaker == opened(2, state="half_open", generation=2, eased_at=NOW)
    assert not decision.breaker.is_open
    assert decision.said == (
        Said(Notice.HALF_OPENED, "broker", {"elapsed_downtime": 30.0, "retry_attempt": 2, "half_open_workers": 10}),
    )


def test_s3b_it_closes_when_those_that_try_have_settled_with_the_downtime_from_opening() -> None:
    tries, told = settled(half_open(), ["a", "b"], ["a", "b", "c"], waiting=True)
    assert (tries.state, tries.probes, told) == ("half_open", {"a": True, "b": True}, [])
    still, told = settled(tries, [], ["b", "c"], waiting=True, now=NOW + 1)
    assert (still, told) == (tries, [])
    closed, told = settled(tries, [], ["c"], waiting=True, now=NOW + 2)
    assert (closed.state, closed.generation, closed.closed_at, closed.children) == ("closed", 3, NOW + 2, {})
    assert (closed.attempts, closed.probes, told) == (0, {}, [Notice.CLOSED])
    _, said = settle(tries, [], ["c"], True, False, settings_with(), NOW + 2)
    assert said[0].values == {"total_downtime": 32.0, "retry_attempt": 2}


def test_it_closes_when_nobody_waits_or_when_it_has_been_half_open_for_long_enough() -> None:
    assert settled(half_open(), ["a"], ["a"])[0].state == "closed"
    waits = half_open(probes={"a": True})
    assert settled(waits, [], ["a", "b"], waiting=True, now=NOW + 7.9)[0].state == "half_open"
    assert settled(waits, [], ["a", "b"], waiting=True, now=NOW + 8)[0].state == "closed"


def test_a_check_that_fails_opens_it_again_in_the_same_incident() -> None:
    before = half_open(eased_at=NOW - 30, probes={"a": True}, escalated=True)
    again = decide(before, FAILED, last=ended(NOW), half_open_workers=10).breaker
    assert (again.state, again.generation, again.opened_at, again.attempts) == ("open", 3, before.opened_at, 2)
    assert (again.incident, again.escalated, again.probes, again.flapping) == ("i", True, {}, False)
    assert decide(half_open(), FAILED, last=ended(NOW)).breaker.flapping


def test_half_open_with_a_child_that_is_not_known_it_goes_on() -> None:
    assert decide(half_open(), UNKNOWN).breaker == half_open()


def test_how_many_may_still_try() -> None:
    settings = settings_with(half_open_workers=3)
    assert half_open(probes={"a": True}).half_open_room(settings) == 2
    assert half_open(probes=dict.fromkeys("abcd", True)).half_open_room(settings) == 0
    assert [breaker.half_open_room(settings) for breaker in (Breaker(), opened())] == [None, None]


@pytest.mark.parametrize("state", ["closed", "open", "half_open"])
@pytest.mark.parametrize("verdict", [OK, FAILED, UNKNOWN], ids=lambda verdict: verdict.state)
def test_every_step_goes_where_the_table_says(state: Any, verdict: Verdict) -> None:
    before = half_open(state=state, failed_at=NOW - 60)
    unsure = verdict is UNKNOWN and state == "open"
    condition = Condition.FAILED if verdict is FAILED else Condition.UNSURE if unsure else Condition.WELL
    after = decide(before, verdict, half_open_workers=10).breaker
    assert after.state == TABLE[state, condition]
    assert after.generation == before.generation + (after.state != state)


# -- the ramp ---------------------------------------------------------------------------------------------------------


def test_after_closing_actions_begin_at_the_recovery_rate_until_nobody_is_held_back() -> None:
    settings = settings_with(recovery_rate=100.0, tick_interval=1.0)
    breaker = decide(opened(1), OK, recovery_rate=100.0).breaker
    waiting, begun = 1000, []
    for second in range(12):
        now = NOW + second
        room = breaker.ramp_room(settings, now)
        acts = min(waiting, room if room is not None else waiting)
        waiting -= acts
        begun.append(acts)
        breaker, _ = settle(breaker, [str(n) for n in range(acts)], [], False, waiting > 0, settings, now)
    assert begun == [100] * 10 + [0, 0]
    assert breaker.ramp_at == 0.0
    assert breaker.ramp_room(settings, NOW + 99) is None


def test_a_slow_ramp_lets_one_act_now_and_then_and_an_unused_one_gives_no_burst() -> None:
    settings = settings_with(recovery_rate=0.5)
    breaker = Breaker(ramp_at=NOW)
    rooms = []
    for second in range(6):
        room = breaker.ramp_room(settings, NOW + second)
        rooms.append(room)
        breaker, _ = settle(breaker, ["a"] * (room or 0), [], False, True, settings, NOW + second)
    assert rooms == [0, 0, 1, 0, 1, 0]
    idle, _ = settle(Breaker(ramp_at=NOW), [], [], False, True, settings_with(recovery_rate=100.0), NOW + 60)
    assert idle.ramp_room(settings_with(recovery_rate=100.0), NOW + 60) == 100


def test_without_a_rate_there_is_no_ramp() -> None:
    assert decide(opened(1), OK).breaker.ramp_at == 0.0
    assert Breaker(ramp_at=NOW).ramp_room(settings_with(), NOW) is None
    assert settled(Breaker(ramp_at=NOW), held_back=True)[0] == Breaker(ramp_at=NOW)


# -- incidents --------------------------------------------------------------------------------------------------------


def test_an_incident_lasts_from_closed_to_closed_and_is_told_when_it_changes() -> None:
    first = decide(Breaker(), FAILED).breaker
    record = Record(id="1800000000", opened_at=NOW, reason="broker: no answer", children=("broker",), attempts=1)
    assert incident_of(Breaker(), first) == record
    assert incident_of(first, msgspec.structs.replace(first, failed_at=NOW + 1)) is None
    escalated = msgspec.structs.replace(first, escalated=True, escalated_at=NOW + 9)
    assert incident_of(first, escalated) == msgspec.structs.replace(record, escalated_at=NOW + 9)
    half = decide(escalated, OK, NOW + 30, half_open_workers=10).breaker
    assert incident_of(escalated, half) is None
    closed, _ = settled(half, now=NOW + 31)
    over = msgspec.structs.replace(record, escalated_at=NOW + 9, closed_at=NOW + 31)
    assert incident_of(half, closed) == over
    assert (over.duration(NOW + 99), record.duration(NOW + 99)) == (31.0, 99.0)
    assert incident_of(closed, msgspec.structs.replace(closed, ramp_at=0.0)) is None
    assert incident_of(Breaker(), Breaker()) is None


# -- an operator's word -----------------------------------------------------------------------------------------------

OPEN = Forced(state="open", by="me@h1", at=NOW, reason="upgrade")
CLOSED = Forced(state="closed", by="me@h1", at=NOW)


@pytest.mark.parametrize("verdict", [OK, FAILED])
def test_forced_open_nothing_is_done_whatever_the_checks_say(verdict: Verdict) -> None:
    forced = Breaker(forced=OPEN)
    assert decide(forced, verdict) == Decision(forced, (), ())
    assert (forced.is_open, forced.effective) == (True, "open")


def test_forced_closed_workers_act_and_children_that_fail_are_restarted_all_the_same() -> None:
    decision = decide(Breaker(forced=CLOSED), FAILED)
    assert decision.restarts == ("broker",)
    assert (decision.breaker.state, decision.breaker.is_open, decision.breaker.forced) == ("open", False, CLOSED)
    rooms = settings_with(half_open_workers=1, recovery_rate=1.0)
    eased = half_open(forced=CLOSED, ramp_at=NOW)
    assert (eased.half_open_room(rooms), eased.ramp_room(rooms, NOW)) == (None, None)


def test_an_operators_word_outlives_a_whole_incident() -> None:
    breaker = decide(Breaker(forced=CLOSED), FAILED).breaker
    closed, _ = settled(decide(breaker, OK, NOW + 20, half_open_workers=10).breaker, now=NOW + 21)
    assert (closed.state, closed.forced) == ("closed", CLOSED)
    assert decide(closed, FAILED, NOW + 60).breaker.forced == CLOSED


def test_a_child_that_looks_after_itself_opens_the_circuit_and_is_not_restarted() -> None:
    opened_by_it = decide(Breaker(), {"north": FAILED}, watched=["north"])
    assert (opened_by_it.breaker.state, opened_by_it.restarts) == ("open", ())
    assert notices(opened_by_it) == [Notice.CHECK_FAILED, Notice.OPENED]
    later = decide(opened_by_it.breaker, {"north": FAILED}, NOW + 3600, watched=["north"])
    assert (later.restarts, later.breaker.attempts, later.breaker.escalated) == ((), 0, False)
    assert decide(later.breaker, {"north": OK}, NOW + 3610).breaker.state == "closed"
