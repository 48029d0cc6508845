"""What a Redpanda says of itself, and whether that is well: its admin API's replies, and Kafka's own Metadata. Pure.

The fields are those of Redpanda's API documents (`src/v/redpanda/admin/api-doc/broker.json` and `cluster.json` of its
repository); what is not needed is not read, and what older versions do not tell yet has a default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from supervisor.model import Check
from workers.drivers.kafka import Brokers, Login, Seen

READY, BROKERS, HEALTH = "/v1/status/ready", "/v1/brokers", "/v1/cluster/health_overview"


class Ready(msgspec.Struct, frozen=True):
    """The reply of `/v1/status/ready`: "ready", or "booting"."""

    status: str


class Maintenance(msgspec.Struct, frozen=True):
    """A broker's maintenance mode. `draining` stays true when draining has finished."""

    draining: bool = False
    finished: bool = False


class Broker(msgspec.Struct, frozen=True):
    """One of `/v1/brokers`. `membership_status`: "active", "draining" while it is decommissioned, or "removed"."""

    node_id: int
    membership_status: str = "active"
    is_alive: bool = True
    maintenance_status: Maintenance = Maintenance()


class Health(msgspec.Struct, frozen=True):
    """The reply of `/v1/cluster/health_overview`. `controller_id`: -1 while none is elected.

    The counts are of Redpanda 23.3 and newer; the lists end at 128.
    """

    is_healthy: bool
    unhealthy_reasons: tuple[str, ...] = ()
    controller_id: int = 0
    nodes_down: tuple[int, ...] = ()
    leaderless_partitions: tuple[str, ...] = ()
    leaderless_count: int | None = None
    under_replicated_partitions: tuple[str, ...] = ()
    under_replicated_count: int | None = None

    @property
    def leaderless(self) -> int:
        """Return the number of partitions without a leader."""
        return len(self.leaderless_partitions) if self.leaderless_count is None else self.leaderless_count

    @property
    def under_replicated(self) -> int:
        """Return the number of partitions of which a replica lags behind."""
        count = self.under_replicated_count
        return len(self.under_replicated_partitions) if count is None else count


class Admin(msgspec.Struct, frozen=True):
    """What the admin API says."""

    ready: Ready
    brokers: tuple[Broker, ...]
    health: Health


@dataclass(frozen=True)
class Cluster:
    """A cluster as it was seen; None for what was not asked."""

    admin: Admin | None = None
    kafka: Seen | None = None

    @property
    def alive(self) -> int:
        """Return the number of brokers that live."""
        if self.admin is not None:
            return sum(broker.is_alive for broker in self.admin.brokers)
        return self.kafka.brokers if self.kafka is not None else 0

    @property
    def leaderless(self) -> int:
        """Return the number of partitions without a leader: of all if the admin API tells, else of the topics asked."""
        if self.admin is not None:
            return self.admin.health.leaderless
        return self.kafka.leaderless if self.kafka is not None else 0


def brokers_of(check: Check) -> Brokers:
    """Return where a check asks Kafka, and as whom."""
    login = Login(check.sasl, check.username, check.password_file) if check.sasl else None
    return Brokers(check.brokers or (check.address,), check.timeout, check.tls, check.ca, login)


def fault(check: Check, cluster: Cluster) -> str:
    """Return what of a cluster is beyond the check's tolerances; "" if nothing is."""
    return "; ".join(_faults(check, cluster))


def _faults(check: Check, cluster: Cluster) -> Iterator[str]:
    admin = cluster.admin
    if admin is not None and admin.ready.status != "ready":
        yield f"is {admin.ready.status}, expected ready"
    if cluster.alive < check.nodes:
        yield f"{_alive(cluster)}, expected at least {check.nodes}"
    if admin is not None and admin.health.controller_id < 0:
        yield "no controller is elected"
    if cluster.leaderless > check.leaderless:
        yield f"{_count(cluster.leaderless, 'leaderless')}, expected at most {check.leaderless}"
    if admin is not None and check.under_replicated is not None:
        lagging = admin.health.under_replicated
        if lagging > check.under_replicated:
            yield f"{_count(lagging, 'under-replicated')}, expected at most {check.under_replicated}"


def words(cluster: Cluster) -> str:
    """Return a cluster in words, with its numbers."""
    return "; ".join(_told(cluster))


def _told(cluster: Cluster) -> Iterator[str]:
    yield _alive(cluster)
    yield _count(cluster.leaderless, "leaderless")
    if cluster.admin is None:
        return
    yield _count(cluster.admin.health.under_replicated, "under-replicated")
    for broker in cluster.admin.brokers:
        if broker.maintenance_status.draining:
            yield f"broker {broker.node_id} is in maintenance"
        if broker.membership_status != "active":
            yield f"broker {broker.node_id} is {broker.membership_status}"
    if not cluster.admin.health.is_healthy:
        yield f"unhealthy: {', '.join(cluster.admin.health.unhealthy_reasons) or 'no reason given'}"


def _alive(cluster: Cluster) -> str:
    if cluster.admin is not None:
        return f"{cluster.alive} of {len(cluster.admin.brokers)} brokers alive"
    return f"{cluster.alive} broker{'' if cluster.alive == 1 else 's'} alive"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what} partition{'' if number == 1 else 's'}"
