"""Seals: exact bytes, what each change does to them, and every reason to refuse a message."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from supervisor.envelope import (
    LEEWAY,
    Desk,
    Order,
    Reason,
    Seal,
    Untrusted,
    content_of,
    judge,
    params_hash,
    seal,
    signed_bytes,
)
from tests.factories import NOW

PARAMS: dict[str, object] = {"child_name": "broker", "failed_pid": 7}
UNSIGNED = Seal(
    queue="actions.edge-1",
    issued=round(NOW * 1000),
    expires=round((NOW + 30) * 1000),
    params=params_hash(PARAMS),
    key="k1",
)
ORDER = Order(
    supervisor="plant-1", place="edge-1", worker_id="child/broker", action="restart_child", token="18", params=PARAMS
)


def sign(what: bytes) -> bytes:
    """Stand for a cipher."""
    return hashlib.sha256(b"secret" + what).digest()


def verify(signature: bytes, what: bytes) -> bool:
    return signature == sign(what)


DESK = Desk({"k1": verify, "k2": lambda *_: False}, {"actions", "actions.edge-1"}, ("noop", "restart_child"))


def content(**changes: Any) -> dict[str, Any]:
    """Return what a message says, sealed, then changed; `seal__…` changes the seal."""
    sealed = msgspec.to_builtins(seal(ORDER, "a1", UNSIGNED, sign))
    sealed |= {name.removeprefix("seal__"): changes.pop(name) for name in list(changes) if name.startswith("seal__")}
    return {**msgspec.to_builtins(ORDER), "seal": sealed, **changes}


def resealed(order: Order = ORDER, **changes: Any) -> dict[str, Any]:
    """Return what a message says that was sealed as it is."""
    unsigned = msgspec.structs.replace(UNSIGNED, **changes)
    return {**msgspec.to_builtins(order), "seal": msgspec.to_builtins(seal(order, "a1", unsigned, sign))}


def deep(levels: int) -> dict[str, object]:
    """Return parameters that no parser goes to the bottom of."""
    found: dict[str, object] = {}
    for _ in range(levels):
        found = {"n": found}
    return found


def reason_of(said: dict[str, Any], action_id: object = "a1", now: float | None = NOW) -> Reason | None:
    try:
        judge(said, action_id, DESK, now)
    except Untrusted as refused:
        return refused.reason
    return None


def test_a_seal_is_for_exact_bytes() -> None:
    assert signed_bytes(ORDER, "a1", UNSIGNED) == (
        b"fsm-supervisor action 1\n"
        b'["plant-1","edge-1","child/broker","restart_child",'
        b'"92255e63908bf85fb1a3044d30a9a24684e53b31a4bcc6765d850e131b5790d6","a1","18",'
        b'"actions.edge-1",1800000000000,1800000030000,"k1"]'
    )


def test_the_hash_of_parameters_does_not_depend_on_the_order_of_their_names_but_on_every_value() -> None:
    nested = {"a": {"x": 1, "y": [1, 2]}, "b": None}
    assert params_hash(nested) == params_hash({"b": None, "a": {"y": [1, 2], "x": 1}})
    others = [{}, {"a": {"x": 1, "y": [2, 1]}, "b": None}, {"a": {"x": 1.0, "y": [1, 2]}, "b": None}, {"a": nested}]
    assert len({params_hash(one) for one in [nested, *others]}) == 5


def test_what_was_sealed_is_run() -> None:
    order = judge(content(), "a1", DESK, NOW)
    assert msgspec.structs.replace(order, seal=None) == ORDER
    assert reason_of(content(), now=None) is Reason.EXPIRED


@pytest.mark.parametrize(
    "change",
    [
        {"supervisor": "plant-2"},
        {"place": "edge-2"},
        {"worker_id": "flow-2"},
        {"action": "noop"},
        {"token": "19"},
        {"seal__queue": "actions"},
        {"seal__issued": UNSIGNED.issued + 1},
        {"seal__expires": UNSIGNED.expires + 1},
        {"seal__params": params_hash({})},
        {"seal__key": "k2"},
        {"seal__signature": ""},
    ],
    ids=str,
)
def test_nothing_that_was_sealed_can_be_changed(change: dict[str, object]) -> None:
    assert reason_of(content(**change)) is Reason.SIGNATURE


def test_a_seal_is_for_one_action_id() -> None:
    assert reason_of(content(), "a2") is Reason.SIGNATURE


def test_two_fields_cannot_be_cut_elsewhere() -> None:
    cut = msgspec.structs.replace(ORDER, supervisor="plant-1edge", place="-1")
    assert signed_bytes(cut, "a1", UNSIGNED) != signed_bytes(ORDER, "a1", UNSIGNED)
    quoted = msgspec.structs.replace(ORDER, supervisor='plant-1","edge-1', place="child/broker")
    assert signed_bytes(quoted, "a1", UNSIGNED) != signed_bytes(ORDER, "a1", UNSIGNED)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (msgspec.to_builtins(ORDER), Reason.UNSIGNED),
        (content(seal=None), Reason.UNSIGNED),
        (content(seal__key="k9"), Reason.UNKNOWN_KEY),
        (content(params={**PARAMS, "failed_pid": 8}), Reason.PARAMS),
        (content(params={}), Reason.PARAMS),
        (resealed(queue="actions.edge-2"), Reason.OTHER_NODE),
        (resealed(msgspec.structs.replace(ORDER, action="dance")), Reason.UNKNOWN_ACTION),
        (content(command="rm -rf /"), Reason.MALFORMED),
        (content(seal__nonce="1"), Reason.MALFORMED),
        (content(token=18), Reason.MALFORMED),
        (content(params=None), Reason.MALFORMED),
        (content(seal__expires="never"), Reason.MALFORMED),
        (content(seal__signature="%"), Reason.MALFORMED),
        (content(seal__signature="\u00e9"), Reason.MALFORMED),
        (content(worker_id="\ud800"), Reason.MALFORMED),
        (content(params={"n": 10**40}), Reason.PARAMS),
        (content(params={"n": float("nan")}), Reason.PARAMS),
        (content(params=deep(100_000)), Reason.MALFORMED),
        (content(seal__expires=10**40), Reason.SIGNATURE),
        ({}, Reason.MALFORMED),
    ],
)
def test_each_wrong_message_has_its_reason(said: dict[str, Any], reason: Reason) -> None:
    assert reason_of(said) is reason


def test_a_message_without_an_id_is_malformed() -> None:
    assert reason_of(content(), None) is Reason.MALFORMED


def test_a_message_expires_by_the_time_of_redis_with_some_leeway() -> None:
    end = UNSIGNED.expires / 1000
    assert reason_of(content(), now=end + LEEWAY) is None
    assert reason_of(content(), now=end + LEEWAY + 0.002) is Reason.EXPIRED


def test_a_forged_message_is_not_told_what_else_is_wrong_with_it() -> None:
    assert reason_of(content(action="dance", seal__queue="actions.edge-2"), now=NOW + 999) is Reason.SIGNATURE


NONE = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def test_the_named_arguments_are_the_message() -> None:
    assert content_of([[], {"a": 1}, NONE]) == {"a": 1}
    assert content_of(([], {}, {})) == {}


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "text",
        {"task": "supervisor.execute", "args": [], "kwargs": {}},
        [],
        [[], {}],
        [["x"], {}, NONE],
        [[], [], NONE],
        [[], {}, None],
        *[[[], {}, {**NONE, name: [{"task": "supervisor.tick"}]}] for name in NONE],
    ],
)
def test_a_body_that_asks_for_more_than_one_call_is_malformed(payload: object) -> None:
    with pytest.raises(Untrusted) as refused:
        content_of(payload)
    assert refused.value.reason is Reason.MALFORMED
