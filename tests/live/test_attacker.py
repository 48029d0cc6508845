"""F26: what somebody can do who has a node's credentials, row by row of docs/security.md, on a running installation."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from supervisor.keys import SUPERVISOR, Keys, celery_prefix
from supervisor.model import TickDocument
from supervisor.scripts import source
from tests.conftest import free_port
from tests.live.pieces import NAME
from tests.live.secured import FLEET, HOSTILE, NAMESPACE, OTHER, Secured, secured_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(600)]
MINE, OTHERS, FLOATING = "mine", "others", "floating"
WORKERS = """
[[workers]]
id = "mine"
type = "process"
node = "edge-1"
config = {{ command = ["sleep", "300"] }}

[[workers]]
id = "others"
type = "process"
node = "edge-2"
config = {{ command = ["sleep", "300"] }}

[[workers]]
id = "floating"
type = "command"
[workers.config]
start = ["touch", "{flag}"]
stop = ["rm", "-f", "{flag}"]
status = ["sh", "-c", "test -e {flag} || exit 3"]
"""
ATTACKER = f"node-{HOSTILE}"
K, C = Keys(NAMESPACE, NAME), celery_prefix(NAMESPACE)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return an installation that has done a day's work, of which Redis has denied nothing."""
    folder = tmp_path_factory.mktemp("attacked")
    with secured_in(folder) as made:
        file = folder / "attacked.toml"
        file.write_text(FLEET + WORKERS.format(flag=folder / "flag"))
        made.fsmctl("fsmctl-operate", "apply", "-f", str(file))
        made.exporter = free_port()
        made.pieces.start_supervisor()
        made.pieces.start_exporter(made.exporter)
        wait_until(lambda: made.pieces.store.last_tick(NAME), "the first tick", 120)
        flower = free_port()
        made.pieces.start("flower", "flower", "--address=127.0.0.1", f"--port={flower}", f"--db={folder / 'flower'}")
        made.pieces.start_node(HOSTILE)
        made.pieces.start_node(OTHER)
        for worker in (MINE, OTHERS, FLOATING):
            made.wait_for(worker, "running")
        made.wish(FLOATING, "stopped")
        made.fsmctl("fsmctl-operate", "set", FLOATING, "default", "--yes")
        made.wait_for(FLOATING, "running")
        made.fsmctl("fsmctl-read", "events")
        made.fsmctl("fsmctl-operate", "check", "--stage", "action", "--timeout", "60s")
        made.fsmctl(ATTACKER, "check", "--quick", "--node", HOSTILE)
        made.fsmctl("fsmctl-read", "describe", "worker", OTHERS)
        assert "supervisor_up 1" in metrics(made)
        wait_until(lambda: f"{OTHER}@" in page_of(flower, "/workers?json=1"), "Flower to see a node", 120)
        assert made.denied() == []
        yield made


