"""The guard of an executor: what it lets through, what it makes of it, and what it refuses."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from actions.registry import built_in
from supervisor.clock import FakeClock
from supervisor.dispatch import Message
from supervisor.errors import UsageError
from supervisor.guard import Guard, make_guard
from supervisor.keyring import SIGNING_KEY, VERIFY_KEYS, add_key, drop_key, make_keys, use_key
from tests.factories import NOW
from tests.sealing import Wire, guard_of, publisher_of, received, settings_with

SHARED = NOW + 7200  # Redis' time, when this host's clocks say NOW
Raw = dict[str, Any]


def message(**changes: Any) -> Message:
    fields: dict[str, Any] = {
        "supervisor": "plant-1",
        "place": "edge-1",
        "worker_id": "child/broker",
        "action": "restart_child",
        "action_id": "a1",
        "token": "1800000000000000",
        "params": {"child_name": "broker", "failed_pid": 7},
        "timeout": 60.0,
        "queue": "actions.edge-1",
        "issued": SHARED,
        "expires": SHARED + 30,
        "reason": "is down",
        "traceparent": "00-1-2-01",
        **changes,
    }
    return Message(**fields)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return a folder with a key."""
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def wire() -> Wire:
    """Return a broker."""
    return Wire()


@pytest.fixture
def guard(keys: Path, clock: FakeClock) -> Guard:
    """Return the guard of edge-1, which has measured Redis' time."""
    made = guard_of(keys, clock)
    made.measured(SHARED, clock.monotonic(), clock.monotonic())
    return made


def refused(guard: Guard, raw: Raw) -> dict[str, int]:
    """See that a message is refused, and return what is to be counted."""
    assert not guard.admit(received(raw))
    return dict(guard.refusals.uncounted())


def edited(raw: Raw, *, headers: Raw | None = None, payload: Any = None, **kwargs: Any) -> Raw:
    """Return a message with other headers, with other named arguments, or with another body."""
    args, named, options = json.loads(base64.b64decode(raw["body"]))
    body = [args, {**named, **kwargs}, options] if payload is None else payload
    encoded = base64.b64encode(json.dumps(body).encode()).decode()
    return {**raw, "headers": {**raw["headers"], **(headers or {})}, "body": encoded}


def test_a_sealed_message_is_let_through_and_says_what_was_sealed(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    got = received(raw)
    assert guard.admit(got)
    lease = {"supervisor": "plant-1", "place": "edge-1", "worker_id": "child/broker", "action": "restart_child"}
    assert got.headers == {
        "lang": "py",
        "task": "supervisor.execute",
        "id": "a1",
        "root_id": "a1",
        "parent_id": None,
        "shadow": "actions.restart_child",
        "eta": None,
        "expires": None,
        "group": None,
        "retries": 0,
        "timelimit": [65.0, 60.0],
        "argsrepr": "(child/broker)",
        "kwargsrepr": '{"reason": "is down", "child_name": "broker", "failed_pid": 7}',
        "origin": "",
        "ignore_result": True,
        "traceparent": "00-1-2-01",
        "fsm_lease": {**lease, "action_id": "a1", "token": "1800000000000000"},
    }
    assert got.properties == {"correlation_id": "a1"}
    assert got.delivery_info == {"exchange": "", "routing_key": "actions.edge-1"}
    assert guard.refusals.uncounted() == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"fsm_lease": {"supervisor": "plant-1", "place": "edge-2", "worker_id": "flow-9", "action": "stop"}},
        {"timelimit": [86400.0, 86400.0]},
        {"timelimit": "for ever"},
        {"eta": "2035-01-01T00:00:00+00:00", "expires": "2020-01-01T00:00:00+00:00", "retries": 9},
        {"shadow": "actions.noop", "argsrepr": "(flow-9)", "origin": "somebody", "group": "g", "chord": "c"},
        {"stamped_headers": ["task"], "stamps": {"task": "supervisor.tick"}, "reply_to": "q", "hostname": "h"},
        {"ignore_result": False, "x": "y"},
        {"kwargsrepr": 7, "traceparent": ["x"]},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_header_overrides_what_was_sealed(guard: Guard, wire: Wire, keys: Path, headers: Raw) -> None:
    (raw,) = wire.publish(keys, message(traceparent=""))
    got, as_sent = received(edited(raw, headers=headers)), received(raw)
    got.delivery_info = {"exchange": "theirs", "routing_key": "actions", "redelivered": True}
    assert guard.admit(got)
    assert guard.admit(as_sent)
    readable = {"kwargsrepr": "{}"} if "kwargsrepr" in headers else {}
    assert got.headers == {**as_sent.headers, **readable}
    assert got.delivery_info == as_sent.delivery_info
    assert got.properties == {"correlation_id": "a1"}


