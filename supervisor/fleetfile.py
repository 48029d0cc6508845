"""The form of a fleet file: its tables, and what is wrong with one: file, table, key, value seen, what was expected."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from supervisor.errors import UsageError
from supervisor.model import (
    ESCALATION_TIMEOUT,
    FLAP_WINDOW,
    HALF_OPEN_FOR,
    HALF_OPEN_WORKERS,
    QUARANTINE_AFTER,
    QUARANTINE_FOR,
    QUARANTINE_WINDOW,
    RECOVERY_RATE,
    CheckType,
    WorkerLabel,
)
from workers.duration import Duration
from workers.model import DesiredState
from workers.process.config import (
    ADDRESS_PATTERN,
    CONTAINER_PATTERN,
    ENGINE_PATTERN,
    UMASK_PATTERN,
    UNIT_PATTERN,
    Address,
    Container,
    DriverName,
    Engine,
    Limits,
    StopSignal,
    Unit,
)

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"
NAME_WORDS = "expected a name of at most 63 letters, digits, '-', '_' and '.', beginning with a letter or digit"
Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
MAX_FAILURES = 100  # failures whose times are kept of each worker
Number = Annotated[int, msgspec.Meta(ge=0)]
ADMIN_PATTERN = r"^https?://[^/?#@]+\Z"
_TOPIC = r"^(?!\.{1,2}(?::|\Z))[A-Za-z0-9._-]{1,249}"  # what Kafka takes for a name
TOPIC_NAME_PATTERN = _TOPIC + r"\Z"
TOPIC_NAME_WORDS = 'expected a name of 1 to 249 letters, digits, ".", "_" and "-"'
TOPIC_PATTERN = _TOPIC + r"(?::[1-9][0-9]{0,4})?\Z"
TOPIC_WORDS = f'{TOPIC_NAME_WORDS}, alone or as "NAME:PARTITIONS"'
Status = Annotated[int, msgspec.Meta(ge=100, le=599)]
T = TypeVar("T")


class FleetError(UsageError):
    """A fleet file that is refused whole; what runs keeps running."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the file's tables: an unknown key is an error, not a wish."""


class SupervisorTable(Table, frozen=True, kw_only=True):
    """`[supervisor]`, or one of `[[supervisors]]`."""

    name: Name
    tick_interval: Duration = Duration(1.0)
    observation_interval: Duration = Duration(5.0)
    max_attempts: Positive = 5
    nodes: tuple[Name, ...] = ()
    pool: tuple[Name, ...] = ()
    backoff_jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    quarantine_after: Annotated[int, msgspec.Meta(ge=1, le=MAX_FAILURES)] = QUARANTINE_AFTER
    quarantine_window: Duration = Duration(QUARANTINE_WINDOW)
    quarantine_for: Duration = Duration(QUARANTINE_FOR)
    flap_window: Duration = Duration(FLAP_WINDOW)
    escalation_command: tuple[str, ...] = ()
    escalation_timeout: Duration = Duration(ESCALATION_TIMEOUT)
    half_open_workers: Annotated[int, msgspec.Meta(ge=0)] = HALF_OPEN_WORKERS
    half_open_for: Duration = Duration(HALF_OPEN_FOR)
    recovery_rate: Annotated[float, msgspec.Meta(ge=0)] = RECOVERY_RATE


class GroupTable(Table, frozen=True, kw_only=True):
    """One of `[[groups]]`."""

    supervisor: Name | None = None
    name: Name
    max_in_action: Positive


Sasl = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class CheckTable(Table, frozen=True, kw_only=True):
    """A child's `check`; None: not given."""

    kind: str | None = None
    address: Address | None = None
    path: str | None = None
    status: Status | tuple[Status, ...] | None = None
    body: str | None = None
    tls: bool | None = None
    ca: str | None = None
    command: tuple[str, ...] | None = None
    file: str | None = None
    max_age: Duration | None = None
    admin: Annotated[str, msgspec.Meta(pattern=ADMIN_PATTERN)] | None = None
    brokers: tuple[Address, ...] | None = None
    nodes: Positive | None = None
    leaderless: Number | None = None
    under_replicated: Number | None = None
    sasl: Sasl | None = None
    username: str | None = None
    password_file: str | None = None
    options: dict[str, Any] | None = None
    timeout: Duration = Duration(1.0)
    failures: Positive = 1
    successes: Positive = 1


class TopicTable(Table, frozen=True, kw_only=True):
    """One of a child's `topics`, which may also be text, "NAME" or "NAME:PARTITIONS"."""

    name: Annotated[str, msgspec.Meta(pattern=TOPIC_NAME_PATTERN)]
    partitions: Positive | None = None
    replication: Annotated[int, msgspec.Meta(ge=1, le=32_767)] | None = None
    config: dict[str, str] = {}


