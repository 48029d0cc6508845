"""The topics that a child of a fleet file is to have."""

from __future__ import annotations

from pathlib import Path

from actions.create_topics import Topic
from supervisor.fleetfile import ChildTable, TopicTable, failure, label_of


def topics_of(path: Path, number: int, child: ChildTable) -> tuple[Topic, ...]:
    """Return the topics of a child of the file at `path`, counted from 0. Raises `FleetError`."""
    topics = tuple(_topic(table) for table in child.topics)
    names = [topic.name for topic in topics]

    def refused(name: str, expected: str) -> Exception:
        return failure(path, "children", number, label_of(child), "topics", name, expected)

    if topics and not child.check.brokers:
        raise refused(names[0], "expected a check of kind redpanda with brokers, whom topics are asked of")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise refused(name, "expected each topic once")
    return topics


def _topic(table: str | TopicTable) -> Topic:
    if isinstance(table, str):
        name, _, partitions = table.partition(":")
        return Topic(name=name, partitions=int(partitions or 0))
    return Topic(
        name=table.name,
        partitions=table.partitions or 0,
        replication=table.replication or 0,
        config=table.config,
    )
