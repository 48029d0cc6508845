"""What fsmctl explains, plans and compares: whole texts in 80 columns, and the keys of the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from supervisor.decide import decide
from supervisor.frames import Outcome, frame_of, outcomes
from supervisor.runtime import make_runtime
from supervisor.store import encode
from supervisor.view import load_world
from tests.golden import golden, golden_shape
from tests.golden.conftest import Run
from tests.golden.plant import NAME, NOW, GoldenPlant
from tests.integration.plant import settings

TARGETS = (
    "worker/line-1-temperature",
    "worker/line-1-pressure",
    "worker/line-2-flow",
    "worker/line-2-level",
    "worker/line-3-valve",
    "worker/line-4-camera",
    "worker/line-4-scale",
    "worker/site-uplink",
    "child/historian",
    "child/mes",
    "node/edge-1",
    "node/edge-2",
    "circuit/plant-1",
)
FLEET = """
[supervisor]
name = "plant-1"
nodes = ["edge-1", "edge-2"]
tick_interval = "2s"

[[children]]
name = "broker"
type = "redis"
node = "edge-1"
command = ["redis-server", "--port", "7390"]
cwd = "/srv"
check = { address = "127.0.0.1:7391" }

[[workers]]
id = "line-1-temperature"
type = "process"
node = "edge-1"
depends_on = ["broker"]
config = { command = ["python3", "flow.py", "--tag", "line-1.temperature"], cwd = "/", env = { DB_PASSWORD = "x" } }

[[workers]]
id = "line-2-level"
type = "process"
node = "edge-2"
config = { command = ["sleep", "300"], cwd = "/" }

[[workers]]
id = "line-4-scale"
type = "process"
node = "edge-1"
config = { command = ["sleep", "300"], cwd = "/" }

[[workers]]
id = "line-5-new"
type = "process"
node = "edge-2"
config = { command = ["sleep", "300"], cwd = "/" }
"""


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    """Return a fleet file that differs from the plant's in every way that one can."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return str(path)


@pytest.mark.parametrize("target", TARGETS)
def test_an_explanation_reads_as_sentences(run: Run, target: str) -> None:
    shown = run("explain", target)
    golden(f"explain/{target.replace('/', '-')}.txt", shown.text)
    assert max(len(line) for line in shown.text.splitlines()) <= 80


@pytest.mark.parametrize("kind", ["worker", "child", "node", "circuit"])
def test_an_explanation_has_the_same_keys_each_time(run: Run, kind: str) -> None:
    found = [run("explain", target, "-o", "json").stdout for target in TARGETS if target.startswith(kind)]
    golden_shape(f"explain/{kind}.json", f"[{','.join(found)}]")


def test_an_id_may_be_bare_or_its_beginning(run: Run) -> None:
    assert run("explain", "line-2-fl").text == run("explain", "worker/line-2-flow").text
    assert run("explain", "circuit/plant").text == run("explain", "circuit/plant-1").text
    assert run("explain", "node/edge-2").exit_code == 0


@pytest.mark.parametrize(
    "target", ["line-9", "line-2-flo/w", "broker/x", "circuit/plantation", "node/edge", "child/historiam"]
)
def test_what_cannot_be_explained_is_said_in_a_sentence(run: Run, target: str) -> None:
    golden(f"explain/error-{target.replace('/', '-')}.txt", run("explain", target).text)


def test_the_plan_of_the_next_tick(run: Run) -> None:
    shown = run("plan")
    golden("plan/plan.txt", shown.text)
    assert max(len(line) for line in shown.text.splitlines()) <= 80
    golden_shape("plan/plan.json", run("plan", "-o", "json").stdout)


def test_a_diff_shows_each_key_that_differs_and_exits_with_1(run: Run, fleet: str) -> None:
    shown = run("diff", "-f", fleet)
    golden("diff/diff.txt", shown.text)
    assert max(len(line) for line in shown.text.splitlines()) <= 80
    found = json.loads(run("diff", "-f", fleet, "-o", "json").stdout)
    for changed in [found[0], *found[0]["changed"], *found[0]["moving"]]:  # a value is whatever the file may hold there
        changes = changed["settings"] if "settings" in changed else changed["changes"]
        changes[:] = [{**change, "old": "any", "new": "any"} for change in changes]
    golden_shape("diff/diff.json", json.dumps(found))


def test_a_dry_run_of_apply_shows_the_same_and_an_apply_that_removes_needs_a_yes(run: Run, fleet: str) -> None:
    compared = run("diff", "-f", fleet)
    assert run("apply", "-f", fleet, "--dry-run").stdout == compared.stdout
    golden("apply/refused.txt", run("apply", "-f", fleet).text)
    assert run("diff", "-f", fleet).stdout == compared.stdout
    golden("apply/applied.txt", run("apply", "-f", fleet, "--yes", "--reason", "line 3 is dismantled").text)
    golden("diff/none.txt", run("diff", "-f", fleet).text)


@pytest.fixture
def history(plant: GoldenPlant, tmp_path: Path) -> None:
    """Keep what a tick decides now of two workers; of one as if it had been decided otherwise."""
    runtime = make_runtime(settings(tmp_path), plant.store)
    index = plant.store.index(NAME)
    assert index is not None
    world = load_world(runtime, NAME, index, NOW)
    found = outcomes(decide(world).plan)
    for subject in world.view.subjects:
        if subject.id in ("line-2-level", "line-1-temperature") and subject.snapshot is not None:
            outcome = found.get(subject.id, Outcome(state="degraded", reason="pid 301 runs too hot"))
            frame = frame_of(subject, subject.snapshot, world.view, {}, outcome)
            fields = {"worker_id": subject.id, "frame": encode(frame)}
            plant.store.client.xadd(plant.keys.history(subject.place), fields)


@pytest.mark.usefixtures("history")
def test_a_replay_shows_what_would_be_decided_otherwise(run: Run) -> None:
    golden("replay/differs.txt", run("replay", "line-1-temperature").text)
    golden("replay/same.txt", run("replay", "line-2-level", "--all").text)
    golden("replay/nothing.txt", run("replay", "line-3-motor", "--since", "30s").text)
    golden("replay/child.txt", run("replay", "child/broker").text)
    golden_shape("replay/replay.json", run("replay", "line-1-temperature", "-o", "json").stdout)
