"""Whole ticks of a worker that keeps failing: backoff, quarantine, resume, poison; budgets; stops in the way."""

from __future__ import annotations

import msgspec
import pytest
from structlog.testing import capture_logs

from actions.model import Outcome
from supervisor.dispatch import Message
from supervisor.model import QUARANTINE_FOR
from supervisor.tick import Report
from tests.integration.plant import NAME, NODE, Plant, grant_of, held, worker
from workers.model import Exit


@pytest.fixture
def plant(bare_plant: Plant) -> Plant:
    """Return an installation with flow-1, which wants to be started."""
    bare_plant.apply_fleet(worker("flow-1"))
    return bare_plant


def look_and_tick(plant: Plant, **changes: object) -> tuple[Report, list[Message]]:
    """Beat, look at flow-1, which is down, and tick a second later."""
    plant.heartbeat()
    plant.observe({"flow-1": plant.down(**changes)})
    return plant.must_tick()


def next_start(plant: Plant, within: float, **changes: object) -> Message:
    """Tick until an action is asked for."""
    latest = plant.clock.now() + within
    while plant.clock.now() <= latest:
        _, messages = look_and_tick(plant, **changes)
        if messages:
            (message,) = messages
            return message
    raise AssertionError(f"nothing was asked for within {within:g}s")


def end(plant: Plant, message: Message, outcome: Outcome = Outcome.SUCCESS, killed: bool = False) -> None:
    """Run an action to its end at once; `killed`: it takes its pool process with it."""
    assert plant.begin(grant_of(message)) is None
    by_executor = "killed" if killed else ""
    assert plant.runtime.leases.end(grant_of(message), "r1", outcome, "no such file", by_executor)


def events(plant: Plant, prefix: str) -> list[dict[str, str]]:
    return [event for event in plant.events() if event["event"].startswith(prefix)]


def fail(plant: Plant, times: int, outcome: Outcome = Outcome.ERROR, killed: bool = False) -> list[float]:
    """Let every start fail; return the seconds between the end of one and the claim of the next."""
    waited = []
    for _ in range(times):
        began = plant.clock.now()
        message = next_start(plant, 70)
        waited.append(plant.clock.now() - began)
        end(plant, message, outcome, killed)
        plant.clock.advance(0.0625)  # what is observed at the very end of an action does not count
    return waited


def test_a_worker_that_fails_five_times_is_quarantined_until_an_operator_resumes_it(plant: Plant) -> None:
    assert fail(plant, 5)[1:] == [1, 2, 4, 8]
    with capture_logs() as logs:
        report, messages = look_and_tick(plant)
    assert (report.skips, messages) == ({"quarantined": 1}, [])
    status = plant.status("flow-1")
    assert status is not None
    began = plant.clock.now()
    assert (status.quarantined_at, status.quarantined_until, status.quarantines) == (began, began + QUARANTINE_FOR, 1)
    assert status.quarantined_for.startswith("failures: 5 in ")
    assert status.quarantined_for.endswith(", last: start: error (no such file)")
    (told,) = events(plant, "worker.quarantine")
    assert told == {
        "event": "worker.quarantined",
        "worker_id": "flow-1",
        "reason": status.quarantined_for,
        "duration": "600.0",
        "in_a_row": "1",
    }
    assert plant.counters()["supervisor_quarantines_total|failures"] == "1"
    assert {
        "event": "Worker quarantined",
        "log_level": "warning",
        "event_name": "worker.quarantined",
        "worker_id": "flow-1",
        "worker_type": "process",
        "reason": status.quarantined_for,
        "duration": 600.0,
        "in_a_row": 1,
        "error_scope": "worker",
        "impact": "single_worker",
    } in logs

    for _ in range(3):
        report, messages = look_and_tick(plant)
        assert (report.skips, messages) == ({"quarantined": 1}, [])
    plant.store.set_control(NAME, NODE, "flow-1", paused=False, by="me")
    message = next_start(plant, 3)
    lease = plant.lease()
    assert lease is not None
    assert (lease.action_id, lease.failures, lease.kills) == (message.action_id, 0, 0)
    ended = events(plant, "worker.quarantine")[-1]
    assert (ended["event"], ended["reason"]) == ("worker.quarantine_ended", "resumed")
    end(plant, message, Outcome.ERROR)
    plant.clock.advance(0.0625)
    assert fail(plant, 1) == [1.0], "backoff began anew"


