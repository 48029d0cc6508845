"""Make a running component use its present configuration."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext, Replaceable, Urgency


class Reconfigure(Action, frozen=True):
    """Replace an incarnation that runs another configuration by one that runs the wanted one."""

    name: ClassVar[str] = "reconfigure"
    urgency: ClassVar[Urgency] = Urgency.LAST

    def execute(self, context: ActionContext) -> str:
        """Stop what runs with another configuration, then start; already right is left alone.

        A component that can replace its configuration itself does so.
        """
        component = context.component
        before = component.current()
        if before is not None and before.config_id == component.config_id:
            return f"{before.name} already runs configuration {before.config_id}"
        if isinstance(component, Replaceable):
            after = component.replace(context.token)
        else:
            if before is not None:
                component.stop(context.token)
            after = component.start(context.token)
        return f"{after.name} runs configuration {after.config_id}"
