"""Writes supervisor.json, the dashboard for Grafana 10 or newer, beside this file: `build.py [--check]`.

Every exporter reads the same Redis, so several tell the same: `max without (instance)` counts it once, and quantiles
need no such care.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "supervisor.json"
HERE = 'job="$job",supervisor=~"$supervisor"'  # what a series of the chosen supervisors has
WORKER = f'{HERE},worker_id="$worker"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT, WIDTH = 7, 24  # of a panel and of the page, in Grafana's units
GREEN, YELLOW, RED, CLEAR = "green", "yellow", "red", "transparent"


@dataclass(frozen=True)
class Panel:
    """One panel: legend → PromQL, the alert whose runbook it links to, the colours from each value on."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    alert: str = ""
    stacked: bool = False
    steps: tuple[tuple[float | None, str], ...] = ((None, GREEN),)
    words: tuple[str, ...] = ()  # what is shown instead of 0, 1, …
    signed: bool = False


def quantile(part: float, metric: str, by: str = "le", where: str = HERE) -> str:
    """Return the quantile of a histogram over the last five minutes."""
    return f"histogram_quantile({part}, sum by ({by}) (rate({metric}_bucket{{{where}}}[5m])))"


def rates(metric: str, by: str, where: str = HERE) -> str:
    """Return how often a second a counter grew over the last five minutes."""
    return f"sum by ({by}) (max without (instance) (rate({metric}{{{where}}}[5m])))"