def page_of(port: int, path: str) -> str:
    """Return what a page of a port of the loopback says; "" while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


def metrics(plant: Secured) -> str:
    """Return what the exporter shows."""
    return page_of(plant.exporter, "/metrics")


STEAL = {
    "take from another node's queue": ("BRPOP", f"{C}actions.{OTHER}", 1),
    "take from the pool that it is not of": ("BRPOP", f"{C}actions", 1),
    "take a tick": ("BRPOP", f"{C}supervisor", 1),
    "move a message to itself": ("LMOVE", f"{C}actions.{OTHER}", f"{C}actions.{HOSTILE}", "LEFT", "LEFT"),
    "read another queue": ("LRANGE", f"{C}actions.{OTHER}", 0, -1),
}
INJECT = {
    "put into another node's queue": ("LPUSH", f"{C}actions.{OTHER}", "{}"),
    "put into the pool's queue": ("LPUSH", f"{C}actions", "{}"),
    "put into the supervisors' queue": ("RPUSH", f"{C}supervisor", "{}"),
    "bind itself to the pulses": ("SADD", f"{C}_kombu.binding.supervisor", "x"),
    "make its own queue something else": ("SET", f"{C}actions.{HOSTILE}", "x"),
}
BROADCAST = {
    "tell all executors to end": ("PUBLISH", f"{C}/0.celery.pidbox", "{}"),
    "tell one executor to end": ("PUBLISH", f"{C}/0.celery.pidbox/{OTHER}@host", "{}"),
    "say something on a channel of its own": ("PUBLISH", "anything", "{}"),
    "listen to Flower's events": ("PSUBSCRIBE", f"{C}/0.celeryev/*"),
    "listen": ("SUBSCRIBE", "anything"),
}
FORGE = {
    "say what another node's worker does": ("SET", K.observed(OTHER, OTHERS), "{}"),
    "say what a floating worker does": ("SET", K.observed("pool", FLOATING), "{}"),
    "be another node": ("SET", K.node(OTHER), "{}"),
    "be another node's collector": ("SET", K.collector(OTHER), "{}"),
    "tell events elsewhere": ("XADD", K.events(OTHER), "*", "event", "action.ended"),
    "tell events of the control loop": ("XADD", K.events(SUPERVISOR), "*", "event", "circuit.opened"),
    "count elsewhere": ("HINCRBY", K.counters(OTHER), "x", 1),
    "take what another collector is asked": ("BLPOP", K.asks(OTHER), 1),
    "open the circuit": ("SET", K.circuit, "{}"),
    "change the supervisor's settings": ("SET", K.settings, "{}"),
    "move a worker": ("HSET", K.index, OTHERS, HOSTILE),
    "make up a supervisor": ("SADD", f"{NAMESPACE}:supervisors", "x"),
    "make up a node": ("SADD", f"{NAMESPACE}:nodes", "x"),
    "take the tick": ("SET", K.tick, "{}"),
}
LEASES = {
    "take another's lease": ("SET", K.lease(OTHER, OTHERS), "{}"),
    "raise the token of another's lease": ("SETRANGE", K.lease(OTHER, OTHERS), 0, "9"),
    "take a floating worker's lease": ("SET", K.lease("pool", FLOATING), "{}"),
    "remove another's lease": ("DEL", K.lease(OTHER, OTHERS)),
    "remove its own lease": ("DEL", K.lease(HOSTILE, MINE)),
    "let its own lease vanish": ("EXPIRE", K.lease(HOSTILE, MINE), 1),
}
WISHES = {
    "read another's configuration": ("GET", K.desired(OTHER, OTHERS)),
    "read who another's worker is": ("GET", K.identity(OTHER, OTHERS)),
    "read a floating worker's configuration": ("MGET", K.desired("pool", FLOATING)),
    "copy another's configuration": ("COPY", K.desired(OTHER, OTHERS), K.observed(HOSTILE, "x")),
    "have another command run on another node": ("SET", K.desired(OTHER, OTHERS), "{}"),
    "wish something of its own worker, as to move": ("SET", K.desired(HOSTILE, MINE), "{}"),
    "be an operator": ("SET", K.override(HOSTILE, MINE), "{}"),
    "resume itself": ("SET", K.control(HOSTILE, MINE), "{}"),
    "forget that it is quarantined": ("SET", K.status(HOSTILE, MINE), "{}"),
}
SCRIPTS = {
    "run a script of its own": ("EVAL", "return 1", 0),
    "run one that only reads": ("EVAL_RO", "return 1", 0),
    "bring a script": ("SCRIPT", "LOAD", "return 1"),
    "forget all scripts": ("SCRIPT", "FLUSH"),
    "kill a script": ("SCRIPT", "KILL"),
    "bring a function": ("FUNCTION", "LOAD", "#!lua name=x\nreturn 1"),
    "forget all functions": ("FUNCTION", "FLUSH"),
    "call a function": ("FCALL", "x", 0),
}
SERVER = {
    "remove all": ("FLUSHALL",),
    "remove a database": ("FLUSHDB",),
    "swap databases": ("SWAPDB", 0, 1),
    "configure": ("CONFIG", "SET", "maxmemory", "1mb"),
    "read the configuration": ("CONFIG", "GET", "*"),
    "list keys": ("KEYS", "*"),
    "walk over keys": ("SCAN", 0),
    "end it": ("SHUTDOWN", "NOSAVE"),
    "make it a replica": ("REPLICAOF", "127.0.0.1", 1),
    "copy all as a replica": ("PSYNC", "?", -1),
    "watch all": ("MONITOR",),
    "list clients": ("CLIENT", "LIST"),
    "cut clients off": ("CLIENT", "KILL", "TYPE", "normal"),
    "stop all clients": ("CLIENT", "PAUSE", 60000),
    "learn which keys change": ("CLIENT", "TRACKING", "ON", "BCAST"),
    "read all of INFO": ("INFO",),
    "read what was slow": ("SLOWLOG", "GET"),
    "give itself more": ("ACL", "SETUSER", ATTACKER, "+@all"),
    "list users": ("ACL", "LIST"),
    "send a key away": ("MIGRATE", "127.0.0.1", 1, "x", 0, 1),
    "write a raw value": ("RESTORE", K.lease(HOSTILE, MINE), 0, "x"),
}
EVIDENCE = {
    "trim another's history": ("XTRIM", K.events(OTHER), "MAXLEN", 0),
    "trim the control loop's history": ("XTRIM", K.events(SUPERVISOR), "MAXLEN", 0),
    "remove its own history": ("DEL", K.events(HOSTILE)),
    "remove an event of its own": ("XDEL", K.events(HOSTILE), "1-1"),
    "move the end of its own history": ("XSETID", K.events(HOSTILE), "9-9"),
    "remove its own counters": ("HDEL", K.counters(HOSTILE), "x"),
    "remove incidents": ("HDEL", K.incidents, "x"),
    "forget what was denied": ("ACL", "LOG", "RESET"),
}
TRIED: dict[str, dict[str, tuple[Any, ...]]] = {
    "tasks": STEAL,
    "injection": INJECT,
    "broadcast": BROADCAST,
    "observations": FORGE,
    "leases": LEASES,
    "configuration": WISHES,
    "scripts": SCRIPTS,
    "server": SERVER,
    "evidence": EVIDENCE,
}


@pytest.mark.parametrize("row", TRIED)
def test_f26_every_attempt_is_refused_and_counted(plant: Secured, row: str) -> None:
    with plant.client("admin") as admin:
        admin.acl_log_reset()
    answered = []
    for what, command in TRIED[row].items():
        with plant.client(ATTACKER) as attacker:
            try:
                answered.append((what, attacker.execute_command(*command)))
            except redis.exceptions.NoPermissionError:
                pass
    assert answered == []
    assert sum(entry["count"] for entry in plant.denied() if entry["username"] == ATTACKER) == len(TRIED[row])
    assert f"supervisor_redis_acl_denied {float(len(TRIED[row]))}" in metrics(plant)


def run_by(plant: Secured, script: str, keys: list[str], arguments: list[str]) -> str:
    """Run one of our scripts as the attacker and return the error it ends with."""
    with plant.client("supervisor") as loader:
        sha = loader.script_load(source(script))
    with plant.client(ATTACKER) as attacker:
        with pytest.raises(redis.ResponseError) as caught:
            attacker.evalsha(sha, len(keys), *keys, *arguments)
        return str(caught.value)


DENIED = "can't access at least one of the keys|no permissions|can't run this command"


@pytest.mark.parametrize(
    ("script", "keys", "arguments"),
    [
        ("begin", [K.lease(OTHER, OTHERS), K.counters(OTHER), K.events(OTHER), K.tick], ["", OTHERS, "1", "x"]),
        ("end", [K.lease(OTHER, OTHERS), *[K.events(HOSTILE)] * 4, K.circuit], ["", "1", "x", "r", "success", "", ""]),
        ("renew", [K.lease(OTHER, OTHERS), K.index], ["", "10", "e", "{}"]),
        ("observe", [K.index, K.collector(OTHER), K.wake(OTHER)], ["", "{}", OTHER, "1"]),
        ("node", [K.node(OTHER)], ["", "{}", "15"]),
        ("read", [K.desired(OTHER, OTHERS)], ["", "1"]),
        ("force", [K.circuit, K.events(HOSTILE), K.revision, K.wake(HOSTILE)], ["", "open", "me", "why"]),
        ("touch", [K.revision], [""]),
        (
            "gate",
            [K.tick, K.counters(HOSTILE), K.events(HOSTILE), K.scope],
            ["", "t", "5", "0", "0", "5", "0", "1", "9"],
        ),
        ("finish", [K.tick, K.counters(HOSTILE), K.mismatches, K.scope], ["", "t", "{}", "[]", ""]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_f26_our_own_scripts_write_nothing_of_others_for_a_node(
    plant: Secured, script: str, keys: list[str], arguments: list[str]
) -> None:
    store = plant.pieces.store

    def told() -> object:
        return store.index(NAME), store.breaker(NAME), store.client.get(K.desired(OTHER, OTHERS))

    before = told()
    error = run_by(plant, script, keys, arguments)
    assert any(words in error for words in DENIED.split("|")), error
    assert told() == before


def test_f26_whatever_a_node_writes_into_its_own_place_the_others_go_on(plant: Secured) -> None:
    lease, observed = K.lease(HOSTILE, MINE), K.observed(HOSTILE, MINE)
    sane = json.loads(plant.pieces.store.client.get(lease))
    deep = '{"x":' + "[" * 100_000 + "]" * 100_000 + "}"
    with plant.client(ATTACKER) as attacker:
        attacker.xadd(K.events(HOSTILE), {"id": "0-0", "time": "never"})
        attacker.xadd(K.events(HOSTILE), {"what": "no event"}, id="18446744073709551615-18446744073709551615")
        for name in (
            "supervisor_actions_completed_total",
            "supervisor_ticks_total",
            "supervisor_actions_duration|x|y|z|1",
        ):
            attacker.hincrby(K.counters(HOSTILE), name, 7_000_001)
        attacker.hincrby(K.counters(HOSTILE), f"supervisor_actions_completed_total|{OTHERS}|start|error", 7_000_001)
        attacker.hincrby(K.counters(HOSTILE), f"supervisor_actions_enqueued_total|{MINE}|stop", 2**63 - 1 - 10)
        for key in (observed, lease, K.node(HOSTILE), K.collector(HOSTILE), K.rejected(HOSTILE)):
            for text in ("", "nonsense", b"\xff\xfe", "[]", "1", "null", deep):
                attacker.set(key, text)
                stays_well(plant)
        for changed in (
            {"token": "nan"},
            {"token": "9" * 300},
            {"token": "words"},
            {"stage": "running", "deadline": -1e300, "token": "x"},
            {"stage": "queued", "deadline": 0, "claimed_at": 1e300},
            {"failures": -(2**62), "kills": 2**62},
        ):
            attacker.set(lease, json.dumps({**sane, **changed}))
            stays_well(plant)
    plant.fsmctl(
        "fsmctl-operate", "set", MINE, "stopped", "--yes"
    )  # what is to be done about it is refused, and nothing else
    plant.wish(OTHERS, "stopped")
    plant.wish(FLOATING, "stopped")
    for worker in (OTHERS, FLOATING):
        plant.fsmctl("fsmctl-operate", "set", worker, "default", "--yes")
        plant.wait_for(worker, "running")
    shown = metrics(plant)
    assert "supervisor_up 1" in shown
    assert "7.000001e+06" not in shown
    plant.fsmctl("fsmctl-read", "get", "nodes")
    plant.fsmctl("fsmctl-read", "describe", "worker", OTHERS)
    assert "unknown" in plant.fsmctl("fsmctl-read", "events")


def stays_well(plant: Secured) -> None:
    """See that the next tick but one starts and ends, and that what is shown of others is shown."""
    store = plant.pieces.store

    def last() -> TickDocument:
        tick = store.last_tick(NAME)
        assert tick is not None
        return tick

    before = store.now()
    wait_until(lambda: last().started_at > before and last().ended_at is not None, "a tick to start and end", 60)


def test_after_a_restart_of_redis_which_forgets_scripts_and_all_nodes_act_again(plant: Secured, tmp_path: Path) -> None:
    plant.server.kill()
    plant.server.start()
    wait_until(plant.pieces.store.supervisors, "the fleet to come back from the mirror", 120)
    for worker, state in ((OTHERS, "stopped"), (FLOATING, "stopped"), (MINE, "stopped")):
        plant.wish(worker, state)