def test_a_message_keeps_its_bytes_so_that_what_was_judged_is_run(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    got = received(raw)
    assert guard.admit(got)
    assert got.body == base64.b64decode(raw["body"])


def test_an_unsealed_message_is_refused(guard: Guard, wire: Wire) -> None:
    (raw,) = wire.publish(None, message())
    assert refused(guard, raw) == {"unsigned": 1}


def test_a_message_that_another_key_sealed_is_refused(guard: Guard, wire: Wire, tmp_path: Path) -> None:
    make_keys(tmp_path / "theirs")
    (raw,) = wire.publish(tmp_path / "theirs", message())
    assert refused(guard, raw) == {"unknown_key": 1}


def test_a_message_for_another_worker_token_or_id_is_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    changes: list[Raw] = [{"worker_id": "flow-2"}, {"token": "9"}, {"place": "pool"}, {"headers": {"id": "a2"}}]
    assert [refused(guard, edited(raw, **change)) for change in changes] == [{"signature": n} for n in (1, 2, 3, 4)]


def test_a_message_with_other_parameters_is_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    assert refused(guard, edited(raw, params={"child_name": "broker", "failed_pid": 8})) == {"params": 1}


def test_a_message_for_another_node_is_refused_and_one_for_the_pool_is_not(
    guard: Guard, wire: Wire, keys: Path
) -> None:
    other, pool = wire.publish(keys, message(queue="actions.edge-2"), message(place="pool", queue="actions"))
    assert refused(guard, other) == {"other_node": 1}
    assert guard.admit(received(pool))


def test_a_message_expires_by_redis_time_whatever_this_hosts_clock_says(
    guard: Guard, wire: Wire, keys: Path, clock: FakeClock
) -> None:
    (raw,) = wire.publish(keys, message())
    clock.advance(30.5)
    assert guard.admit(received(raw))
    clock.advance(1.0)
    assert refused(guard, raw) == {"expired": 1}


def test_nothing_is_run_before_the_time_is_known_and_a_slow_measurement_tells_the_least_that_it_is(
    wire: Wire, keys: Path, clock: FakeClock
) -> None:
    guard, at = guard_of(keys, clock), clock.monotonic()
    (valid,) = wire.publish(keys, message(issued=SHARED, expires=SHARED + 30))
    (late,) = wire.publish(keys, message(issued=SHARED - 35, expires=SHARED - 5))
    assert refused(guard, valid) == {"expired": 1}
    guard.measured(SHARED, at - 0.6, at)
    assert guard.admit(received(valid))
    assert not guard.admit(received(late))
    guard.measured(SHARED + 3600, at - 0.6, at)  # a slow one takes no prompt or first one's place
    assert guard.admit(received(valid))
    guard.measured(SHARED + 3600, at - 0.1, at)
    assert not guard.admit(received(valid))


def test_an_action_that_is_not_known_here_is_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message(action="dance"))
    assert refused(guard, raw) == {"unknown_action": 1}


@pytest.mark.parametrize(
    "task", ["supervisor.tick", "celery.chain", "celery.starmap", "celery.backend_cleanup", "dance", None, ["x"], {}]
)
def test_a_node_runs_no_other_task(guard: Guard, wire: Wire, keys: Path, task: object) -> None:
    (raw,) = wire.publish(keys, message())
    assert refused(guard, edited(raw, headers={"task": task})) == {"unknown_task": 1}


def test_a_message_of_celerys_first_protocol_is_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    old = edited(raw, payload={"task": "supervisor.execute", "id": "a1", "args": [], "kwargs": {}})
    assert refused(guard, {**old, "headers": {}}) == {"unknown_task": 1}


def test_a_body_that_says_more_or_cannot_be_read_is_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    args, kwargs, options = json.loads(base64.b64decode(raw["body"]))
    bodies = [
        [args, kwargs, {**options, "chain": [{"task": "supervisor.tick"}]}],
        [["x"], kwargs, options],
        [args, {**kwargs, "command": "rm -rf /"}, options],
        "text",
    ]
    wrong = [edited(raw, payload=body) for body in bodies]
    wrong += [
        {**raw, "body": "e30="},
        {**raw, "body": "/w=="},
        {**raw, "content-type": "application/x-python-serialize"},
    ]
    wrong.append({**raw, "body": base64.b64encode(b"[" * 100_000).decode()})
    for number, one in enumerate(wrong, 1):
        assert refused(guard, one) == {"malformed": number}


def test_headers_that_are_none_are_refused(guard: Guard, wire: Wire, keys: Path) -> None:
    (raw,) = wire.publish(keys, message())
    got = received(raw)
    got.headers = "text"
    assert not guard.admit(got)
    guard.unreadable(ValueError("no base64"))
    assert dict(guard.refusals.uncounted()) == {"unknown_task": 1, "malformed": 1}


def tick(wire: Wire, **changes: Any) -> Raw:
    """Return a tick request as a beat publishes it."""
    wire.app.send_task("supervisor.tick", queue="supervisor", task_id="t1", **changes)
    with wire.app.connection_for_read() as connection:
        raw: Raw = json.loads(json.dumps(connection.default_channel._get("supervisor")))
        return raw


