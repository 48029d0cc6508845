"""Who may do what in Redis: one user for each node and role, as the lines of an ACL file (Redis 7). Pure.

What a script does is checked as if its user had sent it, so a user's rules are what they may do with plain commands as
well. Commands are given per kind of key: none can make a list of what has to be a string, and so hurt its readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from supervisor.errors import UsageError
from supervisor.keys import POOL, RESERVED_PLACES, celery_prefix, queue_of, rings

SUPERVISOR, EXPORTER, FLOWER, READ, OPERATE, ADMIN = (
    "supervisor",
    "exporter",
    "flower",
    "fsmctl-read",
    "fsmctl-operate",
    "admin",
)
NODE_PREFIX = "node-"  # of a node's user, so that a node may be called like a role

# What a node writes in its place, by type; the rest of its place it reads.
STRINGS = ("observed:*", "lease:*", "node", "collector", "rejected", "refused:*")
MARKS = ("wake",)
HASHES = ("counters",)
STREAMS = ("events",)
LISTS = ("asks",)
WORKED_ON = ("identity:*", "desired:*")  # what begin.lua reads of it besides
WISHES, OUTPUT = "follows", "output:*"  # of `fsmctl logs`: who follows, and what a node answers
# What a node reads of the control loop. The index names all workers; what they are is not in it.
SHARED = ("settings", "index", "generations", "revision", "tick", "circuit", "orders")
_KINDS = frozenset(
    kind.partition(":")[0] for kind in (*STRINGS, *MARKS, *HASHES, *STREAMS, *LISTS, *SHARED, *WORKED_ON)
) | {"override", "control", "status", "incidents", "mismatches", "scope", "history", "follows", "output"}

# CLIENT's harmless subcommands, of which versions differ: Redis 7.0 would not start with `+client|setinfo` of 7.2
_CONNECTION = (
    "+client",
    "-@dangerous",
    "-@admin",
    "-client|tracking",
    "+ping",
    "+hello",
    "+auth",
    "+quit",
    "+select",
    "+time",
)
_TRANSACTION = ("+multi", "+exec", "+discard", "+unwatch")
_NEVER = ("-@dangerous", "-@admin", "-scan", "-randomkey", "-dbsize", "-function", "-eval", "-eval_ro", "-script|flush")


@dataclass(frozen=True)
class User:
    """A user of Redis: its ACL rules without its password, and for people what it is for."""

    name: str
    purpose: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Selector:
    """Commands with the keys that they may touch; `~` to read and write, `%R~` to read."""

    commands: Sequence[str]
    keys: Iterable[str]
    access: str = "~"

    def __str__(self) -> str:
        """Return it as a rule."""
        return f"({' '.join(self.commands)} {' '.join(self.access + key for key in self.keys)})"


def users(namespace: str, nodes: Iterable[str], pool: Iterable[str]) -> list[User]:
    """Return all users of an installation. `pool` are those of `nodes` that act for floating workers.

    Raises `UsageError` for a node whose keys could not be told from others'.
    """
    names, members = sorted(set(nodes)), sorted(set(pool))
    for name in names:
        if name in RESERVED_PLACES or name in _KINDS:
            raise UsageError(f"node {name!r} is called like a kind of key, so its keys could be others'; rename it")
    if strangers := set(members) - set(names):
        raise UsageError(f"{', '.join(sorted(strangers))}: in the pool, but no node; there are {', '.join(names)}")
    return [
        *(_node(namespace, name, members if name in members else []) for name in names),
        _supervisor(namespace),
        _exporter(namespace, names),
        _flower(namespace),
        _reader(namespace, names),
        _operator(namespace, names),
        User(ADMIN, "who runs Redis: reloads this file, shuts a node out", ("~*", "&*", "+@all")),
    ]


def of_sentinel() -> list[User]:
    """Return the users of replicas and of Sentinel. Who replicates reads all: their passwords are for Redis' hosts."""
    commands = (
        "multi exec ping info role slaveof config|rewrite publish subscribe client|setname client|kill script|kill"
    )
    return [
        User("replica", "replicas (masteruser)", ("+psync", "+replconf", "+ping")),
        User(
            "sentinel",
            "sentinels (sentinel auth-user)",
            ("&__sentinel__:hello", *(f"+{one}" for one in commands.split())),
        ),
    ]


