"""Bring a component up."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext


class Start(Action, frozen=True):
    """Start the component unless it already runs."""

    name: ClassVar[str] = "start"

    def execute(self, context: ActionContext) -> str:
        """Start it; an incarnation that already runs is left alone."""
        before = context.component.current()
        after = context.component.start(context.token)
        done = "already running" if before == after else "started"
        return f"{done} as pid {after.pid}" if after.pid else done
