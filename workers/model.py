"""The words of a supervised worker: identity, desired, observed, status, snapshot, transition. Pure values.

Stored documents carry a `schema` number; one with another number is refused by the store, never guessed at.
Times are epoch seconds by Redis' clock, durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from actions.model import Action

DesiredState = Literal["running", "stopped"]
STALE_AFTER = 10.0  # seconds: an observation this old carries no action but a stop (SPEC 4.4)
KNOWN_LABELS = ("type", "node", "group", "supervisor")  # every worker has these, with what its documents say
UNKNOWN_AFTER = 20.0  # seconds: an observation this old makes the phase unknown (SPEC 4.4)


class Phase(StrEnum):
    """The seven phases that every type's states map to."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    STOPPING = "stopping"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything stored as one JSON string."""

    schema: Literal[1] = 1


def _schema() -> Literal[1]:
    """Return what statuses and observations always say of themselves; what else is as by default they leave out."""
    return 1


class Identity(Document, frozen=True, kw_only=True):
    """Who a worker is; written once. `node` None means floating."""

    id: str
    type: str
    supervisor: str
    node: str | None
    created_at: float


class Desired(Document, frozen=True, kw_only=True):
    """What is wanted. The file layer as stored; in a snapshot, with the operator's override already laid over it.

    `config_id` is a digest of `config`: an incarnation that runs another one is outdated. `removed` means that the
    worker left the fleet file: it is stopped, then forgotten. `moves_to` names the place that it is to have instead of
    this one: it is stopped here first. `group` is whose budget its actions count against. `labels` are for people, to
    choose by.
    """

    state: DesiredState
    config: dict[str, Any] = {}
    config_id: str = ""
    depends_on: tuple[str, ...] = ()
    removed: bool = False
    moves_to: str = ""
    group: str = ""
    labels: dict[str, str] = {}


class Override(Document, frozen=True, kw_only=True):
    """The operator's layer of desired: survives `apply` until `fsmctl set ID default`."""

    state: DesiredState
    by: str
    at: float


class Control(Document, frozen=True, kw_only=True):
    """What an operator says about acting for a worker, beside what is desired of it; written by fsmctl alone.

    `paused`: nothing is done for it, not even a stop, until `ends_at` (0: until it is resumed). `resumed_at`: failures
    and quarantines from before are forgiven. `restart_at`: a restart was asked for then, by whom and why says
    `restart_by`; of a child, too.
    """

    paused: bool = False
    resumed_at: float = 0.0
    by: str = ""
    at: float = 0.0
    ends_at: float = 0.0
    reason: str = ""
    restart_at: float = 0.0
    restart_by: str = ""


class Exit(msgspec.Struct, frozen=True):
    """How an incarnation ended.

    `requested` is true when we stopped it. `signal` is 0 when it exited by itself. `code` None without a signal: it
    vanished together with its holder. `pid` 0: it was known by no pid, or its manager does not tell that any more.
    `reason` is what another manager says of the end beside, as "oom-kill".
    """

    pid: int
    start_ticks: int
    started_at: float
    ended_at: float
    code: int | None = None
    signal: int = 0
    requested: bool = False
    reason: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def id(self) -> str:
        """Identify the incarnation that ended."""
        return f"{self.pid}-{self.start_ticks}"

    def words(self) -> str:
        """Say how it ended."""
        how = f"ended with exit code {self.code}"
        if self.signal:
            how = f"was ended by signal {self.signal}"
        elif self.code is None:
            how = "vanished together with its holder" if self.pid and not self.reason else "was gone"
        why = f" ({self.reason})" if self.reason else ""
        return f"{f'pid {self.pid}' if self.pid else 'it'} {how}{why} after {self.ended_at - self.started_at:.1f}s"


class Observed(Document, frozen=True, kw_only=True, omit_defaults=True):
    """What a collector saw; types extend it. `collected_at` is when the look began.

    `error` set means that the look itself failed ("probe timed out"): a fresh observation that knows nothing.
    """

    schema: Literal[1] = msgspec.field(default_factory=_schema)
    collected_at: float
    error: str | None = None
    pid: int | None = None
    start_ticks: int = 0
    started_at: float | None = None
    config_id: str = ""
    last_exit: Exit | None = None
    log: str = ""


