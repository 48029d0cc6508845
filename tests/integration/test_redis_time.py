"""Without an injected clock all time is Redis' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actions.model import Outcome
from actions.start import Start
from supervisor.clock import FakeClock
from supervisor.dispatch import Circuit, Claim, Item, apply
from supervisor.model import Lease, NodeDocument
from supervisor.runtime import make_runtime
from supervisor.store import Store
from tests.integration.plant import NAME, NODE, fleet, grant_of, held, settings, worker


def redis_now(client: Any) -> float:
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def test_every_script_uses_the_time_of_redis(real_client: Any, tmp_path: Path) -> None:
    store = Store(real_client, "test")
    runtime = make_runtime(settings(tmp_path), store, FakeClock(start=12.0))
    before = round(redis_now(real_client), 3) - 0.001
    store.apply_fleets([fleet(worker("flow-1"))])
    store.heartbeat(NAME, NodeDocument(node=NODE, host="h", boot_id="b", executor="e", pid=1, slots=1, at=7.0))
    index = store.index(NAME)
    assert index is not None
    answer, started, *_ = store.begin_tick(NAME, index, "t1")
    claim = Claim(Start(), "test", "", index.generations["flow-1"], "a1")
    (message,) = apply(store, NAME, "t1", Circuit(0), [Item("flow-1", NODE, claim=claim)]).messages
    assert runtime.leases.begin(grant_of(message), "r1", "e").refused is None
    assert runtime.leases.renew("edge-1@h1", [held(grant_of(message))]) == ["renewed"]
    assert runtime.leases.end(grant_of(message), "r1", Outcome.SUCCESS, "done")
    assert store.finish_tick(NAME, "t1", "{}", {})
    after = round(redis_now(real_client), 3) + 0.001
    lease = store.read(Lease, store.keys(NAME).lease(NODE, "flow-1"))
    (node, _) = store.nodes(NAME, [NODE])[NODE]
    tick = store.last_tick(NAME)
    assert answer == "started"
    assert lease is not None
    assert lease.begun_at is not None
    assert lease.ended_at is not None
    assert node is not None
    assert tick is not None
    moments = [started, lease.claimed_at, int(lease.token) / 1e6, lease.begun_at, lease.ended_at, tick.ended_at]
    assert [moment for moment in [*moments, node.at, index.settings.applied_at] if not before <= moment <= after] == []


def test_a_lease_of_redis_time_is_not_reaped_before_its_deadline(real_client: Any, tmp_path: Path) -> None:
    store = Store(real_client, "test")
    runtime = make_runtime(settings(tmp_path), store, FakeClock(start=4_000_000_000.0))
    store.apply_fleets([fleet(worker("flow-1"))])
    index = store.index(NAME)
    assert index is not None
    store.begin_tick(NAME, index, "t1")
    (message,) = apply(store, NAME, "t1", Circuit(0), [Item("flow-1", NODE, claim=Claim(Start(), "", "", 1))]).messages
    assert runtime.leases.reap(NAME, NODE, "flow-1", message.token) is False
