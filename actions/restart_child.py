"""Give an infrastructure child a new life (the plan's RestartChildAction)."""

from __future__ import annotations

from typing import ClassVar

from actions.model import Action, ActionContext, ActionError, Incarnation


class RestartChild(Action, frozen=True):
    """Stop the child named `child_name`, start it, and see that a new incarnation runs.

    `failed_pid` and `failed_start_ticks` name the incarnation whose check failed (0: none ran). Another one found
    running means that the restart has already happened, which is what makes a repeated execution harmless.
    """

    name: ClassVar[str] = "restart_child"
    timeout: ClassVar[float] = 60.0

    child_name: str
    failed_pid: int = 0
    failed_start_ticks: int = 0

    def execute(self, context: ActionContext) -> str:
        """Restart it; raises `ActionError` when the old incarnation is still the one that runs."""
        component = context.component
        before = component.current()
        if before is not None and not self._failed(before):
            return f"{self.child_name} already runs anew as pid {before.pid}"
        if before is not None:
            component.stop(context.token)
        after = component.start(context.token)
        if after == before:
            raise ActionError(
                f"{self.child_name} is still pid {after.pid}: expected a new incarnation after the restart"
            )
        was = f"pid {before.pid}" if before else "not running"
        return f"restarted {self.child_name}: was {was}, now pid {after.pid}"

    def _failed(self, incarnation: Incarnation) -> bool:
        return (incarnation.pid, incarnation.start_ticks) == (self.failed_pid, self.failed_start_ticks)