def acl_file(made: Iterable[User], passwords: Mapping[str, str]) -> str:
    """Return the file: each user with the hash of its password. Nobody can be the default user.

    It is off, and it may do anything: Redis has its rights when it reads its own log again (each MULTI, each script).
    """
    lines = ["user default reset off ~* &* +@all"]
    for user in made:
        digest = hashlib.sha256(passwords[user.name].encode()).hexdigest()
        lines.append(f"user {user.name} reset on #{digest} {' '.join(user.rules)}")
    return "\n".join(lines) + "\n"


def _node(namespace: str, name: str, pool: Sequence[str]) -> User:
    """Return a node's user; `pool` are the members of the pool if it is one."""
    places = [name, *([POOL] if pool else [])]

    def keys(kinds: Iterable[str]) -> list[str]:
        return [f"{namespace}:*:{place}:{kind}" for place in places for kind in kinds]

    shared = [f"{namespace}:*:supervisor:{kind}" for kind in SHARED]
    seen = [*_installation(namespace), *shared, *keys(["*"])]
    seen += [f"{namespace}:*:{other}:{kind}" for other in pool if other != name for kind in ("node", "collector")]
    own = keys([*STRINGS, *MARKS, *HASHES, *STREAMS, *LISTS])
    return User(
        NODE_PREFIX + name,
        f"executor and collector of node {name}" + (" and of the pool" if pool else ""),
        (
            *(_CONNECTION + _TRANSACTION),
            *(
                "+info|server",
                "+info|memory",
                "+get",
                "+mget",
                "+hget",
                "+hgetall",
                "+exists",
                "+smembers",
                "+sismember",
                "+publish",
            ),
            *(f"%R~{key}" for key in seen),
            f"&{celery_prefix(namespace)}/*.celeryev/*",  # what Flower shows
            *(f"&{key}" for key in keys(MARKS)),  # a mark rings
            str(Selector(["+evalsha"], [*own, *keys(WORKED_ON), *shared])),  # what a script does is checked by itself
            str(Selector(["+set", "+setrange", "+persist"], keys(STRINGS))),
            str(Selector(["+sadd", "+expire"], keys(MARKS))),
            str(Selector(["+hincrby", "+hincrbyfloat"], keys(HASHES))),
            str(Selector(["+xadd", "+xtrim"], keys(STREAMS))),
            str(Selector(["+rpush", "+ltrim", "+blpop"], keys(LISTS))),
            str(Selector(["+blpop"], [f"{namespace}:*:{name}:{WISHES}"])),
            str(Selector(["+xadd", "+expire", "+xlen"], [f"{namespace}:*:{name}:{OUTPUT}"])),
            *_queues(namespace, name, places),
        ),
    )


def _queues(namespace: str, name: str, places: Iterable[str]) -> list[str]:
    """Return what a node's executor needs of Celery: its queues, and for one of the version before what it holds."""
    prefix = celery_prefix(namespace)
    queues = [queue_of(place) for place in places]
    bindings = [f"{prefix}_kombu.{kind}.{queue}" for queue in queues for kind in ("binding", "binding_permanent")]
    return [
        str(Selector(["+brpop", "+llen", "+lpush", "+rpush", "+exists"], [prefix + queue for queue in queues])),
        str(Selector(["+sadd"], bindings)),  # nobody goes by them: messages are sent to a queue by its name
        str(Selector(["+hset", "+hget", "+hdel", "+watch"], [f"{prefix}unacked.{name}"])),
        str(Selector(["+zadd", "+zrem", "+zrange"], [f"{prefix}unacked_index.{name}"])),
        str(Selector(["+set", "+get", "+del", "+evalsha"], [f"{prefix}unacked_mutex.{name}"])),
    ]


