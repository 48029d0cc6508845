"""The ACL file: who is in it, and what no node may do."""

from __future__ import annotations

import hashlib

import pytest

from supervisor import acl
from supervisor.acl import acl_file, of_sentinel, users
from supervisor.errors import UsageError
from supervisor.keys import Keys
from tests import security

NODES = ("edge-1", "edge-2")


def rules_of(user: str, pool: tuple[str, ...] = ("edge-2",)) -> str:
    """Return a user's rules in one line."""
    return " ".join(next(one for one in users("fsm", NODES, pool) if one.name == user).rules)


def test_there_is_one_user_for_each_node_and_role_and_no_default_user() -> None:
    made = users("fsm", NODES, ())
    names = ["node-edge-1", "node-edge-2", "supervisor", "exporter", "flower", "fsmctl-read", "fsmctl-operate", "admin"]
    assert [user.name for user in made] == names
    lines = acl_file(made, {name: f"password of {name}" for name in names}).splitlines()
    assert lines[0] == "user default reset off ~* &* +@all"
    for name, line in zip(names, lines[1:], strict=True):
        digest = hashlib.sha256(f"password of {name}".encode()).hexdigest()
        assert line.startswith(f"user {name} reset on #{digest} ")
        assert "password of" not in line
        assert "nopass" not in line


def test_a_nodes_user_names_no_other_node_and_a_member_of_the_pool_only_heartbeats_of_members() -> None:
    assert "edge-2" not in rules_of("node-edge-1")
    assert "pool" not in rules_of("node-edge-1")
    assert "edge-1" not in rules_of("node-edge-2")
    member = rules_of("node-edge-2", NODES)
    assert [word for word in member.split() if "edge-1" in word] == [
        "%R~fsm:*:edge-1:node",
        "%R~fsm:*:edge-1:collector",
    ]


def test_a_node_writes_no_wish_and_nothing_of_the_control_loop() -> None:
    writable = [word for word in rules_of("node-edge-1").replace("(", "( ").split() if word.startswith("~")]
    of_plain = rules_of("node-edge-1").split("(+evalsha")[1].split(") ", 1)[1]
    for kind in ("identity", "desired", "override", "control", "status", "settings", "index", "circuit", "tick"):
        assert f":{kind}" not in of_plain
    assert not any(key.endswith(":*:*") or key == "~fsm:*" for key in writable)


@pytest.mark.parametrize("user", ["node-edge-1", "exporter", "fsmctl-read"])
def test_only_those_who_have_to_bring_scripts_and_nobody_but_the_admin_runs_redis(user: str) -> None:
    words = rules_of(user).split()
    assert "+script|load" not in words
    assert not {"+@all", "+@admin", "+@dangerous", "+@scripting", "+eval", "+function"} & set(words)


@pytest.mark.parametrize("name", ["supervisor", "pool", "lease", "observed", "tick"])
def test_a_node_whose_name_stands_for_others_keys_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"node '{name}' is called like a kind of key"):
        users("fsm", [name], ())


def test_every_kind_of_key_is_known_as_no_name_for_a_node() -> None:
    keys = Keys("n", "s")
    single = [keys.settings, keys.index, keys.generations, keys.tick, keys.circuit, keys.incidents]
    of_place = ("node", "collector", "rejected", "wake", "asks", "events", "counters")
    of_item = ("identity", "desired", "override", "control", "observed", "status", "lease")
    everything = [*single, keys.revision, keys.mismatches, keys.scope, *(getattr(keys, kind)("p") for kind in of_place)]
    everything += [getattr(keys, kind)("p", "i") for kind in of_item]
    everything += [keys.orders, keys.history("p"), keys.follows("p"), keys.output("p", "f")]
    assert {key.split(":")[3] for key in everything} <= acl._KINDS


def test_a_member_of_the_pool_that_is_no_node_is_refused() -> None:
    with pytest.raises(UsageError, match="edge-9: in the pool, but no node; there are edge-1, edge-2"):
        users("fsm", NODES, ("edge-9",))


def test_replicas_and_sentinels_have_users_that_touch_no_key() -> None:
    for user in of_sentinel():
        assert not [rule for rule in user.rules if rule[0] in "~%("]
    assert [user.name for user in of_sentinel()] == ["replica", "sentinel"]


def test_the_table_in_the_documentation_is_what_the_rules_say() -> None:
    assert security.page() == security.PAGE.read_text(), "run `make diagrams`"
