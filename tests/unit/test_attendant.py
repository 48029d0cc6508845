"""The attendant's loop, with its parts in the test's hand."""

from __future__ import annotations

import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from supervisor.attendant import NodeAttendant
from supervisor.clock import FakeClock
from supervisor.errors import Refused
from supervisor.settings import Settings


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
    assert capfd.readouterr().err == "error: edge-1 is served by host h1\n"
