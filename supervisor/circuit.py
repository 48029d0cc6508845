"""The documents of a circuit: what is known of it, and what the checks say. Values; `breaker.py` decides. Pure."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from supervisor.model import SupervisorSettings
from workers.model import Document

State = Literal["closed", "open", "half_open"]


class Verdict(msgspec.Struct, frozen=True):
    """What the checks say of one child.

    `failed` opens the circuit. `absent` (a child of ours that nobody has started), `starting` and `unknown` open
    nothing and hold back only the workers that depend on the child. `lacks`: what one that is ok still has to be given
    before those workers may act, as "topics a"; "" if nothing.
    """

    state: Literal["ok", "failed", "absent", "starting", "unknown"]
    detail: str
    lacks: str = ""


class Recovery(msgspec.Struct, frozen=True):
    """What is being done for one failed child. `asked_at`: when the last attempt was asked for; 0: none was yet."""

    attempts: int = 0
    failed_at: float = 0.0
    asked_at: float = 0.0


class Forced(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's word about a circuit, which stands above the checks until it is reset. `at`: epoch seconds.

    Open: maintenance, nothing is done but stops, not even a restart of a child. Closed: workers act whatever the checks
    say; children that fail are restarted all the same.
    """

    state: Literal["open", "closed"]
    by: str
    at: float
    reason: str = ""


class Breaker(Document, frozen=True, kw_only=True, omit_defaults=True):
    """The circuit of a supervisor. `opened_at`: start of the current or last open period, None if there was none.

    `generation` grows with every change of `state`, so that what was decided under another circuit can be told.
    `eased_at`: when it last ceased to be open. `failed_at`: when a check was last seen failed. `flapping`: it opened
    within the flap window after it had eased. `incident`: the id of the current or last incident, which lasts from
    closed to closed. `probes`: the workers that have acted since it is half open. `ramp_at`: up to when the actions
    that the ramp allows are used up; 0: there is no ramp.
    """

    state: State = "closed"
    generation: int = 0
    opened_at: float | None = None
    eased_at: float | None = None
    closed_at: float | None = None
    failed_at: float = 0.0
    flapping: bool = False
    reason: str = ""
    children: dict[str, Recovery] = {}
    escalated: bool = False
    escalated_at: float | None = None
    incident: str = ""
    probes: dict[str, bool] = {}
    ramp_at: float = 0.0
    forced: Forced | None = None

    @property
    def effective(self) -> State:
        """Return the state that counts: an operator's, else that of the checks."""
        return self.forced.state if self.forced is not None else self.state

    @property
    def is_open(self) -> bool:
        """Tell whether actions are held back; half open counts as not open (SPEC 4.2)."""
        return self.effective == "open"

    @property
    def attempts(self) -> int:
        """Return the restarts started for the child that needed most of them; 0 when closed."""
        return max((recovery.attempts for recovery in self.children.values()), default=0)

    def downtime(self, now: float) -> float:
        """Return the seconds since the circuit opened; 0 when closed."""
        return max(0.0, now - self.opened_at) if self.state != "closed" and self.opened_at is not None else 0.0

    def half_open_room(self, settings: SupervisorSettings) -> int | None:
        """Return how many more workers may try whether all is well; None: any may act."""
        return max(0, settings.half_open_workers - len(self.probes)) if self.effective == "half_open" else None

    def ramp_room(self, settings: SupervisorSettings, now: float) -> int | None:
        """Return how many actions the ramp allows now; None: any number."""
        if not self.ramp_at or not settings.recovery_rate or self.forced is not None:
            return None
        return max(0, math.floor((now - self.ramp_at) * settings.recovery_rate))