def test_a_quarantine_ends_by_itself_and_the_next_in_a_row_lasts_twice_as_long(plant: Plant) -> None:
    fail(plant, 5)
    look_and_tick(plant)
    began = plant.clock.now()
    message = next_start(plant, QUARANTINE_FOR + 2)
    assert plant.clock.now() - began == QUARANTINE_FOR
    assert [event["event"] for event in events(plant, "worker.quarantine")] == [
        "worker.quarantined",
        "worker.quarantine_ended",
    ]
    end(plant, message, Outcome.ERROR)
    plant.clock.advance(0.0625)
    fail(plant, 4)
    look_and_tick(plant)
    status = plant.status("flow-1")
    assert status is not None
    assert (status.quarantines, status.quarantined_until - status.quarantined_at) == (2, 2 * QUARANTINE_FOR)


def test_a_flow_that_dies_three_seconds_after_each_start_backs_off_and_ends_in_quarantine(plant: Plant) -> None:
    """Every start succeeds, so that only `min_uptime` can tell."""
    died: dict[str, object] = {}
    waited = []
    for number in range(5):
        since = plant.clock.now()
        message = next_start(plant, 70, **died)
        waited.append(round(plant.clock.now() - since))
        end(plant, message)
        started = plant.clock.now()
        plant.clock.advance(3.0)
        exit_ = Exit(100 + number, 1, started_at=started, ended_at=plant.clock.now(), code=1)
        died = {"last_exit": exit_}
    report, messages = look_and_tick(plant, **died)
    assert (report.skips, messages) == ({"quarantined": 1}, [])
    status = plant.status("flow-1")
    assert status is not None
    assert status.quarantined_for.endswith("last: pid 104 ended with exit code 1 after 3.0s")
    assert waited[1:] == [1, 2, 4, 8]


def test_a_flow_that_settles_between_its_deaths_is_not_quarantined(plant: Plant) -> None:
    died: dict[str, object] = {}
    for number in range(8):
        end(plant, next_start(plant, 5, **died))
        started = plant.clock.now()
        plant.clock.advance(11.0)
        died = {"last_exit": Exit(100 + number, 1, started_at=started, ended_at=plant.clock.now(), code=1)}
    status = plant.status("flow-1")
    assert status is not None
    assert (status.failed_at, status.quarantined_for, status.restarts) == ((), "", 7)


def test_an_action_that_kills_its_pool_process_three_times_in_a_row_is_quarantined_as_poison(plant: Plant) -> None:
    fail(plant, 3, Outcome.LOST, killed=True)
    look_and_tick(plant)  # which also says that the worker has failed
    report, messages = look_and_tick(plant)
    assert (report.skips, messages) == ({"quarantined": 1}, [])
    assert plant.counters()["supervisor_quarantines_total|poison"] == "1"
    status = plant.status("flow-1")
    assert status is not None
    assert status.quarantined_for == "poison: 3 actions in a row killed their pool process, last: start"
    message = next_start(plant, QUARANTINE_FOR + 2)
    end(plant, message, Outcome.LOST, killed=True)
    plant.clock.advance(0.0625)
    report, _ = look_and_tick(plant)
    assert report.skips == {"quarantined": 1}
    assert plant.counters()["supervisor_quarantines_total|poison"] == "2"


def test_actions_that_nobody_begins_back_off_but_quarantine_nobody(plant: Plant) -> None:
    for _ in range(6):
        next_start(plant, 70)
        plant.clock.advance(30.5)
        look_and_tick(plant)  # reaps
    lease, status = plant.lease(), plant.status("flow-1")
    assert lease is not None
    assert status is not None
    assert (lease.outcome, lease.failures, status.failed_at, status.quarantined_for) == ("lost", 1, (), "")


def test_a_quarantined_worker_can_be_stopped(plant: Plant) -> None:
    fail(plant, 5)
    look_and_tick(plant)
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    plant.heartbeat()
    plant.observe({"flow-1": plant.up()})
    plant.must_tick()
    _, messages = plant.must_tick()
    assert [message.action for message in messages] == ["stop"]


