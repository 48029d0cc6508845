"""Stands between the broker and an executor's pool where messages are sealed: what it lets through may be run.

It looks at every message before Celery does, and of what Celery acts by it leaves only what was sealed: the names of
task and action, the lease and the time limits are made anew. What people read of an action (`kwargsrepr`) and the name
of its trace are not sealed, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from actions.registry import ActionRegistry
from supervisor.clock import Clock
from supervisor.envelope import Desk, Order, Reason, Untrusted, Verify, content_of, judge
from supervisor.errors import UsageError
from supervisor.keyring import KeyFile, SigningKey, read_signing_key, read_verify_keys
from supervisor.keys import EXECUTE, POOL, SUPERVISOR, SUPERVISOR_QUEUE, TICK
from supervisor.model import HARD_KILL_AFTER
from supervisor.refusals import Refusals
from supervisor.settings import Settings
from supervisor.store import Store

_LONGEST = 1000  # characters of what an unsealed header says to people
_PROMPT = 0.5  # seconds that a measurement of Redis' time may take; a slower one says too little


@dataclass
class Guard:
    """The guard of one executor. `admit` is called by the thread that consumes, the rest by the attendant's."""

    keys: Callable[[], Mapping[str, Verify]]
    queues: frozenset[str]
    place: str
    actions: ActionRegistry
    clock: Clock
    refusals: Refusals
    _ahead: float | None = None  # seconds by which Redis' clock is ahead of this host's monotonic one

    def admit(self, message: Any) -> bool:
        """Tell whether a message may be run, and make it one that says only so; else it was told, and will be counted.

        A message is kombu's. Whatever it holds, nothing is raised.
        """
        headers = message.headers if isinstance(message.headers, dict) else {}
        said = {"action_id": headers.get("id", "")}
        try:
            self._admit(message, headers, said)
        except Untrusted as refused:
            self.refusals.add(refused, said)
            return False
        return True

    def unreadable(self, error: Exception) -> None:
        """Take up a message that could not even be unpacked."""
        self.refusals.add(Untrusted(Reason.MALFORMED, f"cannot be unpacked: {error}"), {"action_id": ""})

    def measured(self, shared: float, before: float, after: float) -> None:
        """Take up Redis' time: it said `shared` between two monotonic times; all in seconds.

        A slow answer tells how late it is at least, which counts until there is a prompt one.
        """
        if after - before <= _PROMPT:
            self._ahead = shared - (before + after) / 2
        elif self._ahead is None:
            self._ahead = shared - after

    def count(self, store: Store) -> None:
        """Count in Redis what was refused. Its errors pass through."""
        self.refusals.count(store, self.place)

    def _now(self) -> float | None:
        return None if self._ahead is None else self.clock.monotonic() + self._ahead

    def _admit(self, message: Any, headers: Mapping[str, Any], said: dict[str, object]) -> None:
        """Judge a message and make its headers anew; what it says of itself goes into `said`. Raises `Untrusted`."""
        task, task_id = headers.get("task"), headers.get("id")
        if task == TICK and SUPERVISOR_QUEUE in self.queues and isinstance(task_id, str):
            if content_of(_payload_of(message)):
                raise Untrusted(Reason.MALFORMED, "a tick request with arguments")
            message.headers = _made_anew(TICK, task_id)
        elif task == EXECUTE:
            desk = Desk(self.keys(), self.queues, self.actions.names())
            content = content_of(_payload_of(message))
            said.update(worker_id=content.get("worker_id", ""), action_type=content.get("action", ""))
            order = judge(content, task_id, desk, self._now())
            message.headers = self._headers(order, str(task_id), headers)
            if order.seal is not None:
                message.delivery_info = {"exchange": "", "routing_key": order.seal.queue}
        else:
            raise Untrusted(Reason.UNKNOWN_TASK, f"it is for the task {str(task)[:_LONGEST]!r}")
        message.properties = {"correlation_id": task_id}

    def _headers(self, order: Order, action_id: str, headers: Mapping[str, Any]) -> dict[str, Any]:
        timeout = self.actions.get(order.action).timeout
        kept = {
            name: headers[name][:_LONGEST]
            for name in ("kwargsrepr", "traceparent")
            if isinstance(headers.get(name), str)
        }
        lease = {name: getattr(order, name) for name in ("supervisor", "place", "worker_id", "action", "token")}
        return {
            **_made_anew(EXECUTE, action_id),
            **kept,
            "timelimit": [timeout + HARD_KILL_AFTER, timeout],
            "shadow": f"actions.{order.action}",
            "argsrepr": f"({order.worker_id})",
            "fsm_lease": {**lease, "action_id": action_id},
        }


def _made_anew(task: str, task_id: str) -> dict[str, Any]:
    """Return what Celery acts by, saying no more than to run a task now."""
    return {
        "lang": "py",
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "",
        "ignore_result": True,
    }


def _payload_of(message: Any) -> object:
    try:
        return message.decode()
    except Exception as error:  # noqa: BLE001 - a stranger's bytes may raise anything; none of it is ours
        raise Untrusted(Reason.MALFORMED, f"its body cannot be read: {type(error).__name__}: {error}") from None


def make_guard(settings: Settings, queues: Iterable[str], actions: ActionRegistry, clock: Clock) -> Guard | None:
    """Return the guard of an executor of `queues`; None where messages are not sealed. Raises `UsageError`."""
    served = frozenset(queues)
    keys = _keys(settings, SUPERVISOR_QUEUE in served)
    if keys is None:
        return None
    nodes = sorted(queue.removeprefix("actions.") for queue in served if queue.startswith("actions."))
    place = nodes[0] if nodes else SUPERVISOR if SUPERVISOR_QUEUE in served else POOL
    return Guard(keys, served, place, actions, clock, Refusals(clock.monotonic))


def _keys(settings: Settings, ticks: bool) -> Callable[[], Mapping[str, Verify]] | None:
    """Return what reads the keys that count; an executor that ticks and names none trusts its own."""
    private, public = settings.signing_key, settings.verify_keys
    if private is not None and not ticks:
        raise UsageError(
            f"FSM_SIGNING_KEY is {str(private)!r}, but this executor does not serve the queue {SUPERVISOR_QUEUE}: "
            "a node must not have the private key; give it FSM_VERIFY_KEYS alone"
        )
    if private is None and public is None:
        return None
    if private is None and ticks:
        raise UsageError(
            f"FSM_VERIFY_KEYS is {str(public)!r} and FSM_SIGNING_KEY is not set, but this executor serves the queue "
            f"{SUPERVISOR_QUEUE}: nothing that it sends would be run; name its private key in FSM_SIGNING_KEY"
        )
    if private is not None and public is None:
        own = KeyFile(private, lambda path: _alone(read_signing_key(path)))
        return own.get
    if private is not None:
        read_signing_key(private)
    return None if public is None else KeyFile(public, read_verify_keys).get


def _alone(key: SigningKey) -> Mapping[str, Verify]:
    return {key.id: key.verify}
