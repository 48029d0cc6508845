"""What operators say about more than one worker, or about what has no documents of its own; each told as an event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from supervisor import keys as key_names
from supervisor.errors import BadDocument
from supervisor.keys import SUPERVISOR
from supervisor.orders import Kind, Order, name_of
from supervisor.store import Store, by_whom, decode, encode


def give_order(store: Store, supervisor: str, order: Order, lasts: float = 0.0) -> None:
    """Write a standing order that begins now and lasts `lasts` seconds (0: until it is lifted)."""
    told = {"event": f"operator.{order.kind}", "scope": order.scope}
    _order(store, supervisor, order.name, encode(order), lasts, by_whom(told, order.by, order.reason, lasts))


def lift_order(store: Store, supervisor: str, kind: Kind, scope: str, by: str, reason: str = "") -> bool:
    """End a standing order; return False when there is none, and then nothing has changed."""
    told = {"event": "operator.resume" if kind == "pause" else "operator.undrain", "scope": scope}
    return _order(store, supervisor, name_of(kind, scope), "", 0.0, by_whom(told, by, reason))


def is_drained(store: Store, supervisor: str, node: str) -> bool:
    """Tell whether a node is drained, as far as that can be read."""
    key, name = store.keys(supervisor).orders, name_of("drain", f"node/{node}")
    text = store.client.hget(key, name)
    try:
        return text is not None and not decode(text, Order, f"{key} {name}").is_over(store.now())
    except BadDocument:
        return False


def _order(store: Store, supervisor: str, name: str, text: str, lasts: float, told: Mapping[str, str]) -> bool:
    keys = store.keys(supervisor)
    where = [keys.orders, keys.circuit, keys.events(SUPERVISOR), keys.revision, keys.wake(SUPERVISOR)]
    flat = [part for pair in told.items() for part in pair]
    return bool(store.scripts.run("order", where, [name, text, lasts, *flat]) == 1)


def ask_to_look(store: Store, supervisor: str, place: str, item: str, by: str, reason: str = "") -> None:
    """Ask whoever observes a worker or child to look at once."""
    keys = store.keys(supervisor)
    told = by_whom({"event": "operator.observe", "worker_id": item}, by, reason)
    pipe = store.client.pipeline(transaction=True)
    pipe.rpush(keys.asks(place), item)
    pipe.ltrim(keys.asks(place), -key_names.ASKS_CAP, -1)
    pipe.xadd(keys.events(SUPERVISOR), told, maxlen=key_names.EVENTS_CAP, approximate=True)
    pipe.execute()


def tell_deleted(store: Store, supervisor: str, what: str, by: str, reason: str = "") -> None:
    """Tell that an operator wants something forgotten."""
    told = by_whom({"event": "operator.delete", "what": what}, by, reason)
    events = store.keys(supervisor).events(SUPERVISOR)
    store.client.xadd(events, told, maxlen=key_names.EVENTS_CAP, approximate=True)


def forget_node(store: Store, supervisors: Iterable[str], node: str, by: str, reason: str = "") -> None:
    """Forget a node that no fleet uses, with all that is kept at its place."""
    pipe = store.client.pipeline(transaction=True)
    pipe.srem(key_names.nodes(store.namespace), node)
    for supervisor in supervisors:
        keys = store.keys(supervisor)
        kinds = (
            keys.node,
            keys.collector,
            keys.rejected,
            keys.wake,
            keys.asks,
            keys.events,
            keys.history,
            keys.counters,
        )
        pipe.delete(*(kind(node) for kind in kinds))
        told = by_whom({"event": "operator.delete", "what": f"node/{node}"}, by, reason)
        pipe.xadd(keys.events(SUPERVISOR), told, maxlen=key_names.EVENTS_CAP, approximate=True)
    pipe.execute()
