"""S18: the dashboard is valid; that its queries return data is shown in tests/live/test_dashboard.py."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.integration.plant import Plant
from tests.monitoring import (
    DASHBOARD,
    ROOT,
    RUNBOOKS,
    alerts,
    anchors,
    exported,
    expressions,
    names_in,
    promtool,
)

CHOSEN = {"job": "supervisor", "supervisor": ".*", "worker": "flow-1"}


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels, rows included."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def test_the_dashboard_is_what_its_program_makes() -> None:
    command = [sys.executable, str(DASHBOARD.parent / "build.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr


def test_s18_every_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    found = expressions(**CHOSEN)
    records = [{"record": f"r{number}", "expr": text} for number, text in enumerate(found.values())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    assert f"SUCCESS: {len(found)} rules found" in promtool("check", "rules", str(path))


def test_s18_every_metric_of_the_dashboard_is_exported(plant: Plant) -> None:
    known = exported(plant.runtime)
    read = {name for text in expressions(**CHOSEN).values() for name in names_in(text)}
    assert read - known == set()


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in panels()]
    assert len(set(numbers)) == len(numbers)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels())
        for x, y in itertools.product(
            range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        )
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_links_lead_to_runbooks_of_alerts() -> None:
    linked = {link["url"] for panel in panels() for link in panel.get("links", ())}
    pages, found = zip(*(url.split("#") for url in linked), strict=True)
    assert set(pages) == {"${runbooks}"}
    assert set(found) <= {alert["alert"].lower() for alert in alerts()} & anchors(RUNBOOKS)
    assert len(found) > 10


def test_the_plans_four_panels_are_there() -> None:
    found = expressions(**CHOSEN)
    here = 'job="supervisor",supervisor=~".*"'
    assert found["Circuit breaker status A"] == f"max by (supervisor) (supervisor_circuit_breaker_open{{{here}}})"
    assert found["Infrastructure failures A"] == (
        "sum by (supervisor) (max without (instance) "
        f"(rate(supervisor_infrastructure_check_failures_total{{{here}}}[5m])))"
    )
    assert (
        found["Action queue depth A"] == f"sum by (queue) (max without (instance) (supervisor_queue_depth{{{here}}}))"
    )
    assert found["Action duration p95 A"] == (
        "histogram_quantile(0.95, sum by (le, action_type) "
        f"(rate(supervisor_action_duration_seconds_bucket{{{here}}}[5m])))"
    )


def test_grafana_is_told_where_prometheus_and_the_dashboard_are() -> None:
    folder = ROOT / "compose" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "supervisor.yml").read_text())["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    assert (provider["type"], provider["options"]) == ("file", {"path": "/etc/grafana/dashboards"})
