"""The `config` table of a Benthos. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from workers.duration import Duration
from workers.process.config import Address, ProcessConfig

WINDOW = Duration(60.0)
MAX_WINDOW = 3600.0  # seconds
MAX_ERROR_RATE = 0.05


class BenthosConfig(ProcessConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process plus the address ("host:port") of its HTTP interface.

    `window` (seconds) is over how long messages and errors are counted; without a message in it the flow is idle, and
    with more than `max_error_rate` (0 to 1) of what it tried in it failed, it is degraded. `streams`: it runs in
    streams mode, so that its connections are its streams' and no matter of its own.
    """

    http: Address
    streams: bool = False
    window: Duration = WINDOW
    max_error_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = MAX_ERROR_RATE

    def __post_init__(self) -> None:
        """Refuse what `ProcessConfig` refuses, and a window over which nothing can be counted."""
        ProcessConfig.__post_init__(self)
        if not 1 <= self.window <= MAX_WINDOW:
            raise ValueError(f"window is {self.window:g}s: expected at least 1s and at most {MAX_WINDOW:g}s")
