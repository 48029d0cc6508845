"""What the Docker driver makes of the states that an engine tells; the ones that are hard to bring about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.drivers.docker import DockerComponent

# as docker 20.10 inspects a container that has run
ENDED: dict[str, Any] = {
    "Status": "exited",
    "Running": False,
    "Paused": False,
    "Restarting": False,
    "OOMKilled": False,
    "Dead": False,
    "Pid": 0,
    "ExitCode": 137,
    "Error": "",
    "StartedAt": "2026-01-01T00:00:00.123456789Z",
    "FinishedAt": "2026-01-01T00:00:10.5Z",
}
ONE = DockerComponent("flow", Path("/nowhere"), "flow")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "as by signal 9"),
        ({"OOMKilled": True}, "out of memory"),
        ({"Error": "no space left on device"}, "no space left on device"),
        ({"ExitCode": 3}, None),
    ],
)
def test_an_end_is_told_with_its_reason(changes: dict[str, Any], reason: str | None) -> None:
    ended = ONE._looked({**ENDED, **changes}).ended
    assert ended is not None
    assert (ended["code"], ended.get("reason")) == (changes.get("ExitCode", 137), reason)
    assert ended["started_ago"] - ended["ended_ago"] == pytest.approx(10.376543, abs=1e-3)


def test_a_container_that_waits_for_its_restart_does_not_run() -> None:
    waits = {**ENDED, "Status": "restarting", "Running": True, "Restarting": True}
    assert ONE._looked(waits).incarnation is None


def test_a_container_that_was_never_started_has_no_end() -> None:
    look = ONE._looked({**ENDED, "Status": "created", "StartedAt": "0001-01-01T00:00:00Z"})
    assert (look.incarnation, look.ended) == (None, None)