def test_a_supervisor_takes_tick_requests_but_nothing_that_comes_with_them(
    wire: Wire, keys: Path, clock: FakeClock
) -> None:
    settings = settings_with(keys, signing_key=keys / SIGNING_KEY)
    guard = make_guard(settings, ["supervisor"], built_in(), clock)
    assert guard is not None
    got = received(edited(tick(wire), headers={"timelimit": [0.1, 0.1], "eta": "2035-01-01T00:00:00"}))
    assert guard.admit(got)
    assert [got.headers[name] for name in ("task", "id", "timelimit", "eta")] == [
        "supervisor.tick", "t1", [None, None], None
    ]  # fmt: skip
    assert refused(guard, tick(wire, link=Celery("x", set_as_current=False).signature("dance"))) == {"malformed": 1}
    assert refused(guard, tick(wire, kwargs={"x": 1})) == {"malformed": 2}
    sealed, plain = wire.publish(keys, message())[0], wire.publish(None, message())[0]
    assert refused(guard, plain) == {"malformed": 2, "unsigned": 1}
    assert refused(guard, sealed) == {"malformed": 2, "unsigned": 1, "other_node": 1}


def test_what_is_refused_is_told_with_its_reason_and_no_more_than_twenty_times_in_a_while(
    guard: Guard, wire: Wire, keys: Path, clock: FakeClock, capfd: pytest.CaptureFixture[str]
) -> None:
    (raw,) = wire.publish(None, message(worker_id="x" * 1000))
    for _ in range(25):
        assert not guard.admit(received(raw))
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["count"] for line in lines] == list(range(1, 21))
    told = {
        name: lines[0][name] for name in ("event", "level", "reason", "error", "action_id", "worker_id", "action_type")
    }
    assert told == {
        "event": "message.refused",
        "level": "warning",
        "reason": "unsigned",
        "error": "it carries no seal",
        "action_id": "a1",
        "worker_id": "x" * 100,
        "action_type": "restart_child",
    }
    clock.advance(30)
    assert not guard.admit(received(raw))
    (line,) = capfd.readouterr().err.splitlines()
    assert json.loads(line)["count"] == 26
    assert dict(guard.refusals.uncounted()) == {"unsigned": 26}


def test_in_a_rotation_nothing_is_refused_that_either_key_sealed(guard: Guard, wire: Wire, keys: Path) -> None:
    sealed = wire.publish(keys, message())
    add_key(keys)
    sealed += wire.publish(keys, message())
    use_key(keys)
    sealed += wire.publish(keys, message())
    assert [guard.admit(received(raw)) for raw in sealed] == [True, True, True]
    drop_key(keys)
    assert [guard.admit(received(raw)) for raw in sealed] == [False, False, True]
    assert dict(guard.refusals.uncounted()) == {"unknown_key": 2}


def test_a_publisher_signs_with_the_new_key_as_soon_as_it_is_there(wire: Wire, keys: Path, clock: FakeClock) -> None:
    publisher = publisher_of(wire.app, keys)
    add_key(keys)
    use_key(keys)
    drop_key(keys)
    publisher([message()])
    with wire.app.connection_for_read() as connection:
        raw = json.loads(json.dumps(connection.default_channel._get("actions.edge-1")))
    guard = guard_of(keys, clock)
    guard.measured(SHARED, clock.monotonic(), clock.monotonic())
    assert guard.admit(received(raw))


def guard_with(folder: Path, *queues: str, **named: Path) -> Guard | None:
    return make_guard(settings_with(folder, **named), queues, built_in(), FakeClock())


def test_without_keys_there_is_no_guard(keys: Path) -> None:
    assert guard_with(keys, "actions", "actions.edge-1") is None
    assert guard_with(keys, "supervisor") is None


def test_a_refusal_is_counted_at_the_place_that_refuses(keys: Path) -> None:
    private, public = keys / SIGNING_KEY, keys / VERIFY_KEYS
    made = {
        queues: guard_with(keys, *queues, verify_keys=public)
        for queues in (("actions", "actions.edge-1"), ("actions",))
    }
    made[("supervisor",)] = guard_with(keys, "supervisor", signing_key=private, verify_keys=public)
    places = {queues: guard.place for queues, guard in made.items() if guard is not None}
    assert places == {("actions", "actions.edge-1"): "edge-1", ("actions",): "pool", ("supervisor",): "supervisor"}


def test_an_executor_with_the_wrong_keys_does_not_start(keys: Path) -> None:
    private, public = keys / SIGNING_KEY, keys / VERIFY_KEYS
    with pytest.raises(UsageError, match="a node must not have the private key; give it FSM_VERIFY_KEYS alone"):
        guard_with(keys, "actions", "actions.edge-1", signing_key=private, verify_keys=public)
    with pytest.raises(UsageError, match="nothing that it sends would be run; name its private key in FSM_SIGNING_KEY"):
        guard_with(keys, "supervisor", verify_keys=public)
    public.chmod(0o600)
    with pytest.raises(UsageError, match=r"verify.keys: expected an Ed25519 private key"):
        guard_with(keys, "supervisor", signing_key=public, verify_keys=public)
    with pytest.raises(UsageError, match=r"none: cannot be read"):
        guard_with(keys, "actions", verify_keys=keys / "none")
