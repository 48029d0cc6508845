"""Asks a Kafka cluster by a client library, which need not be installed: what lives there, which topics there are.

The library, kafka-python, does its I/O in a thread of its own and blocks its caller: in an event loop, ask by
`workers.asking.in_thread`. Nothing here deletes a topic or takes partitions from one, and looking creates none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from actions.create_topics import Topic
from actions.model import ActionError

ALREADY_EXISTS, UNKNOWN = 36, 3  # error codes of Kafka's protocol: of a topic to create, and of one asked for


class NoKafkaClient(Exception):
    """The client library is not installed."""


class KafkaFailed(Exception):
    """A cluster did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Brokers:
    """Where a cluster is asked: addresses "HOST:PORT".

    `timeout` is in seconds, for finding the cluster, and again for each question. `tls`: over TLS; `ca` is the file of
    those whose certificates are believed, "" the host's.
    """

    addresses: tuple[str, ...]
    timeout: float
    tls: bool = False
    ca: str = ""

    def __str__(self) -> str:
        """Return the addresses."""
        return ",".join(self.addresses)


@dataclass(frozen=True)
class Seen:
    """What a cluster says: brokers that live, partitions of each topic that there is, how many have no leader."""

    brokers: int
    partitions: dict[str, int]
    leaderless: int


def ask(brokers: Brokers, topics: Sequence[str]) -> Seen:
    """Return what a cluster says of itself and of these topics. Raises `KafkaFailed` or `NoKafkaClient`."""
    with _client(brokers) as client:
        living = [one for one in client.describe_cluster()["brokers"] if not one.get("is_fenced", False)]
        found = client.describe_topics(list(topics)) if topics else []
    there = {one["name"]: one["partitions"] for one in found if one["error_code"] != UNKNOWN}
    leaderless = sum(part["leader_id"] < 0 for parts in there.values() for part in parts)
    return Seen(len(living), {name: len(parts) for name, parts in there.items()}, leaderless)


def create(brokers: Brokers, topics: Sequence[Topic]) -> dict[str, str]:
    """Create topics; return why each one that is not there now was refused. One that is there already is left as it is.

    Raises `KafkaFailed` or `NoKafkaClient`.
    """
    wanted = {topic.name: _as_asked(topic) for topic in topics}
    with _client(brokers) as client:
        answer = client.create_topics(wanted, timeout_ms=_ms(brokers.timeout), raise_errors=False)
    return {
        one["name"]: f"{one['error_message'] or 'error'} (code {one['error_code']})"
        for one in answer["topics"]
        if one["error_code"] not in (0, ALREADY_EXISTS)
    }


def _as_asked(topic: Topic) -> Mapping[str, object]:
    """Return a topic as the library takes it; -1 leaves a number to the cluster's own default."""
    numbers = {"num_partitions": topic.partitions or -1, "replication_factor": topic.replication or -1}
    return {**numbers, "configs": topic.config}


@dataclass(frozen=True)
class Topics:
    """The topics that a child is to have, as `create_topics` works on them."""

    brokers: Brokers
    topics: tuple[Topic, ...]

    def missing(self) -> tuple[Topic, ...]:
        """Return those that are not there. Raises `ActionError`."""
        try:
            there = ask(self.brokers, [topic.name for topic in self.topics]).partitions
        except (KafkaFailed, NoKafkaClient) as error:
            raise ActionError(str(error)) from None
        return tuple(topic for topic in self.topics if topic.name not in there)

    def create(self, topics: Sequence[Topic]) -> dict[str, str]:
        """Create these; return why each was refused that was. Raises `ActionError`."""
        try:
            return create(self.brokers, topics)
        except (KafkaFailed, NoKafkaClient) as error:
            raise ActionError(str(error)) from None


def load() -> None:
    """Import the library, which takes longer than a look may. Raises `NoKafkaClient`."""
    try:
        import kafka  # noqa: F401 - it is used where it is imported again
    except ImportError:
        raise NoKafkaClient(
            "kafka-python is not installed, which asks Kafka; expected it beside this package: "
            "pip install 'fsm-supervisor[kafka]'"
        ) from None
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it says of each try is in the error, too


@contextmanager
def _client(brokers: Brokers) -> Iterator[Any]:
    """Yield a client that has found the cluster, and end it with its thread, also when it has found none."""
    load()
    import kafka
    from kafka.errors import KafkaError
    from kafka.net.compat import KafkaNetClient

    made: list[Any] = []

    def net_client(**config: Any) -> Any:
        made.append(KafkaNetClient(**config))
        return made[-1]

    try:
        yield kafka.KafkaAdminClient(
            bootstrap_servers=list(brokers.addresses),
            client_id="fsm-supervisor",
            bootstrap_timeout_ms=_ms(brokers.timeout),
            request_timeout_ms=_ms(brokers.timeout),
            security_protocol="SSL" if brokers.tls else "PLAINTEXT",
            ssl_cafile=brokers.ca or None,
            kafka_client=net_client,
        )
    except KafkaError as error:
        raise KafkaFailed(f"{brokers}: {str(error) or type(error).__name__}") from None
    finally:
        for one in made:  # a client that finds no cluster raises before there is anything else to close
            one.close()
            one._manager._net.stop()


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
