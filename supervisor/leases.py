"""The lease of a worker: begin, renew, end, cancel and reap. Claiming happens in a batch: `dispatch.apply`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import msgspec

from actions.model import Outcome
from supervisor.keys import SUPERVISOR, Keys
from supervisor.model import LEASE_TTL, QUEUED_TTL, Lease
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


class Begin(NamedTuple):
    """What a begin is told: why it is discarded, or None and the documents that it asked for (None: not there)."""

    refused: str | None
    documents: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class Held:
    """A grant that an execution works under, as its executor knows it.

    `runner` is the execution: executor process and pool process. `timeout` is the action's, `begun_ago` the time since
    the pool process took it up; both in seconds.
    """

    grant: Grant
    runner: str
    timeout: float
    begun_ago: float


@dataclass(frozen=True)
class Leases:
    """The verbs over one Redis; times are Redis' own."""

    namespace: str
    scripts: Scripts

    def _keys(self, grant: Grant) -> Keys:
        return Keys(self.namespace, grant.supervisor)

    def begin(self, grant: Grant, runner: str, executor: str, documents: Sequence[str] = ()) -> Begin:
        """Begin to run, and read the documents at these keys as they are then. The same runner may ask again."""
        keys = self._keys(grant)
        where = [keys.lease(grant.place, grant.worker_id), keys.counters(grant.place), keys.events(grant.place)]
        where += [keys.tick, *documents]
        arguments: list[str | float] = [
            grant.worker_id,
            grant.token,
            grant.action_id,
            runner,
            executor,
            LEASE_TTL,
            grant.action,
        ]
        answer, why, *texts = self.scripts.run("begin", where, arguments)
        return Begin(None, tuple(text or None for text in texts)) if answer == "begun" else Begin(str(why))

    def renew(self, executor: str, held: list[Held]) -> list[str]:
        """Prolong what `executor` holds; return for each "renewed", "queued", "recreated", "ended" or "lost".

        "queued": it has not begun. "recreated": Redis had lost the lease, and it was written again. "lost": it is
        another's now, or nobody's.
        """
        if not held:
            return []
        where = []
        for one in held:
            keys = self._keys(one.grant)
            where += [keys.lease(one.grant.place, one.grant.worker_id), keys.index]
        texts = [msgspec.json.encode(_as_held(one)).decode() for one in held]
        return [str(answer) for answer in self.scripts.run("renew", where, [LEASE_TTL, executor, *texts])]

    def asked_to_cancel(self, held: list[Held]) -> list[str]:
        """Return for each of `held` why it has been asked to give up, "" if it has not."""
        if not held:
            return []
        keys = [self._keys(one.grant).lease(one.grant.place, one.grant.worker_id) for one in held]
        asked = []
        for one, text in zip(held, self.scripts.read(keys), strict=True):
            lease = msgspec.json.decode(text, type=Lease) if text else None
            asked.append(lease.cancel if lease is not None and lease.token == one.grant.token else "")
        return asked

    def end(
        self, grant: Grant, runner: str, outcome: Outcome, detail: str, by_executor: str = "", fence: int = 0
    ) -> bool:
        """End a running action; return False when the lease was no longer this runner's and nothing was written.

        `by_executor` is set when the executor ends it because the execution cannot: "killed" when the action killed its
        pool process, "gone" for any other reason; such an end also frees a claim that was not begun. `fence` is the
        larger token that refused the effect: Redis has forgotten it, and the next claim's is larger still.
        """
        where = [*self._places(grant.supervisor, grant.place, grant.worker_id), self._keys(grant).circuit]
        arguments = [grant.token, grant.action_id, runner, outcome, detail[:500], by_executor, str(fence or "")]
        return bool(self.scripts.run("end", where, arguments) == "ended")

    def cancel(
        self,
        supervisor: str,
        place: str,
        worker_id: str,
        token: str,
        reason: str,
        force: bool = False,
        by: str = "",
        why: str = "",
    ) -> str:
        """Cancel the action in progress, if its token is `token` ("" = any); an operator's act if it is `by` one.

        Return "cancelled" when it is freed (it was queued, or `force`), "asked" when its executor will end it, or
        "nothing".
        """
        own = Keys(self.namespace, supervisor).events(SUPERVISOR)
        where = [*self._places(supervisor, place, worker_id), own]
        return str(self.scripts.run("cancel", where, [token, reason, int(force), by, why]))

    def reap(
        self, supervisor: str, place: str, worker_id: str, token: str, tick_id: str = "", longest: float = QUEUED_TTL
    ) -> bool:
        """Free a lease seen past its deadline; return whether it still was.

        On behalf of tick `tick_id` only while the tick lease is its own and no hold-off is on. A deadline more than
        `longest` seconds ahead is past too: Redis' clock was set back since it was written.
        """
        where = [*self._places(supervisor, place, worker_id), Keys(self.namespace, supervisor).tick]
        return bool(self.scripts.run("reap", where, [token, tick_id, longest]) == 1)

    def _places(self, supervisor: str, place: str, worker_id: str) -> list[str]:
        """Return the keys that freeing a lease writes to, as prelude's `free` takes them."""
        keys = Keys(self.namespace, supervisor)
        return [
            keys.lease(place, worker_id),
            keys.counters(place),
            keys.events(place),
            keys.asks(place),
            keys.wake(place),
        ]


def _as_held(held: Held) -> dict[str, object]:
    """Return what renew.lua needs to write a lease again."""
    grant = asdict(held.grant)
    kept = {name: grant[name] for name in ("worker_id", "place", "action", "action_id", "token")}
    return {**kept, "runner": held.runner, "timeout": held.timeout, "begun_ago": round(held.begun_ago, 3)}
