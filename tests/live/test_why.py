"""`fsmctl explain` on a whole installation: the right reason in each case in which nothing is done (SPEC 4.1).

Each condition is really made: a frozen executor, a full queue, a child that does not answer, a command that fails.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from supervisor.admission import SkipReason
from supervisor.cli import fsmctl
from supervisor.cli.explain import lines
from tests.conftest import OwnRedis, free_port
from tests.live.pieces import Pieces, pieces_in
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
DOWN = 'status = ["sh", "-c", "exit 3"]'
SUPERVISOR = """
[[supervisors]]
name = "{name}"
tick_interval = "500ms"
observation_interval = "1s"
flap_window = "1s"
{settings}
"""
WORKER = """
[[workers]]
supervisor = "{supervisor}"
id = "{id}"
type = "command"
node = "{node}"
desired = "stopped"
{more}
config = {{ start = {start}, stop = ["true"], {status} }}
"""
CHILD = """
[[children]]
supervisor = "{name}"
name = "line-of-{name}"
type = "tcp"
node = "edge-2"
check = {{ address = "127.0.0.1:{port}", timeout = "3s" }}
"""
OUTAGES = {
    "outage": "",
    "trying": 'half_open_workers = 1\nhalf_open_for = "10m"',
    "ramping": "half_open_workers = 0\nrecovery_rate = 0.02",
}


def worker(supervisor: str, name: str, node: str = "edge-2", more: str = "", **config: str) -> str:
    """Return a worker that is to be stopped, until a test says otherwise, and would take 25 s to start."""
    commands = {"start": '["sleep", "25"]', "status": DOWN, **config}
    return WORKER.format(supervisor=supervisor, id=name, node=node, more=more, **commands)


def fleet(ports: dict[str, int]) -> str:
    """Return a fleet with a supervisor for each circuit, so that none hides what another shows."""
    quick = '["true"]'
    parts = [
        SUPERVISOR.format(name="calm", settings="quarantine_after = 100"),
        '[[groups]]\nsupervisor = "calm"\nname = "line"\nmax_in_action = 1\n',
        SUPERVISOR.format(name="strict", settings="quarantine_after = 2"),
        worker("strict", "fails-often", start='["false"]'),
        worker("calm", "fails", start='["false"]'),
        worker("calm", "idle"),
        worker("calm", "unreadable"),
        worker("calm", "waits-for-idle", more='depends_on = ["idle"]'),
        worker("calm", "drained"),
        worker(
            "calm",
            "slow-to-look",
            start=quick,
            status='status = ["sh", "-c", "sleep 3; exit 3"], status_timeout = "5s"',
        ),
        worker("calm", "blind", status='status = ["sleep", "60"], status_timeout = "1s"'),
        *(worker("calm", f"line-{number}", more='group = "line"') for number in (1, 2)),
        *(worker("calm", f"queue-{number}", node="edge-1") for number in range(4)),
    ]
    for name, settings in OUTAGES.items():
        parts += [SUPERVISOR.format(name=name, settings=settings), CHILD.format(name=name, port=ports[name])]
        parts += [worker(name, f"{name}-{number}") for number in (1, 2)]
    return "".join(parts)


@dataclass(frozen=True)
class Live:
    """The installation, and the ports on which the outages' children are to answer."""

    pieces: Pieces
    ports: dict[str, int]

    def fsmctl(self, *arguments: str) -> Result:
        """Run fsmctl here, which has to succeed."""
        result = CliRunner(env=self.pieces._environ()).invoke(fsmctl, list(arguments))
        assert result.exit_code == 0, f"fsmctl {arguments}: {result.exception!r}\n{result.output}"
        return result

    def explain(self, target: str) -> dict[str, Any]:
        """Return what fsmctl explains."""
        document: dict[str, Any] = json.loads(self.fsmctl("explain", target, "-o", "json").stdout)
        return document

    def told(self, worker_id: str, reason: SkipReason) -> dict[str, Any] | None:
        """Return the explanation of a worker once it has that reason."""
        document = self.explain(worker_id)
        return document if document["skip"] is not None and document["skip"]["reason"] == reason.value else None

    def begun(self, worker_id: str) -> bool:
        """Tell whether an executor is at a worker's action."""
        lease = self.explain(worker_id)["lease"]
        return lease is not None and lease["stage"] == "running"

    def ticked(self, supervisor: str, reason: SkipReason) -> bool:
        """Tell whether a real tick has given that reason, too."""
        tick = self.pieces.store.last_tick(supervisor)
        report = json.loads(tick.report) if tick is not None and tick.report else {"skips": {}}
        return reason.value in report["skips"]

    def circuit_is(self, supervisor: str, state: str) -> bool:
        """Tell whether a circuit is in a state."""
        return bool(self.explain(f"circuit/{supervisor}")["state"] == state)

    @contextmanager
    def running(self, *workers: str) -> Iterator[None]:
        """Want workers running for a while."""
        for one in workers:
            self.fsmctl("set", one, "running")
        try:
            yield
        finally:
            for one in workers:
                self.fsmctl("set", one, "default", "--yes")

    @contextmanager
    def answering(self, supervisor: str) -> Iterator[None]:
        """Let the child of an outage answer for a while."""
        with socket.create_server(("127.0.0.1", self.ports[supervisor]), backlog=512):
            yield


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Return an installation that all these tests share: edge-1 has one slot, edge-2 five."""
    own = OwnRedis(tmp_path_factory.mktemp("redis"))
    try:
        own.start()
        with pieces_in(tmp_path_factory.mktemp("why"), own.url) as pieces:
            made = Live(pieces, {name: free_port() for name in OUTAGES})
            pieces.apply(fleet(made.ports))
            pieces.start_supervisor()
            pieces.start_node("edge-1", slots=1, known_to="calm")
            pieces.start_node("edge-2", slots=5, known_to="calm")
            wait_until(lambda: made.circuit_is("outage", "open"), "the outages to be seen", 60)
            yield made
    finally:
        own.kill()


@contextmanager
def paused(live: Live) -> Iterator[str]:
    live.fsmctl("pause", "idle", "--reason", "by hand")
    with live.running("idle"):
        yield "idle"
    live.fsmctl("resume", "idle")


@contextmanager
def action_in_progress(live: Live) -> Iterator[str]:
    """Its executor has begun it: until then an executor is what it waits for."""
    with live.running("idle"):
        wait_until(lambda: live.begun("idle"), "its start to begin", 60)
        yield "idle"


@contextmanager
def circuit_open(live: Live) -> Iterator[str]:
    with live.running("outage-1"):
        yield "outage-1"


@contextmanager
def half_open(live: Live) -> Iterator[str]:
    """One of two workers may try, and its start takes its time."""
    wait_until(lambda: live.circuit_is("trying", "open"), "the circuit to open", 60)
    with live.running("trying-1", "trying-2"):
        wait_until(lambda: live.told("trying-2", SkipReason.CIRCUIT_OPEN), "the second to wait", 60)
        with live.answering("trying"):
            wait_until(lambda: live.circuit_is("trying", "half_open"), "the circuit to be half open", 60)
            yield next(one for one in ("trying-1", "trying-2") if not _acts(live, one))


def _acts(live: Live, worker_id: str) -> bool:
    """Wait until one of the two that may try has begun, and tell whether it is this one."""
    others = ("trying-1", "trying-2")
    acting = wait_until(
        lambda: [one for one in others if live.told(one, SkipReason.ACTION_IN_PROGRESS)], "one to try", 60
    )
    return worker_id in (acting or ())


@contextmanager
def ramp(live: Live) -> Iterator[str]:
    """One action in 50 s: whoever waits when the circuit closes waits on."""
    wait_until(lambda: live.circuit_is("ramping", "open"), "the circuit to open", 60)
    with live.running("ramping-1", "ramping-2"):
        wait_until(lambda: live.told("ramping-2", SkipReason.CIRCUIT_OPEN), "the second to wait", 60)
        with live.answering("ramping"):
            wait_until(lambda: live.circuit_is("ramping", "closed"), "the circuit to close", 60)
            yield "ramping-2"


@contextmanager
def dependency(live: Live) -> Iterator[str]:
    with live.running("waits-for-idle"):
        yield "waits-for-idle"


@contextmanager
def awaiting_observation(live: Live) -> Iterator[str]:
    """Its start ends at once, a look at it takes three seconds."""
    with live.running("slow-to-look"):
        yield "slow-to-look"


@contextmanager
def stale_observation(live: Live) -> Iterator[str]:
    """Each look at it is cut off: a fresh observation that knows nothing."""
    with live.running("blind"):
        yield "blind"


@contextmanager
def backing_off(live: Live) -> Iterator[str]:
    with live.running("fails"):
        yield "fails"


@contextmanager
def quarantined(live: Live) -> Iterator[str]:
    with live.running("fails-often"):
        yield "fails-often"


@contextmanager
def queue_full(live: Live) -> Iterator[str]:
    """One start runs, two are queued, the fourth does not fit."""
    everyone = [f"queue-{number}" for number in range(4)]
    with live.running(*everyone):
        found = wait_until(
            lambda: [one for one in everyone if live.told(one, SkipReason.QUEUE_FULL)], "a full queue", 60
        )
        assert found
        yield found[0]


@contextmanager
def budget(live: Live) -> Iterator[str]:
    both = ["line-1", "line-2"]
    with live.running(*both):
        found = wait_until(
            lambda: [one for one in both if live.told(one, SkipReason.BUDGET)], "the budget to be used", 60
        )
        assert found
        yield found[0]


@contextmanager
def derive_failed(live: Live) -> Iterator[str]:
    """A status as a newer version might have left it."""
    store = live.pieces.store
    key = store.keys("calm").status("edge-2", "unreadable")
    before = store.client.getset(key, '{"schema": 99}')
    try:
        yield "unreadable"
    finally:
        store.client.delete(key) if before is None else store.client.set(key, before)


@contextmanager
def drained(live: Live) -> Iterator[str]:
    live.fsmctl("drain", "node/edge-2", "--no-wait", "--yes")
    try:
        with live.running("drained"):
            yield "drained"
    finally:
        live.fsmctl("drain", "node/edge-2", "--undo", "--yes")


@contextmanager
def node_away(live: Live) -> Iterator[str]:
    """The executor's main process is frozen, and its heartbeat with it."""
    main = live.pieces.processes["edge-2"].pid
    os.kill(main, signal.SIGSTOP)
    try:
        yield "unreadable"
    finally:
        os.kill(main, signal.SIGCONT)


