"""The lease of a worker: begin, renew, end and reap. Claiming happens in a batch: `dispatch.claim`."""

from __future__ import annotations

from dataclasses import dataclass

from actions.model import Outcome
from supervisor.keys import Keys
from supervisor.model import LEASE_TTL
from supervisor.scripts import Scripts


@dataclass(frozen=True)
class Grant:
    """A claimed lease as a message names it. Only who knows `token` and `action_id` can begin, renew or end it."""

    supervisor: str
    place: str
    worker_id: str
    action: str
    action_id: str
    token: str


@dataclass(frozen=True)
class Leases:
    """The four verbs over one Redis; times are Redis' own."""

    namespace: str
    scripts: Scripts

    def _keys(self, grant: Grant) -> Keys:
        return Keys(self.namespace, grant.supervisor)

    def begin(self, grant: Grant, runner: str, executor: str) -> str | None:
        """Begin to run: return None when granted, else why it is discarded. The same runner may ask again."""
        keys = self._keys(grant)
        where = [keys.lease(grant.place, grant.worker_id), keys.counters(grant.place), keys.events(grant.place)]
        arguments: list[str | float] = [
            grant.worker_id,
            grant.token,
            grant.action_id,
            runner,
            executor,
            LEASE_TTL,
            grant.action,
        ]
        answer, why = self.scripts.run("begin", where, arguments)
        return None if answer == "begun" else str(why)

    def renew(self, grants: list[Grant]) -> dict[str, str]:
        """Prolong the running leases among `grants`; return action_id → "renewed", "queued" or "lost"."""
        if not grants:
            return {}
        where = [self._keys(grant).lease(grant.place, grant.worker_id) for grant in grants]
        arguments = [text for grant in grants for text in (grant.token, grant.action_id)]
        answers = self.scripts.run("renew", where, [LEASE_TTL, *arguments])
        return {grant.action_id: str(answer) for grant, answer in zip(grants, answers, strict=True)}

    def end(self, grant: Grant, runner: str, outcome: Outcome, detail: str) -> bool:
        """End a running action; return False when the lease was no longer this runner's and nothing was written."""
        keys = self._keys(grant)
        where = [
            keys.lease(grant.place, grant.worker_id),
            keys.counters(grant.place),
            keys.events(grant.place),
            keys.asks(grant.place),
            keys.wake(grant.place),
            keys.circuit,
        ]
        return bool(
            self.scripts.run("end", where, [grant.token, grant.action_id, runner, outcome, detail[:500]]) == "ended"
        )

    def reap(self, supervisor: str, place: str, worker_id: str, token: str) -> bool:
        """Free a lease seen past its deadline; return whether it still was."""
        keys = Keys(self.namespace, supervisor)
        where = [
            keys.lease(place, worker_id),
            keys.counters(place),
            keys.events(place),
            keys.asks(place),
            keys.wake(place),
        ]
        return bool(self.scripts.run("reap", where, [token]) == 1)
