"""fsmctl context: several installations, by name, from a file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from supervisor.address import FORMS, check_url, redacted
from supervisor.cli.output import output_option, print_rows
from supervisor.errors import NotFound, UsageError

_PARTS = ("up", "collector", "exporter")  # run an installation: they follow a context only if it is named
_OUTSIDE = ("context", "completion")  # need no installation
_NAMESPACE = "fsm"  # of a context that names none, whatever namespace the environment has for another store
_FILES = {
    "password_file": "FSM_REDIS_PASSWORD_FILE",
    "sentinel_password_file": "FSM_SENTINEL_PASSWORD_FILE",
    "tls_ca": "FSM_REDIS_CA",
    "tls_cert": "FSM_REDIS_CERT",
    "tls_key": "FSM_REDIS_KEY",
}
_EPILOG = """\b
Examples:
  fsmctl context
  fsmctl --context plant-2 get workers
  FSM_CONTEXT=plant-2 fsmctl watch

\b
The file, $FSM_CONTEXTS or ~/.config/fsmctl/contexts.toml:
  current = "plant-1"           # optional: used where nothing else is said
  [contexts.plant-1]
  url = "rediss://operator@redis.plant-1:6379/0"
  namespace = "fsm"             # this and the rest are optional
  supervisor = "plant-1"
  password_file = "/etc/fsm/plant-1.password"
  tls_ca = "/etc/fsm/ca.pem"
  tls_cert = "/etc/fsm/me.pem"
  tls_key = "/etc/fsm/me.key"
"""


@dataclass(frozen=True)
class Installation:
    """One context. Files are read when it is entered; relative ones lie beside the contexts file."""

    name: str
    url: str
    namespace: str = ""
    supervisor: str | None = None
    password_file: str = ""
    sentinel_password_file: str = ""
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def environment(self, folder: Path) -> dict[str, str]:
        """Return it as the settings that every process reads, also those that it leaves empty. Raises `UsageError`."""
        named = {variable: getattr(self, name) for name, variable in _FILES.items()}
        files = {variable: str(_readable(folder / name)) if name else "" for variable, name in named.items()}
        return {"FSM_REDIS_URL": self.url, "FSM_NAMESPACE": self.namespace or _NAMESPACE, **files}

    def settings(self) -> dict[str, bool]:
        """Return the names of all settings that it decides, each with whether it is given here or has its default."""
        files = {name.removeprefix("FSM_").lower(): bool(getattr(self, key)) for key, name in _FILES.items()}
        return {"redis_url": True, "namespace": bool(self.namespace), **files}


@dataclass(frozen=True)
class Contexts:
    """What the file holds; nothing where there is no file."""

    path: Path
    current: str | None = None
    installations: Mapping[str, Installation] = field(default_factory=lambda: MappingProxyType({}))

    def get(self, name: str) -> Installation:
        """Return one installation. Raises `NotFound` with those that there are."""
        if name not in self.installations:
            there = ", ".join(self.installations) or "none"
            raise NotFound(f"no context {name!r} in {self.path}: expected one of {there}")
        return self.installations[name]


def contexts_file(environ: Mapping[str, str]) -> Path:
    """Return where the contexts are."""
    folder = environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    return Path(environ.get("FSM_CONTEXTS") or Path(folder) / "fsmctl" / "contexts.toml")


def read_contexts(path: Path) -> Contexts:
    """Return what a contexts file says. Raises `UsageError` with the place, the value seen and what was expected."""
    if not path.is_file():
        return Contexts(path)
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not text
        raise UsageError(f"{path}: {error}") from None
    _only(path, "", told, ("current", "contexts"))
    found = told.get("contexts", {})
    if not isinstance(found, dict):
        raise UsageError(f"{path}: contexts is {found!r}: expected tables [contexts.NAME]")
    installations = {name: _installation(path, name, entry) for name, entry in found.items()}
    current = told.get("current")
    if current is not None and (not isinstance(current, str) or current not in installations):
        raise UsageError(
            f"{path}: current is {current!r}: expected one of {', '.join(installations) or '(none there)'}"
        )
    return Contexts(path, current, installations)


def _installation(path: Path, name: str, entry: Any) -> Installation:
    place = f"contexts.{name}"
    if not isinstance(entry, dict):
        raise UsageError(f"{path}: {place} is {entry!r}: expected a table [{place}]")
    _only(path, f"{place}.", entry, tuple(one.name for one in fields(Installation) if one.name != "name"))
    for key, value in entry.items():
        if not isinstance(value, str) or not value:
            raise UsageError(f"{path}: {place}.{key} is {value!r}: expected a text")
    if "url" not in entry:
        raise UsageError(f"{path}: {place}.url is missing: expected {FORMS}")
    check_url(f"{path}: {place}.url", entry["url"])
    return Installation(name=name, **entry)


def _only(path: Path, prefix: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{path}: {prefix}{key} is not known: expected {', '.join(known)}")


def _readable(path: Path) -> Path:
    """Return a file that can be read. Raises `UsageError`."""
    if not os.access(path, os.R_OK) or not path.is_file():
        raise UsageError(f"{path} cannot be read: expected a file that the context names")
    return path


def name_of(chosen: str | None, data_dir: str | None, contexts: Contexts, environ: Mapping[str, str]) -> str | None:
    """Return the context that is used: the one that is named, else the file's where nothing else names a store."""
    elsewhere = data_dir or environ.get("FSM_REDIS_URL") or environ.get("FSM_DATA_DIR")
    return chosen or (None if elsewhere else contexts.current)


def enter(chosen: str | None, data_dir: str | None, command: str) -> Installation | None:
    """Make a context what every part of this process reads as its settings; None: there is none to enter.

    Raises `UsageError` for a file that is wrong, `NotFound` for a name that it does not have.
    """
    if command in _OUTSIDE or (chosen is None and command in _PARTS):
        return None
    contexts = read_contexts(contexts_file(os.environ))
    name = name_of(chosen, data_dir, contexts, os.environ)
    if name is None:
        return None
    installation = contexts.get(name)
    os.environ.update(installation.environment(contexts.path.parent))
    return installation


def known_contexts() -> list[str]:
    """Return the names in the contexts file; none when it cannot be read, as a shell that completes wants it."""
    try:
        return list(read_contexts(contexts_file(os.environ)).installations)
    except UsageError:
        return []


@click.command("context", epilog=_EPILOG)
@output_option
@click.pass_context
def command(context: click.Context, output: str) -> None:
    """List the installations of the contexts file; the one that is used is marked.

    A context is named by --context or $FSM_CONTEXT; else, where neither FSM_REDIS_URL nor a data folder is given, it is
    the file's `current`. Commands that run an installation (up, collector, exporter) follow only one that is named.
    """
    contexts = read_contexts(contexts_file(os.environ))
    options = context.find_root().params
    used = name_of(options["chosen"], options["data_dir"], contexts, os.environ)
    if used is not None:
        contexts.get(used)
    rows = [_row(one, used) for one in contexts.installations.values()]
    print_rows(output, rows, _COLUMNS, f"no contexts: {contexts.path} does not exist or has none")


_COLUMNS = (
    ("USED", "mark"),
    ("NAME", "name"),
    ("URL", "url"),
    ("NAMESPACE", "namespace"),
    ("SUPERVISOR", "supervisor"),
)


def _row(one: Installation, used: str | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "used": one.name == used,
        "url": redacted(one.url),
        "namespace": one.namespace or _NAMESPACE,
        "supervisor": one.supervisor,
        "mark": "*" if one.name == used else "",
    }
