"""Claims a batch of actions in one script, then publishes their messages in one batch. Nothing else writes a claim.

The order is part of the promise: first the lease, then the message. A claim whose message is lost reaches its deadline;
a message without a claim is refused by `begin`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from secrets import token_hex
from typing import Protocol, cast

import msgspec

from actions.model import Action, Urgency
from actions.noop import Noop
from actions.registry import params_of
from supervisor.ahead import one_ahead
from supervisor.circuit import Breaker
from supervisor.errors import SupervisorError
from supervisor.keys import CHECK_PREFIX, HISTORY_CAP, INCIDENTS_CAP, POOL, SUPERVISOR, Keys, queue_of
from supervisor.model import QUEUED_TTL, TICK_LEASE, Incident
from supervisor.store import Store, encode
from supervisor.traces import trace_id_of
from workers.model import Status

BATCH = 500  # items per script call and per pipeline


def _new_id() -> str:
    """Return a random UUID (version 4); uuid.uuid4 takes several times as long."""
    digits = token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class Claim(msgspec.Struct, frozen=True):
    """A wish to run an action for a worker or child, with what it was decided on.

    `failures` and `kills` are what the new lease counts on from. `counted_as` labels its metrics instead of the id.
    """

    action: Action
    reason: str
    last_token: str
    generation: int
    action_id: str = msgspec.field(default_factory=_new_id)
    failures: int = 0
    kills: int = 0
    counted_as: str = ""


class Item(msgspec.Struct, frozen=True):
    """What a tick writes about one worker or child: a status, events, counters, a claim, or several of these.

    An event is a flat list of names and values; a counter the field to count up by one. `cancel` asks the action in
    progress to give up: the token of its lease, and why. `frame`: the decision, to be kept in the place's history.
    `moved`: into another state, from which a tick should soon go on.
    """

    id: str
    place: str
    status: Status | None = None
    events: Sequence[Sequence[str]] = ()
    counters: Sequence[str] = ()
    claim: Claim | None = None
    cancel: tuple[str, str] | None = None
    frame: str = ""
    moved: bool = False

    @property
    def urgency(self) -> Urgency:
        """Return which of several is claimed, and taken, before others."""
        return Urgency.USUAL if self.claim is None else self.claim.action.urgency


@dataclass(frozen=True)
class Circuit:
    """What the batch was decided under, and the new circuit and its incident if they change."""

    generation: int
    breaker: Breaker | None = None
    counters: Sequence[tuple[str, int]] = ()
    events: Sequence[Sequence[str]] = ()
    incident: Incident | None = None


class Message(msgspec.Struct, frozen=True):
    """An action on its way to an executor. It names what to run and under which lease; commands never travel.

    `issued` and `expires` are when it was claimed and until when it may be begun, by Redis' clock. `reason` is for
    people who look at the message, as in Flower; `traceparent` names the tick's span, if traced. `first`: it overtakes
    what waits in the queue.
    """

    supervisor: str
    place: str
    worker_id: str
    action: str
    action_id: str
    token: str
    params: dict[str, object]
    timeout: float
    queue: str
    issued: float = 0.0
    expires: float = 0.0
    reason: str = ""
    traceparent: str = ""
    first: bool = False


class PublishFailed(SupervisorError):
    """The broker did not take the messages, or nobody knows whether it did; their claims reach their deadline."""


class Publish(Protocol):
    """Puts messages into their queues in one batch, to be taken in that order; those that are `first` before others."""

    def __call__(self, messages: Sequence[Message]) -> None:
        """Publish all. Raises `PublishFailed`."""


@dataclass(frozen=True)
class Applied:
    """What became of a batch. `late`: the tick lease was no longer ours and nothing was done."""

    messages: list[Message]
    refused: dict[str, str]
    late: bool = False


class Sending:
    """Publishes what each batch of a plan was granted while the next one is claimed; the last is published here.

    What fails is said by `error`, and what was granted later is not sent any more. To be used as a context.
    """

    def __init__(self, publish: Publish) -> None:
        """Send by `publish`, of one thread at a time."""
        self._publish = publish
        self._thread: ThreadPoolExecutor | None = None
        self.error = ""

    def __enter__(self) -> Sending:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until all was sent."""
        if self._thread is not None:
            self._thread.shutdown()

    def __call__(self, messages: Sequence[Message], is_last: bool) -> None:
        """Send the messages of a batch."""
        if is_last and self._thread is None:
            self._send(messages)
            return
        self._thread = self._thread or ThreadPoolExecutor(1)
        self._thread.submit(self._send, messages)

    def _send(self, messages: Sequence[Message]) -> None:
        if self.error:
            return
        try:
            self._publish(messages)
        except PublishFailed as error:
            self.error = str(error)


