"""A real Benthos with twenty streams of one template, looked after by a whole installation.

They run and pass messages on; what Benthos refuses is told in its own words; a flow whose target goes away is degraded
until that is back; one that only a new life can mend is given it by the rule; a killed Benthos is back with them all.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.model import ChildObserved
from tests.benthos_peer import program, version
from tests.certificates import Certificates, make_certificates
from tests.conftest import OwnRedis
from tests.live.pieces import NAME, Pieces, pieces_in
from tests.live.system import free_ports
from tests.live.targets import Target
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(300)]
NUMBER = 20
MANY = 3_000  # messages that have to pass
LONELY = "line-18-read"  # has a target of its own
SECURE = "line-19-read"  # has one that wants its certificate
FLOWS = {f"line-{number}-read" for number in range(NUMBER)}
SECONDS = 90.0  # of patience, on whatever machine


class Plant:
    """The installation, its Benthos, and the targets of its flows."""

    def __init__(self, pieces: Pieces, benthos: Path) -> None:
        """Have twenty flows; what they write to listens."""
        self.pieces, self.benthos = pieces, benthos
        self.port, common, lonely, secure = free_ports(4)
        self.shown = pieces.folder / "shown"  # the certificate of the flows
        self.target, self.lonely = Target(common), Target(lonely)
        self.secure = Target(secure, self.certificates("first"))
        (pieces.folder / "http.yaml").write_text(f"http:\n  address: 127.0.0.1:{self.port}\n")

    def certificates(self, name: str) -> Certificates:
        """Make certificates of a CA of that name, and put the client's where the flows look for theirs."""
        made = make_certificates(self.pieces.folder / name)
        self.shown.mkdir(exist_ok=True)
        for file in (made.pem("client"), made.key("client")):
            shutil.copy(file, self.shown)
        return made

    def fleet(self, network: str = "tcp") -> str:
        """Return the fleet; `network` is that of the lonely flow's output."""
        own = {
            LONELY: f'port = {self.lonely.port}, network = "{network}"',
            SECURE: f"port = {self.secure.port}, tls = true",
        }
        instances = "".join(
            f"""
[[instances]]
name = "line-{number}"
template = "reader"
node = "edge-1"
variables = {{ {own.get(f"line-{number}-read", "")} }}
"""
            for number in range(NUMBER)
        )
        command = json.dumps([str(self.benthos), "-c", "http.yaml", "streams"])
        return f"""
[supervisor]
name = "{NAME}"
tick_interval = "200ms"
observation_interval = "500ms"

[[children]]
name = "benthos"
type = "benthos"
node = "edge-1"
command = {command}
cwd = "{self.pieces.folder}"
check = {{ address = "127.0.0.1:{self.port}" }}

[[rules]]
name = "no-output"
child = "benthos"
worker_type = "dfc_read"
observed = {{ output_connected = false }}
lasts = "4s"

[[templates]]
name = "reader"
variables = {{ port = {self.target.port}, network = "tcp", tls = false }}

[[templates.workers]]
id = "${{name}}-read"
type = "dfc_read"
node = "${{node}}"
depends_on = ["benthos"]
[templates.workers.config]
benthos = "127.0.0.1:{self.port}"
min_uptime = "2s"
[templates.workers.config.stream.input.generate]
interval = "20ms"
mapping = 'root = {{"flow": "${{name}}-read", "n": counter()}}'
[templates.workers.config.stream.output.socket]
network = "${{network}}"
address = "127.0.0.1:${{port}}"
[templates.workers.config.stream.output.socket.tls]
enabled = "${{tls}}"
skip_cert_verify = true
client_certs = [{{ cert_file = "{self.shown}/client.pem", key_file = "{self.shown}/client.key" }}]
{instances}"""

    def apply(self, network: str = "tcp") -> None:
        """Apply the fleet by fsmctl."""
        file = self.pieces.folder / "fleet.toml"
        file.write_text(self.fleet(network))
        self.pieces.fsmctl("apply", "-f", str(file), "--yes")

    def asked(self, path: str) -> Any:
        """Return what Benthos says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
            return json.load(reply)

    def pid(self) -> int:
        """Return the process of Benthos."""
        store = self.pieces.store
        seen = store.read(ChildObserved, store.keys(NAME).observed("edge-1", "child/benthos"))
        assert seen is not None
        assert seen.pid
        return seen.pid

    def states(self) -> dict[str, str]:
        """Return the state of each worker, as fsmctl shows it."""
        shown = json.loads(self.pieces.fsmctl("get", "workers", "-o", "json"))
        return {one["id"]: one["state"] for one in shown}

    def wait_until_all_run(self) -> None:
        """Wait until all flows run; say of those that do not what fsmctl has to say of them."""
        all_run = dict.fromkeys(FLOWS, "running")
        try:
            wait_until(lambda: self.states() == all_run, "all flows to run", SECONDS)
        except AssertionError as error:
            late = [flow for flow, state in self.states().items() if state != "running"]
            told = "\n".join(self.pieces.fsmctl("explain", flow) for flow in late)
            raise AssertionError(f"{error}\n{told}") from None

    def wait_for(self, state: str, worker: str) -> None:
        """Wait until a flow is in a state."""
        self.pieces.fsmctl("wait", f"worker/{worker}", "--for", f"state={state}", "--timeout", "55s")

    def moves(self, worker: str, to: str) -> list[dict[str, str]]:
        """Return how a flow came into a state, each time."""
        return self.pieces.events(event="worker.transition", worker_id=worker, to=to)

    def restarts(self, worker: str) -> list[dict[str, str]]:
        """Return the restarts of a flow."""
        return self.pieces.events(event="action.claimed", worker_id=worker, action="restart")

    def wait_for_messages(self, flows: set[str], number: int) -> Counter[str]:
        """Wait until so many more messages have come, and some of each flow; return how many of each."""
        before = self._counted()

        def come() -> Counter[str] | None:
            more = self._counted() - before
            return more if set(more) >= flows and more.total() >= number else None

        return wait_until(come, f"{number} messages of {len(flows)} flows", SECONDS) or Counter()

    def _counted(self) -> Counter[str]:
        return self.target.counted + self.lonely.counted + self.secure.counted


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Yield an installation whose Benthos runs twenty streams of one template."""
    benthos, folder = program(), tmp_path_factory.mktemp("streams")
    redis = OwnRedis(folder)
    redis.start()
    try:
        with pieces_in(folder, redis.url) as pieces:
            made = Plant(pieces, benthos)
            made.apply()
            pieces.start_supervisor()
            pieces.start_node()
            made.wait_until_all_run()
            yield made
    finally:
        redis.kill()


