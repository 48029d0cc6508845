"""What people wish for each worker, kept decoded by a process for as long as nobody has changed anything. Pure.

Identity, desired, override and control change with the revision alone: a tick need not read and decode them again.
"""

from __future__ import annotations

from typing import NamedTuple

from workers.model import Control, Desired, Identity
from workers.target import WorkerType

MOST = 20_000  # workers of a supervisor of which this is kept, a kilobyte each; larger fleets are looked at in slices


class Wished(NamedTuple):
    """What is wished for one worker: desired has the operator's override laid over it."""

    identity: Identity
    desired: Desired
    overridden: bool
    control: Control
    kind: WorkerType


class Wishes:
    """What one process knows, by supervisor."""

    def __init__(self) -> None:
        """Know nothing."""
        self._known: dict[str, tuple[int, dict[str, Wished]]] = {}

    def at(self, supervisor: str, revision: int, workers: int) -> dict[str, Wished]:
        """Return what is known of a supervisor's `workers` at a revision, by id; what is put there is kept.

        Of a large fleet, or one without a revision, nothing is.
        """
        if not revision or workers > MOST:
            return {}
        known = self._known.get(supervisor)
        if known is None or known[0] != revision:
            known = self._known[supervisor] = (revision, {})
        return known[1]