def _keep(_messages: Sequence[Message], _is_last: bool) -> None:
    """Send nothing."""


def apply(
    store: Store,
    supervisor: str,
    tick_id: str,
    circuit: Circuit,
    items: Sequence[Item],
    traceparent: str = "",
    send: Callable[[Sequence[Message], bool], None] = _keep,
) -> Applied:
    """Write a plan in batches, the circuit with the first. Return the claims that were granted.

    `traceparent` names the span of what claims, if it is traced: what is claimed is told under its trace. `send` is
    called after each batch with the messages that it was granted, and whether it was the last.
    """
    done, keys, trace_id = Applied([], {}), store.keys(supervisor), trace_id_of(traceparent)
    parts = [items[first : first + BATCH] for first in range(0, len(items), BATCH)] or [items]
    later = Circuit((circuit.breaker or circuit).generation)
    under = [(circuit if number == 0 else later, part) for number, part in enumerate(parts)]
    answers = one_ahead(
        under,
        lambda one: _call(keys, tick_id, *one, trace_id),
        lambda call: cast("list[str]", store.scripts.run("apply", *call)),
        _was_applied,
    )
    for number, ((_, part), answer) in enumerate(answers, 1):
        if not _was_applied(answer):
            return Applied(done.messages, {**done.refused, **{item.id: answer[0] for item in part}}, late=True)
        sent, now = len(done.messages), float(answer[1])
        for item, token in zip(part, answer[2:], strict=True):
            if item.claim is None:
                continue
            if token.startswith("refused:"):
                done.refused[item.id] = token
            else:
                done.messages.append(_message(supervisor, item, item.claim, (token, now), traceparent))
        send(done.messages[sent:], number == len(parts))
    return done


def _was_applied(answer: Sequence[str]) -> bool:
    return answer[0] == "applied"


def _call(
    keys: Keys, tick_id: str, circuit: Circuit, items: Sequence[Item], trace_id: str
) -> tuple[list[str], list[str | float | bytes]]:
    """Return the keys and arguments of a call of apply.lua."""
    places = {place: number for number, place in enumerate(dict.fromkeys(item.place for item in items), 1)}
    names = [keys.tick, keys.circuit, keys.generations, keys.counters(SUPERVISOR), keys.events(SUPERVISOR)]
    names.append(keys.incidents)
    for place in places:
        names += [keys.counters(place), keys.events(place), keys.asks(place), keys.wake(place), keys.history(place)]
    for item in items:
        names += keys.of_worker(item.place, item.id, ("lease", "status"))
    batch: dict[str, object] = {
        "circuit_generation": circuit.generation,
        "counters": circuit.counters,
        "events": circuit.events,
        "history_kept": HISTORY_CAP,
        "places": len(places),
        "items": [_item(item, places[item.place], trace_id) for item in items],
    }
    if circuit.breaker is not None:
        batch["circuit"] = encode(circuit.breaker)
    if circuit.incident is not None:
        batch["incident"] = {"id": circuit.incident.id, "text": encode(circuit.incident), "kept": INCIDENTS_CAP}
    leases = ["" if item.claim is None else _lease(item.id, item.claim, trace_id) for item in items]
    return names, [tick_id, TICK_LEASE, *leases, _encode(batch)]


