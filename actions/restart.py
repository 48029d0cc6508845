"""Give a running component a new life with the same configuration."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext, ActionError, Incarnation


class Restart(Action, frozen=True):
    """Stop what runs, start it, and see that a new incarnation runs.

    `failed_pid` and `failed_start_ticks` name the incarnation that is to go (0: none ran, or its driver knows of none).
    Another one found running means that the restart has already happened, so a repeated execution is harmless.
    """

    name: ClassVar[str] = "restart"
    timeout: ClassVar[float] = 60.0

    failed_pid: int = 0
    failed_start_ticks: int = 0

    def execute(self, context: ActionContext) -> str:
        """Restart it. Raises `ActionError` when the old incarnation is still the one that runs."""
        component = context.component
        before = component.current()
        if before is not None and not self._is_the_failed_one(before):
            return f"already runs anew as {before.name}"
        if before is not None:
            component.stop(context.token)
        after = component.start(context.token)
        if after.pid and after == before:
            raise ActionError(f"is still {after.name}: expected a new incarnation after the restart")
        return f"restarted: was {before.name if before else 'not running'}, now {after.name}"

    def _is_the_failed_one(self, incarnation: Incarnation) -> bool:
        return (incarnation.pid, incarnation.start_ticks) == (self.failed_pid, self.failed_start_ticks)
