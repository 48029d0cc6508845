"""Names to actions; the only file that imports concrete actions."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actions.create_topics import CreateTopics
from actions.model import Action, InvalidParams, UnknownAction
from actions.noop import Noop
from actions.reconfigure import Reconfigure
from actions.restart import Restart
from actions.restart_child import RestartChild
from actions.start import Start
from actions.stop import Stop


class ActionRegistry:
    """Maps action names to their types and builds actions from what a message carries."""

    def __init__(self) -> None:
        """Make an empty registry."""
        self._types: dict[str, type[Action]] = {}

    def register(self, action: type[Action]) -> None:
        """Make `action` known under its name. Raises `ValueError` if another type already has that name."""
        known = self._types.setdefault(action.name, action)
        if known is not action:
            raise ValueError(
                f"action name {action.name!r} is taken by {known.__name__}; give {action.__name__} another name"
            )

    def get(self, name: str) -> type[Action]:
        """Return the action type called `name`. Raises `UnknownAction` naming those that are known."""
        try:
            return self._types[name]
        except KeyError:
            known = ", ".join(self.names()) or "none"
            raise UnknownAction(f"unknown action {name!r}: expected one of {known}") from None

    def build(self, name: str, params: Mapping[str, object]) -> Action:
        """Return the action `name` with `params` as its fields. Raises `UnknownAction` or `InvalidParams`."""
        kind = self.get(name)
        try:
            return msgspec.convert(dict(params), kind)
        except msgspec.ValidationError as error:
            raise InvalidParams(f"action {name!r} refuses its parameters {dict(params)!r}: {error}") from None

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted."""
        return tuple(sorted(self._types))


def params_of(action: Action) -> dict[str, object]:
    """Return the action's parameters as plain values for a message."""
    params = msgspec.to_builtins(action)
    return {str(key): value for key, value in params.items()}


def built_in() -> ActionRegistry:
    """Return a registry of the actions that come with this package."""
    registry = ActionRegistry()
    for action in (Noop, Start, Stop, Reconfigure, Restart, RestartChild, CreateTopics):
        registry.register(action)
    return registry
