"""S19: alerts and recording rules, by promtool; what they name exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.plant import Plant
from tests.monitoring import (
    ALERTMANAGER,
    PROMETHEUS,
    RUNBOOKS,
    alerts,
    anchors,
    exported,
    load,
    names_in,
    program,
    promtool,
    rules,
)

TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))
CASES = [case for path in TESTS for case in load(path)["tests"]]
COUNTERS = re.compile(r"_total\b|_bucket\b")


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
    known = exported(plant.runtime) | {rule["record"] for rule in rules() if "record" in rule}
    read = {name: rule for rule in rules() for name in names_in(rule["expr"])}
    assert len(read) > 15
    assert {name: rule for name, rule in read.items() if name not in known} == {}


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_s19_alerts_fire_hold_off_and_resolve_when_they_should(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", str(path))


@pytest.mark.parametrize("alert", alerts(), ids=called)
def test_s19_every_alert_has_a_case_of_each_kind(alert: dict[str, Any]) -> None:
    fires, holds_off, resolves, reset = (
        [firing(case, alert) for case in CASES if case["name"].startswith(f"{called(alert)} {kind}")]
        for kind in ("fires", "holds off", "resolves", "counter reset")
    )
    assert fires
    assert all(all(times) for times in fires)
    if alert["alert"] == "SupervisorWatchdog":
        return
    assert holds_off
    assert not any(any(times) for times in holds_off)
    assert resolves
    assert all(times[0] and not times[-1] for times in resolves)
    assert bool(reset) == reads_counters(alert["expr"])
    assert all(any(times) for times in reset)


def firing(case: dict[str, Any], alert: dict[str, Any]) -> list[bool]:
    """Tell whether a case expects an alert, at each of its times in turn."""
    checks = case["alert_rule_test"]
    assert {check["alertname"] for check in checks} == {alert["alert"]}, case["name"]
    severity = alert["labels"]["severity"]
    return [any(one["exp_labels"]["severity"] == severity for one in check["exp_alerts"]) for check in checks]


def reads_counters(expression: str) -> bool:
    """Tell whether an expression goes by what only grows, itself or through a recorded one."""
    recorded = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    inner = [recorded[name] for name in names_in(expression) if name in recorded]
    return COUNTERS.search(expression) is not None or any(map(reads_counters, inner))