def now(metric: str, by: str, where: str = HERE) -> str:
    """Return the values of a metric as they are, added up to the labels `by`."""
    return f"sum by ({by}) (max without (instance) ({metric}{{{where}}}))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "State": (
        Panel(
            "Circuit breaker status",
            {"{{supervisor}}": f"max by (supervisor) (supervisor_circuit_breaker_open{{{HERE}}})"},
            kind="stat",
            about="Half open counts as not open.",
            alert="SupervisorCircuitOpen",
            steps=((None, GREEN), (1, RED)),
            words=("not open", "open"),
        ),
        Panel(
            "Escalations",
            {"{{supervisor}}": now("supervisor_escalations_active", "supervisor")},
            kind="stat",
            about="Restarting has not helped: a person has to look.",
            alert="SupervisorEscalationActive",
            steps=((None, GREEN), (1, RED)),
        ),
        Panel(
            "Last tick",
            {"{{supervisor}}": f"time() - max by (supervisor) (supervisor_last_tick_timestamp_seconds{{{HERE}}})"},
            unit="s",
            kind="stat",
            about="How long ago the last tick began.",
            alert="SupervisorTickStale",
            steps=((None, GREEN), (5, YELLOW), (15, RED)),
        ),
        Panel(
            "Not as desired",
            {"{{worker_type}}": now("supervisor_desired_mismatch", "worker_type")},
            kind="stat",
            alert="SupervisorWorkersNotConverging",
            steps=((None, GREEN), (1, YELLOW)),
        ),
        Panel(
            "Circuit",
            {"{{supervisor}} {{state}}": f"max by (supervisor, state) (supervisor_circuit_state{{{HERE}}})"},
            kind="state-timeline",
            alert="SupervisorCircuitOpen",
            steps=((None, CLEAR), (1, YELLOW)),
            words=("", "is"),
        ),
        Panel(
            "Circuit by force",
            {"{{supervisor}} {{state}}": f"max by (supervisor, state) (supervisor_circuit_forced{{{HERE}}})"},
            kind="state-timeline",
            about="An operator's wish, over the checks', until it is reset.",
            alert="SupervisorCircuitForced",
            steps=((None, CLEAR), (1, YELLOW)),
            words=("", "forced"),
        ),
        Panel(
            "Infrastructure failures",
            {"{{supervisor}}": rates("supervisor_infrastructure_check_failures_total", "supervisor")},
            unit="cps",
            about="Failed checks of children a second.",
            alert="SupervisorInfrastructureFailing",
        ),
        Panel(
            "Fleet by state",
            {"{{worker_type}} {{state}}": now("supervisor_fleet_workers", "worker_type, state")},
            stacked=True,
        ),
        Panel(
            "Fleet by phase",
            {"{{phase}}": now("supervisor_workers", "phase")},
            stacked=True,
        ),
        Panel(
            "Longest not as desired",
            {
                "{{supervisor}}": (
                    f"time() - (max by (supervisor) (supervisor_oldest_mismatch_timestamp_seconds{{{HERE}}}) > 0)"
                    f" or max by (supervisor) (supervisor_oldest_mismatch_timestamp_seconds{{{HERE}}})"
                )
            },
            unit="s",
            alert="SupervisorWorkersNotConverging",
        ),
        Panel(
            "Workers by condition",
            {"{{condition}}": now("supervisor_worker_conditions", "condition")},
            alert="SupervisorWorkersQuarantined",
        ),
        Panel(
            "Put into quarantine",
            {"{{reason}}": rates("supervisor_quarantines_total", "reason")},
            unit="ops",
            alert="SupervisorWorkersQuarantined",
        ),
    ),
    "Work": (
        Panel(
            "Action queue depth",
            {"{{queue}}": now("supervisor_queue_depth", "queue")},
            about="Claimed and not begun.",
            alert="SupervisorQueueNotServed",
        ),
        Panel(
            "Oldest in a queue",
            {"{{queue}}": f"max by (queue) (supervisor_queue_oldest_age_seconds{{{HERE}}})"},
            unit="s",
            alert="SupervisorQueueNotServed",
        ),
        Panel(
            "Queue wait",
            {
                f"p{part:.0%}".rstrip("%"): quantile(part, "supervisor_action_queue_wait_seconds")
                for part in (0.5, 0.95, 0.99)
            },
            unit="s",
            about="From claim to begin.",
            alert="SupervisorQueueWaitHigh",
        ),
        Panel(
            "Action duration p95",
            {"{{action_type}}": quantile(0.95, "supervisor_action_duration_seconds", "le, action_type")},
            unit="s",
        ),
        Panel(
            "Actions enqueued",
            {"{{action_type}}": rates("supervisor_actions_enqueued_total", "action_type")},
            unit="ops",
        ),
        Panel(
            "Actions by outcome",
            {"{{status}}": rates("supervisor_actions_completed_total", "status")},
            unit="ops",
            stacked=True,
            alert="SupervisorActionsFailing",
        ),
        Panel(
            "Actions in progress",
            {
                "{{stage}}": now("supervisor_leases", "stage"),
                "stuck": f"sum (max without (instance) (supervisor_actions_stuck{{{HERE}}}))",
            },
            alert="SupervisorActionsStuck",
        ),
        Panel(
            "Why nothing is done",
            {"{{reason}}": rates("supervisor_skips_total", "reason")},
            unit="ops",
            about="Workers that a tick skipped.",
        ),
        Panel(
            "Refused",
            {
                "execution: {{reason}}": rates("supervisor_actions_discarded_total", "reason"),
                "claim: {{reason}}": rates("supervisor_claims_refused_total", "reason"),
            },
            unit="ops",
            about="At the lease: messages that were late or doubled, and claims on what had moved.",
            alert="SupervisorStaleEffectsRejected",
        ),
        Panel(
            "Tick duration",
            {f"p{part:.0%}".rstrip("%"): quantile(part, "supervisor_tick_duration_seconds") for part in (0.5, 0.99)},
            unit="s",
        ),
        Panel(
            "Ticks",
            {
                "{{supervisor}}": rates("supervisor_ticks_total", "supervisor"),
                "{{supervisor}} overrun": rates("supervisor_tick_overruns_total", "supervisor"),
            },
            unit="ops",
            alert="SupervisorTickStale",
        ),
        Panel(
            "Ended after the circuit opened",
            {"{{supervisor}}": now("supervisor_actions_during_circuit_total", "supervisor")},
            about="Actions in flight run to their end.",
        ),
    ),
    "Nodes": (
        Panel("Nodes", {"{{status}}": now("supervisor_nodes", "status")}, kind="stat", alert="SupervisorNodeAway"),
        Panel(
            "Away",
            {"{{node}}": f"max by (node) (supervisor_node_away{{{HERE}}})"},
            kind="state-timeline",
            alert="SupervisorNodeAway",
            steps=((None, GREEN), (1, RED)),
            words=("here", "away"),
        ),
        Panel(
            "Age of observations",
            {"{{place}}": f"max by (place) (supervisor_observation_age_seconds{{{HERE}}})"},
            unit="s",
            about="Of the worker that was not looked at for the longest. From 10 s on nothing is done but a stop.",
            alert="SupervisorObservationsStale",
        ),
        Panel(
            "Clock ahead of Redis'",
            {"{{node}}": f"max by (node) (supervisor_node_clock_skew_seconds{{{HERE}}})"},
            unit="s",
            alert="SupervisorClockSkew",
            signed=True,
        ),
        Panel(
            "Readings not believed",
            {"{{reason}}": rates("supervisor_observations_rejected_total", "reason")},
            unit="ops",
            alert="SupervisorObservationsStale",
        ),
    ),
    "Redis": (
        Panel(
            "Redis",
            {"": 'max (supervisor_up{job="$job"})'},
            kind="stat",
            alert="SupervisorStoreDown",
            steps=((None, RED), (1, GREEN)),
            words=("does not answer", "answers"),
        ),
        Panel(
            "Memory",
            {"used": 'max (supervisor_store_memory_bytes{job="$job"})'},
            unit="bytes",
            alert="SupervisorRedisMemoryHigh",
        ),
        Panel(
            "Part of maxmemory",
            {"used": 'max (supervisor_store_memory_ratio{job="$job"})'},
            unit="percentunit",
            about="0 without a limit.",
            alert="SupervisorRedisMemoryHigh",
            steps=((None, GREEN), (0.8, YELLOW), (0.95, RED)),
        ),
        Panel(
            "Filled again from a mirror",
            {"{{supervisor}}": now("supervisor_store_restores_total", "supervisor")},
            kind="stat",
            about="Times that Redis had lost the fleet.",
        ),
        Panel(
            "Versions",
            {"{{version}}, Python {{python}}": 'sum by (version, python) (supervisor_build_info{job="$job"})'},
            kind="stat",
            about="Of the exporters.",
        ),
    ),
    "Worker $worker": (
        Panel(
            "Actions enqueued, $worker",
            {"{{action_type}}": rates("supervisor_actions_enqueued_total", "action_type", WORKER)},
            unit="ops",
            about="More of it: fsmctl describe worker $worker",
        ),
        Panel(
            "Actions by outcome, $worker",
            {"{{action_type}} {{status}}": rates("supervisor_actions_completed_total", "action_type, status", WORKER)},
            unit="ops",
            stacked=True,
            alert="SupervisorActionsFailing",
        ),
        Panel(
            "Action duration p95, $worker",
            {"{{action_type}}": quantile(0.95, "supervisor_action_duration_seconds", "le, action_type", WORKER)},
            unit="s",
        ),
    ),
}


