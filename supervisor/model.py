"""The supervisor's own documents and constants: settings, children, leases, heartbeats, the tick. Pure values."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from actions.create_topics import Topic
from workers.model import Document
from workers.process.config import ProcessConfig

TICK_LEASE = 5.0  # seconds; SPEC 4.1
TICK_DEBOUNCE = 0.05  # seconds after the last start before a wake flag may start a tick; SPEC 4.1
LEASE_TTL = 10.0  # seconds; SPEC 4.3
QUEUED_TTL = 30.0  # seconds; SPEC 4.3
NODE_AWAY_AFTER = 15.0  # seconds without a heartbeat; SPEC 4.4
FLAP_WINDOW = 10.0  # seconds; SPEC 4.2
ESCALATION_TIMEOUT = 30.0  # seconds for the command that calls a person
HALF_OPEN_WORKERS = 10  # SPEC 4.2
HALF_OPEN_FOR = 10.0  # seconds; SPEC 4.2
RECOVERY_RATE = 100.0  # actions per second; SPEC 4.2
HOLD_OFF = LEASE_TTL / 3 + 1.0  # seconds without claims after Redis may have lost data: renewals come first; SPEC 4.3
CLOCK_STEP = 1.0  # seconds by which Redis' clock may differ from what was expected; more is a step
CLOCK_SKEW = 1.0  # seconds by which a node's clock may differ from Redis' before that is told; SPEC 4.4
HEARTBEAT_INTERVAL = 2.0  # seconds between heartbeats of an executor or collector
QUEUED_PER_SLOT = 2  # queued leases per executor slot; SPEC 4.3
HARD_KILL_AFTER = 5.0  # seconds after the soft timeout; SPEC 4.3
BACKOFF_BASE = 1.0  # seconds; SPEC 4.2 and 4.3: 1, 2, 4 … 60
BACKOFF_CAP = 60.0
QUARANTINE_AFTER = 5  # failures; SPEC 4.3
QUARANTINE_WINDOW = 600.0  # seconds in which they fall; SPEC 4.3
QUARANTINE_FOR = 600.0  # seconds; SPEC 4.3; doubles with each in a row
QUARANTINE_CAP = 3600.0  # seconds; the doubling ends here: what was mended outside is to come back without being asked
POISON_KILLS = 3  # actions in a row that killed their pool process; SPEC 4.3
STUCK_AFTER = 2.0  # times its timeout that an action runs before it is reported; SPEC 4.3

CheckType = Literal["redis", "redpanda", "benthos", "tcp", "http", "process", "supervisor"]
WorkerLabel = Literal["worker_id", "worker_type"]
OptionValue = bool | int | float | str
CheckKind = Literal["tcp", "redis", "http", "kafka", "process", "command", "freshness", "redpanda"]


def of_other_time(collected_at: float, data_since: float, now: float) -> str | None:
    """Return why an observation is none of this Redis and its present clock, if that is so. Times by Redis' clock."""
    if collected_at <= data_since:
        return "not observed since Redis came back"
    if collected_at > now + CLOCK_STEP:
        return "observed by a clock of Redis that was set back since"
    return None


class DeclaredRule(msgspec.Struct, frozen=True, kw_only=True):
    """A consistency rule of a fleet file: `child` is ok, and for `lasts` a worker that depends on it is seen so.

    `observed` holds fields of what is observed of workers of that type, with their values; `lasts` is in seconds.
    `child_is` "failed" is the opposite: the two contradict each other, which is told; the worker is not at fault.
    """

    name: str
    child: str
    child_is: Literal["ok", "failed"] = "ok"
    worker_type: str
    observed: dict[str, bool | int | float | str]
    lasts: float


class SupervisorSettings(Document, frozen=True, kw_only=True):
    """What a fleet file says about the control loop. Durations in seconds. `source` is where the fleet came from.

    `groups`: the most actions that may be in progress in a group at once, by name. `backoff_jitter`: the fraction by
    which a backoff is prolonged at most, so that workers which failed together do not come back together.
    `quarantine_after` failures of a worker within `quarantine_window` quarantine it for `quarantine_for`, doubling.
    `flap_window`: how long checks that failed have to pass before the circuit eases, if nothing else mended them.
    `escalation_command` is run once for each incident that escalates, for `escalation_timeout` at most.
    `half_open_workers` try then for `half_open_for` at most whether all is well; 0: nobody does. After that
    `recovery_rate` actions a second are asked for at most; 0: any number.
    `worker_label`: what metrics of actions are labelled with. `pool`: the nodes for floating workers; none: all.
    """

    name: str
    tick_interval: float = 1.0
    observation_interval: float = 5.0
    max_attempts: int = 5
    nodes: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()
    groups: dict[str, int] = {}
    backoff_jitter: float = 0.0
    quarantine_after: int = QUARANTINE_AFTER
    quarantine_window: float = QUARANTINE_WINDOW
    quarantine_for: float = QUARANTINE_FOR
    flap_window: float = FLAP_WINDOW
    escalation_command: tuple[str, ...] = ()
    escalation_timeout: float = ESCALATION_TIMEOUT
    half_open_workers: int = HALF_OPEN_WORKERS
    half_open_for: float = HALF_OPEN_FOR
    recovery_rate: float = RECOVERY_RATE
    rules: tuple[DeclaredRule, ...] = ()
    worker_label: WorkerLabel = "worker_id"
    source: str = ""
    applied_at: float = 0.0

    def in_pool(self, node: str) -> bool:
        """Tell whether a node observes floating workers and acts for them."""
        return not self.pool or node in self.pool


