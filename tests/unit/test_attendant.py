"""The attendant's loop, with its parts in the test's hand."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor.attendant import CollectorWatch, NodeAttendant
from supervisor.clock import FakeClock
from supervisor.errors import Refused
from supervisor.settings import Settings
from tests.loglines import lines_of


class Renewals:
    """Counts the looks, and ends the loop after some."""

    in_flight = 0

    def __init__(self, stop: threading.Event, looks: int) -> None:
        self.stop = stop
        self.looks = looks

    def wait(self, seconds: float) -> None:
        """Nothing is ever reported."""

    def look(self) -> None:
        self.looks -= 1
        if self.looks == 0:
            self.stop.set()


def test_an_executor_whose_nodes_name_another_host_has_taken_is_stopped_once_and_attended_to_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runtime: Any = type("Runtime", (), {})()
    runtime.clock, runtime.leases = FakeClock(), None
    runtime.settings = Settings.from_env({"FSM_DATA_DIR": str(tmp_path)})
    attendant = NodeAttendant(runtime, None, "edge-1@h2", 2, list, queue.SimpleQueue(), lambda: False)
    stop, signals = threading.Event(), []
    renewals: Any = Renewals(stop, looks=20)

    def refuse(left: bool) -> None:
        raise Refused("edge-1 is served by host h1")

    monkeypatch.setattr(attendant, "_renewal", renewals)
    monkeypatch.setattr(attendant, "_heartbeat", refuse)
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    attendant.run(stop)
    assert renewals.looks == 0
    assert signals == [(os.getpid(), signal.SIGTERM)]
    (line,) = lines_of(capfd.readouterr().err)
    assert (line["level"], line["event"], line["error"]) == ("error", "executor.refused", "edge-1 is served by host h1")


# -- the collector's replacement --------------------------------------------------------------------------------------


class Collectors:
    """Stands in for processes: what is started dies at once, or lives on in silence."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, dies: bool) -> None:
        self.now, self.started, self.killed = 1000.0, list[float](), 0
        self.dies = dies
        self.watch = CollectorWatch(folder, "edge-1", lambda: self.now)
        monkeypatch.setattr(subprocess, "Popen", self.start)
        monkeypatch.setattr(psutil, "Process", lambda _pid: self)
        self.pid = 77

    def start(self, *_: object, **__: object) -> Collectors:
        self.started.append(self.now)
        return self

    def poll(self) -> int | None:
        return 1 if self.dies else None

    def kill(self) -> None:
        self.killed += 1

    def look_for(self, seconds: float) -> list[float]:
        """Look twice a second; return the pauses between what was started."""
        for _ in range(int(seconds * 2)):
            self.watch.look()
            self.now += 0.5
        return [later - earlier for earlier, later in itertools.pairwise(self.started)]


def test_a_collector_that_dies_at_once_is_replaced_after_2_4_6_and_then_every_60_seconds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Collectors(monkeypatch, tmp_path, dies=True).look_for(200) == [2.0, 4.0, 6.0, 60.0, 60.0, 60.0]


def test_a_collector_that_is_started_and_never_says_that_it_lives_is_killed_and_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    silent = Collectors(monkeypatch, tmp_path, dies=False)
    assert silent.look_for(100) == [10.0, 10.0, 10.0, 60.0]
    assert silent.killed == 4
