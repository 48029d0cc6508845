"""Change nothing: proves the way from claim to outcome."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext, RunsOn, Urgency


class Noop(Action, frozen=True):
    """Do nothing and succeed."""

    name: ClassVar[str] = "noop"
    urgency: ClassVar[Urgency] = Urgency.LAST
    runs_on: ClassVar[RunsOn] = "pool"

    def execute(self, context: ActionContext) -> str:
        """Return at once."""
        return "nothing to do"