def test_a_paused_worker_is_not_even_stopped_until_it_is_resumed(plant: Plant) -> None:
    plant.store.set_control(NAME, NODE, "flow-1", paused=True, by="me")
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    for _ in range(3):
        plant.heartbeat()
        plant.observe({"flow-1": plant.up()})
        report, messages = plant.must_tick()
        assert (report.skips, messages) == ({"paused": 1}, [])
    assert plant.status("flow-1") is None
    plant.store.set_control(NAME, NODE, "flow-1", paused=False, by="me")
    plant.must_tick()
    _, messages = plant.must_tick()
    assert [message.action for message in messages] == ["stop"]


def test_a_start_that_was_decided_before_a_pause_is_not_claimed_after_it(plant: Plant) -> None:
    decided = plant.item()
    plant.store.set_control(NAME, NODE, "flow-1", paused=True, by="me")
    assert plant.write(decided).refused == {"flow-1": "refused:generation"}


def test_a_wanted_stop_takes_back_a_queued_start_and_follows_it(plant: Plant) -> None:
    next_start(plant, 5)
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    report, _ = look_and_tick(plant)
    assert report.skips == {"action_in_progress": 1}
    lease = plant.lease()
    assert lease is not None
    assert (lease.outcome, lease.detail, lease.failures) == ("cancelled", "desired is stopped", 0)
    plant.observe({"flow-1": plant.up()})
    messages: list[Message] = []
    while not messages:
        plant.heartbeat()
        _, messages = plant.must_tick()
    assert [message.action for message in messages] == ["stop"]


def test_a_wanted_stop_asks_a_running_start_to_give_up_and_follows_its_end(plant: Plant) -> None:
    message = next_start(plant, 5)
    assert plant.begin(grant_of(message)) is None
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    for _ in range(2):
        look_and_tick(plant)
    assert len(events(plant, "action.cancel_asked")) == 1
    lease = plant.lease()
    assert lease is not None
    assert lease.cancel == "desired is stopped"
    assert plant.runtime.leases.end(grant_of(message), "r1", Outcome.CANCELLED, "desired is stopped")
    plant.clock.advance(0.0625)
    plant.observe({"flow-1": plant.up()})
    _, messages = plant.must_tick()
    _, more = plant.must_tick()
    assert [one.action for one in (*messages, *more)] == ["stop"]


def test_a_group_has_no_more_actions_in_progress_than_its_budget(bare_plant: Plant) -> None:
    plant = bare_plant
    workers = [worker(f"flow-{number}") for number in range(5)]
    grouped = [
        msgspec.structs.replace(one.desired, group="line") if number < 4 else one.desired
        for number, one in enumerate(workers)
    ]
    plant.apply_fleet(
        *(type(one)(one.id, one.type, one.node, desired) for one, desired in zip(workers, grouped, strict=True)),
        groups={"line": 2},
    )
    started: list[str] = []
    ended: set[str] = set()
    while len(started) < 5:
        plant.heartbeat()
        plant.observe({one.id: plant.up() if one.id in ended else plant.down() for one in workers})
        report, messages = plant.must_tick()
        started += [message.worker_id for message in messages]
        busy = [message for message in plant.sent if message.worker_id not in ended]
        assert sum(message.worker_id != "flow-4" for message in busy) <= 2
        if report.skips.get("budget") or len(started) == 5:
            message = busy[0]
            end(plant, message)
            ended.add(message.worker_id)
            plant.clock.advance(0.0625)
    assert sorted(started) == [one.id for one in workers]
    assert started.index("flow-4") < 3, "another group waits for nobody"


def test_a_stuck_action_is_told_once_in_events_and_log(plant: Plant) -> None:
    message = next_start(plant, 5)
    assert plant.begin(grant_of(message)) is None
    began = plant.clock.now()
    with capture_logs() as logs:
        while plant.clock.now() < began + 70:
            plant.runtime.leases.renew("edge-1@h1", [held(grant_of(message))])
            look_and_tick(plant)
            assert bool(events(plant, "action.stuck")) == (plant.clock.now() >= began + 60)
    (line,) = [line for line in logs if line["event_name"] == "action.stuck"]
    assert (line["worker_id"], line["action_type"], line["log_level"]) == ("flow-1", "start", "warning")
    assert events(plant, "action.stuck") == [
        {
            "event": "action.stuck",
            "worker_id": "flow-1",
            "action": "start",
            "timeout": "30.0",
            "executor": "edge-1@h1",
        }
    ]
