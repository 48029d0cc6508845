"""Reads a fleet file: TOML in, typed documents out, or one error with file, table, key, value seen and expected."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeVar

import msgspec

from supervisor.checks import Checks
from supervisor.fleetfile import (
    NAME_PATTERN,
    NAME_WORDS,
    ChildTable,
    File,
    FleetError,
    GroupTable,
    RuleTable,
    SupervisorTable,
    WorkerTable,
    beside,
    convert,
    failure,
    label_of,
    parse,
    plain,
)
from supervisor.keys import POOL, RESERVED_PLACES, RESERVED_SUPERVISORS
from supervisor.model import Check, ChildSpec, DeclaredRule, Runbook, SupervisorSettings
from supervisor.templates import expand
from supervisor.topics import topics_of
from workers.duration import Duration
from workers.model import KNOWN_LABELS, Desired
from workers.process.config import ProcessConfig
from workers.registry import WorkerRegistry

_OF_PROCESSES = ("user", "umask", "limits", "env_file", "secrets")  # keys of a child with a command
_WAYS = ("command", "service", "unit", "container", "restart")  # to restart a child
T = TypeVar("T")
E = TypeVar("E", GroupTable, ChildTable, WorkerTable, RuleTable)
# of no use to compare with
_NOT_RULED = frozenset(
    {"schema", "collected_at", "error", "last_exit", "log", "window", "samples", "latency_ms", "answer"}
)
_LEAST = {
    "tick_interval": 0.05,
    "observation_interval": 0.1,
    "quarantine_window": 1.0,
    "quarantine_for": 1.0,
}  # seconds


@dataclass(frozen=True)
class WorkerEntry:
    """A worker of the file: who it is and what is wanted of it. Without a node it floats."""

    id: str
    type: str
    node: str | None
    desired: Desired

    @property
    def place(self) -> str:
        """Return the place of its documents."""
        return self.node or POOL


@dataclass(frozen=True)
class Fleet:
    """What one supervisor has in a fleet file that has passed every check."""

    settings: SupervisorSettings
    children: tuple[ChildSpec, ...]
    workers: tuple[WorkerEntry, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the nodes declared or used, in order of appearance."""
        used = [child.node for child in self.children if child.node] + [
            worker.node for worker in self.workers if worker.node
        ]
        return tuple(dict.fromkeys([*self.settings.nodes, *used]))


def read_fleets(
    path: Path, types: WorkerRegistry, known_nodes: Iterable[str] = (), own_checks: Iterable[str] = ()
) -> tuple[Fleet, ...]:
    """Read and check a fleet file; return the fleet of each of its supervisors.

    `known_nodes` are the nodes that may be named where a supervisor declares none itself; empty: any may.
    `own_checks` are the kinds of checks that installed packages add.
    Raises `FleetError`.
    """
    expanded = expand(path, parse(path))
    try:
        return _read(path, expanded.raw, types, frozenset(known_nodes), tuple(own_checks))
    except FleetError as error:
        raise FleetError(expanded.told(path, str(error))) from None


def _read(
    path: Path, raw: object, types: WorkerRegistry, nodes: frozenset[str], own_checks: tuple[str, ...]
) -> tuple[Fleet, ...]:
    """Return the fleets of a file without templates. Raises `FleetError`."""
    file = convert(raw, File, path)
    tables = _supervisors(path, file)
    _whose(path, file, tuple(tables))
    _unique(path, "workers", "id", [(number, worker.id) for number, worker in enumerate(file.workers)])
    fleets = tuple(
        _Reader(path, file, types, nodes, Checks(path, own_checks), table, place).read()
        for place, table in tables.values()
    )
    _no_circle(path, fleets)
    return fleets


