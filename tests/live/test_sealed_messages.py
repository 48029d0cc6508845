"""F26, messages: a fleet whose messages are sealed converges; what others put into a node's queue is refused."""

from __future__ import annotations

import ast
import base64
import copy
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from supervisor.dispatch import Message
from supervisor.envelope import Reason
from supervisor.keyring import SIGNING_KEY, VERIFY_KEYS, add_key, drop_key, make_keys, use_key
from supervisor.store import Store
from tests.conftest import RedisServer
from tests.live.pieces import EXECUTOR, NAME, Pieces, pieces_in
from tests.loglines import lines_of
from tests.sealing import Wire
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
Raw = dict[str, Any]
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"')  # of a command, as MONITOR writes it
CELERY = "pieces:celery:"
FLEET = """
[supervisor]
name = "{name}"
tick_interval = "200ms"
observation_interval = "500ms"
nodes = ["edge-1", "edge-2"]

[[workers]]
id = "flow"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}

[[workers]]
id = "bait"
type = "process"
node = "edge-1"
desired = "stopped"
config = {{ command = ["sleep", "1000"], min_uptime = "1s" }}

[[workers]]
id = "slow"
type = "command"
node = "edge-1"
desired = "stopped"

[workers.config]
start = ["sh", "-c", "echo start >> {folder}/effects; sleep 3; touch {folder}/up"]
stop = ["rm", "-f", "{folder}/up"]
status = ["sh", "-c", "test -e {folder}/up || exit 3"]
min_uptime = "1s"
"""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Return the key folder of the installation."""
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def pieces(tmp_path: Path, keys: Path, redis_server: RedisServer, real_client: redis.Redis) -> Iterator[Pieces]:
    """Return a running installation that seals, with two nodes."""
    with pieces_in(tmp_path, redis_server.url) as made:
        node = {"FSM_VERIFY_KEYS": str(keys / VERIFY_KEYS)}
        made.own = {"edge-1": node, "edge-2": node, "supervisor": {"FSM_SIGNING_KEY": str(keys / SIGNING_KEY)}}
        made.apply(FLEET.format(name=NAME, folder=tmp_path))
        made.start_supervisor()
        made.start_node("edge-1")
        yield made


def converges(pieces: Pieces, worker_id: str, state: str) -> None:
    pieces.fsmctl("wait", f"worker/{worker_id}", "--for", f"state={state}", "--timeout", "50s")


def counted(pieces: Pieces, metric: str = "supervisor_messages_refused_total") -> dict[str, int]:
    """Return a counter of reasons, over all places."""
    prefix = f"{metric}|"
    found = pieces.store.counters(NAME, ["edge-1", "edge-2", "pool"])
    return {name.removeprefix(prefix): int(value) for name, value in found.items() if name.startswith(prefix)}


def caught(pieces: Pieces, client: redis.Redis) -> Raw:
    """Let slow be started, and read the message of it as anybody with Redis' password can: from what Redis is told."""
    with client.monitor() as monitor:
        pieces.want("slow", "running")
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            for word in _WORD.findall(monitor.connection.read_response()):
                if "supervisor.execute" in word and "(slow)" in word:
                    raw: Raw = json.loads(ast.literal_eval(word))
                    return raw
    raise AssertionError("the start of slow was never sent")


def edited(raw: Raw, *, headers: Raw | None = None, options: Raw | None = None, **kwargs: Any) -> Raw:
    """Return a message with other headers, options or named arguments."""
    args, named, asked = json.loads(base64.b64decode(raw["body"]))
    body = json.dumps([args, {**named, **kwargs}, {**asked, **(options or {})}])
    made = copy.deepcopy(raw)
    return {
        **made,
        "headers": {**made["headers"], **(headers or {})},
        "body": base64.b64encode(body.encode()).decode(),
    }


def put(client: redis.Redis, queue: str, *raws: Raw) -> None:
    """Put messages into a queue, each with a tag of its own, as Celery's clients do."""
    for number, raw in enumerate(raws):
        properties = {**raw["properties"], "delivery_tag": f"theirs-{queue}-{number}-{id(raw)}"}
        client.lpush(f"{CELERY}{queue}", json.dumps({**raw, "properties": properties}))


def order(store: Store, **changes: Any) -> Message:
    """Return what a supervisor would send now: start bait."""
    now = store.now()
    fields: dict[str, Any] = {
        "supervisor": NAME,
        "place": "edge-1",
        "worker_id": "bait",
        "action": "start",
        "action_id": "forged",
        "token": f"{now * 1e6:.0f}",
        "params": {},
        "timeout": 30.0,
        "queue": "actions.edge-1",
        "issued": now,
        "expires": now + 30,
        **changes,
    }
    return Message(**fields)


