"""Create the topics of a Kafka cluster that the fleet file names and that are not there. Deletes and changes none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

import msgspec

from actions.model import Action, ActionContext, ActionError


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that flows need. `partitions` and `replication` 0: the cluster's own default, and any number is right."""

    name: str
    partitions: int = 0
    replication: int = 0
    config: dict[str, str] = {}


@runtime_checkable
class HasTopics(Protocol):
    """A component that has topics."""

    def missing(self) -> tuple[Topic, ...]:
        """Return those of its topics that are not there. Raises `ActionError`."""

    def create(self, topics: Sequence[Topic]) -> dict[str, str]:
        """Create these; return why each was refused that was. What is there is left as it is. Raises `ActionError`."""


class CreateTopics(Action, frozen=True, kw_only=True):
    """Create the topics of the child named `child_name` that are missing; which, its document says.

    No fence: a topic that is there is left as it is, so that a late execution changes nothing.
    """

    name: ClassVar[str] = "create_topics"

    child_name: str

    def execute(self, context: ActionContext) -> str:
        """Create what is missing. Raises `ActionError` when a topic is refused; the others are created all the same."""
        component = context.component
        if not isinstance(component, HasTopics):
            raise ActionError(f"child {self.child_name} has no topics in the fleet file")
        missing = component.missing()
        if not missing:
            return "all topics are there already"
        refused = component.create(missing)
        if refused:
            raise ActionError("; ".join(f"topic {name} was refused: {why}" for name, why in sorted(refused.items())))
        return f"created {', '.join(topic.name for topic in missing)}"
