"""Renewal on a fake clock, with real processes in the place of pool processes and Redis' answers as the test wants."""

from __future__ import annotations

import queue
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis

from actions.model import Outcome
from supervisor import renewal
from supervisor.clock import FakeClock
from supervisor.leases import Grant, Held
from supervisor.poolprocess import runner_of
from supervisor.renewal import End, Execution, Renewal

LISTENS = ["sleep", "60"]  # SIGUSR2 ends it
DEAF = ["sh", "-c", "trap '' USR2; echo ready; exec sleep 60"]


@dataclass
class Answers:
    """Redis as the test wants it: `renewal` is the answer to each renewal, or the error it raises."""

    renewal: str | Exception = "renewed"
    by_runner: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    renewed: list[list[Held]] = field(default_factory=list)
    ended: list[tuple[str, ...]] = field(default_factory=list)

    def renew(self, executor: str, held: list[Held]) -> list[str]:
        self.renewed.append(held)
        if isinstance(self.renewal, Exception):
            raise self.renewal
        return [self.by_runner.get(one.runner, self.renewal) for one in held]

    def asked_to_cancel(self, held: list[Held]) -> list[str]:
        return [self.asked.get(one.grant.action_id, "") for one in held]

    def end(self, grant: Grant, runner: str, outcome: Outcome, detail: str, by_executor: str) -> bool:
        if isinstance(self.renewal, Exception):
            raise self.renewal
        self.ended.append((grant.action_id, runner, outcome.value, detail, by_executor))
        return True


