"""The `config` table of a data flow: a process of its own, or a stream of a Benthos. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from workers.duration import Duration
from workers.process.config import Address, ProcessConfig

ACTIVE_WITHIN = Duration(10.0)
MAX_ACTIVE_WITHIN = 10.0  # seconds: what is put back after that must be in within the 30 s that an action has
_OF_PROCESSES = ("command", "http", "env", "user", "umask", "limits", "env_file", "secrets")
_OF_STREAMS = ("benthos", "active_within")


class DfcReadConfig(ProcessConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process and the address ("host:port") where it serves `/ready` and `/metrics`, or a stream.

    `stream` is a stream's configuration, a table or YAML text, as a Benthos in streams mode at `benthos` takes it;
    `stream_file` is a file with that text, read when the fleet file is. A changed one has `active_within` (seconds) to
    be connected at both ends, before the last good one is put back. What is unset is not stored, as for processes.
    """

    command: tuple[str, ...] = ()
    http: Address | msgspec.UnsetType = msgspec.UNSET
    stream: dict[str, Any] | str | msgspec.UnsetType = msgspec.UNSET
    stream_file: str | msgspec.UnsetType = msgspec.UNSET
    benthos: Address | msgspec.UnsetType = msgspec.UNSET
    active_within: Duration | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Refuse what is neither a process nor a stream, and what is both."""
        if self.is_stream:
            self._check_stream()
            return
        if not self.command or not self.http:
            raise ValueError("expected command and http, for a process, or stream and benthos, for a stream")
        for key in _OF_STREAMS:
            if getattr(self, key) is not msgspec.UNSET:
                raise ValueError(f"{key} is set without stream: a process has no such key")
        ProcessConfig.__post_init__(self)

    @property
    def is_stream(self) -> bool:
        """Tell whether it is a stream of a Benthos, and no process."""
        return self.stream is not msgspec.UNSET or self.stream_file is not msgspec.UNSET

    def _check_stream(self) -> None:
        if self.stream is not msgspec.UNSET and self.stream_file is not msgspec.UNSET:
            raise ValueError("stream and stream_file are both set: expected one of them")
        if not self.stream and not self.stream_file:
            raise ValueError("the stream is empty: expected its input and output")
        if not self.benthos:
            raise ValueError('benthos is missing: expected the "HOST:PORT" of a Benthos in streams mode')
        for key in _OF_PROCESSES:
            if getattr(self, key):
                raise ValueError(f"{key} is set beside a stream: that has no process of its own")
        if self.active_within is not msgspec.UNSET and not 0 < self.active_within <= MAX_ACTIVE_WITHIN:
            raise ValueError(
                f"active_within is {self.active_within:g}s: expected more than 0s and at most {MAX_ACTIVE_WITHIN:g}s"
            )
