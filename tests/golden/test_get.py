"""What `fsmctl get` prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from supervisor.cli import output
from supervisor.clock import SystemClock
from supervisor.keys import celery_prefix
from supervisor.model import Lease, Stage
from tests.golden import golden, golden_shape
from tests.golden.conftest import Run
from tests.golden.plant import NOW, GoldenPlant

KINDS = ("workers", "children", "nodes", "actions", "circuit", "incidents", "leases", "queues")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_as_a_table_a_wide_one_and_names(run: Run, kind: str) -> None:
    plain = run("get", kind)
    golden(f"get-{kind}.txt", plain.text)
    golden(f"get-{kind}-wide.txt", run("get", kind, "-o", "wide").text)
    names = run("get", kind, "-o", "name").stdout.splitlines()
    assert [name.partition("/")[2] for name in names] == ids(run, kind)
    assert [run("get", name, "-o", "name").stdout.splitlines() for name in names] == [[name] for name in names]


def ids(run: Run, kind: str) -> list[str]:
    rows: list[dict[str, Any]] = json.loads(run("get", kind, "-o", "json").stdout)
    return [output.name_of(row) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_as_json_and_the_same_as_yaml(run: Run, kind: str) -> None:
    text = run("get", kind, "-o", "json").stdout
    golden_shape(f"get-{kind}.shape.json", text)
    assert yaml.safe_load(run("get", kind, "-o", "yaml").stdout) == json.loads(text)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("children", "circuit", "incidents")])
def test_the_tables_of_a_plant_fit_80_columns(run: Run, kind: str) -> None:
    assert max(len(line) for line in run("get", kind).stdout.splitlines()) <= 80


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["-l", "line=1,type=process"], "line-1-pressure line-1-temperature"),
        (["-l", "line=1", "--phase", "degraded"], "line-1-vibration"),
        (["-l", "type!=process", "-l", "supervisor=plant-1"], "line-1-vibration line-4-scale site-uplink"),
        (["--state", "running", "--node", "edge-2"], "line-4-camera"),
        (["--node", "pool"], "site-uplink"),
        (["--phase", "unknown,failed"], "line-2-flow line-4-camera line-4-scale"),
        (["--state", "running", "--sort", "-for"], "line-4-camera line-2-level line-1-temperature"),
        (
            ["--node", "edge-1", "--state", "running,failed", "--sort", "restarts"],
            "line-2-level line-1-temperature line-2-flow",
        ),
        (["line-2-l", "worker/site"], "line-2-level site-uplink"),
    ],
)
def test_workers_are_chosen_and_sorted(run: Run, arguments: list[str], found: str) -> None:
    names = run("get", "workers", "-o", "name", *arguments)
    assert names.stdout.split() == [f"worker/{one}" for one in found.split()], names.text


def test_nothing_that_fits_is_said_on_stderr_and_is_an_empty_list_for_scripts(run: Run) -> None:
    assert run("get", "workers", "--state", "nonesuch").text == "stderr: no workers\n"
    assert run("get", "workers", "--state", "nonesuch", "-o", "json").text == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["flows"],
        ["worker/line-1"],
        ["worker", "line-9-flow"],
        ["worker/line-1-pressure", "node/edge-1"],
        ["workers", "-l", "line"],
        ["workers", "--sort", "colour"],
        ["children", "--phase", "running"],
        ["circuit", "--node", "edge-1"],
    ],
)
def test_what_cannot_be_listed_is_one_sentence(run: Run, arguments: list[str]) -> None:
    golden(f"get-error-{'-'.join(arguments).replace('/', '-')}.txt", run("get", *arguments).text)


def test_queues_hold_messages_and_leases_that_wait_for_one(run: Run, plant: GoldenPlant) -> None:
    plant.store.client.rpush(celery_prefix("test") + "actions.edge-1", "a", "b")
    lease = Lease(
        worker_id="line-3-valve",
        action="start",
        action_id="a9",
        token="1",
        stage=Stage.QUEUED,
        claimed_at=NOW - 12,
        deadline=NOW + 18,
    )
    plant.put(plant.keys.lease("edge-1", "line-3-valve"), lease)
    (row,) = json.loads(run("get", "queue/actions.edge-1", "-o", "json").stdout)
    assert row == {
        "name": "actions.edge-1",
        "node": "edge-1",
        "messages": 2,
        "queued": 1,
        "oldest_seconds": 12.0,
        "slots": 5,
    }
    assert run("get", "leases", "--state", "queued").stdout.splitlines()[1].split() == [
        *("line-3-valve", "queued", "start", "12s", "in", "18s", "-"),
    ]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what is done between the looks of --watch, in turn; then the operator has seen enough."""
    acts: list[Any] = []

    def sleep(self: SystemClock, seconds: float) -> None:
        if not acts:
            raise KeyboardInterrupt
        acts.pop(0)()

    monkeypatch.setattr(SystemClock, "sleep", sleep)
    return acts


def test_watching_into_a_pipe_appends_what_has_news(run: Run, plant: GoldenPlant, looks: list[Any]) -> None:
    def stop() -> None:
        plant.store.set_override("plant-1", "edge-1", "line-1-temperature", "stopped", "pat@desk")

    looks += [lambda: None, stop, lambda: None]
    shown = run("get", "workers", "--watch", "--node", "edge-1", "-l", "line=1")
    assert shown.exit_code == 130
    golden("get-workers-watch.txt", shown.stdout)


def test_watching_json_is_one_object_a_line(run: Run, looks: list[Any]) -> None:
    lines = run("get", "nodes", "--watch", "-o", "json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["edge-1", "edge-2"]


def test_long_cells_are_cut_on_a_terminal_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run("get", "circuit").stdout
    monkeypatch.setattr(output, "room", lambda: 60)
    cut = run("get", "circuit").stdout
    assert max(len(line) for line in cut.splitlines()) == 60
    assert cut.splitlines()[1].endswith("…")
    assert "…" not in whole + run("get", "circuit", "-o", "wide").stdout


@pytest.mark.slow
def test_the_benchmark_of_fsmctl_still_runs() -> None:
    used = [sys.executable, "-m", "tests.benchmarks.bench_cli", "--workers", "20", "--runs", "2"]
    done = subprocess.run(used, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # whether it is within its bars is not asked of a busy machine
    assert "fleet     20 workers\n" in done.stdout
    assert re.search(r"fsmctl get workers +n +2  median \d.* bar 1 s: (ok|MISSED)", done.stdout)