Make = Callable[[Live], AbstractContextManager[str]]
CASES: dict[SkipReason, tuple[Make, str]] = {  # how it is made, and what is said to come next
    SkipReason.PAUSED: (paused, "nothing until `fsmctl resume idle`"),
    SkipReason.ACTION_IN_PROGRESS: (action_in_progress, "the start ends by itself, else it is over its time"),
    SkipReason.CIRCUIT_OPEN: (circuit_open, "it goes on when the circuit closes"),
    SkipReason.HALF_OPEN: (half_open, "the circuit closes, at the latest unless a check fails"),
    SkipReason.RAMP: (ramp, "its turn comes: 2 of 2 that wait, 0.02 a second"),
    SkipReason.DEPENDENCY: (dependency, "it goes on when worker/idle is well"),
    SkipReason.AWAITING_OBSERVATION: (awaiting_observation, "its next observation decides"),
    SkipReason.STALE_OBSERVATION: (stale_observation, "its next observation decides"),
    SkipReason.BACKING_OFF: (backing_off, "its backoff ends and it is tried again"),
    SkipReason.QUARANTINED: (quarantined, "its quarantine ends, or before by `fsmctl resume fails-often`"),
    SkipReason.QUEUE_FULL: (queue_full, "it is asked for when an executor takes what is queued before it"),
    SkipReason.BUDGET: (budget, "it is asked for when an action of its group ends: "),
    SkipReason.DERIVE_FAILED: (
        derive_failed,
        "it goes on when that document is mended: apply its fleet file, or upgrade this supervisor",
    ),
    SkipReason.DRAINED: (drained, "nothing but stops until `fsmctl drain node/edge-2 --undo`"),
    SkipReason.NODE_AWAY: (node_away, "it goes on when the executor of edge-2 beats again"),
}


@pytest.mark.parametrize("reason", CASES)
def test_explain_gives_the_reason_that_the_tick_gives_and_what_comes_next(live: Live, reason: SkipReason) -> None:
    make, following = CASES[reason]
    with make(live) as worker_id:
        document = wait_until(lambda: live.told(worker_id, reason), f"{worker_id} to be explained as {reason}", 90)
        assert document is not None
        said = [one["what"] for one in document["next"]]
        assert [what for what in said if what.startswith(following)], said
        assert all(len(line) <= 80 for line in lines(document))
        wait_until(lambda: live.ticked(document["supervisor"], reason), f"a tick to say {reason}", 60)


def test_no_reason_is_forgotten() -> None:
    """A hold-off takes another Redis: tests/integration/test_hold_off.py."""
    assert set(CASES) == set(SkipReason) - {SkipReason.HOLD_OFF}
