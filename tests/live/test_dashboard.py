"""S18: the dashboard's queries return data from a real Prometheus that scrapes a run with an incident in it."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest

from tests.live.system import System
from tests.monitoring import expressions
from tests.prometheus import Prometheus, prometheus_of
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]
FLOW = "line-2-vibration"


def test_s18_every_expression_of_the_dashboard_returns_data(running: System, tmp_path: Path) -> None:
    exporter = f"127.0.0.1:{running.ports[1]}"
    with prometheus_of(tmp_path, [exporter], job="supervisor") as prometheus:
        wait_until(lambda: prometheus.query("rate(supervisor_ticks_total[1m]) > 0"), "two scrapes", 20)
        flow, broker = running.worker(FLOW)["pid"], running.child("broker")["pid"]
        os.kill(broker, signal.SIGKILL)
        os.kill(flow, signal.SIGKILL)
        running.new_pid(FLOW, flow, 60)
        running.wait_for("circuit/plant-1", "state=closed")

        asked = expressions(job="supervisor", supervisor=".*", worker=FLOW)
        assert len(asked) > 15
        for name, text in asked.items():
            wait_until(lambda text=text: has_data(prometheus, text), f"data of {name}: {text}", 20)  # type: ignore[misc]


def has_data(prometheus: Prometheus, expression: str) -> bool:
    """Tell whether an expression has a value that can be drawn."""
    return any(math.isfinite(float(series["value"][1])) for series in prometheus.query(expression))