def attacks(store: Store, raw: Raw, keys: Path, theirs: Path) -> list[tuple[Raw, Reason]]:
    """Return messages that must not be run, each with the reason it has to be refused for."""
    wire, now = Wire(), store.now()
    (plain,) = wire.publish(None, order(store))
    (foreign,) = wire.publish(theirs, order(store))
    old, elsewhere, unknown = wire.publish(
        keys,
        order(store, issued=now - 90, expires=now - 60),
        order(store, place="edge-2", queue="actions.edge-2"),
        order(store, action="dance"),
    )
    return [
        (plain, Reason.UNSIGNED),
        (foreign, Reason.UNKNOWN_KEY),
        (edited(raw, worker_id="bait"), Reason.SIGNATURE),
        (edited(raw, action="stop"), Reason.SIGNATURE),
        (edited(raw, token=f"{now * 1e6:.0f}"), Reason.SIGNATURE),
        (edited(raw, headers={"id": "another"}), Reason.SIGNATURE),
        (edited(raw, params={"command": "reboot"}), Reason.PARAMS),
        (elsewhere, Reason.OTHER_NODE),
        (old, Reason.EXPIRED),
        (unknown, Reason.UNKNOWN_ACTION),
        (edited(raw, headers={"task": "supervisor.tick"}), Reason.UNKNOWN_TASK),
        (edited(raw, headers={"task": "celery.starmap"}), Reason.UNKNOWN_TASK),
        (edited(raw, headers={"task": ["unhashable"]}), Reason.UNKNOWN_TASK),
        (edited(raw, command="reboot"), Reason.MALFORMED),
        (edited(raw, options={"chain": [{"task": "supervisor.tick"}]}), Reason.MALFORMED),
        ({**raw, "content-type": "application/x-python-serialize"}, Reason.MALFORMED),
        ({**raw, "headers": {**raw["headers"], "compression": "no such"}}, Reason.MALFORMED),
    ]


def test_f26_a_sealed_fleet_converges_and_each_attack_by_message_is_refused_counted_and_logged(
    pieces: Pieces, keys: Path, tmp_path: Path, real_client: redis.Redis
) -> None:
    converges(pieces, "flow", "running")
    raw = caught(pieces, real_client)
    make_keys(tmp_path / "theirs")
    put(real_client, "actions.edge-1", raw)  # a replay while it runs
    converges(pieces, "slow", "running")
    pieces.start("edge-2", *EXECUTOR, "-Q", "actions,actions.edge-2", "-n", "edge-2@%h", "-c", "1")
    assert counted(pieces) == {}

    wanted: dict[str, int] = {}
    for attack, reason in attacks(pieces.store, raw, keys, tmp_path / "theirs"):
        put(real_client, "actions.edge-1", attack)
        wanted[reason.value] = wanted.get(reason.value, 0) + 1
    put(real_client, "actions.edge-2", raw)
    wanted["other_node"] += 1
    wait_until(lambda: sum(counted(pieces).values()) >= sum(wanted.values()), "every refusal to be counted", 120)
    assert counted(pieces) == wanted
    assert set(wanted) == {reason.value for reason in Reason}

    told = [
        line
        for name in ("edge-1", "edge-2")
        for line in lines_of(pieces.said(name))
        if line["event"] == "message.refused"
    ]
    assert sorted(line["reason"] for line in told) == sorted(
        name for name, times in wanted.items() for _ in range(times)
    )
    # nothing of it had an effect, nothing was begun, and the fleet goes on
    assert (tmp_path / "effects").read_text() == "start\n"
    assert pieces.events(event="action.begun", worker_id="bait") == []
    pieces.want("bait", "running")
    converges(pieces, "bait", "running")
    assert counted(pieces) == wanted


def test_a_replay_is_refused_at_the_lease_whatever_its_headers_say_and_after_the_lease_is_gone(
    pieces: Pieces, tmp_path: Path, real_client: redis.Redis
) -> None:
    converges(pieces, "flow", "running")
    raw = caught(pieces, real_client)
    flow = pieces.lease("flow")
    assert flow is not None
    converges(pieces, "slow", "running")
    before = counted(pieces, "supervisor_actions_discarded_total")

    def refused() -> int:
        """Count replays: at the lease, or once half a minute has passed, as expired."""
        at_lease = counted(pieces, "supervisor_actions_discarded_total")
        assert set(at_lease) <= {*before, "ended", "no_lease"}
        return sum(at_lease.values()) - sum(before.values()) + counted(pieces).get("expired", 0)

    theirs = {"worker_id": "flow", "action": "stop", "action_id": flow.action_id, "token": flow.token}
    smuggled = {
        "fsm_lease": {"supervisor": NAME, "place": "edge-1", **theirs},
        "timelimit": [86400, 86400],
        "eta": "2019-01-01T00:00:00",
    }
    put(real_client, "actions.edge-1", raw, edited(raw, headers=smuggled))
    wait_until(lambda: refused() == 2, "two replays to be refused", 30)
    real_client.delete(pieces.store.keys(NAME).lease("edge-1", "slow"))
    put(real_client, "actions.edge-1", raw)
    wait_until(lambda: refused() == 3, "the third", 30)

    assert (tmp_path / "effects").read_text() == "start\n"
    assert pieces.lease("flow") == flow
    assert set(counted(pieces)) <= {"expired"}


def test_a_rotation_with_two_keys_refuses_nothing(pieces: Pieces, keys: Path) -> None:
    wanted = iter(["running", "stopped"] * 2)

    def act() -> None:
        state = next(wanted)
        pieces.want("bait", state)
        converges(pieces, "bait", state)

    converges(pieces, "flow", "running")
    for step in (add_key, use_key, drop_key):
        act()
        step(keys)
    act()
    assert counted(pieces) == {}
    ended = pieces.events(event="action.ended", worker_id="bait")
    assert [(event["action"], event["outcome"]) for event in ended] == [
        (action, "success") for action in ("start", "stop", "start", "stop")
    ]


def test_executors_with_the_wrong_keys_end_with_a_sentence(pieces: Pieces, keys: Path) -> None:
    (keys / SIGNING_KEY).chmod(0o644)
    pieces.own["late"] = {"FSM_SIGNING_KEY": str(keys / SIGNING_KEY)}
    process = pieces.start("late", "worker", "-Q", "supervisor", "-n", "late@%h", "-c", "1")
    wait_until(lambda: process.poll() is not None, "the executor to end", 60)
    (line,) = [line for line in lines_of(pieces.said("late")) if line["event"] == "executor.refused"]
    assert "has mode 644, so that others can read it" in line["error"]
