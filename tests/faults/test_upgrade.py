"""Two versions side by side, in both orders: nothing is lost, and what runs is not touched.

The newer one is this tree with more in every document and message than the older one knows. The older one is this tree
itself, and a release before it: the newest tag that it descends from, or where there is none yet, `BEFORE`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Scale
from tests.faults.harness import CELERY, ROOT, SUPERVISOR, Plant, Shape
from tests.loglines import lines_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.fault]
MakePlant = Callable[[Shape], Plant]
Report = Callable[..., None]
PACKAGES = ("supervisor", "workers", "actions", "celeryconfig.py")
BEFORE = "42e74c3234dee0a5c6918e4ed62b1a2d81e8835e"
STILL = """
[[workers]]
id = "still"
type = "process"
node = "edge-1"
config = { command = ["sleep", "86400"] }
"""
SHAPE = Shape(processes=0, floating=2, bound=2, life=3.0, effect=(0.2, 0.5), supervisors=2, beats=2, tables=STILL)
PARTS = ("supervisor-1", "supervisor-2", "beat-1", "beat-2", "edge-1", "edge-2")
HALF = ("supervisor-2", "beat-1", "edge-1")  # what is upgraded first, and rolled back first: so each meets each
TROUBLES = ("store.bad_document", "collector.bad_document", "message.refused", "tick.failed", "child.unreadable")


def newer(folder: Path) -> Path:
    """Write this tree as a release that knows more, and return the folder."""
    for name in PACKAGES:
        source, to = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)
    schema = "    schema: Literal[1] = 1\n"
    _edit(folder / "workers/model.py", schema, schema + '    later: str = msgspec.field(default_factory=lambda: "x")\n')
    lease = '"fsm_lease": {'
    _edit(folder / "supervisor/broker.py", lease, f'"fsm_later": "x", {lease}"later": 1, ')
    return folder


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file} has changed: {old!r}"
    file.write_text(text.replace(old, new))


def older(folder: Path) -> Path:
    """Write the release before this one, and return the folder; skip where the history does not have it."""
    folder.mkdir(parents=True)
    tags = _git("tag", "--merged", "HEAD", "--no-contains", "HEAD", "--sort=-v:refname")
    commit = (tags.stdout.split() or [BEFORE])[0]
    if _git("cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
        pytest.skip(f"{commit} is not in this checkout's history, which is shallow or an export")
    archive = subprocess.run(["git", "-C", ROOT, "archive", commit, *PACKAGES], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)


def change(plant: Plant, tree: Path, *names: str) -> None:
    """Stop pieces as an upgrade does, one after the other, and start each again from another tree."""
    for name in names:
        plant.extra[name] = {"PYTHONPATH": str(tree), "FSM_DRAIN_TIMEOUT": "30"}  # however busy this machine is
        if name not in plant.pieces:
            continue
        plant.pieces[name].end(60)
        if name.startswith("edge"):
            plant.start_node(name)
        elif name.startswith("beat"):
            plant.start_piece(name, (*CELERY, "beat"))
        else:
            plant.start_supervisor(name)


def has_later(plant: Plant) -> list[str]:
    """Return the keys whose document holds what only the newer version knows."""
    with plant.redis.client() as client:
        keys = [key for key in client.scan_iter(f"fsm:{SUPERVISOR}:*") if client.type(key) == "string"]
        return sorted(key for key, text in zip(keys, client.mget(keys), strict=True) if '"later"' in (text or ""))


@pytest.mark.slow
@pytest.mark.timeout(0)  # ten minutes of each order at full scale
@pytest.mark.parametrize("from_release", [False, True], ids=["of this tree", "of the release before"])
def test_two_versions_side_by_side_in_both_orders_lose_nothing(
    make_plant: MakePlant, scale: Scale, report: Report, tmp_path: Path, from_release: bool
) -> None:
    old = older(tmp_path / "older") if from_release else ROOT
    new = newer(tmp_path / "newer")
    plant = make_plant(SHAPE)
    change(plant, old, *PARTS)
    change(plant, new, "operator")  # who applies a fleet that the older version has to read
    plant.start()
    pid = wait_until(lambda: pid_of(plant, "still"), "the process that is never touched", 30)
    rest = tuple(name for name in PARTS if name not in HALF)
    for tree in (new, old):  # an upgrade, and its rollback
        change(plant, tree, *HALF)
        plant.wait_all_act(120)
        plant.let_pass(scale(10, 600))  # side by side
        assert has_later(plant), "the newer version wrote nothing that the older one does not know"
        change(plant, tree, *rest)
        plant.wait_all_act(120)
    plant.settle(90)

    assert plant.violations() == []
    assert all(piece.alive for piece in plant.pieces.values())
    lines = [line for piece in plant.pieces.values() for line in lines_of(piece.said())]
    assert [line for line in lines if line["event"] in TROUBLES] == []
    assert pid_of(plant, "still") == pid
    agree(plant)
    report("upgrade", side_by_side=scale(10, 600), of_release=from_release, effects=len(plant.begun()))


def agree(plant: Plant) -> None:
    """See that every claim has ended well, once, and that what began is what was claimed."""
    wait_until(lambda: not plant.in_progress(), "no action in progress", 30)
    claimed = [event["action_id"] for event in plant.events("action.claimed")]
    ended = [event["action_id"] for event in plant.events("action.ended")]
    assert sorted(claimed) == sorted(ended)
    assert {event["outcome"] for event in plant.events("action.ended")} == {"success"}
    told = {(event["worker_id"], event["token"]) for event in plant.events("action.claimed")}
    assert {(line["worker"], str(line["token"])) for line in plant.begun()} <= told


def pid_of(plant: Plant, worker: str) -> int | None:
    """Return the pid under which a process was last seen."""
    key = plant.store.keys(SUPERVISOR).observed("edge-1", worker)
    found: int | None = json.loads(plant.store.client.get(key) or "{}").get("pid")
    return found
