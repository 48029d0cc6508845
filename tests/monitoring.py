"""What is in compose/ for Prometheus, Alertmanager and Grafana, as tests read it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from supervisor.exporter import StoreCollector
from supervisor.runtime import Runtime
from tests.conftest import missing

ROOT = Path(__file__).parent.parent
PROMETHEUS = ROOT / "compose" / "prometheus"
ALERTMANAGER = ROOT / "compose" / "alertmanager" / "alertmanager.yml"
DASHBOARD = ROOT / "compose" / "grafana" / "dashboards" / "supervisor.json"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package."""
    return shutil.which(name) or str(missing(f"no {name}: apt-get install {package}"))


def promtool(*arguments: str) -> str:
    """Run promtool, which has to succeed, in the folder of the Prometheus files; return what it prints."""
    command = [program("promtool", "prometheus"), *arguments]
    run = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, f"{arguments}: {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run.stdout


def load(path: Path) -> Any:
    """Return what a YAML file says."""
    return yaml.safe_load(path.read_text())


def rules() -> Iterator[dict[str, Any]]:
    """Yield every alert and recording rule."""
    for path in sorted([*PROMETHEUS.glob("rules/*.yml"), *PROMETHEUS.glob("alerts/*.yml")]):
        for group in load(path)["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    """Return every alert; one that is both a warning and critical is there twice."""
    return [rule for rule in rules() if "alert" in rule]


def exported(runtime: Runtime) -> frozenset[str]:
    """Return the name of every series that the exporter makes, whether it has a value now or not."""
    families = StoreCollector(runtime).collect()
    return frozenset(family.name + suffix for family in families for suffix in _SUFFIXES[family.type])


def names_in(expression: str) -> frozenset[str]:
    """Return the supervisor's metrics, recorded ones included, that an expression of PromQL reads."""
    words = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.sub(r'"[^"]*"', "", expression))
    return frozenset(word for word in words if word.startswith(("supervisor_", "supervisor:")))


def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def expressions(**chosen: str) -> dict[str, str]:
    """Return every expression of the dashboard by its panel and letter, with the variables `chosen` put in."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {note["name"]: note["expr"] for note in dashboard["annotations"]["list"]}
    for panel in dashboard["panels"]:
        found |= {f"{panel['title']} {target['refId']}": target["expr"] for target in panel.get("targets", ())}
    return {name: re.sub(r"\$(\w+)", lambda used: chosen[used[1]], text) for name, text in found.items()}
