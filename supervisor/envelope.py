"""What makes an action's message one that may be run: its seal, and the judgement of who receives it. Pure.

A seal is a signature over all that decides what is run, where, and until when. It covers exact bytes, which both sides
make with `signed_bytes` from the fields themselves; nothing that was signed is ever read back from a text.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

LEEWAY = 1.0  # seconds past its end that a message is still taken: the doubt of a measured time. `begin` is exact
_WHAT = b"fsm-supervisor action 1\n"  # what is signed, so that no signature for anything else can be taken for one
_CONTENT = 3  # args, kwargs, and what Celery would do afterwards

Verify = Callable[[bytes, bytes], bool]  # whether a signature is right for these bytes


class Reason(StrEnum):
    """Why a message is not run; the `reason` label of `supervisor_messages_refused_total`."""

    MALFORMED = "malformed"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    PARAMS = "params"
    OTHER_NODE = "other_node"
    EXPIRED = "expired"
    UNKNOWN_ACTION = "unknown_action"
    UNKNOWN_TASK = "unknown_task"


class Untrusted(Exception):
    """A message that is not run."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """Say which kind it is of, and what was seen."""
        super().__init__(detail)
        self.reason = reason


class Seal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is added to an order by who signs it. Times are milliseconds of Redis' clock.

    `params` is the SHA-256 of the parameters, `key` the id of the key, `signature` base64.
    """

    queue: str
    issued: int
    expires: int
    params: str
    key: str
    signature: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a message says: which action to run, with which parameters, under which lease."""

    supervisor: str
    place: str
    worker_id: str
    action: str
    token: str
    params: dict[str, object]
    seal: Seal | None = None


@dataclass(frozen=True)
class Desk:
    """What a message is judged by: the keys that count, the queues served here, the actions known here."""

    keys: Mapping[str, Verify]
    queues: Container[str]
    actions: Container[str]


def params_hash(params: Mapping[str, object]) -> str:
    """Return the SHA-256 of parameters, whatever the order of their names."""
    return hashlib.sha256(msgspec.json.encode(params, order="deterministic")).hexdigest()


def signed_bytes(order: Order, action_id: str, seal: Seal) -> bytes:
    """Return the bytes that a seal's signature is for."""
    whose = [order.supervisor, order.place, order.worker_id]
    what = [order.action, seal.params, action_id, order.token]
    return _WHAT + msgspec.json.encode([*whose, *what, seal.queue, seal.issued, seal.expires, seal.key])


def seal(order: Order, action_id: str, unsigned: Seal, sign: Callable[[bytes], bytes]) -> Seal:
    """Return `unsigned` with its signature."""
    signature = b64encode(sign(signed_bytes(order, action_id, unsigned))).decode()
    return msgspec.structs.replace(unsigned, signature=signature)


def content_of(payload: object) -> Mapping[str, object]:
    """Return the named arguments of a message. Raises `Untrusted` when it has others, or asks for more than a call.

    Celery would publish what stands in `callbacks` or `chain` with the receiver's own rights.
    """
    if not isinstance(payload, list | tuple) or len(payload) != _CONTENT:
        raise Untrusted(Reason.MALFORMED, "expected a body of arguments, named arguments and options")
    args, kwargs, options = payload
    if args or not isinstance(kwargs, dict) or not isinstance(options, dict):
        raise Untrusted(Reason.MALFORMED, "expected named arguments alone")
    asked = sorted(str(name) for name, value in options.items() if value)
    if asked:
        raise Untrusted(Reason.MALFORMED, f"asks for {', '.join(asked)} after its end; expected nothing")
    return kwargs


def judge(content: Mapping[str, object], action_id: object, desk: Desk, now: float | None) -> Order:
    """Return the order of a message, if it may be run here. Raises `Untrusted`.

    `now` is Redis' time in seconds as it was measured; before there is a measurement (None) nothing is run. `begin`
    looks at the time again, and at whether the message was run before.
    """
    order = _order_of(content)
    if not isinstance(action_id, str):
        raise Untrusted(Reason.MALFORMED, f"its id is {action_id!r}: expected a text")
    if order.seal is None:
        raise Untrusted(Reason.UNSIGNED, "it carries no seal")
    _see_signature(order, action_id, order.seal, desk.keys)
    if order.seal.queue not in desk.queues:
        raise Untrusted(Reason.OTHER_NODE, f"it was sealed for the queue {order.seal.queue!r}")
    if now is None:
        raise Untrusted(Reason.EXPIRED, "whether it has expired is not known: Redis' time was not measured yet")
    if now > order.seal.expires / 1000 + LEEWAY:
        raise Untrusted(Reason.EXPIRED, f"it expired {now - order.seal.expires / 1000:.1f}s ago")
    if order.action not in desk.actions:
        raise Untrusted(Reason.UNKNOWN_ACTION, f"no action {order.action!r} is known here")
    return order


def _order_of(content: Mapping[str, object]) -> Order:
    try:
        return msgspec.convert(content, Order)
    except msgspec.ValidationError as error:
        raise Untrusted(Reason.MALFORMED, str(error)) from None


def _see_signature(order: Order, action_id: str, sealed: Seal, keys: Mapping[str, Verify]) -> None:
    """See that an order is what was signed, with a key that counts."""
    verify = keys.get(sealed.key)
    if verify is None:
        known = ", ".join(sorted(keys))
        raise Untrusted(Reason.UNKNOWN_KEY, f"it was sealed with key {sealed.key!r}: expected one of {known}")
    try:
        right = verify(b64decode(sealed.signature, validate=True), signed_bytes(order, action_id, sealed))
        same = params_hash(order.params) == sealed.params
    except (ValueError, RecursionError) as error:  # no base64, half a character, parameters without a bottom
        raise Untrusted(Reason.MALFORMED, str(error)) from None
    if not right:
        raise Untrusted(Reason.SIGNATURE, "its signature is not for what it says")
    if not same:
        raise Untrusted(Reason.PARAMS, "its parameters are not those that were sealed")
