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
from workers.asking import CannotLook
from workers.drivers.process import text_of

ALREADY_EXISTS, UNKNOWN = 36, 3  # error codes of Kafka's protocol: of a topic to create, and of one asked for


class KafkaFailed(Exception):
    """A cluster did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Login:
    """Who we are to a cluster: the mechanism of SASL, a user, and the file that his password is read from each time."""

    mechanism: str
    username: str
    password_file: str


@dataclass(frozen=True)
class Brokers:
    """Where a cluster is asked: addresses "HOST:PORT".

    `timeout` is in seconds, for finding the cluster, and again for each question. `tls`: over TLS; `ca` is the file of
    those whose certificates are believed, "" the host's. Without `login` it is asked as nobody.
    """

    addresses: tuple[str, ...]
    timeout: float
    tls: bool = False
    ca: str = ""
    login: Login | None = None

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
    """Return what a cluster says of itself and of these topics. Raises `KafkaFailed` or `CannotLook`."""
    with _client(brokers) as client:
        living = [one for one in client.describe_cluster()["brokers"] if not one.get("is_fenced", False)]
        found = client.describe_topics(list(topics)) if topics else []
    there = {one["name"]: one["partitions"] for one in found if one["error_code"] != UNKNOWN}
    leaderless = sum(part["leader_id"] < 0 for parts in there.values() for part in parts)
    return Seen(len(living), {name: len(parts) for name, parts in there.items()}, leaderless)


def create(brokers: Brokers, topics: Sequence[Topic]) -> dict[str, str]:
    """Create topics; return why each one that is not there now was refused. One that is there already is left as it is.

    Raises `KafkaFailed` or `CannotLook`.
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
        except (KafkaFailed, CannotLook) as error:
            raise ActionError(str(error)) from None
        return tuple(topic for topic in self.topics if topic.name not in there)

    def create(self, topics: Sequence[Topic]) -> dict[str, str]:
        """Create these; return why each was refused that was. Raises `ActionError`."""
        try:
            return create(self.brokers, topics)
        except (KafkaFailed, CannotLook) as error:
            raise ActionError(str(error)) from None


def load() -> None:
    """Import the library, which takes longer than a look may. Raises `CannotLook`."""
    try:
        import kafka  # noqa: F401 - it is used where it is imported again
    except ImportError:
        raise CannotLook(
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

    given, course = _given(brokers.login), _Course(brokers.login is not None)
    made: list[Any] = []

    def net_client(**config: Any) -> Any:
        made.append(KafkaNetClient(**config))
        course.follow(made[-1]._manager)
        return made[-1]

    try:
        yield kafka.KafkaAdminClient(
            bootstrap_servers=list(brokers.addresses),
            client_id="fsm-supervisor",
            bootstrap_timeout_ms=_ms(brokers.timeout),
            request_timeout_ms=_ms(brokers.timeout),
            security_protocol=("SASL_" if brokers.login else "") + ("SSL" if brokers.tls else "PLAINTEXT"),
            ssl_cafile=brokers.ca or None,
            kafka_client=net_client,
            **given,
        )
    except KafkaError as error:
        if brokers.login is not None and course.refused:
            who = f"user {brokers.login.username!r} in by {brokers.login.mechanism}"
            expected = f"expected that mechanism there, and the password in {brokers.login.password_file}"
            raise CannotLook(f"{brokers} does not let {who}; {expected}") from None
        raise KafkaFailed(f"{brokers}: {_words(error)}{course.hint}") from None
    finally:
        for one in made:  # a client that finds no cluster raises before there is anything else to close
            one.close()
            one._manager._net.stop()


class _Course:
    """What became of a client's connections, of which the library tells its log alone."""

    def __init__(self, has_login: bool) -> None:
        """Follow a client that logs in, or not."""
        self._has_login = has_login
        self._opened = False
        self._failures: set[str] = set()
        self.refused = False

    @property
    def hint(self) -> str:
        """Return why no cluster may have been found, as a message ends; "" if nothing is known."""
        if self._failures:
            return f": {', '.join(sorted(self._failures))}"
        anonymous = self._opened and not self._has_login
        return ": it hung up on who did not log in; expected sasl in the check?" if anonymous else ""

    def follow(self, manager: Any) -> None:
        """Follow its connections. Once our login was refused there are no more: the library would try on and on."""
        from kafka.errors import SaslAuthenticationFailedError

        get_connection = manager.get_connection

        def get(*args: Any, **options: Any) -> Any:
            if self.refused:
                raise SaslAuthenticationFailedError
            connection = get_connection(*args, **options)
            is_new = connection.broker_version_data is None  # which it knows from the first answer on, before the login
            connection.init_future.add_callback(self._has_opened)
            connection.init_future.add_errback(
                lambda error: self._has_failed(error, is_new and connection.broker_version_data is not None)
            )
            return connection

        manager.get_connection = get

    def _has_opened(self, _: object) -> None:
        self._opened = True

    def _has_failed(self, error: Exception, in_login: bool) -> None:
        """Note why. A broker that refuses a login says so and hangs up, and the library may see only the latter."""
        from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError

        hung_up = isinstance(error, KafkaConnectionError)
        if hung_up:  # of other errors the words have numbers in them, and would be news with every look
            self._failures.add(_words(error))
        told = isinstance(error, (SaslAuthenticationFailedError, UnsupportedSaslMechanismError))
        self.refused |= self._has_login and (told or (in_login and hung_up))


def _words(error: Exception) -> str:
    """Return what an error of the library's says, without its class."""
    return str(error.args[0]) if error.args else str(error) or type(error).__name__


def _given(login: Login | None) -> dict[str, str]:
    """Return what the library is told of a login. Raises `CannotLook` without its password, which nothing tells."""
    if login is None:
        return {}
    try:
        password = text_of(login.password_file, "password_file").removesuffix("\n")
    except ActionError as error:
        raise CannotLook(str(error)) from None
    return {
        "sasl_mechanism": login.mechanism,
        "sasl_plain_username": login.username,
        "sasl_plain_password": password,
    }


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