class Status(Document, frozen=True, kw_only=True, omit_defaults=True):
    """What the tick keeps about a worker: FSM state, since when, why, and how often it had to be brought back.

    `early_exits` counts incarnations in a row that did not live for `min_uptime`; `counted_exit` is the id of
    the last exit already counted, so that each is counted once. `died_at` is when the last of them ended.
    `failed_at`: the last failures, actions and early exits alike; `counted_action` is the last action among them.
    `quarantined_for` says why the worker is quarantined, beginning with "failures:" or "poison:"; empty: it is not.
    `quarantines` counts quarantines in a row, each twice as long as the one before.
    `resumed_at` is the resume that was heeded last, `forgiven_action` the last action before it: its failures are void.
    `stuck_action` is the last action that was told as stuck.
    `fault` is what a consistency rule finds, beginning with the rule's name and a colon, since `fault_since`;
    `fault_counted` is the life and fault that was counted as a failure last.
    `restarted_at` is the restart that was asked for and heeded last.
    """

    schema: Literal[1] = msgspec.field(default_factory=_schema)
    state: str
    since: float
    reason: str = ""
    restarts: int = 0
    early_exits: int = 0
    counted_exit: str = ""
    died_at: float = 0.0
    failed_at: tuple[float, ...] = ()
    counted_action: str = ""
    quarantined_at: float = 0.0
    quarantined_until: float = 0.0
    quarantined_for: str = ""
    quarantines: int = 0
    resumed_at: float = 0.0
    forgiven_action: str = ""
    stuck_action: str = ""
    fault: str = ""
    fault_since: float = 0.0
    fault_counted: str = ""
    restarted_at: float = 0.0


class Metadata(msgspec.Struct, frozen=True):
    """When things were seen. `circuit_opened_at`: start of the current or last open period, None if there was none."""

    collected_at: float | None
    loaded_at: float
    circuit_opened_at: float | None
    age_seconds: float | None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, desired, observed, status and metadata of one worker at one moment."""

    identity: Identity
    desired: Desired
    overridden: bool
    observed: Observed | None
    status: Status
    metadata: Metadata
    failures: int = 0
    control: Control = Control()

    @property
    def id(self) -> str:
        """Return the worker's id."""
        return self.identity.id

    @property
    def is_stale(self) -> bool:
        """Tell whether the observation is missing or too old to act on."""
        age = self.metadata.age_seconds
        return age is None or age >= STALE_AFTER

    @property
    def leaves(self) -> bool:
        """Tell whether the worker is to leave the place where it is: to be forgotten, or to go to another."""
        return self.desired.removed or bool(self.desired.moves_to)

    @property
    def wants_stop(self) -> bool:
        """Tell whether the worker is to be down where it is."""
        return self.desired.state == "stopped" or self.leaves

    @property
    def why_stop(self) -> str:
        """Say why the worker is to be down where it is, for one that `wants_stop`."""
        if self.desired.removed:
            return "desired is stopped (removed from the fleet file)"
        return f"desired is stopped (it moves to {self.desired.moves_to})" if self.leaves else "desired is stopped"


class Signal(StrEnum):
    """What a transition tells beside its state or action: the end of an incarnation that nobody had asked for."""

    NONE = "none"
    EXITED = "exited"
    EXITED_EARLY = "exited_early"
    SETTLED = "settled"


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """What `derive` returns: the next state or an action, never both; always a reason with the values that decided."""

    reason: str
    state: str | None = None
    action: Action | None = None
    signal: Signal = Signal.NONE

    def __post_init__(self) -> None:
        """Refuse a transition that is both, neither or without a reason."""
        if (self.state is None) == (self.action is None):
            raise ValueError(
                f"a transition is a state or an action: got state {self.state!r} and action {self.action!r}"
            )
        if not self.reason:
            raise ValueError("a transition must give its reason")
