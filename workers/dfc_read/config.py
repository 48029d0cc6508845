"""The `config` table of a data flow. Pure."""

from __future__ import annotations

from workers.process.config import Address, ProcessConfig


class DfcReadConfig(ProcessConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A process plus the address ("host:port") where the flow serves `/ping`, `/ready` and `/metrics`."""

    http: Address
