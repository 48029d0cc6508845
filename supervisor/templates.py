"""Templates of a fleet file: each instance becomes the workers and children of its template. Pure.

A text of a template may hold `${variable}`, and nothing else is done to it: no conditions, no loops, no nesting. What
comes out is checked as if it stood in the file; a complaint about it names the instance and the template that it is of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from supervisor.fleetfile import FleetError, Name, Table, convert, failure
from workers.model import DesiredState

LEVELS = ("enterprise", "site", "area", "line", "cell")
_GIVEN = frozenset({"name", "node", "location"})  # variables that an instance has by itself
_LOCATION = r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9][A-Za-z0-9_-]*){0,4}"
_VARIABLE = r"[a-z][a-z0-9_]*"
_LEVELS_OF_VALUES = "in the variables of the instance, its node or the template"
_KINDS = ("workers", "children")  # what a template consists of


class TemplateTable(Table, frozen=True, kw_only=True):
    """One of `[[templates]]`. Its variables are those that stand in its entries; `variables` has defaults for them."""

    name: Name
    variables: dict[str, Any] = {}
    workers: tuple[dict[str, Any], ...] = ()
    children: tuple[dict[str, Any], ...] = ()


class InstanceTable(Table, frozen=True, kw_only=True):
    """One of `[[instances]]`. `desired`: stopped stops all its workers; running leaves it to the template."""

    supervisor: Name | None = None
    name: Name
    template: Name
    node: Name | None = None
    location: str | None = None
    desired: DesiredState = "running"
    variables: dict[str, Any] = {}


class NodeTable(Table, frozen=True, kw_only=True):
    """One of `[[nodes]]`: the variables of all instances on that node."""

    name: Name
    variables: dict[str, Any] = {}


class _Braced(Template):
    """Python's template, with `${variable}` alone: a `$name` is not taken for one."""

    idpattern = r"(?!)"
    braceidpattern = _VARIABLE
    flags = re.NOFLAG


@dataclass(frozen=True)
class Expanded:
    """A file whose instances have become workers and children; `origins`: which entry, counted from 1, came whence."""

    raw: dict[str, Any]
    origins: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def told(self, path: Path, message: str) -> str:
        """Return a complaint about the file at `path` with the place of each entry as a reader finds it there."""
        prefix = f"{path}: "
        place = re.match(r"\[\[(\w+)\]\] number (\d+)", message.removeprefix(prefix))
        if place is None:
            return message
        table, number = place[1], int(place[2])
        rest = message.removeprefix(prefix)[place.end() :]
        if (origin := self.origins.get((table, number))) is not None:
            prefix += f"{origin}: "
        if (other := re.search(r"; number (\d+) has it already\Z", rest)) is not None:
            origin = self.origins.get((table, int(other[1])), f"number {other[1]}")
            rest = f"{rest[: other.start()]}; {origin} has it already"
        shown = f"its [[{table}]] entry" if (table, number) in self.origins else place[0]
        return prefix + shown + rest


def expand(path: Path, raw: dict[str, Any]) -> Expanded:
    """Return the file with the workers and children of its instances behind its own. Raises `FleetError`."""
    if not any(key in raw for key in ("templates", "instances", "nodes")):
        return Expanded(raw)
    return _Expansion(
        path,
        raw,
        _read(path, raw, "templates", TemplateTable),
        _read(path, raw, "nodes", NodeTable),
        _read(path, raw, "instances", InstanceTable),
    ).run()


def _read(path: Path, raw: Mapping[str, Any], table: str, kind: type[Any]) -> dict[str, tuple[int, Any]]:
    """Return a table's entries by name, each with its number, checked one by one. Raises `FleetError`."""
    found: dict[str, tuple[int, Any]] = {}
    for number, one in enumerate(convert(raw.get(table, []), list[Any], path, f"$.{table}", raw)):
        entry = convert(one, kind, path, f"$.{table}[{number}]", raw)
        if entry.name in found:
            expected = f"expected a name of its own; number {found[entry.name][0] + 1} has it already"
            raise failure(path, table, number, f"name {entry.name!r}", "name", entry.name, expected)
        for name, value in entry.variables.items():
            if (fit := _unfit(name, value)) is not None:
                raise failure(path, table, number, f"name {entry.name!r}", f"variables.{name}", value, fit)
        found[entry.name] = (number, entry)
    return found