def panel_json(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """Return a panel as Grafana has it."""
    drawn = {"fillOpacity": 30 if panel.stacked else 5, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    words = {str(value): {"text": word, "index": value} for value, word in enumerate(panel.words)}
    runbook = {"title": "Runbook", "url": f"${{runbooks}}#{panel.alert.lower()}", "targetBlank": True}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": place,
        "links": [runbook] if panel.alert else [],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": None if panel.signed else 0,
                "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
                "custom": drawn if panel.kind == "timeseries" else {},
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"value": value, "color": colour} for value, colour in panel.steps],
                },
                "mappings": [{"type": "value", "options": words}] if words else [],
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def panels_json() -> list[dict[str, Any]]:
    """Return all rows and panels: four to a line, the last line of a row filled up."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, panels in ROWS.items():
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        made.append(
            {"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        top += 1
        for start in range(0, len(panels), 4):
            line = panels[start : start + 4]
            width = WIDTH // len(line)
            for index, panel in enumerate(line):
                place = {"x": index * width, "y": top, "w": width, "h": HEIGHT}
                made.append(panel_json(panel, len(made) + 1, place))
            top += HEIGHT
    return made


def choice(name: str, label: str, query: str, *, many: bool = False) -> dict[str, Any]:
    """Return a variable whose values Prometheus knows."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": many,
        "multi": many,
        "allValue": ".*" if many else None,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    runbooks = "https://example.com/docs/runbooks.md"
    return {
        "uid": "fsm-supervisor",
        "title": "Supervisor",
        "tags": ["supervisor"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [{"title": "Runbooks", "type": "link", "url": "${runbooks}", "targetBlank": True}],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                choice("job", "Installation", "label_values(supervisor_up, job)"),
                choice(
                    "supervisor",
                    "Supervisor",
                    'label_values(supervisor_circuit_breaker_open{job="$job"}, supervisor)',
                    many=True,
                ),
                choice("worker", "Worker", f"label_values(supervisor_actions_enqueued_total{{{HERE}}}, worker_id)"),
                {
                    "name": "runbooks",
                    "label": "Runbooks at",
                    "type": "textbox",
                    "query": runbooks,
                    "current": {"text": runbooks, "value": runbooks},
                },
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Incidents",
                    "datasource": DATASOURCE,
                    "enable": True,
                    "iconColor": RED,
                    "expr": (
                        f"max by (supervisor, to) (increase(supervisor_circuit_transitions_total{{{HERE}}}[1m])) > 0"
                    ),
                    "step": "60s",
                    "titleFormat": "circuit of {{supervisor}}: {{to}}",
                    "tagKeys": "supervisor,to",
                }
            ]
        },
        "panels": panels_json(),
    }


def main() -> int:
    """Write the dashboard, or with --check compare it; return the exit code."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" not in sys.argv:
        PAGE.write_text(text)
        return 0
    if PAGE.is_file() and PAGE.read_text() == text:
        return 0
    sys.stderr.write(f"{PAGE} is stale: run `make dashboard`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
