"""Redis killed, emptied, frozen, full, rolled back, on a slow or full disk: F7 to F11, F20."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable

import pytest
import redis

from supervisor.model import LEASE_TTL
from tests.faults.checker import percentile
from tests.faults.conftest import Scale
from tests.faults.harness import SUPERVISOR, Plant, RedisPiece, Shape, now
from tests.loglines import news_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
CONSUMING_WITHIN = 5.0  # seconds after Redis answers again
CONVERGED_WITHIN = 30.0  # seconds after which all act again
BUSY = Shape(processes=0, floating=3, bound=3, life=1.5, effect=(0.2, 1.0))


def test_f7_redis_killed_and_restarted_under_load(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    plant = make_plant(BUSY)
    plant.start()
    consuming, converged = [], []
    for _ in range(scale(1, 20)):
        plant.wait_effects(plant.random.randint(2, 8))
        plant.tell("redis killed")
        plant.redis.kill()
        plant.redis.start()
        consuming.append(plant.consuming_again(30))
        converged.append(plant.wait_all_act())
    figures = {"consuming_p50": percentile(consuming, 0.5), "consuming_max": max(consuming)}
    report("F7", n=len(consuming), **figures, all_act_p50=percentile(converged, 0.5), all_act_max=max(converged))
    plant.settle()

    assert plant.violations() == []
    assert max(consuming) <= CONSUMING_WITHIN
    assert max(converged) <= CONVERGED_WITHIN
    assert all(piece.alive for piece in plant.pieces.values())


@pytest.mark.slow
def test_f8_an_emptied_redis_gets_the_fleet_and_the_overrides_back(
    make_plant: MakePlant, scale: Scale, report: Report
) -> None:
    plant = make_plant(BUSY)
    plant.start()
    converged = []
    for _ in range(scale(1, 5)):
        plant.want("bound-0", "stopped")
        ticks = plant.ticks()  # the one that sees the wish mirrors it
        wait_until(lambda t=ticks: plant.ticks() > t + 1, "the wish to be mirrored", 30)
        wait_until(lambda: not plant.is_up("bound-0") and not plant.in_progress_of("bound-0"), "bound-0 to stop", 30)
        plant.tell("redis emptied")
        plant.redis.kill()
        plant.redis.empty()
        plant.redis.start()
        at = now()
        others = set(plant.workers) - {"bound-0"}
        wait_until(lambda at=at, o=others: {line["worker"] for line in plant.begun(since=at)} >= o, "all to act", 90)
        converged.append(now() - at)
        assert plant.begun("bound-0", since=at) == [], "the override was lost"
        plant.want("bound-0", "running")
        wait_until(lambda: plant.is_up("bound-0"), "bound-0 to run", 60)
    report("F8", n=len(converged), converged_max=max(converged))
    plant.settle()

    assert plant.violations() == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, 30, 120])
def test_f9_a_frozen_redis(make_plant: MakePlant, scale: Scale, report: Report, seconds: int) -> None:
    if seconds > 5 and not scale.full:
        seconds = {30: 13, 120: 20}[seconds]
    plant = make_plant(BUSY)
    plant.start()
    pids = {name: piece.pid for name, piece in plant.pieces.items()}
    plant.tell("redis frozen")
    plant.redis.piece.signal(signal.SIGSTOP)
    plant.let_pass(seconds)
    plant.redis.piece.signal(signal.SIGCONT)
    took = plant.consuming_again(30)
    report("F9", seconds=seconds, consuming=took)
    plant.settle(90)

    assert plant.violations() == []
    assert {name: piece.pid for name, piece in plant.pieces.items() if piece.alive} == pids
    assert took <= CONSUMING_WITHIN


def oldest_look(plant: Plant) -> float:
    """Return the age in seconds of the oldest observation of a worker."""
    index = plant.store.index(SUPERVISOR)
    assert index is not None
    found = [texts["observed"] for _, _, texts in plant.store.read_worker(SUPERVISOR, index.workers)]
    return plant.store.now() - min(json.loads(text)["collected_at"] for text in found if text is not None)


@pytest.mark.slow
def test_f10_a_full_redis(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    plant = make_plant(BUSY)
    plant.start()
    took = []
    with plant.redis.client() as client:
        for _ in range(scale(1, 10)):
            plant.wait_effects(4)
            plant.tell("redis full")
            client.config_set("maxmemory", "1mb")
            with pytest.raises(redis.ResponseError, match="maxmemory"):
                client.set("more", "1")
            plant.let_pass(LEASE_TTL + 3)
            assert oldest_look(plant) < 2 * plant.shape.observation_interval + 1  # I6, while Redis is full
            client.config_set("maxmemory", "0")
            took.append(plant.wait_all_act())
    report("F10", n=len(took), all_act_max=max(took))
    plant.settle()

    assert plant.violations() == []
    assert all(piece.alive for piece in plant.pieces.values())
    for lease in plant.leases().values():
        assert (lease.token, lease.action_id) != ("", "")
    for node in plant.shape.nodes:
        told = [line for line in news_of(plant.pieces[node].said(), "store.full") if line["event"] == "store.full"]
        assert 1 <= len(told) <= scale(1, 10), told


@pytest.mark.slow
def test_f11_failing_over_to_a_stale_replica(make_plant: MakePlant, scale: Scale, report: Report) -> None:
    plant = make_plant(BUSY)
    plant.start()
    took = []
    for number in range(scale(1, 5)):
        replica = RedisPiece(plant.folder / f"replica-{number}")
        replica.piece.environ = plant.environ("replica")
        replica.start()
        with replica.client() as client:
            client.replicaof("127.0.0.1", plant.redis.port)
            wait_until(lambda c=client: c.info("replication")["master_link_status"] == "up", "the replica", 30)
            client.replicaof("NO", "ONE")  # cut off from here on
            plant.wait_effects(8)  # of which the replica knows nothing
            client.bgrewriteaof()
            wait_until(lambda c=client: not c.info("persistence")["aof_rewrite_in_progress"], "its log", 30)
        replica.piece.end()
        plant.tell("failover")
        plant.redis.kill()
        plant.redis.empty()
        shutil.copytree(replica.folder, plant.redis.folder, dirs_exist_ok=True)
        plant.redis.start()
        took.append(plant.wait_all_act())
    report("F11", n=len(took), all_act_max=max(took))
    plant.settle()

    assert plant.violations() == []
    assert plant.store.index(SUPERVISOR) is not None