def _unfit(name: str, value: object) -> str | None:
    """Return what was expected of a variable instead; None if it is fine."""
    if name in _GIVEN:
        return f"every instance has the variable {name} already; expected another name"
    if re.fullmatch(_VARIABLE, name) is None:
        return "expected a name of small letters, digits and '_', beginning with a letter"
    if isinstance(value, str | int | float):  # a bool is an int
        return None
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return None
    return "expected text, a number, true, false or a list of texts"


def _texts(value: object, at: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a table, with its place in it."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts(one, f"{at}.{key}" if at else str(key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _texts(one, f"{at}.{number}")


@dataclass(frozen=True)
class _Expansion:
    """One file's expansion: its templates, nodes and instances by name, each with its number in its table."""

    path: Path
    raw: dict[str, Any]
    templates: Mapping[str, tuple[int, TemplateTable]]
    nodes: Mapping[str, tuple[int, NodeTable]]
    instances: Mapping[str, tuple[int, InstanceTable]]

    def run(self) -> Expanded:
        """Return the expanded file. Raises `FleetError`."""
        used = {name: self._variables_of(number, template) for name, (number, template) in self.templates.items()}
        for name, (number, template) in self.templates.items():
            self._known("templates", number, template, used[name])
        self._check_nodes({variable for variables in used.values() for variable in variables})
        entries: dict[str, list[Any]] = {kind: self._own(kind) for kind in _KINDS}
        origins: dict[tuple[str, int], str] = {}
        for number, instance in self.instances.values():
            _, template = self._template_of(number, instance)
            self._known("instances", number, instance, used[instance.template])
            values = self._values(number, instance, template)
            for kind in _KINDS:
                for index, entry in enumerate(getattr(template, kind)):
                    entries[kind].append(self._entry(kind, index, entry, instance, values))
                    origins[kind, len(entries[kind])] = (
                        f"[[instances]] number {number + 1} (name {instance.name!r}) of template {template.name!r}"
                    )
        return Expanded({**self.raw, **{kind: found for kind, found in entries.items() if found}}, origins)

    def _own(self, kind: str) -> list[Any]:
        """Return the file's own entries. Raises `FleetError` when that is no list."""
        return list(convert(self.raw.get(kind, []), list[Any], self.path, f"$.{kind}", self.raw))

    def _variables_of(self, number: int, template: TemplateTable) -> frozenset[str]:
        """Return the variables that stand in a template. Raises `FleetError` for a `$` that is none."""
        if not template.workers and not template.children:
            label = f"name {template.name!r}"
            expected = "expected [[templates.workers]] or [[templates.children]] below it"
            raise FleetError(f"{self.path}: [[templates]] number {number + 1} ({label}): has no entries; {expected}")
        found: set[str] = set()
        for kind in _KINDS:
            for index, entry in enumerate(getattr(template, kind)):
                for key, text in _texts(entry, ""):
                    if not _Braced(text).is_valid():
                        expected = "expected ${variable}, of small letters, digits and '_', or $$ for a dollar sign"
                        raise self._entry_failure(template, kind, index, key, text, expected)
                    found.update(_Braced(text).get_identifiers())
        return frozenset(found)

    def _known(self, table: str, number: int, entry: TemplateTable | InstanceTable, used: Iterable[str]) -> None:
        """See that no value is given to a variable that its template does not have. Raises `FleetError`."""
        for name, value in entry.variables.items():
            if name not in used:
                raise self._failure(table, number, entry.name, f"variables.{name}", value, _unknown(used))

    def _check_nodes(self, used: Iterable[str]) -> None:
        """See that per-node values are of nodes that there are, and of variables that a template has."""
        named = self._named_nodes()
        for number, node in self.nodes.values():
            if node.name not in named:
                expected = f"expected a node that this file names: one of {', '.join(sorted(named)) or 'none'}"
                raise self._failure("nodes", number, node.name, "name", node.name, expected)
            for name, value in node.variables.items():
                if name not in used:
                    raise self._failure("nodes", number, node.name, f"variables.{name}", value, _unknown(used))

    def _named_nodes(self) -> set[str]:
        """Return the nodes that the file names; tables of a wrong form, complained of later, name none."""
        tables = [self.raw.get("supervisor"), *_tables(self.raw.get("supervisors"))]
        lists = [table.get("nodes") for table in tables if isinstance(table, dict)]
        declared = {str(name) for one in lists if isinstance(one, list) for name in one}
        entries = [entry for kind in _KINDS for entry in _tables(self.raw.get(kind))]
        used = {str(entry["node"]) for entry in entries if "node" in entry}
        return declared | used | {instance.node for _, instance in self.instances.values() if instance.node}

    def _template_of(self, number: int, instance: InstanceTable) -> tuple[int, TemplateTable]:
        if instance.template not in self.templates:
            expected = f"unknown template; expected one of {', '.join(sorted(self.templates)) or 'none'}"
            raise self._failure("instances", number, instance.name, "template", instance.template, expected)
        return self.templates[instance.template]

    def _values(self, number: int, instance: InstanceTable, template: TemplateTable) -> dict[str, Any]:
        """Return an instance's variables: the template's defaults, over them its node's, over them its own."""
        _, node = self.nodes.get(instance.node or "", (0, NodeTable(name="none")))
        place = self._location(number, instance)
        given = {"name": instance.name, **({"node": instance.node} if instance.node else {})}
        return {**template.variables, **node.variables, **place, **instance.variables, **given}

    def _location(self, number: int, instance: InstanceTable) -> dict[str, str]:
        """Return the levels of a location path as variables, and the whole of it. Raises `FleetError`."""
        if instance.location is None:
            return {}
        if re.fullmatch(_LOCATION, instance.location) is None:
            expected = f"expected a path of one to five names: {'.'.join(LEVELS)}"
            raise self._failure("instances", number, instance.name, "location", instance.location, expected)
        levels = dict(zip(LEVELS, instance.location.split("."), strict=False))
        for level in levels:
            if level in instance.variables:
                expected = f"location says {level} already; expected it in one of the two"
                value = instance.variables[level]
                raise self._failure("instances", number, instance.name, f"variables.{level}", value, expected)
        return {**levels, "location": instance.location}

    def _entry(
        self, kind: str, index: int, entry: Mapping[str, Any], instance: InstanceTable, values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return a template's entry as this instance has it. Raises `FleetError` for a variable without a value."""
        _, template = self.templates[instance.template]

        def filled(value: object, at: str) -> object:
            if isinstance(value, dict):
                return {key: filled(one, f"{at}.{key}" if at else str(key)) for key, one in value.items()}
            if isinstance(value, list):
                return [filled(one, f"{at}.{number}") for number, one in enumerate(value)]
            if not isinstance(value, str):
                return value
            try:
                return _filled(value, values)
            except _NoValue as problem:
                raise self._entry_failure(
                    template, kind, index, at, value, f"instance {instance.name!r}: {problem}"
                ) from None

        made: dict[str, Any] = {key: filled(value, key) for key, value in entry.items()}
        if instance.supervisor is not None:
            made.setdefault("supervisor", instance.supervisor)
        if kind == "workers":
            _own_ways(made, instance)
        return made

    def _failure(self, table: str, number: int, name: str, key: str, value: object, expected: str) -> FleetError:
        return failure(self.path, table, number, f"name {name!r}", key, value, expected)

    def _entry_failure(
        self, template: TemplateTable, kind: str, index: int, key: str, value: object, expected: str
    ) -> FleetError:
        number, _ = self.templates[template.name]
        return self._failure("templates", number, template.name, f"{kind}.{index}.{key}", value, expected)


def _own_ways(made: dict[str, Any], instance: InstanceTable) -> None:
    """Give a worker of an instance the wish and the labels of the whole."""
    if instance.desired == "stopped":
        made["desired"] = "stopped"
    if isinstance(made.setdefault("labels", {}), dict):
        made["labels"] = {"template": instance.template, "instance": instance.name, **made["labels"]}


def _tables(value: object) -> Sequence[dict[str, Any]]:
    """Return the tables of what should be a list of them."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _unknown(used: Iterable[str]) -> str:
    return f"unknown variable; expected one of {', '.join(sorted(set(used) - _GIVEN)) or 'none'}"


class _NoValue(Exception):
    """A variable that cannot be put where it stands."""


def _filled(text: str, values: Mapping[str, Any]) -> object:
    """Return a text with its variables' values; one that is a variable and no more has that value, whatever it is."""
    names = _Braced(text).get_identifiers()
    for name in names:
        if name not in values:
            where = "as a key of the instance" if name in _GIVEN else _LEVELS_OF_VALUES
            raise _NoValue(f"{name} has no value; expected it {where}")
    if names and text == f"${{{names[0]}}}":
        return values[names[0]]
    for name in names:
        if isinstance(values[name], list | bool):
            raise _NoValue(f"{name} is {values[name]!r}, which cannot be a part of a text; expected text or a number")
    return _Braced(text).substitute(values)
