"""The words of an action: `Action`, `ActionContext`, `Component`, `Incarnation`, `Outcome`. Pure."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

import msgspec

RunsOn = Literal["node", "pool"]


class Outcome(StrEnum):
    """How an execution ended; the `status` label of `supervisor_actions_completed_total`."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    DISCARDED = "discarded"


class ActionError(Exception):
    """An action could not do what it was asked to; the message is for the operator."""


class Fenced(ActionError):
    """The component has already accepted a larger token, `newest`; this execution is too late and changes nothing."""

    def __init__(self, token: int, newest: int, component: str) -> None:
        """Say which tokens met at which component."""
        super().__init__(f"token {token} is older than {newest}, which {component} has accepted already")
        self.newest = newest


class Cancelled(BaseException):
    """The execution was told to give up: by an operator, by a stop that is wanted, or because its executor stops.

    No `Exception`, so that no action takes it for one of its own errors.
    """


class UnknownAction(ActionError):
    """No action is registered under that name."""


class InvalidParams(ActionError):
    """The parameters of a message do not fit the action's typed fields."""


class Incarnation(msgspec.Struct, frozen=True):
    """One life of a component.

    `pid` alone never identifies it: pids are reused. `start_ticks` (clock ticks since boot, field 22 of
    /proc/PID/stat) makes the pair unique within a boot; where systemd or Docker keeps the component it is a number of
    theirs that is of this life alone. A component that is run by commands has no process of its own: both are 0.
    """

    pid: int
    start_ticks: int
    config_id: str

    @property
    def name(self) -> str:
        """Return what a sentence calls it."""
        return f"pid {self.pid}" if self.pid else "it"


class Component(Protocol):
    """What an action may do to the thing it works on. Every effect carries the token of the lease it runs under."""

    def current(self) -> Incarnation | None:
        """Return the running incarnation, or None when nothing runs."""

    def start(self, token: int) -> Incarnation:
        """Start it under `token` unless it runs; return what runs then. Raises `Fenced` or `ActionError`."""

    def stop(self, token: int) -> None:
        """Stop it under `token` and return when it is gone. Raises `Fenced` or `ActionError`."""

    @property
    def config_id(self) -> str:
        """Identify the configuration that a start would use now."""


@runtime_checkable
class Replaceable(Protocol):
    """A component that can change its configuration itself, better than by a stop and a start."""

    def replace(self, token: int) -> Incarnation:
        """Make what runs use the present configuration; return what runs then. Raises `Fenced` or `ActionError`."""


class ActionContext(msgspec.Struct, frozen=True):
    """What an execution is given: the component, and the token under which every effect happens."""

    component: Component
    token: int


class Urgency(IntEnum):
    """What is taken first. What is `FIRST` overtakes even what waits in the queue since earlier ticks."""

    FIRST = 0
    USUAL = 1
    LAST = 2  # housekeeping: what runs goes on without it


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all actions. The fields of a subclass are its typed parameters and travel in the message.

    `runs_on` "node" means the executor of the worker's node, "pool" any executor. `timeout` is the run time in
    seconds (queue wait not included) after which the execution ends with outcome `timeout`; SPEC 4.3. `urgency` is
    which of several that are asked for at once is taken first.
    """

    name: ClassVar[str]
    urgency: ClassVar[Urgency] = Urgency.USUAL
    runs_on: ClassVar[RunsOn] = "node"
    timeout: ClassVar[float] = 30.0

    def execute(self, context: ActionContext) -> str:
        """Make it so and return one sentence of what was done. Raises `ActionError` when it cannot be done."""
        raise TypeError(f"{type(self).__name__} does not say how it is executed")
