"""What a process is started with; the `config` table of a fleet file. Pure."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from workers.duration import Duration

DriverName = Literal["process", "systemd", "docker"]
StopSignal = Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"]
ADDRESS_PATTERN = (
    r"^[^:/\s]+:([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])\Z"  # HOST:PORT, 1 to 65535
)
Address = Annotated[str, msgspec.Meta(pattern=ADDRESS_PATTERN)]
MAX_STOP_TIMEOUT = 20.0  # seconds: stop must end within the 30 s that an action has


UMASK_PATTERN = r"^0?[0-7]{3}\Z"
Umask = Annotated[str, msgspec.Meta(pattern=UMASK_PATTERN)]
Most = Annotated[int, msgspec.Meta(ge=0)] | None  # None: as its executor has it


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The most that a process may have of what the kernel counts (setrlimit, soft and hard); sizes in bytes."""

    open_files: Most = None
    processes: Most = None
    memory: Most = None
    file_size: Most = None
    core: Most = None


_OURS: tuple[DriverName, ...] = ("process",)
# each key that is not every driver's: whose it is, and its value when it is not given
_KEYS: dict[str, tuple[tuple[DriverName, ...], object]] = {
    "command": (_OURS, msgspec.UNSET),
    "env": (_OURS, {}),
    "cwd": (_OURS, "."),
    "stop_signal": (_OURS, "TERM"),
    "stop_timeout": (("process", "docker"), 10.0),
    "user": (_OURS, msgspec.UNSET),
    "umask": (_OURS, msgspec.UNSET),
    "limits": (_OURS, msgspec.UNSET),
    "env_file": (_OURS, msgspec.UNSET),
    "secrets": (_OURS, msgspec.UNSET),
    "unit": (("systemd",), msgspec.UNSET),
    "container": (("docker",), msgspec.UNSET),
    "engine": (("docker",), msgspec.UNSET),
}
_REQUIRED: dict[DriverName, str] = {"process": "command", "systemd": "unit", "docker": "container"}
UNIT_PATTERN = r"^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*\.service\Z"
CONTAINER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
ENGINE_PATTERN = r"^unix:///\S+\Z"
Unit = Annotated[str, msgspec.Meta(pattern=UNIT_PATTERN)]
Container = Annotated[str, msgspec.Meta(pattern=CONTAINER_PATTERN)]
Engine = Annotated[str, msgspec.Meta(pattern=ENGINE_PATTERN)]


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a process is run. Durations in seconds.

    `cwd`, `env_file` and the files of `secrets` (by variable) are relative to the fleet file; the files are read on the
    node, at each start. `min_uptime`: an incarnation that ends before it counts as a failed start.
    Defaults as in SPEC 5's example. What is unset is not stored: the `config_id` of who does not use it stays.
    `driver` says who runs it: we, from a `command` (so it is when unset); systemd, as a `unit`; or Docker, as a
    `container` that exists, of `engine` if that is not the usual one. `FILES` names a type's own keys that hold a path
    relative to the fleet file.
    """

    FILES: ClassVar[tuple[str, ...]] = ()

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    env: dict[str, str] = {}
    cwd: str = "."
    min_uptime: Duration = Duration(10.0)
    stop_signal: StopSignal = "TERM"
    stop_timeout: Duration = Duration(10.0)
    user: str | msgspec.UnsetType = msgspec.UNSET
    umask: Umask | msgspec.UnsetType = msgspec.UNSET
    limits: Limits | msgspec.UnsetType = msgspec.UNSET
    env_file: str | msgspec.UnsetType = msgspec.UNSET
    secrets: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    driver: DriverName | msgspec.UnsetType = msgspec.UNSET
    unit: Unit | msgspec.UnsetType = msgspec.UNSET
    container: Container | msgspec.UnsetType = msgspec.UNSET
    engine: Engine | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_ours(self) -> bool:
        """Tell whether the process is a child of a holder of ours."""
        return self.driver in (msgspec.UNSET, "process")

    def __post_init__(self) -> None:
        """Refuse keys of another driver, a command without a program, and a stop that could not end in time."""
        self._refuse_others_keys(self.driver or "process")
        if self.command and not self.command[0].strip():
            raise ValueError("command begins with an empty word: expected the program to run")
        if not 0 < self.stop_timeout <= MAX_STOP_TIMEOUT:
            raise ValueError(
                f"stop_timeout is {self.stop_timeout:g}s: expected more than 0s and at most {MAX_STOP_TIMEOUT:g}s"
            )

    def _refuse_others_keys(self, driver: DriverName) -> None:
        required = _REQUIRED[driver]
        if getattr(self, required) == _KEYS[required][1]:
            of = f" for driver {driver!r}" if self.driver else ""
            raise ValueError(f"key {required!r} is missing; expected it to be set{of}")
        for key, (drivers, absent) in _KEYS.items():
            if driver not in drivers and getattr(self, key) != absent:
                ours = ", ".join(sorted(name for name, (of, _) in _KEYS.items() if driver in of))
                whose = " and ".join(drivers)
                raise ValueError(f"key {key!r} is of driver {whose}; beside driver {driver!r} expected {ours}")
