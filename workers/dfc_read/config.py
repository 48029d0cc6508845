"""The `config` table of a data flow. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from workers.process.config import ProcessConfig


class DfcReadConfig(ProcessConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process plus the address ("host:port") where the flow serves `/ping`, `/ready` and `/metrics`."""

    http: Annotated[str, msgspec.Meta(pattern=r"^[^:/\s]+:\d{1,5}$")]
