"""What a process is started with; the `config` table of a fleet file. Pure."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from workers.duration import Duration

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


class ProcessConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a process is run. Durations in seconds.

    `cwd`, `env_file` and the files of `secrets` (by variable) are relative to the fleet file; the files are read on the
    node, at each start. `min_uptime`: an incarnation that ends before it counts as a failed start.
    Defaults as in SPEC 5's example. What is unset is not stored: the `config_id` of who does not use it stays.
    `FILES` names a type's own keys that hold a path relative to the fleet file.
    """

    FILES: ClassVar[tuple[str, ...]] = ()

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
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

    def __post_init__(self) -> None:
        """Refuse a command without a program, and a stop that could not end in time."""
        if not self.command[0].strip():
            raise ValueError("command begins with an empty word: expected the program to run")
        if not 0 < self.stop_timeout <= MAX_STOP_TIMEOUT:
            raise ValueError(
                f"stop_timeout is {self.stop_timeout:g}s: expected more than 0s and at most {MAX_STOP_TIMEOUT:g}s"
            )
