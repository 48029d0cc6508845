"""A full disk under the data folder: what runs goes on and is watched; what has to be written first is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from actions.model import ActionError
from supervisor.attendant import CollectorWatch, write_heartbeat
from tests.integration.processes import Yard, held, sh
from tests.small_disk import fill, small_disk
from tests.waiting import wait_until
from workers import minder
from workers.drivers.process import look


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 1 MB; takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, megabytes=1):
        yield folder


@pytest.fixture
def full_yard(disk: Path) -> Iterator[Yard]:
    """Return a yard on the small disk."""
    made = Yard(disk / "yard")
    made.root.mkdir()
    yield made
    made.clear()


def test_a_process_that_prints_on_a_full_disk_lives_on_and_prints_again_when_there_is_room(full_yard: Yard) -> None:
    beats = full_yard.root.parent.parent / "beats"
    component = full_yard.make(*sh(f"while :; do printf '%4000s' line; echo x >> {beats}; sleep 0.01; done"))
    started = component.start(1)
    ballast = full_yard.root / "ballast"
    fill(ballast)
    at = beats.stat().st_size
    wait_until(lambda: beats.stat().st_size >= at + 100, "it to have printed a hundred times more")
    assert look(component.folder).pid == started.pid
    log = component.folder / "output.log"
    size = log.stat().st_size
    ballast.unlink()
    wait_until(lambda: log.stat().st_size > size, "its output to be kept again")


def test_on_a_full_disk_a_stop_is_refused_in_words_and_nothing_dies(full_yard: Yard) -> None:
    component = full_yard.make()
    started = component.start(1)
    ballast = full_yard.root / "ballast"
    fill(ballast)
    with pytest.raises(ActionError, match=r"the token cannot be kept in .*No space left"):
        component.stop(2)
    assert held(component.folder) == [started.pid]
    ballast.unlink()
    component.stop(3)
    assert held(component.folder) == []


def test_on_a_full_disk_a_start_is_refused_in_words_and_leaves_nothing(full_yard: Yard) -> None:
    fill(full_yard.root / "ballast")
    component = full_yard.make()
    with pytest.raises((ActionError, OSError), match="No space left"):
        component.start(1)
    assert held(component.folder) == []


def test_a_process_that_ends_on_a_full_disk_is_seen_to_have_ended(full_yard: Yard) -> None:
    component = full_yard.make()
    started = component.start(1)
    fill(full_yard.root / "ballast")
    os.kill(started.pid, 15)
    wait_until(lambda: look(component.folder).ended is not None, "its end to be seen")
    assert look(component.folder).pid is None


def test_a_commands_output_is_answered_though_it_cannot_be_kept(disk: Path) -> None:
    log = minder.Log(str(disk / "output.log"), "start")
    fill(disk / "ballast")
    for _ in range(600):
        log.write(b"x" * 4096)
    log.write(b"the end")
    assert log.tail.endswith(b"the end")


def test_a_collector_on_a_full_disk_still_says_that_it_lives(disk: Path) -> None:
    (disk / "nodes" / "edge-1").mkdir(parents=True)
    now = 100.0
    watch = CollectorWatch(disk, "edge-1", lambda: now)
    write_heartbeat(disk, "edge-1", 100.0)
    fill(disk / "ballast")
    write_heartbeat(disk, "edge-1", 107.0)
    now = 110.0
    process, silence = watch._living()
    assert process is not None
    assert (process.pid, silence) == (os.getpid(), 3.0)