def _no_circle(path: Path, fleets: Sequence[Fleet]) -> None:
    """See that no supervisors are each other's children: no circuit of theirs would ever close. Raises `FleetError`."""
    graph = {
        fleet.settings.name: [child.name for child in fleet.children if child.type == "supervisor"] for fleet in fleets
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise FleetError(f"{path}: supervisors are each other's children: {circle}; expected an order") from None


def _supervisors(path: Path, file: File) -> dict[str, tuple[str, SupervisorTable]]:
    """Return the file's supervisors by name, each with its place in the file. Raises `FleetError`."""
    if (file.supervisor is None) is (not file.supervisors):
        seen = "has both" if file.supervisor else "has neither"
        raise FleetError(f"{path}: {seen}; expected one [supervisor] table, or [[supervisors]] tables")
    if file.supervisor is not None:
        return {file.supervisor.name: ("[supervisor]", file.supervisor)}
    _unique(path, "supervisors", "name", [(number, table.name) for number, table in enumerate(file.supervisors)])
    return {
        table.name: (f"[[supervisors]] number {number + 1} (name {table.name!r})", table)
        for number, table in enumerate(file.supervisors)
    }


def _whose(path: Path, file: File, names: tuple[str, ...]) -> None:
    """See that everything says which supervisor's it is, where there are several. Raises `FleetError`."""
    for table in ("groups", "children", "workers", "rules"):
        for number, entry in enumerate(getattr(file, table)):
            if entry.supervisor in names or (entry.supervisor is None and len(names) == 1):
                continue
            label = label_of(entry)
            expected = f"expected one of {', '.join(names)}, the supervisors of this file"
            raise failure(path, table, number, label, "supervisor", entry.supervisor, expected)


def _unique(path: Path, table: str, key: str, named: Sequence[tuple[int, str]]) -> None:
    """See that no two of a table's entries, given by number, have one name. Raises `FleetError`."""
    first: dict[str, int] = {}
    for number, name in named:
        if name in first:
            expected = f"expected a name of its own; number {first[name] + 1} has it already"
            raise failure(path, table, number, f"{key} {name!r}", key, name, expected)
        first[name] = number


def config_id(config: msgspec.Struct) -> str:
    """Return a digest that changes exactly when the configuration does."""
    encoded = msgspec.json.encode(config, enc_hook=float, order="sorted")
    return hashlib.sha256(encoded).hexdigest()[:12]


@dataclass(frozen=True)
class _Reader:
    """Turns one supervisor's tables of a file into documents, with the checks that need more than one key.

    `table` is its own, which stands at `place`.
    """

    path: Path
    file: File
    types: WorkerRegistry
    known_nodes: frozenset[str]
    checks: Checks
    table: SupervisorTable
    place: str

    def read(self) -> Fleet:
        """Return the fleet. Raises `FleetError`."""
        _unique(self.path, "groups", "name", [(number, group.name) for number, group in self._own(self.file.groups)])
        _unique(
            self.path, "children", "name", [(number, child.name) for number, child in self._own(self.file.children)]
        )
        _unique(self.path, "rules", "name", [(number, rule.name) for number, rule in self._own(self.file.rules)])
        children = tuple(self._child(number, child) for number, child in self._own(self.file.children))
        workers = tuple(self._worker(number, worker) for number, worker in self._own(self.file.workers))
        self._dependencies()
        return Fleet(self._settings(), children, workers)

    def _own(self, entries: Sequence[E]) -> list[tuple[int, E]]:
        """Return this supervisor's of a table's entries, each with its number in the file."""
        return [(number, entry) for number, entry in enumerate(entries) if entry.supervisor in (None, self.table.name)]

    def _fail(self, table: str, number: int, label: str, key: str, value: object, expected: str) -> FleetError:
        return failure(self.path, table, number, label, key, value, expected)

    def _settings(self) -> SupervisorSettings:
        table = self.table
        if table.name in RESERVED_SUPERVISORS:
            seen = f"{self.place}, key name: value {table.name!r}"
            raise FleetError(f"{self.path}: {seen}: expected another name; Celery's keys begin with this one")
        for key, least in _LEAST.items():
            value = getattr(table, key)
            if value < least:
                raise FleetError(
                    f"{self.path}: {self.place}, key {key}: value '{value}': expected at least {Duration(least)}"
                )
        if table.observation_interval >= 10:
            seen = str(table.observation_interval)
            raise FleetError(
                f"{self.path}: {self.place}, key observation_interval: value {seen!r}: expected less than 10s, "
                "the age at which an observation is too old to act on"
            )
        return SupervisorSettings(
            name=table.name,
            tick_interval=float(table.tick_interval),
            observation_interval=float(table.observation_interval),
            max_attempts=table.max_attempts,
            nodes=table.nodes,
            pool=self._pool(),
            groups={group.name: group.max_in_action for _, group in self._own(self.file.groups)},
            backoff_jitter=table.backoff_jitter,
            quarantine_after=table.quarantine_after,
            quarantine_window=float(table.quarantine_window),
            quarantine_for=float(table.quarantine_for),
            flap_window=float(table.flap_window),
            escalation_command=table.escalation_command,
            escalation_timeout=float(table.escalation_timeout),
            half_open_workers=table.half_open_workers,
            half_open_for=float(table.half_open_for),
            recovery_rate=table.recovery_rate,
            rules=tuple(self._rule(number, rule) for number, rule in self._own(self.file.rules)),
            worker_label=self.file.metrics.worker_label,
            source=str(self.path),
        )

    def _pool(self) -> tuple[str, ...]:
        """Return the nodes that floating workers are for. Raises `FleetError` for one that there cannot be."""
        allowed = self.table.nodes or self.known_nodes
        for node in self.table.pool:
            if node in RESERVED_PLACES or (allowed and node not in allowed):
                expected = f"expected nodes{': one of ' + ', '.join(sorted(allowed)) if allowed else ''}"
                raise FleetError(f"{self.path}: {self.place}, key pool: value {node!r}: {expected}")
        return self.table.pool

    def _rule(self, number: int, rule: RuleTable) -> DeclaredRule:
        label = f"name {rule.name!r}"
        children = sorted(child.name for _, child in self._own(self.file.children))
        if rule.child not in children:
            expected = f"expected a child beside it: one of {', '.join(children) or 'none'}"
            raise self._fail("rules", number, label, "child", rule.child, expected)
        if rule.worker_type not in self.types.names():
            expected = f"unknown worker type; expected one of {', '.join(self.types.names())}"
            raise self._fail("rules", number, label, "worker_type", rule.worker_type, expected)
        fields = {
            field.name: field.type
            for field in msgspec.structs.fields(self.types.get(rule.worker_type).observed_type)
            if field.name not in _NOT_RULED
        }
        if not rule.observed:
            raise self._fail("rules", number, label, "observed", {}, f"expected one of {', '.join(sorted(fields))}")
        for name, value in rule.observed.items():
            if name not in fields:
                expected = f"a {rule.worker_type} has no such observation; expected one of {', '.join(sorted(fields))}"
                raise self._fail("rules", number, label, f"observed.{name}", value, expected)
            try:
                msgspec.convert(value, fields[name])
            except msgspec.ValidationError as error:
                words = str(error)[:1].lower() + str(error)[1:]
                raise self._fail("rules", number, label, f"observed.{name}", value, words) from None
        return DeclaredRule(
            name=rule.name,
            child=rule.child,
            child_is=rule.child_is,
            worker_type=rule.worker_type,
            observed=rule.observed,
            lasts=float(rule.lasts),
        )

    def _node(self, table: str, number: int, label: str, node: str) -> None:
        if node in RESERVED_PLACES:
            expected = f"expected a node's name; {' and '.join(RESERVED_PLACES)} mean something else here"
            raise self._fail(table, number, label, "node", node, expected)
        nodes = self.table.nodes or self.known_nodes
        if nodes and node not in nodes:
            expected = f"unknown node; expected one of {', '.join(sorted(nodes))} (or add it to the supervisor's nodes)"
            raise self._fail(table, number, label, "node", node, expected)

    def _child(self, number: int, child: ChildTable) -> ChildSpec:
        label = f"name {child.name!r}"
        if child.type == "supervisor":
            return self._another(number, label, child)
        if child.node is None:
            self._nodeless(number, label, child)
        else:
            self._node("children", number, label, child.node)
        self._ways(number, label, child)
        process = self._process(number, child)
        cwd = str((self.path.parent / child.cwd).resolve())
        return ChildSpec(
            name=child.name,
            type=child.type,
            node=child.node or "",
            check=self.checks.read(number, child),
            process=process,
            service=beside(self.path, child.service),
            unit=child.unit,
            container=child.container,
            engine=child.engine,
            restart=child.restart,
            pid_file=beside(self.path, child.pid_file),
            cwd="" if process else cwd,
            env={} if process else child.env,
            config_id=config_id(process) if process else "",
            topics=topics_of(self.path, number, child),
            start_grace=float(child.start_grace),
            runbook=Runbook(url=child.runbook.url, steps=child.runbook.steps) if child.runbook else Runbook(),
        )

    def _ways(self, number: int, label: str, child: ChildTable) -> None:
        """See that a child has one way to be restarted at most, and a process one that tells. Raises `FleetError`."""
        if child.type == "process" and not (child.command or child.unit or child.container):
            expected = "expected the command that this process child is, or its unit or container"
            raise self._fail("children", number, label, "command", [], expected)
        ways = [key for key in _WAYS if getattr(child, key)]
        if len(ways) > 1:
            expected = f"expected one way to restart it, and {ways[0]} is there too"
            raise self._fail("children", number, label, ways[1], plain(getattr(child, ways[1])), expected)
        if child.engine and not child.container:
            raise self._fail("children", number, label, "engine", child.engine, "expected a container beside it")

    def _nodeless(self, number: int, label: str, child: ChildTable) -> None:
        """Refuse what a child without a node cannot have: all that is on one host. Raises `FleetError`."""
        self.checks.from_anywhere(number, child)
        for key in ("command", "service", "unit", "container", "pid_file"):
            if getattr(child, key):
                expected = "a child without a node has no such key: it is of one host"
                raise self._fail("children", number, label, key, plain(getattr(child, key)), expected)

    def _another(self, number: int, label: str, child: ChildTable) -> ChildSpec:
        """Return a child that is another supervisor, which looks after itself. Raises `FleetError`."""
        if child.name == self.table.name:
            raise self._fail("children", number, label, "name", child.name, "expected another supervisor than its own")
        for key in ("node", *_WAYS):
            if getattr(child, key):
                expected = "a child of type supervisor has no such key: it looks after itself"
                raise self._fail("children", number, label, key, getattr(child, key), expected)
        book = child.runbook
        runbook = Runbook(url=book.url, steps=book.steps) if book else Runbook()
        return ChildSpec(name=child.name, type=child.type, node="", check=Check(kind="process"), runbook=runbook)

    def _process(self, number: int, child: ChildTable) -> ProcessConfig | None:
        given = [key for key in _OF_PROCESSES if getattr(child, key) is not None]
        if not child.command:
            for key in given:
                expected = "expected a command beside it, whose process that is of"
                raise self._fail("children", number, f"name {child.name!r}", key, getattr(child, key), expected)
            return None
        keys = ("command", "env", "cwd", "stop_signal", "stop_timeout", *given)
        whole = {"children": [None] * number + [msgspec.to_builtins(child, enc_hook=str)]}
        raw = {key: whole["children"][number][key] for key in keys}
        return self._absolute(convert(raw, ProcessConfig, self.path, f"$.children[{number}]", whole))

    def _absolute(self, config: T) -> T:
        """Resolve a working directory and files, which a file gives relative to itself."""
        cwd = getattr(config, "cwd", None)
        if not isinstance(config, msgspec.Struct) or cwd is None:
            return config
        if isinstance(config, ProcessConfig) and not config.is_ours:
            return config  # where it runs, its unit or container says
        paths: dict[str, object] = {"cwd": str((self.path.parent / cwd).resolve())}
        if isinstance(config, ProcessConfig):
            if config.env_file:
                paths["env_file"] = beside(self.path, config.env_file)
            if config.secrets:
                paths["secrets"] = {name: beside(self.path, file) for name, file in config.secrets.items()}
            paths |= {key: beside(self.path, file) for key in config.FILES if (file := getattr(config, key))}
        if (file := getattr(config, "stream_file", None)) is not None and file is not msgspec.UNSET:
            paths |= {"stream": self._text(beside(self.path, file)), "stream_file": msgspec.UNSET}
        return msgspec.structs.replace(config, **paths)

    def _text(self, path: str) -> str:
        """Return what is in a file that the fleet file names. Raises `FleetError`."""
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FleetError(f"{self.path}: {path}, a stream_file, cannot be read: {error}") from None

    def _worker(self, number: int, worker: WorkerTable) -> WorkerEntry:
        label = f"id {worker.id!r}"
        if worker.type not in self.types.names():
            expected = f"unknown worker type; expected one of {', '.join(self.types.names())}"
            raise self._fail("workers", number, label, "type", worker.type, expected)
        self._group(number, label, worker.group)
        self._labels(number, label, worker.labels)
        kind = self.types.get(worker.type)
        if worker.node is not None:
            self._node("workers", number, label, worker.node)
        elif not kind.floats:
            floating = ", ".join(name for name in self.types.names() if self.types.get(name).floats)
            raise FleetError(
                f"{self.path}: [[workers]] number {number + 1} ({label}): key 'node' is missing; expected the node "
                f"that runs this {worker.type}; only workers of type {floating} can be without one"
            )
        whole = {"workers": [None] * number + [{"id": worker.id, "config": worker.config}]}
        config = self._absolute(
            convert(worker.config, kind.config_type, self.path, f"$.workers[{number}].config", whole)
        )
        desired = Desired(
            state=worker.desired,
            config=msgspec.to_builtins(config, enc_hook=float),
            config_id=config_id(config),
            depends_on=worker.depends_on,
            group=worker.group or "",
            labels=worker.labels,
        )
        return WorkerEntry(worker.id, worker.type, worker.node, desired)

    def _group(self, number: int, label: str, group: str | None) -> None:
        groups = sorted(one.name for _, one in self._own(self.file.groups))
        if group is not None and group not in groups:
            named = f"one of {', '.join(groups)}" if groups else "a name"
            expected = f"unknown group; expected {named} of the [[groups]] of this file"
            raise self._fail("workers", number, label, "group", group, expected)

    def _labels(self, number: int, label: str, labels: Mapping[str, str]) -> None:
        """Refuse labels that nobody could choose by. Raises `FleetError`."""
        for key, value in labels.items():
            where = f"labels.{key}"
            if key in KNOWN_LABELS:
                expected = f"every worker has the label {key} already; expected another name"
                raise self._fail("workers", number, label, where, value, expected)
            for text in (key, value):
                if not re.match(NAME_PATTERN, text):
                    expected = f"{text!r}: {NAME_WORDS}"
                    raise self._fail("workers", number, label, where, value, expected)

    def _dependencies(self) -> None:
        children = {child.name for _, child in self._own(self.file.children)}
        workers = dict(self._own(self.file.workers))
        ids = {worker.id for worker in workers.values()}
        for number, worker in workers.items():
            for name in worker.depends_on:
                if name in children and name in ids:
                    expected = f"{name!r} names a child and a worker; rename one of them"
                    raise self._fail("workers", number, f"id {worker.id!r}", "depends_on", name, expected)
                if name not in children and name not in ids:
                    expected = f"expected a child or worker beside it: one of {', '.join(sorted(children | ids))}"
                    raise self._fail("workers", number, f"id {worker.id!r}", "depends_on", name, expected)
        self._no_cycle(workers, ids)

    def _no_cycle(self, workers: Mapping[int, WorkerTable], ids: set[str]) -> None:
        graph = {worker.id: [name for name in worker.depends_on if name in ids] for worker in workers.values()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle = list(reversed(error.args[1]))  # graphlib tells it from the dependency to the dependent
            number = next(number for number, worker in workers.items() if worker.id == cycle[0])
            expected = "depends_on runs in a circle; expected an order in which workers can start"
            raise self._fail(
                "workers", number, f"id {cycle[0]!r}", "depends_on", " -> ".join(cycle), expected
            ) from None
