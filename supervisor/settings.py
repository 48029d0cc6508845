"""The installation's settings; the only reader of environment variables for all of us."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from supervisor.errors import UsageError

DEFAULT_DATA_DIR = ".fsm"
URL_FILE = "redis.url"  # in the data folder: where `fsmctl up` writes the address of its private Redis
SCHEMES = ("redis", "rediss", "unix", "redis+socket")
EXPECTED_URL = "redis://HOST:PORT/DB, rediss://… or unix:///PATH"


@dataclass(frozen=True)
class Settings:
    """What every process of an installation must agree on. `redis_url` may hold a password: never log it whole."""

    redis_url: str
    namespace: str
    data_dir: Path
    log_format: str
    log_level: str
    pulse: float
    slots: int
    drain_timeout: float
    traces: str = "off"
    remote_control: str = "on"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, data_dir: str | None = None) -> Settings:
        """Read `FSM_…`. Raises `UsageError` naming the variable, the value seen and what was expected."""
        env = os.environ if environ is None else environ
        folder = Path(data_dir or env.get("FSM_DATA_DIR") or DEFAULT_DATA_DIR).resolve()
        return cls(
            redis_url=_redis_url(env, folder),
            namespace=_matching(
                env, "FSM_NAMESPACE", "fsm", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", "letters, digits, - _ ."
            ),
            data_dir=folder,
            log_format=_one_of(env, "FSM_LOG_FORMAT", ("auto", "json", "console")),
            log_level=_one_of(env, "FSM_LOG_LEVEL", ("info", "debug", "warning", "error")),
            pulse=_number(env, "FSM_PULSE", 1.0, 0.05, 60.0),
            slots=_whole(env, "FSM_SLOTS", 5, 1, 256),
            drain_timeout=_number(env, "FSM_DRAIN_TIMEOUT", 5.0, 0.0, 600.0),
            traces=_one_of(env, "FSM_TRACES", ("off", "otlp")),
            remote_control=_one_of(env, "FSM_REMOTE_CONTROL", ("on", "off")),
        )

    @classmethod
    def origins(cls, environ: Mapping[str, str] | None = None, data_dir: str | None = None) -> dict[str, str]:
        """Return where each setting comes from: an option, a variable of the environment, a file or the default."""
        env = os.environ if environ is None else environ
        names = {field.name: f"FSM_{field.name.upper()}" for field in dataclasses.fields(cls)}
        found = {
            name: f"environment, {variable}" if env.get(variable) else "default" for name, variable in names.items()
        }
        if data_dir:
            found["data_dir"] = "option --data-dir"
        file = Path(data_dir or env.get("FSM_DATA_DIR") or DEFAULT_DATA_DIR).resolve() / URL_FILE
        if not env.get("FSM_REDIS_URL"):
            found["redis_url"] = f"file {file}" if file.is_file() else "nothing: no `fsmctl up` runs in the data folder"
        return found

    @property
    def shown_url(self) -> str:
        """Return the Redis URL without its password."""
        return redacted(self.redis_url)

    def environment(self) -> dict[str, str]:
        """Return these settings as the environment of a part that `fsmctl up` starts."""
        return {
            "FSM_REDIS_URL": self.redis_url,
            "FSM_NAMESPACE": self.namespace,
            "FSM_DATA_DIR": str(self.data_dir),
            "FSM_LOG_LEVEL": self.log_level,
            "FSM_PULSE": str(self.pulse),
            "FSM_SLOTS": str(self.slots),
            "FSM_DRAIN_TIMEOUT": str(self.drain_timeout),
            "FSM_TRACES": self.traces,
            "FSM_REMOTE_CONTROL": self.remote_control,
        }


def redacted(url: str) -> str:
    """Return a URL without what stands before its host: it may be a password."""
    return re.sub(r"//.*@", "//…@", url)


def wants_details(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the user wants to see where an error of fsmctl comes from."""
    return bool((os.environ if environ is None else environ).get("FSM_DEBUG"))


def is_dumb_terminal(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the terminal, if there is one, knows nothing but lines of text."""
    return (os.environ if environ is None else environ).get("TERM", "dumb") in ("dumb", "")


def has_own_redis(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether the user named a Redis, so that `fsmctl up` starts none."""
    return bool((os.environ if environ is None else environ).get("FSM_REDIS_URL"))


def _redis_url(env: Mapping[str, str], folder: Path) -> str:
    """Return the URL from the environment, else from the data folder, else "" (nothing is running here)."""
    url = env.get("FSM_REDIS_URL", "")
    if not url:
        file = folder / URL_FILE
        return file.read_text().strip() if file.is_file() else ""
    if urlsplit(url).scheme not in SCHEMES:
        raise UsageError(f"FSM_REDIS_URL is {redacted(url)!r}: expected {EXPECTED_URL}")
    return url


def _matching(env: Mapping[str, str], name: str, default: str, pattern: str, expected: str) -> str:
    value = env.get(name) or default
    if not re.fullmatch(pattern, value):
        raise UsageError(f"{name} is {value!r}: expected {expected}")
    return value


def _one_of(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = (env.get(name) or choices[0]).lower()
    if value not in choices:
        raise UsageError(f"{name} is {value!r}: expected one of {', '.join(choices)}")
    return value


def _number(env: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise UsageError(f"{name} is {text!r}: expected a number from {least:g} to {most:g}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{name} is {text!r}: expected a whole number from {least} to {most}")
    return int(text)
