"""Bring a component down."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext, Urgency


class Stop(Action, frozen=True):
    """Stop the component unless nothing runs."""

    name: ClassVar[str] = "stop"
    urgency: ClassVar[Urgency] = Urgency.FIRST

    def execute(self, context: ActionContext) -> str:
        """Stop it and return when it is gone."""
        before = context.component.current()
        context.component.stop(context.token)
        return "was not running" if before is None else f"stopped {before.name}"