class RunbookTable(Table, frozen=True, kw_only=True):
    """A child's `runbook`."""

    url: str
    steps: tuple[str, ...] = ()


class ChildTable(Table, frozen=True, kw_only=True):
    """One of `[[children]]`."""

    supervisor: Name | None = None
    name: Name
    type: CheckType
    node: Name | None = None
    check: CheckTable = CheckTable()
    command: tuple[str, ...] = ()
    service: str = ""
    unit: Unit = ""
    container: Container = ""
    engine: Engine = ""
    restart: tuple[str, ...] = ()
    pid_file: str = ""
    env: dict[str, str] = {}
    cwd: str = "."
    stop_signal: str = "TERM"
    stop_timeout: Duration = Duration(10.0)
    user: Any = None  # these five: workers/process/config.py
    umask: Any = None
    limits: Any = None
    env_file: Any = None
    secrets: Any = None
    topics: tuple[Annotated[str, msgspec.Meta(pattern=TOPIC_PATTERN)] | TopicTable, ...] = ()
    start_grace: Duration = Duration(5.0)
    runbook: RunbookTable | None = None


class WorkerTable(Table, frozen=True, kw_only=True):
    """One of `[[workers]]`."""

    supervisor: Name | None = None
    id: Name
    type: str
    node: Name | None = None
    desired: DesiredState = "running"
    depends_on: tuple[str, ...] = ()
    group: Name | None = None
    labels: dict[str, str] = {}
    config: dict[str, Any] = {}


class RuleTable(Table, frozen=True, kw_only=True):
    """One of `[[rules]]`."""

    supervisor: Name | None = None
    name: Name
    child: Name
    child_is: Literal["ok", "failed"] = "ok"
    worker_type: str
    observed: dict[str, bool | int | float | str]
    lasts: Duration = Duration(30.0)


class MetricsTable(Table, frozen=True, kw_only=True):
    """`[metrics]`."""

    worker_label: WorkerLabel = "worker_id"


class File(Table, frozen=True, kw_only=True):
    """The whole file."""

    supervisor: SupervisorTable | None = None
    supervisors: tuple[SupervisorTable, ...] = ()
    groups: tuple[GroupTable, ...] = ()
    children: tuple[ChildTable, ...] = ()
    workers: tuple[WorkerTable, ...] = ()
    rules: tuple[RuleTable, ...] = ()
    metrics: MetricsTable = MetricsTable()
    templates: tuple[Any, ...] = ()  # these three: supervisor/templates.py
    instances: tuple[Any, ...] = ()
    nodes: tuple[Any, ...] = ()


