"""The lease scripts in any order: claims, begins, renewals, ends, expiries, losses, duplicates, as Hypothesis likes.

The model knows what each execution was told, and by that what it may believe: that it holds its worker until its last
renewal runs out. No two may believe so at once, tokens only grow, and each action ends once.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from actions.model import Outcome
from supervisor.clock import FakeClock
from supervisor.leases import Grant
from supervisor.model import LEASE_TTL, Stage
from supervisor.store import Store
from tests.integration.plant import NAME, NODE, Plant, grant_of, held, make_plant, worker

WORKERS = ("flow-1", "flow-2")
RUNNERS = ("r1", "r2")
ENDS = (Outcome.SUCCESS, Outcome.ERROR, Outcome.TIMEOUT, Outcome.CANCELLED)


@dataclass
class Execution:
    """What one runner believes of one grant: that it holds the lease until `until`."""

    grant: Grant
    runner: str
    until: float


@dataclass
class Model:
    """What was granted, and who believes to hold what. `effects` are the tokens begun per worker, in order."""

    grants: list[Grant] = field(default_factory=list)
    holders: dict[tuple[str, str], Execution] = field(default_factory=dict)
    effects: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in WORKERS})


class LeaseMachine(RuleBasedStateMachine):
    """Any order of the verbs on two workers of one node."""

    client: Any

    @initialize()
    def install(self) -> None:
        """Apply a fleet of two workers to an empty Redis."""
        self.client.flushall()
        clock = FakeClock()
        self.folder = tempfile.TemporaryDirectory()
        self.plant: Plant = make_plant(Store(self.client, "test", clock.now), clock, Path(self.folder.name))
        self.plant.apply_fleet(*(worker(name) for name in WORKERS))
        self.plant.heartbeat()
        self.model = Model()
        self.numbers = 0

    def teardown(self) -> None:
        """Remove the data folder."""
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def _some(self, data: st.DataObject) -> Grant:
        """Draw any grant there ever was: messages come twice, late and in any order."""
        return data.draw(st.sampled_from(self.model.grants), "grant")

    def _owns(self, grant: Grant, runner: str) -> bool:
        """Tell whether the store says, before or after a call, that this runner runs this."""
        lease = self.plant.lease(grant.worker_id)
        names = (grant.token, grant.action_id, runner, Stage.RUNNING)
        return lease is not None and (lease.token, lease.action_id, lease.runner, lease.stage) == names

    # -- the verbs ----------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(WORKERS))
    def claim(self, name: str) -> None:
        """Claim on what is stored now: granted exactly when nothing is in progress."""
        lease = self.plant.lease(name)
        free = lease is None or not lease.in_progress
        self.numbers += 1
        messages = self.plant.write(self.plant.item(name, action_id=f"a{self.numbers}")).messages
        assert bool(messages) is free
        for message in messages:
            self.model.grants.append(grant_of(message))

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def claim_on_an_old_view(self, data: st.DataObject) -> None:
        """Claim on what was true some time ago: refused unless it is still true."""
        old = self._some(data)
        lease = self.plant.lease(old.worker_id)
        self.numbers += 1
        item = self.plant.item(old.worker_id, last_token=old.token, action_id=f"a{self.numbers}")
        messages = self.plant.write(item).messages
        still_true = lease is not None and lease.token == old.token and not lease.in_progress
        assert bool(messages) is still_true
        for message in messages:
            self.model.grants.append(grant_of(message))

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data(), runner=st.sampled_from(RUNNERS))
    def begin(self, data: st.DataObject, runner: str) -> None:
        """Let a runner take up a message, perhaps for the second time."""
        grant = self._some(data)
        now = self.plant.clock.now()
        known = self.model.holders.get((grant.action_id, runner))
        lease = self.plant.lease(grant.worker_id)
        waits = lease is not None and lease.stage is Stage.QUEUED and lease.deadline >= now
        mine = lease is not None and (lease.token, lease.action_id) == (grant.token, grant.action_id)
        expected = (waits and mine) or self._owns(grant, runner)
        granted = self.plant.begin(grant, runner) is None
        assert granted is expected
        if not granted:
            return
        for other in self.model.holders.values():
            same = other.grant.action_id == grant.action_id and other.runner == runner
            assert same or other.grant.worker_id != grant.worker_id or other.until < now, (
                f"{other} still holds what {grant} was given"
            )
        if known is None:
            self.model.effects[grant.worker_id].append(int(grant.token))
            self.model.holders[grant.action_id, runner] = Execution(grant, runner, now + LEASE_TTL)

    @precondition(lambda self: self.model.holders)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        """Let an executor renew: what is lost is believed no more."""
        key = data.draw(st.sampled_from(sorted(self.model.holders)), "holder")
        self._renew(key)

    def _renew(self, key: tuple[str, str]) -> None:
        execution = self.model.holders[key]
        lease = self.plant.lease(execution.grant.worker_id)
        lost = lease is None or int(lease.token) < int(execution.grant.token)
        owns = self._owns(execution.grant, execution.runner)
        one = held(execution.grant, execution.runner)
        answer = self.plant.runtime.leases.renew("edge-1@h1", [one])[0]
        assert answer == "recreated" if lost else answer == "renewed" if owns else answer in ("ended", "lost")
        if lost or owns:
            execution.until = self.plant.clock.now() + LEASE_TTL
            after = self.plant.lease(execution.grant.worker_id)
            assert after is not None
            assert after.deadline == execution.until
        else:
            del self.model.holders[key]

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data(), runner=st.sampled_from(RUNNERS), outcome=st.sampled_from(ENDS), killed=st.booleans())
    def end(self, data: st.DataObject, runner: str, outcome: Outcome, killed: bool) -> None:
        """Let anybody end anything: written exactly when it runs it, or, by an executor, took its message unbegun."""
        grant = self._some(data)
        lease = self.plant.lease(grant.worker_id)
        mine = lease is not None and (lease.token, lease.action_id) == (grant.token, grant.action_id)
        owner = lease is not None and (
            (mine and killed and lease.stage is Stage.QUEUED)
            or (mine and lease.runner == runner and lease.stage is Stage.RUNNING)
            or (mine and lease.runner == runner and lease.stage is Stage.FREE and lease.outcome == outcome)
        )
        by_executor = "killed" if killed else ""
        assert self.plant.runtime.leases.end(grant, runner, outcome, "done", by_executor) is owner
        self.model.holders.pop((grant.action_id, runner), None)

    @rule(name=st.sampled_from(WORKERS), force=st.booleans())
    def cancel(self, name: str, force: bool) -> None:
        """Let an operator cancel; by force, whoever ran it learns so at its next renewal or end."""
        if self.plant.runtime.leases.cancel(NAME, NODE, name, "", "test", force) == "cancelled":
            self._believe_no_more(name)

    @precondition(lambda self: self.model.grants)
    @rule(data=st.data())
    def reap(self, data: st.DataObject) -> None:
        """Let a tick reap what it saw past its deadline."""
        grant = self._some(data)
        lease = self.plant.lease(grant.worker_id)
        over = (
            lease is not None
            and lease.in_progress
            and (lease.token, lease.deadline < self.plant.clock.now()) == (grant.token, True)
        )
        assert self.plant.runtime.leases.reap(NAME, NODE, grant.worker_id, grant.token) is over

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 9.0, 11.0, 31.0]))
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.plant.clock.advance(seconds)

    # -- what Redis loses ---------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(WORKERS))
    def lose(self, name: str) -> None:
        """Lose a lease; before anything else happens to the worker, its executor renews: that is the hold-off."""
        self.plant.clock.advance(0.5)
        self.client.delete(self.plant.keys.lease(NODE, name))
        for key, execution in list(self.model.holders.items()):
            if execution.grant.worker_id == name:
                if execution.until < self.plant.clock.now():
                    del self.model.holders[key]  # its own clock has ended it
                else:
                    self._renew(key)

    def _believe_no_more(self, name: str) -> None:
        self.model.holders = {key: one for key, one in self.model.holders.items() if one.grant.worker_id != name}

    # -- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def tokens_only_grow(self) -> None:
        """Claims of a worker carry growing tokens, and so do the effects begun under them."""
        if not hasattr(self, "model"):
            return
        for name in WORKERS:
            tokens = [int(grant.token) for grant in self.model.grants if grant.worker_id == name]
            assert tokens == sorted(set(tokens))
            assert self.model.effects[name] == sorted(self.model.effects[name])

    @invariant()
    def what_has_ended_is_counted_once(self) -> None:
        """There is one end per action, and the counters say what the events say."""
        if not hasattr(self, "plant"):
            return
        ends = [event for event in self.plant.events() if event["event"] == "action.ended"]
        assert len({event["action_id"] for event in ends}) == len(ends)
        counted = {
            name.split("|", 1)[1]: int(value)
            for name, value in self.plant.counters().items()
            if name.startswith("supervisor_actions_completed_total|")
        }
        told: dict[str, int] = {}
        for event in ends:
            series = f"{event['worker_id']}|{event['action']}|{event['outcome']}"
            told[series] = told.get(series, 0) + 1
        assert counted == told


@pytest.mark.parametrize("kind", ["fakeredis", "real"])
def test_no_order_of_claims_begins_renewals_ends_and_losses_breaks_the_lease(
    kind: str, request: pytest.FixtureRequest
) -> None:
    client: Any = (
        fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        if kind == "fakeredis"
        else request.getfixturevalue("real_client")
    )
    assert isinstance(client, redis.Redis)
    machine = type("Machine", (LeaseMachine,), {"client": client})
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    examples = 150
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks),
    )
