"""The `config` table of a worker that is run by commands. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from workers.duration import Duration

Words = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
MAX_STATUS_TIMEOUT = 5.0  # seconds: the collector cuts a whole look off after 6 s


class CommandConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The commands by which it is started, stopped and looked at. Durations in seconds.

    `status` ends with 0 when it runs and 3 when it does not, as LSB's init scripts; anything else, or no end within
    `status_timeout`, says nothing. `cwd` is relative to the fleet file. `min_uptime`: not running any more before that
    counts as a failed start.
    """

    start: Words
    stop: Words
    status: Words
    env: dict[str, str] = {}
    cwd: str = "."
    min_uptime: Duration = Duration(10.0)
    status_timeout: Duration = Duration(3.0)

    def __post_init__(self) -> None:
        """Refuse a command without a program, and a look that would be cut off."""
        for key in ("start", "stop", "status"):
            if not getattr(self, key)[0].strip():
                raise ValueError(f"{key} begins with an empty word: expected the program to run")
        if not 0 < self.status_timeout <= MAX_STATUS_TIMEOUT:
            raise ValueError(
                f"status_timeout is {self.status_timeout:g}s: expected more than 0s and at most {MAX_STATUS_TIMEOUT:g}s"
            )