class Incident(Document, frozen=True, kw_only=True):
    """From the opening of a circuit until it is closed. Times are epoch seconds, None for what has not come to pass.

    `reason`: what failed when it opened last. `attempts`: restarts of the child that needed most of them.
    """

    id: str
    opened_at: float
    reason: str = ""
    children: tuple[str, ...] = ()
    attempts: int = 0
    escalated_at: float | None = None
    closed_at: float | None = None

    def duration(self, now: float) -> float:
        """Return the seconds that it lasted, or has lasted."""
        return max(0.0, (self.closed_at if self.closed_at is not None else now) - self.opened_at)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """How a child is asked whether it works. `timeout`, `max_age`: seconds.

    `failures`: looks in a row that must fail for it to have failed; `successes`: that must pass for it to be well.

    `address` is for tcp, redis, http and kafka; `path`, `status`, `body` (a regular expression), `tls` and `ca` for
    http; `command` for command; `file` and `max_age` for freshness. For redpanda: `admin` is the URL of its admin API,
    `brokers` are Kafka addresses (one of the two may be empty), `nodes` is how many brokers have to live, `leaderless`
    and `under_replicated` how many such partitions may be (None: any number); `tls` is of Kafka, `ca` of both. `sasl`
    is the mechanism by which `username` logs in to Kafka ("": nobody does); who asks reads the `password_file`. A
    `kind` that is not built in is a check of an installed package: `address` and `options` are for it.
    """

    kind: str = "tcp"
    address: str = ""
    path: str = "/"
    status: tuple[int, ...] = (200,)
    body: str = ""
    tls: bool = False
    ca: str = ""
    command: tuple[str, ...] = ()
    file: str = ""
    max_age: float = 30.0
    admin: str = ""
    brokers: tuple[str, ...] = ()
    nodes: int = 1
    leaderless: int = 0
    under_replicated: int | None = None
    sasl: str = ""
    username: str = ""
    password_file: str = ""
    options: dict[str, OptionValue] = {}
    timeout: float = 1.0
    failures: int = 1
    successes: int = 1

    @property
    def target(self) -> str:
        """Return what is asked, for a message."""
        asked = self.address or self.file or " ".join(self.command)
        return asked or " ".join(part for part in (self.admin, ",".join(self.brokers)) if part) or self.kind


class Runbook(msgspec.Struct, frozen=True, kw_only=True):
    """What a person does when restarting has not helped."""

    url: str = ""
    steps: tuple[str, ...] = ()


BY_HAND = (
    "has no command, service, unit, container or restart in the fleet file: it has to be restarted by hand"  # a child
)


class ChildSpec(Document, frozen=True, kw_only=True):
    """An infrastructure component: restarted as a `process` of ours, by its manager, or by a `restart` command.

    Its manager is s6 (`service`), systemd (`unit`), or Docker (`container`, of `engine` if it is not the usual one).
    With none of these its restart is a person's work. One of type `supervisor` is another supervisor of the store,
    which looks after itself: its circuit is its check. `pid_file` names the process that `restart` brings. `cwd` and
    `env` are for commands. `topics` are created when they are not there. `start_grace`: seconds after its start in
    which a failed check means "starting".
    """

    name: str
    type: CheckType
    node: str
    check: Check = Check()
    process: ProcessConfig | None = None
    service: str = ""
    unit: str = ""
    container: str = ""
    engine: str = ""
    restart: tuple[str, ...] = ()
    pid_file: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    config_id: str = ""
    topics: tuple[Topic, ...] = ()
    start_grace: float = 5.0
    runbook: Runbook = Runbook()

    @property
    def id(self) -> str:
        """Return the id under which its documents are stored."""
        return f"child/{self.name}"

    @property
    def has_manager(self) -> bool:
        """Tell whether another manager keeps it, which can tell whether it runs."""
        return bool(self.service or self.unit or self.container)

    @property
    def can_restart(self) -> bool:
        """Tell whether there is anything that we restart it by."""
        return self.type != "supervisor" and bool(self.process or self.has_manager or self.restart)


