"""Operators' standing orders: a pause of a group, of a node or of all, and the drain of a node. Pure.

One document per order, however many workers it concerns. It ends by itself when its end has passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from actions.model import Outcome
from actions.restart import Restart
from supervisor.model import Lease
from workers.duration import ago
from workers.model import Control, Document, Snapshot, Status, Transition

ALL = "all"
Kind = Literal["pause", "drain"]


class Order(Document, frozen=True, kw_only=True):
    """What an operator ordered for a scope: `all`, `group/NAME` or `node/NAME`; "" is one worker alone.

    `at` and `ends_at` are epoch seconds by Redis' clock; 0: it lasts until it is lifted. A pause: nothing is done for
    the workers, not even a stop. A drain: nothing but stops is begun on the node, and no floating work goes there.
    """

    kind: Kind
    scope: str
    by: str
    at: float = 0.0
    ends_at: float = 0.0
    reason: str = ""

    @property
    def name(self) -> str:
        """Return the field under which it is stored: one order of a kind for a scope."""
        return name_of(self.kind, self.scope)

    def is_over(self, now: float) -> bool:
        """Tell whether its end has passed."""
        return bool(self.ends_at) and now >= self.ends_at

    def words(self, now: float, age: bool = True) -> str:
        """Say its scope, who gave it (and when), why, and when it ends."""
        scope = f"{self.scope} " if self.scope else ""
        since = f" {ago(now - self.at)} ago" if age else ""
        why = f": {self.reason}" if self.reason else ""
        end = f"; ends in {ago(self.ends_at - now)}" if self.ends_at else ""
        return f"{scope}by {self.by}{since}{why}{end}"


def name_of(kind: Kind, scope: str) -> str:
    """Return the name of an order, as it is stored and shown: "pause node/edge-1"."""
    return f"{kind} {scope}"


def concerning(orders: Mapping[str, Order], place: str, group: str) -> tuple[Order, ...]:
    """Return the orders that concern a worker at a place and in a group ("" for none)."""
    scopes = (ALL, f"group/{group}", f"node/{place}")
    names = [name_of("pause", scope) for scope in scopes] + [name_of("drain", f"node/{place}")]
    return tuple(orders[name] for name in names if name in orders)


def own_pause(control: Control) -> tuple[Order, ...]:
    """Return the pause of one worker alone, if there is one."""
    if not control.paused:
        return ()
    order = Order(kind="pause", scope="", by=control.by, at=control.at, ends_at=control.ends_at, reason=control.reason)
    return (order,)


def in_force(kind: Kind, orders: Iterable[Order], now: float) -> Order | None:
    """Return the first order of a kind whose end has not passed."""
    return next((order for order in orders if order.kind == kind and not order.is_over(now)), None)


def drained(orders: Mapping[str, Order], now: float) -> frozenset[str]:
    """Return the nodes that are drained."""
    found = (order for order in orders.values() if order.kind == "drain" and not order.is_over(now))
    return frozenset(order.scope.removeprefix("node/") for order in found)


def wants_restart(control: Control, status: Status) -> bool:
    """Tell whether an operator asked for a restart that has not come to pass."""
    return control.restart_at not in (0.0, status.restarted_at)


def heed_restart(status: Status, control: Control, lease: Lease | None, is_down: bool) -> Status:
    """Return the status with the restart that was asked for behind it: done, or void, as nothing runs."""
    if not wants_restart(control, status):
        return status
    done = lease is not None and lease.outcome == Outcome.SUCCESS and lease.claimed_at >= control.restart_at
    if not done and not is_down:
        return status
    return msgspec.structs.replace(status, restarted_at=control.restart_at)


def restart(snapshot: Snapshot) -> Transition | None:
    """Return the restart that an operator asked for, of what is seen to run; None if there is none still to come."""
    control, observed = snapshot.control, snapshot.observed
    if observed is None or not wants_restart(control, snapshot.status):
        return None
    action = Restart(failed_pid=observed.pid or 0, failed_start_ticks=observed.start_ticks)
    return Transition(reason=f"restart asked for by {control.restart_by}", action=action)