def test_twenty_streams_of_one_template_run_in_one_benthos_and_thousands_of_messages_pass(plant: Plant) -> None:
    said = version(plant.benthos)
    sys.stdout.write(f"{plant.benthos}: {said}\n")
    assert plant.asked("/version")["version"] in said
    assert plant.asked("/version")["version"]
    streams = plant.asked("/streams")
    assert {stream for stream, one in streams.items() if one["active"]} == FLOWS
    passed = plant.wait_for_messages(FLOWS, MANY)
    sys.stdout.write(f"{passed.total()} messages of {len(passed)} flows\n")


def test_what_benthos_refuses_is_told_in_its_words_and_the_last_good_configuration_goes_on(plant: Plant) -> None:
    plant.apply(network="tpc")
    refusal = f"refuses stream {LONELY}: (1,1) value tpc is not a valid option for this field"

    def told() -> bool:
        return refusal in " ".join(plant.pieces.fsmctl("describe", "worker", LONELY).split())

    wait_until(told, f"{refusal!r} in fsmctl describe", SECONDS)
    ends = plant.pieces.events(event="action.ended", worker_id=LONELY, action="reconfigure", outcome="error")
    assert ends
    assert refusal in ends[0]["detail"]
    runs = plant.asked(f"/streams/{LONELY}")
    assert runs["active"]
    assert runs["config"]["output"]["socket"]["network"] == "tcp"
    plant.wait_for_messages({LONELY}, 50)
    plant.apply()
    plant.wait_until_all_run()


def test_a_flow_whose_target_goes_away_is_degraded_with_values_and_runs_when_that_is_back(plant: Plant) -> None:
    before = len(plant.moves(LONELY, "degraded"))
    plant.lonely.go()
    plant.wait_for("degraded", LONELY)
    reason = plant.moves(LONELY, "degraded")[before]["reason"]
    words, received, sent = reason.rsplit(", ", 2)
    assert words == "its stream runs, input connected, output not connected"
    assert int(received.removesuffix(" in")) >= int(sent.removesuffix(" out")) > 0
    assert {state for flow, state in plant.states().items() if flow != LONELY} == {"running"}, "no other flow suffers"
    plant.lonely.come()
    plant.wait_for("running", LONELY)
    plant.wait_for_messages({LONELY}, 50)


def test_a_flow_that_stays_without_output_though_benthos_is_well_is_given_a_new_life_by_the_rule(plant: Plant) -> None:
    """Its target comes to want a certificate of another CA; a stream reads the one it shows when it is made."""
    assert plant.restarts(SECURE) == []
    second = plant.certificates("second")
    plant.secure.go()
    plant.secure.come(second)
    plant.wait_for("degraded", SECURE)
    wait_until(lambda: plant.restarts(SECURE), "the rule to have it restarted", SECONDS)
    plant.wait_for("running", SECURE)
    plant.wait_for_messages({SECURE}, 50)
    (restart,) = plant.restarts(SECURE)
    assert restart["reason"].startswith("rule no-output: child benthos is ok and output_connected is False for ")
    (ended,) = plant.pieces.events(event="action.ended", worker_id=SECURE, action="restart")
    assert ended["outcome"] == "success"
    assert plant.secure.refusals, "its first life came, with the old certificate"


def test_a_killed_benthos_is_back_with_all_its_streams(plant: Plant) -> None:
    before = plant.pid()
    closed = len(plant.pieces.events(event="circuit.closed"))
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: len(plant.pieces.events(event="circuit.closed")) > closed, "the circuit to close again", SECONDS)
    plant.wait_until_all_run()
    assert plant.pid() != before
    assert set(plant.asked("/streams")) == FLOWS
    plant.wait_for_messages(FLOWS, MANY)