class ChildObserved(Document, frozen=True, kw_only=True):
    """What a collector saw of a child. `failures` counts failed looks in a row, `passes` those that passed.

    `unknown`: the look itself failed, which says nothing of the child. `detail`: what a check that passed has seen, in
    words. `missing`: topics that are not there.
    `started` is False for a child of ours that runs nothing because nobody has started it, or we stopped it: that is no
    failure but work to be done.
    """

    collected_at: float
    passes: int = 0
    failures: int = 0
    error: str | None = None
    detail: str = ""
    missing: tuple[str, ...] = ()
    unknown: bool = False
    started: bool = True
    pid: int | None = None
    start_ticks: int = 0
    started_at: float | None = None
    log: str = ""


class Stage(StrEnum):
    """Where a lease stands. `free`: the action has ended; the record stays as the last action."""

    QUEUED = "queued"
    RUNNING = "running"
    FREE = "free"


class Lease(Document, frozen=True, kw_only=True, omit_defaults=True):
    """The in-progress lock of one worker or child, and after its end the record of its last action.

    `token` is text: microseconds exceed what JSON numbers carry through Lua. `timeout` is the action's run time in
    seconds. `failures` counts actions in a row that ended in error, timeout or loss; `kills` those in a row that killed
    their pool process; of those whose executor vanished only the first counts as a failure, as they say nothing of the
    worker. `deadline` of a free lease is when its action was over: its end, or for a lost one the deadline it missed,
    which is before `ended_at`, when that was found. `cancel` says why a running action has been asked to give up.
    `fence` is a larger token that an effect met where Redis had forgotten it: the next claim's is larger still.
    `trace_id` is of the claim, if traced. `counted_as` labels the action's metrics instead of the worker's id.
    """

    worker_id: str
    action: str
    action_id: str
    token: str
    stage: Stage
    claimed_at: float
    deadline: float
    reason: str = ""
    begun_at: float | None = None
    runner: str = ""
    executor: str = ""
    outcome: str = ""
    detail: str = ""
    ended_at: float | None = None
    timeout: float = 30.0
    failures: int = 0
    kills: int = 0
    cancel: str = ""
    fence: str = ""
    trace_id: str = ""
    counted_as: str = ""

    @property
    def in_progress(self) -> bool:
        """Tell whether an action is queued or running."""
        return self.stage is not Stage.FREE

    def is_stuck(self, now: float) -> bool:
        """Tell whether the action runs for twice the time that it was given; waiting in the queue is not running."""
        begun = self.begun_at if self.stage is Stage.RUNNING else None
        return begun is not None and now - begun >= STUCK_AFTER * self.timeout

    def longest_deadline(self, data_since: float) -> float:
        """Return the seconds ahead that a deadline can be; one beyond was written before Redis' clock was set back.

        0 for a claim from before `data_since` (epoch seconds), when Redis may have lost data: nobody begins it now.
        """
        if self.stage is Stage.QUEUED and self.claimed_at <= data_since:
            return 0.0
        return (QUEUED_TTL if self.stage is Stage.QUEUED else LEASE_TTL) + CLOCK_STEP

    def is_over(self, now: float, data_since: float) -> bool:
        """Tell whether an action in progress is past its deadline at `now` (epoch seconds, Redis' clock)."""
        return self.in_progress and not now <= self.deadline <= now + self.longest_deadline(data_since)


class NodeDocument(Document, frozen=True, kw_only=True):
    """Heartbeat of a node's executor. `left` is set by an orderly end. `at` is Redis time.

    `clock_skew`: seconds by which the host's clock is ahead of Redis'; None when it was not measured. `drained`: as an
    operator wants it, it takes no floating work any more.
    """

    node: str
    host: str
    boot_id: str
    executor: str
    pid: int
    slots: int
    at: float = 0.0
    left: bool = False
    clock_skew: float | None = None
    drained: bool = False


class CollectorDocument(Document, frozen=True, kw_only=True):
    """Heartbeat of a node's collector. `clock_skew`: seconds by which the host's clock is ahead of Redis'.

    `oldest`: when the oldest of the last looks at its items began (epoch seconds, Redis' clock); 0: not told.
    """

    node: str
    pid: int
    at: float
    observed: int
    clock_skew: float
    oldest: float = 0.0


class ScopeDocument(Document, frozen=True, kw_only=True):
    """Whom the tick after `tick_id` has to look at: the `unsettled`, and others in turn, from the id `turn` on.

    `at` is when that tick began. `of_all` and `seen` are what it knew of what concerns more than one worker.
    """

    tick_id: str
    at: float
    of_all: str
    seen: tuple[str, ...]
    unsettled: tuple[str, ...]
    turn: str


class TickDocument(Document, frozen=True, kw_only=True):
    """The tick lease and the last tick's report (JSON text).

    `run_id` is of the Redis that the store was last seen on, `data_since` when this Redis was first seen to hold the
    data (0: always), `hold_until` the time until which nothing is claimed, so that renewals re-create what runs.
    """

    id: str
    started_at: float
    deadline: float
    ended_at: float = 0.0
    duration: float = 0.0
    report: str = ""
    run_id: str = ""
    data_since: float = 0.0
    hold_until: float = 0.0
