"""Give an infrastructure child a new life (the plan's RestartChildAction)."""

from __future__ import annotations

from typing import ClassVar

from actions.restart import Restart


class RestartChild(Restart, frozen=True, kw_only=True):
    """Restart the child named `child_name`, whose check failed in the incarnation that `Restart` names."""

    name: ClassVar[str] = "restart_child"

    child_name: str