_encode = msgspec.json.Encoder().encode


class _Claimed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A new lease as `grant` takes it: token, stage and times are decided there."""

    schema: int
    worker_id: str
    action: str
    action_id: str
    reason: str
    timeout: float
    failures: int
    kills: int
    counted_as: str = ""
    trace_id: str = ""


def _lease(worker_id: str, claim: Claim, trace_id: str) -> bytes:
    return _encode(
        _Claimed(
            schema=1,
            worker_id=worker_id,
            action=claim.action.name,
            action_id=claim.action_id,
            reason=claim.reason,
            timeout=claim.action.timeout,
            failures=claim.failures,
            kills=claim.kills,
            counted_as=claim.counted_as,
            trace_id=trace_id,
        )
    )


def _item(item: Item, place: int, trace_id: str) -> dict[str, object]:
    """Return an item as apply.lua reads it; `place` is the number of its place."""
    plain: dict[str, object] = {"id": item.id, "place": place}
    if item.status is not None:
        plain["status"] = encode(item.status)
    if item.moved:
        plain["moved"] = True
    if item.events:
        plain["events"] = item.events
    if item.counters:
        plain["counters"] = item.counters
    if item.frame:
        plain["frame"] = item.frame
    if item.cancel is not None:
        plain["cancel"] = {"token": item.cancel[0], "reason": item.cancel[1]}
    if item.claim is not None:
        plain["claim"] = _claim(item.id, item.claim, trace_id)
    return plain


def _claim(worker_id: str, claim: Claim, trace_id: str) -> dict[str, object]:
    """Return what a claim needs to find, and what is told of it."""
    told: dict[str, object] = {"token": claim.last_token, "generation": claim.generation, "ttl": QUEUED_TTL}
    told |= {"worker_id": worker_id, "action": claim.action.name, "action_id": claim.action_id, "reason": claim.reason}
    if claim.counted_as:
        told["counted_as"] = claim.counted_as
    if trace_id:
        told["trace_id"] = trace_id
    return told


def claim_check(store: Store, supervisor: str, node: str, ttl: float) -> tuple[Message | None, str]:
    """Claim a no-op for a node, which nobody reaps: it may wait `ttl` seconds.

    Return its message; or None and the id of another check's action in progress, or why there can be none ("full",
    "hold_off").
    """
    keys, item = store.keys(supervisor), f"{CHECK_PREFIX}{node}"
    claim = Claim(Noop(), "checked by an operator", "", 0, counted_as="check")
    lease = {
        **{"schema": 1, "worker_id": item, "action": claim.action.name, "action_id": claim.action_id},
        **{"reason": claim.reason, "timeout": ttl, "counted_as": claim.counted_as},
    }
    where = [keys.lease(node, item), keys.counters(node), keys.events(node), keys.tick]
    answer, value = store.scripts.run("check", where, [ttl, msgspec.json.encode(lease).decode()])
    if answer != "claimed":
        return None, str(value)
    now = store.now()
    message = _message(supervisor, Item(item, node), claim, (str(value), now), "")
    return msgspec.structs.replace(message, timeout=ttl, queue=queue_of(node), expires=now + ttl), claim.action_id


def _message(supervisor: str, item: Item, claim: Claim, granted: tuple[str, float], traceparent: str) -> Message:
    """Return the message of a claim that was `granted`: under which token, and when."""
    action = claim.action
    token, now = granted
    return Message(
        supervisor=supervisor,
        place=item.place,
        worker_id=item.id,
        action=action.name,
        action_id=claim.action_id,
        token=token,
        params=params_of(action),
        timeout=action.timeout,
        queue=queue_of(POOL if action.runs_on == "pool" else item.place),
        issued=now,
        expires=now + QUEUED_TTL,
        reason=claim.reason,
        traceparent=traceparent,
        first=action.urgency is Urgency.FIRST,
    )
