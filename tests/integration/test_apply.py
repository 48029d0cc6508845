"""apply.lua: one batch of a tick's plan, all of it under the tick lease."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import pytest

from actions.model import Outcome
from actions.start import Start
from supervisor.circuit import Breaker, Recovery
from supervisor.dispatch import BATCH, Applied, Circuit, Claim, Item, Message, apply
from supervisor.keys import SUPERVISOR
from supervisor.model import TickDocument
from supervisor.store import Store
from tests.factories import NOW
from tests.integration.plant import NAME, NODE, Plant, grant_of, put, queued, worker
from workers.model import Status

TOKEN = f"{(NOW + 1) * 1e6:.0f}"  # of a claim made a second after NOW
STATUS = Status(state="starting", since=NOW, reason="wanted", restarts=3)
MOVED = ("event", "worker.transition", "worker_id", "flow-1", "from", "stopped", "to", "starting")


def with_changes(item: Item, **changes: Any) -> Item:
    return msgspec.structs.replace(item, **changes)


def test_a_claim_writes_the_lease_the_counter_and_the_event_once_and_returns_the_message(plant: Plant) -> None:
    applied = plant.write(plant.item())
    message = Message(
        supervisor=NAME,
        place=NODE,
        worker_id="flow-1",
        action="start",
        action_id="a1",
        token=TOKEN,
        params={},
        timeout=30.0,
        queue="actions.edge-1",
        issued=NOW + 1,
        expires=NOW + 31,
        reason="test",
    )
    assert applied == Applied([message], {})
    assert plant.lease() == queued(plant, grant_of(message), claimed_at=NOW + 1, deadline=NOW + 31)
    assert plant.counters() == {"supervisor_actions_enqueued_total|flow-1|start": "1"}
    told = {"worker_id": "flow-1", "action": "start", "action_id": "a1", "token": TOKEN, "reason": "test"}
    assert plant.events() == [{"event": "action.claimed", **told}]
    assert plant.counters(SUPERVISOR) == {"supervisor_ticks_total": "1"}
    assert plant.events(SUPERVISOR) == []


def test_a_status_and_its_event_are_written_without_a_claim(plant: Plant) -> None:
    applied = plant.write(Item("flow-1", NODE, status=STATUS, events=[MOVED]))
    assert applied == Applied([], {})
    assert plant.status("flow-1") == STATUS
    assert plant.events() == [dict(zip(MOVED[::2], MOVED[1::2], strict=True))]
    assert plant.lease() is None


def test_a_tick_extends_its_lease_by_writing(plant: Plant) -> None:
    tick_id = plant.start_tick()
    plant.clock.advance(3)
    plant.write(tick_id=tick_id)
    assert plant.tick_document() == TickDocument(id=tick_id, started_at=NOW + 1, deadline=NOW + 9)


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_paused_tick_that_wakes_after_its_deadline_changes_no_key_at_all(plant: Plant, taken_over: bool) -> None:
    late = plant.start_tick()
    item = with_changes(plant.item(), status=STATUS, events=[MOVED])
    circuit = Circuit(0, Breaker(state="open", generation=1, opened_at=NOW), [("n", 1)], [("event", "circuit.opened")])
    plant.clock.advance(5.0625)
    if taken_over:
        plant.start_tick()
    before = plant.dump()
    applied = plant.write(item, tick_id=late, circuit=circuit)
    assert applied == Applied([], {"flow-1": "refused:tick"}, late=True)
    assert plant.dump() == before


def test_a_second_claim_is_refused_while_one_is_queued_or_running(plant: Plant) -> None:
    grant = plant.claim()
    second = plant.item(action_id="a2")
    assert plant.write(second) == Applied([], {"flow-1": "refused:in_progress"})
    assert plant.begin(grant) is None
    assert plant.write(second) == Applied([], {"flow-1": "refused:in_progress"})
    lease = plant.lease()
    assert lease is not None
    assert lease.action_id == "a1"
    assert plant.counters(SUPERVISOR)["supervisor_claims_refused_total|in_progress"] == "2"
    assert plant.counters()["supervisor_actions_enqueued_total|flow-1|start"] == "1"


def test_a_refused_claim_writes_nothing_but_its_count(plant: Plant) -> None:
    plant.claim()
    tick_id = plant.start_tick()
    before = plant.dump()
    plant.write(plant.item(action_id="a2"), tick_id=tick_id)
    after = plant.dump()
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    assert changed == {plant.keys.counters(SUPERVISOR)}
    expected = {"supervisor_claims_refused_total|in_progress": "1", "supervisor_ticks_total": "1"}
    assert plant.counters(SUPERVISOR) == expected


def refused_after(plant: Plant, item: Item) -> dict[str, str]:
    """Write a claim and return why it was refused; see that it was counted and left the lease alone."""
    before = plant.lease()
    applied = plant.write(item)
    assert applied.messages == []
    assert plant.lease() == before
    why = applied.refused["flow-1"].removeprefix("refused:")
    assert plant.counters(SUPERVISOR)[f"supervisor_claims_refused_total|{why}"] == "1"
    return applied.refused


def test_a_claim_decided_before_another_action_ended_is_refused_by_its_token(plant: Plant) -> None:
    stale = plant.item(action_id="a2")
    grant = plant.running()
    assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "done")
    assert refused_after(plant, stale) == {"flow-1": "refused:token"}


def test_a_claim_decided_before_desired_changed_is_refused_by_its_generation(plant: Plant) -> None:
    stale = plant.item()
    plant.store.set_override(NAME, NODE, "flow-1", "stopped", "me")
    assert refused_after(plant, stale) == {"flow-1": "refused:generation"}


def test_a_claim_for_a_worker_that_was_forgotten_is_refused(plant: Plant) -> None:
    stale = plant.item()
    assert plant.leave()
    assert refused_after(plant, stale) == {"flow-1": "refused:generation"}


def test_a_claim_decided_under_another_circuit_is_refused(plant: Plant) -> None:
    put(plant, plant.keys.circuit, Breaker(state="open", generation=1, opened_at=NOW))
    tick_id = plant.start_tick()
    applied = plant.write(plant.item(), tick_id=tick_id, circuit=Circuit(0))
    assert applied == Applied([], {"flow-1": "refused:circuit"})
    assert plant.lease() is None
    assert plant.counters(SUPERVISOR)["supervisor_claims_refused_total|circuit"] == "1"


def test_a_new_circuit_is_written_with_its_counters_and_events_and_its_own_claims_are_granted(plant: Plant) -> None:
    opened = Breaker(state="open", generation=1, opened_at=NOW, children={"broker": Recovery(1, NOW)})
    circuit = Circuit(0, opened, [("n", 2)], [("event", "circuit.opened", "child_name", "broker")])
    applied = plant.write(plant.item(), circuit=circuit)
    assert [message.worker_id for message in applied.messages] == ["flow-1"]
    assert plant.store.breaker(NAME) == opened
    assert plant.counters(SUPERVISOR) == {"n": "2", "supervisor_ticks_total": "1"}
    assert plant.events(SUPERVISOR) == [{"event": "circuit.opened", "child_name": "broker"}]


def without_tick(plant: Plant) -> dict[str, object]:
    """Return all keys but the tick lease, which every batch renews."""
    return {key: value for key, value in plant.dump().items() if key != plant.keys.tick}


def test_a_new_circuit_decided_on_an_old_one_is_refused_with_everything_that_came_with_it(plant: Plant) -> None:
    forced = Breaker(state="open", generation=5, opened_at=NOW)
    put(plant, plant.keys.circuit, forced)
    tick_id = plant.start_tick()
    before = without_tick(plant)
    circuit = Circuit(4, Breaker(generation=5), [("n", 1)], [("event", "circuit.closed")])
    applied = plant.write(with_changes(plant.item(), status=STATUS, events=[MOVED]), tick_id=tick_id, circuit=circuit)
    assert applied == Applied([], {"flow-1": "refused:circuit"}, late=True)
    assert without_tick(plant) == before


def test_tokens_grow_with_time(plant: Plant) -> None:
    first = plant.running()
    assert plant.runtime.leases.end(first, "r1", Outcome.SUCCESS, "")
    second = plant.claim(action_id="a2")
    assert (int(first.token), int(second.token)) == (int(TOKEN), int(TOKEN) + 1_000_000)


def test_a_token_is_larger_than_the_one_before_even_if_the_clock_has_gone_back(plant: Plant) -> None:
    first = plant.running()
    assert plant.runtime.leases.end(first, "r1", Outcome.SUCCESS, "")
    earlier = Store(plant.client, "test", lambda: NOW - 3600)
    index = earlier.index(NAME)
    assert index is not None
    assert earlier.begin_tick(NAME, index, "back")[:2] == ("started", NOW - 3600)
    assert apply(earlier, NAME, "back", Circuit(0), [plant.item(action_id="a2")]).refused == {
        "flow-1": "refused:hold_off"
    }
    now = NOW - 3590
    later = Store(plant.client, "test", lambda: now)
    assert later.begin_tick(NAME, index, "on")[:3] == ("started", now, "")
    (message,) = apply(later, NAME, "on", Circuit(0), [plant.item(action_id="a2")]).messages
    assert int(message.token) == int(TOKEN) + 1
    lease = plant.lease()
    assert lease is not None
    assert (lease.token, lease.claimed_at, lease.deadline) == (message.token, now, now + 30)


class Slow(Start, frozen=True):
    """A start that is given a minute."""

    timeout: ClassVar[float] = 60.0


def test_a_claim_writes_the_actions_timeout_and_what_its_lease_counts_on_from(plant: Plant) -> None:
    plant.claim(action=Slow(), failures=3, kills=2)
    lease = plant.lease()
    assert lease is not None
    assert (lease.timeout, lease.failures, lease.kills) == (60.0, 3, 2)


def test_a_claim_after_a_resume_counts_from_0_whatever_the_lease_before_said(plant: Plant) -> None:
    for number in range(3):
        grant = plant.running(action_id=f"a{number}")
        assert plant.runtime.leases.end(grant, "r1", Outcome.ERROR, "no")
    plant.claim(action_id="a9", failures=0)
    lease = plant.lease()
    assert lease is not None
    assert (lease.action_id, lease.failures) == ("a9", 0)


def test_events_and_counters_of_an_item_are_written_in_its_place(plant: Plant) -> None:
    told = ("event", "worker.quarantined", "worker_id", "flow-1", "reason", "failures: 5")
    plant.write(Item("flow-1", NODE, events=[MOVED, told], counters=["supervisor_quarantines_total|failures"]))
    assert [event["event"] for event in plant.events()] == ["worker.transition", "worker.quarantined"]
    assert plant.counters() == {"supervisor_quarantines_total|failures": "1"}


def cancel_item(plant: Plant, token: str) -> Item:
    return Item("flow-1", NODE, cancel=(token, "desired is stopped"))


def test_a_queued_action_that_is_in_the_way_of_a_stop_is_taken_back_at_once(plant: Plant) -> None:
    grant = plant.claim()
    assert plant.write(cancel_item(plant, grant.token)) == Applied([], {})
    lease = plant.lease()
    assert lease is not None
    assert (lease.stage, lease.outcome, lease.detail, lease.failures) == ("free", "cancelled", "desired is stopped", 0)
    assert plant.asks() == ["flow-1"]
    assert plant.client.smembers(plant.keys.wake(NODE)) == {"flow-1"}
    assert plant.begin(grant) == "ended"


def test_a_running_action_that_is_in_the_way_of_a_stop_is_asked_to_give_up_once(plant: Plant) -> None:
    grant = plant.running()
    for _ in range(2):
        plant.write(cancel_item(plant, grant.token))
    lease = plant.lease()
    assert lease is not None
    assert (lease.stage, lease.cancel) == ("running", "desired is stopped")
    assert [event["event"] for event in plant.events()].count("action.cancel_asked") == 1


@pytest.mark.parametrize("state", ["no lease", "another token", "ended"])
def test_nothing_but_the_action_that_was_seen_is_cancelled(plant: Plant, state: str) -> None:
    token = "17"
    if state != "no lease":
        grant = plant.running()
        if state == "ended":
            token = grant.token
            assert plant.runtime.leases.end(grant, "r1", Outcome.SUCCESS, "")
    before = plant.lease()
    plant.write(cancel_item(plant, token))
    assert plant.lease() == before


def test_each_item_gets_its_own_answer(plant: Plant) -> None:
    plant.apply_fleet(*(worker(f"flow-{number}") for number in (1, 2, 3)))
    held = plant.claim("flow-2", action_id="a0")
    items = [plant.item(f"flow-{number}", action_id=f"a{number}") for number in (1, 2, 3)]
    applied = plant.write(*items, Item("flow-2", NODE, status=STATUS))
    assert [(message.worker_id, message.action_id) for message in applied.messages] == [
        ("flow-1", "a1"),
        ("flow-3", "a3"),
    ]
    assert applied.refused == {"flow-2": "refused:in_progress"}
    assert plant.status("flow-2") == STATUS
    assert plant.lease("flow-2") == queued(plant, held, claimed_at=NOW + 1, deadline=NOW + 31)


def test_more_than_one_batch_is_written_under_one_new_circuit(plant: Plant) -> None:
    names = [f"flow-{number:04d}" for number in range(BATCH + 3)]
    plant.apply_fleet(*(worker(name) for name in names))
    circuit = Circuit(0, Breaker(state="open", generation=1, opened_at=NOW), [("n", 1)])
    items = [Item(name, NODE, claim=Claim(Start(), "test", "", 1, f"id-{name}")) for name in names]
    applied = plant.write(*items, circuit=circuit)
    assert [message.worker_id for message in applied.messages] == names
    assert applied.refused == {}
    assert plant.counters(SUPERVISOR) == {"n": "1", "supervisor_ticks_total": "1"}


def test_what_lua_wrote_reads_back_as_the_documents_python_knows(plant: Plant) -> None:
    plant.running()
    for key in (plant.keys.lease(NODE, "flow-1"), plant.keys.tick):
        assert msgspec.json.decode(plant.client.get(key))["schema"] == 1
    assert plant.lease() is not None
    assert plant.tick_document().id == "t1"