@dataclass
class Bench:
    """A renewal with its clock, its Redis, and what runs."""

    clock: FakeClock
    answers: Answers
    running: list[Execution]
    reports: queue.SimpleQueue[End]
    renewal: Renewal
    start: Callable[..., subprocess.Popen[str]]

    def look_until(self, seconds: float) -> None:
        """Look twice a second, as the attendant does, whatever Redis says."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            try:
                self.renewal.look()
            except redis.RedisError:
                continue


@pytest.fixture
def bench() -> Iterator[Bench]:
    clock, answers, reports = FakeClock(), Answers(), queue.SimpleQueue[End]()
    running: list[Execution] = []
    processes: list[subprocess.Popen[str]] = []

    def start(command: list[str] = LISTENS, hard_limit: float = 35.0) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        if command is DEAF:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        grant = Grant("plant-1", "edge-1", "flow-1", "stop", f"a{len(processes)}", "7")
        running.append(Execution(grant, process.pid, 30.0, hard_limit))
        return process

    leases: Any = answers
    yield Bench(clock, answers, running, reports, Renewal(leases, "edge-1@h1", clock, lambda: running, reports), start)
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lease_is_renewed_every_third_of_its_time(bench: Bench) -> None:
    process = bench.start()
    bench.look_until(10)
    ages = [held.begun_ago for call in bench.answers.renewed for held in call]
    assert ages == [0.0, 3.5, 7.0]
    assert {held.runner for call in bench.answers.renewed for held in call} == {runner_of(process.pid)}
    assert process.poll() is None


def test_an_execution_whose_lease_cannot_be_renewed_is_told_to_give_up_after_two_thirds_of_it(bench: Bench) -> None:
    process = bench.start()
    bench.answers.renewal = redis.ConnectionError("away")
    bench.look_until(6.5)
    assert process.poll() is None
    bench.look_until(1)
    assert process.wait(5) == -signal.SIGUSR2


def test_one_that_does_not_listen_is_killed_before_its_lease_can_end(bench: Bench) -> None:
    process = bench.start(DEAF)
    bench.answers.renewal = redis.ConnectionError("away")
    bench.look_until(7.5)
    assert process.poll() is None
    bench.look_until(1.5)
    assert process.wait(5) == -signal.SIGKILL


def test_renewals_that_succeed_again_in_time_save_it(bench: Bench) -> None:
    process = bench.start()
    bench.answers.renewal = redis.ConnectionError("away")
    bench.look_until(4)
    bench.answers.renewal = "renewed"
    bench.look_until(20)
    assert process.poll() is None


def test_an_execution_whose_lease_is_lost_is_told_to_give_up_at_once(bench: Bench) -> None:
    process = bench.start()
    bench.answers.renewal = "lost"
    bench.look_until(0.5)
    assert process.wait(5) == -signal.SIGUSR2
    assert bench.renewal.cancelled == 1


def test_two_copies_of_one_message_are_two_executions_and_only_the_one_without_the_lease_gives_up(bench: Bench) -> None:
    owner = bench.start()
    bench.look_until(1)
    copy = bench.start()
    execution = bench.running.pop()
    bench.running.insert(0, replace(execution, grant=bench.running[0].grant))
    bench.answers.by_runner = {runner_of(copy.pid): "lost"}
    bench.look_until(4)
    assert copy.wait(5) == -signal.SIGUSR2
    bench.running.pop(0)
    bench.look_until(20)
    assert owner.poll() is None


def test_what_redis_says_has_not_begun_is_asked_about_again_at_once(bench: Bench) -> None:
    bench.start()
    bench.answers.renewal = "queued"
    bench.look_until(2)
    assert [held.begun_ago for call in bench.answers.renewed for held in call] == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize("answer", ["queued", "recreated", "ended"])
def test_no_other_answer_disturbs_an_execution(bench: Bench, answer: str) -> None:
    process = bench.start()
    bench.answers.renewal = answer
    bench.look_until(4)
    assert process.poll() is None


def test_an_execution_that_is_asked_to_cancel_is_told_once_and_killed_when_it_is_deaf(bench: Bench) -> None:
    process = bench.start(DEAF)
    bench.answers.asked = {"a1": "asked by me"}
    bench.look_until(1.5)
    assert (process.poll(), bench.renewal.cancelled) == (None, 1)
    bench.look_until(1)
    assert process.wait(5) == -signal.SIGKILL
    bench.reports.put(End(bench.running.pop(), Outcome.LOST, "its pool process died"))
    bench.renewal.look()
    detail = "killed, as it did not give up: asked by me"
    assert bench.answers.ended == [("a1", runner_of(process.pid), "cancelled", detail, "gone")]


def test_a_process_that_its_action_killed_is_reported_as_killed(bench: Bench) -> None:
    process = bench.start()
    bench.renewal.look()
    process.kill()
    bench.reports.put(End(bench.running.pop(), Outcome.LOST, "its pool process died"))
    bench.renewal.look()
    assert bench.answers.ended == [("a1", runner_of(process.pid), "lost", "its pool process died", "killed")]


def test_a_timeout_is_written_only_when_the_process_is_gone(bench: Bench) -> None:
    process = bench.start(DEAF)
    bench.reports.put(End(bench.running[0], Outcome.TIMEOUT, "killed, as it did not end within 35s"))
    bench.renewal.look()
    assert process.wait(1) == -signal.SIGKILL
    assert [(end[2], end[4]) for end in bench.answers.ended] == [("timeout", "gone")]


def test_an_end_that_redis_did_not_take_is_written_when_it_is_back(bench: Bench) -> None:
    process = bench.start()
    process.kill()
    bench.reports.put(End(bench.running.pop(), Outcome.LOST, "its pool process died"))
    bench.answers.renewal = redis.ConnectionError("away")
    bench.look_until(5)
    assert bench.answers.ended == []
    bench.answers.renewal = "renewed"
    bench.look_until(1)
    assert len(bench.answers.ended) == 1


def test_an_end_that_redis_did_not_take_is_dropped_when_its_lease_has_long_been_reaped(bench: Bench) -> None:
    bench.start().kill()
    bench.reports.put(End(bench.running.pop(), Outcome.LOST, "its pool process died"))
    bench.answers.renewal = redis.ConnectionError("away")
    bench.look_until(25)
    bench.answers.renewal = "renewed"
    bench.look_until(1)
    assert bench.answers.ended == []


def test_a_process_that_hangs_in_the_kernel_holds_up_neither_renewals_nor_other_ends(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, dead, alive = bench.start(DEAF), bench.start(), bench.start()
    gone = renewal._is_gone
    monkeypatch.setattr(renewal, "_is_gone", lambda pid: pid != hung.pid and gone(pid))
    dead.kill()
    for _ in range(2):
        bench.reports.put(End(bench.running.pop(0), Outcome.LOST, "its pool process died"))
    bench.look_until(10)
    assert [end[0] for end in bench.answers.ended] == ["a2"]
    assert len(bench.answers.renewed) == 3
    assert alive.poll() is None
    monkeypatch.undo()
    bench.look_until(0.5)
    assert [end[0] for end in bench.answers.ended] == ["a2", "a1"]


def test_past_its_hard_limit_and_what_the_pool_had_to_kill_it_a_lease_is_not_renewed_and_its_process_killed(
    bench: Bench,
) -> None:
    process = bench.start(DEAF, hard_limit=3.0)
    bench.look_until(7.5)
    assert process.poll() is None
    bench.look_until(1)
    assert process.wait(5) == -signal.SIGKILL
    calls = len([call for call in bench.answers.renewed if call])
    bench.look_until(5)
    assert len([call for call in bench.answers.renewed if call]) == calls


def test_all_can_be_told_to_give_up_and_all_can_be_killed_with_their_ends_written(bench: Bench) -> None:
    first, second = bench.start(), bench.start(DEAF)
    assert bench.renewal.in_flight == 2
    assert bench.renewal.give_up_all("its executor stops") == 2
    assert first.wait(5) == -signal.SIGUSR2
    bench.renewal.kill_all("its executor was told to quit")
    assert second.wait(5) == -signal.SIGKILL
    assert [(end[0], end[2]) for end in bench.answers.ended] == [("a1", "cancelled"), ("a2", "cancelled")]


def test_a_pid_that_is_no_child_of_the_executor_is_left_alone(bench: Bench) -> None:
    grandchild = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert grandchild.stdout is not None
    pid = int(grandchild.stdout.readline())
    try:
        bench.running.append(Execution(Grant("p", "e", "w", "stop", "a9", "7"), pid, 30.0, 35.0))
        bench.renewal.give_up_all("test")
        bench.look_until(10)
        assert grandchild.poll() is None
    finally:
        subprocess.run(["kill", str(pid)], check=True)
        grandchild.communicate()