def _supervisor(namespace: str) -> User:
    return User(
        SUPERVISOR,
        "supervisors' executors and beats",
        (
            f"~{namespace}:*",
            f"&{celery_prefix(namespace)}*",
            f"&{rings(namespace)}",
            "+@all",
            *_NEVER,
            *("+info", "+evalsha", "+script|load", "+script|exists"),
        ),
    )


def _installation(namespace: str) -> list[str]:
    return [f"{namespace}:{name}" for name in ("supervisors", "nodes", "schema")]


def _places(namespace: str, nodes: Iterable[str]) -> list[str]:
    """Return the keys of all that is ours but Celery's, whose messages name leases and their tokens."""
    places = (*RESERVED_PLACES, *nodes)
    return [*_installation(namespace), *(f"{namespace}:*:{place}:*" for place in places)]


def _exporter(namespace: str, nodes: Iterable[str]) -> User:
    keys = _places(namespace, nodes)
    return User(
        EXPORTER,
        "the exporter: reads all, and what Redis has denied",
        (*_reads(keys), "+acl|log"),
    )


def _reader(namespace: str, nodes: Sequence[str]) -> User:
    wishes, output = ([f"{namespace}:*:{node}:{kind}" for node in nodes] for kind in (WISHES, OUTPUT))
    follow = (Selector(["+rpush", "+ltrim", "+expire"], wishes), Selector(["+xdel", "+del"], output))
    return User(
        READ,
        "fsmctl of those who look: get, describe, events, logs",
        (*_reads(_places(namespace, nodes)), *_TRANSACTION, *(map(str, follow) if wishes else ())),
    )


def _reads(keys: Sequence[str]) -> tuple[str, ...]:
    return (
        *(f"%R~{key}" for key in keys),
        "+@read",
        *_NEVER,
        *_CONNECTION,
        "+info",
        str(Selector(["+evalsha"], keys)),  # read.lua; a script that writes is refused at its first write
    )


def _operator(namespace: str, nodes: Iterable[str]) -> User:
    keys = _places(namespace, nodes)
    return User(
        OPERATE,
        "fsmctl of those who act: apply, set, cancel, circuit",
        (
            *(f"~{key}" for key in keys),
            *("+@read", "+@write", "+@transaction"),
            *_NEVER,
            *_CONNECTION,
            *("+info", "+evalsha", "+script|load", "+script|exists"),
            f"&{rings(namespace)}",
            "+publish",
            str(
                Selector(["+lpush", "+llen"], [f"{celery_prefix(namespace)}actions.{node}" for node in nodes])
            ),  # check
        ),
    )


_BINDING = ["+evalsha", "+sadd", "+srem", "+smembers", "+zadd", "+zrem", "+zrangebyscore", "+exists", "+del"]


def _flower(namespace: str) -> User:
    prefix = celery_prefix(namespace)
    return User(
        FLOWER,
        "Flower: sees events and the lengths of queues",
        (
            *_CONNECTION,
            *_TRANSACTION,
            *("+subscribe", "+psubscribe", "+unsubscribe", "+punsubscribe", "+publish"),
            f"&{prefix}/0.celeryev/*",  # of database 0: Redis compares a pattern that is listened to letter by letter
            f"&{prefix}/*.celery.pidbox",
            f"&{prefix}/*.celery.pidbox/*",
            *("+script|load", "+script|exists"),  # kombu's, for bindings that expire
            str(Selector(["+llen", "+exists"], [f"{prefix}*"])),
            str(Selector(_BINDING, [f"{prefix}_kombu.binding*"])),
            # it asks executors over connections of kombu's pool, whose kind looks for what nobody has acknowledged
            str(Selector(["+set", "+get", "+del", "+evalsha"], [f"{prefix}unacked_mutex"])),
            str(Selector(["+zrange"], [f"{prefix}unacked_index"], "%R~")),
            str(Selector(["+brpop", "+del", "+pexpire"], [f"{prefix}*.reply.celery.pidbox", f"{prefix}celeryev.*"])),
        ),
    )
