"""S19: alerts and recording rules, by promtool; what they name exists."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest

from tests.integration.plant import Plant
from tests.monitoring import (
    ALERTMANAGER,
    PROMISED,
    RUNBOOKS,
    alerts,
    anchors,
    exported,
    names_in,
    program,
    promtool,
    rules,
)


def called(alert: dict[str, Any]) -> str:
    """Return the name of an alert with its severity."""
    return f"{alert['alert']} {alert['labels']['severity']}"


def test_prometheus_takes_its_configuration_with_all_rules() -> None:
    assert "SUCCESS: 2 rule files found" in promtool("check", "config", "prometheus.yml")


def test_alertmanager_takes_its_configuration() -> None:
    command = [program("amtool", "prometheus-alertmanager"), "check-config", str(ALERTMANAGER)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("alert", alerts(), ids=called)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    notes = alert["annotations"]
    assert re.fullmatch(r"Supervisor[A-Z]\w+", alert["alert"])
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert sorted(notes) == ["description", "runbook_url", "summary"]
    assert "{{" not in notes["summary"]
    assert "{{" in notes["description"] or alert["alert"] == "SupervisorWatchdog"
    page, _, anchor = notes["runbook_url"].partition("#")
    assert page == "docs/runbooks.md"
    assert anchor == alert["alert"].lower()
    assert anchor in anchors(RUNBOOKS)


def test_every_metric_that_a_rule_reads_is_exported_or_recorded(plant: Plant) -> None:
    known = exported(plant.runtime) | PROMISED | {rule["record"] for rule in rules() if "record" in rule}
    read = {name: rule for rule in rules() for name in names_in(rule["expr"])}
    assert len(read) > 15
    assert {name: rule for name, rule in read.items() if name not in known} == {}
