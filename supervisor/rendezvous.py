"""Who observes a floating worker: rendezvous hashing, so that all agree without asking, and few change places. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from supervisor.model import NODE_AWAY_AFTER, CollectorDocument, NodeDocument

Heartbeats = Mapping[str, tuple[NodeDocument | None, CollectorDocument | None]]


def winner(nodes: Iterable[str], item: str) -> str | None:
    """Return the node with the highest hash together with `item`, or None without nodes.

    When a node comes or goes, only the items that it wins change hands.
    """
    return max(nodes, key=lambda node: (_weight(node, item), node), default=None)


def _weight(node: str, item: str) -> bytes:
    return hashlib.blake2b(f"{node}/{item}".encode(), digest_size=8).digest()


def observers(heartbeats: Heartbeats, now: float) -> list[str]:
    """Return the nodes that can observe at `now`, sorted: their executors and their collectors live."""
    return sorted(
        name
        for name, (node, collector) in heartbeats.items()
        if not is_away(node, now) and collector is not None and abs(now - collector.at) < NODE_AWAY_AFTER
    )


def is_away(node: NodeDocument | None, now: float) -> bool:
    """Tell whether a node's executor is gone or silent for too long."""
    return node is None or node.left or abs(now - node.at) >= NODE_AWAY_AFTER  # ahead: Redis' clock was set back