def parse(path: Path) -> dict[str, Any]:
    """Return what a TOML file says. Raises `FleetError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FleetError(f"{path}: cannot be read: {error.strerror}; expected a fleet file in TOML") from None
    except UnicodeDecodeError as error:
        raise FleetError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); expected TOML") from None
    if not text.strip():
        raise FleetError(f"{path}: is empty; expected at least a [supervisor] table with a name")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetError(f"{path}: is not TOML: {error}") from None


def _decode(kind: type, value: object) -> object:
    if kind is Duration:
        return Duration.parse(value)
    raise TypeError(f"{kind} does not occur in a fleet file")


def convert(raw: object, kind: type[T], path: Path, inside: str = "$", whole: object = None) -> T:
    """Convert `raw`, which stands at `inside` of the `whole` file. Raises `FleetError` about that place in the file."""
    try:
        return msgspec.convert(raw, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        message, _, at = str(error).replace(" | null", "").partition(" - at `")  # TOML knows no null
        where = inside + at.rstrip("`").removeprefix("$")
        raise FleetError(_complaint(path, raw if whole is None else whole, where, message, kind)) from None


def _complaint(path: Path, whole: object, where: str, message: str, kind: type[object]) -> str:
    """Say where in the file, what is there, and what was expected."""
    if where.endswith("[...]"):  # msgspec's word for an entry of a map; those of a fleet file hold text
        entries = _value_at(whole, where)
        wrong = next(str(name) for name, value in entries.items() if not isinstance(value, str))  # type: ignore[attr-defined]  # a map
        where = f"{where.removesuffix('[...]')}.{wrong}"
    if (key := re.search(r"unknown field `(.+)`", message)) is not None:
        seen = _value_at(whole, f"{where}.{key[1]}")
        expected = f"expected one of {', '.join(_fields(kind, where))}"
        return f"{path}: {_place(whole, where)}: unknown key {key[1]!r} (value {_shown(seen)}); {expected}"
    if (key := re.search(r"missing required field `(.+)`", message)) is not None:
        return f"{path}: {_place(whole, where)}: key {key[1]!r} is missing; expected it to be set"
    seen = _value_at(whole, where)
    if message.startswith("Invalid enum value"):
        message = f"expected one of {', '.join(_CHOICES[where.rpartition('.')[2]])}"
    plain = message.replace("\\\\", "\\")  # msgspec shows a pattern as Python would
    message = next((words for pattern, words in _FORMS.items() if pattern in plain), message)
    if isinstance(seen, dict) and not message.startswith("Expected `"):
        return f"{path}: {_place(whole, where)}: {message}"  # a rule over several keys names its value itself
    return f"{path}: {_place(whole, where)}: value {_shown(seen)}: {message[:1].lower()}{message[1:]}"


def _shown(value: object) -> str:
    """Return a value for a message; a table is only named, for it may hold secrets."""
    return "(a table)" if isinstance(value, dict) else repr(value)


_CHOICES = {
    "child_is": ("ok", "failed"),
    "desired": get_args(DesiredState),
    "type": get_args(CheckType),
    "stop_signal": get_args(StopSignal),
    "driver": get_args(DriverName),
    "worker_label": get_args(WorkerLabel),
    "sasl": get_args(Sasl),
}
_FORMS = {
    NAME_PATTERN: NAME_WORDS,
    TOPIC_PATTERN: TOPIC_WORDS,
    TOPIC_NAME_PATTERN: TOPIC_NAME_WORDS,
    ADMIN_PATTERN: 'expected the URL of an admin API, as "http://HOST:9644"',
    UMASK_PATTERN: 'expected three octal digits, as "027"',
    UNIT_PATTERN: 'expected the whole name of a systemd service, as "redpanda.service"',
    CONTAINER_PATTERN: "expected the name or id of a container: letters, digits, '-', '_' and '.'",
    ENGINE_PATTERN: 'expected the socket of a Docker engine on this host, as "unix:///run/docker.sock"',
    ADDRESS_PATTERN: 'expected an address "HOST:PORT" with a port from 1 to 65535',
}


def _fields(kind: type[object], where: str) -> tuple[str, ...]:
    """Return the keys that the table at `where` may have, sorted; `kind` is what `where` was to become."""
    tables = {
        "supervisor": SupervisorTable,
        "supervisors": SupervisorTable,
        "groups": GroupTable,
        "children": ChildTable,
        "workers": WorkerTable,
        "rules": RuleTable,
        "metrics": MetricsTable,
        "check": CheckTable,
        "runbook": RunbookTable,
        "limits": Limits,
        "topics": TopicTable,
    }
    names = [str(step) for step in _steps(where) if isinstance(step, str)]
    table: Any = tables.get(names[-1], kind) if names else kind
    return tuple(sorted(field.encode_name for field in msgspec.structs.fields(table)))


def _steps(where: str) -> Iterator[str | int]:
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", where):
        yield name if name else int(index)


def _value_at(whole: object, where: str) -> object:
    """Return what stands at a path like `$.workers[0].config.env`; for a place inside a map, the map."""
    value = whole
    for step in _steps(where):
        try:
            value = value[step]  # type: ignore[index]  # walking a document of unknown shape; misses are handled
        except (KeyError, IndexError, TypeError):
            return value
    return value


def _place(whole: object, where: str) -> str:
    """Return the table and key as the reader sees them: `[[workers]] number 2 (id "a"), key config.env`."""
    steps = list(_steps(where))
    if not steps:
        return "top level"
    table = str(steps.pop(0))
    if not steps or not isinstance(steps[0], int):
        return f"[{table}]" + (f", key {_key(steps)}" if steps else "")
    number = int(steps.pop(0))
    entry = _value_at(whole, f"$.{table}[{number}]")
    label = next((f" ({key} {entry[key]!r})" for key in ("id", "name") if isinstance(entry, dict) and key in entry), "")
    return f"[[{table}]] number {number + 1}{label}" + (f", key {_key(steps)}" if steps else "")


def _key(steps: Iterable[str | int]) -> str:
    return ".".join(str(step) for step in steps)


def label_of(entry: GroupTable | ChildTable | WorkerTable | RuleTable) -> str:
    """Return how an entry is called in a message."""
    return f"id {entry.id!r}" if isinstance(entry, WorkerTable) else f"name {entry.name!r}"


def failure(path: Path, table: str, number: int, label: str, key: str, value: object, expected: str) -> FleetError:
    """Return the error about a key of a table's entry, counted from 0."""
    return FleetError(f"{path}: [[{table}]] number {number + 1} ({label}), key {key}: value {value!r}: {expected}")


def beside(path: Path, name: str) -> str:
    """Return the path that a file names, relative to itself; "" stays."""
    return str((path.parent / name).resolve()) if name else ""


def plain(value: object) -> object:
    """Return a value as a message shows it."""
    if isinstance(value, tuple):  # a list in TOML
        return list(value)
    return str(value) if isinstance(value, Duration) else value
