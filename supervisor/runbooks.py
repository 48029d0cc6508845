"""What a person does when restarting a child has not helped: the child's own runbook, or its type's default. Pure."""

from __future__ import annotations

from supervisor.model import ChildSpec, Runbook

_PAGE = "docs/runbooks.md"
_STEPS: dict[str, tuple[str, ...]] = {
    "redis": ("Read its output: fsmctl logs child/NAME", "See whether its port is taken", "Start it by hand"),
    "redpanda": ("Read its logs", "See that disk and memory are not full", "Restart Redpanda by hand"),
    "benthos": ("Read its logs", "See that its source and target answer", "Restart Benthos by hand"),
    "tcp": ("See that the address is reachable from the node", "Restart what listens there"),
    "http": ("Ask the address by hand from the node", "Restart what listens there"),
    "supervisor": ("See why its circuit is open: fsmctl --supervisor NAME get circuit", "Then its own runbook"),
    "process": ("Read its output: fsmctl logs child/NAME", "Run its command by hand on the node"),
}


def runbook_of(spec: ChildSpec) -> Runbook:
    """Return the runbook that goes with an escalation of this child."""
    url = spec.runbook.url or f"{_PAGE}#{spec.type}"
    steps = spec.runbook.steps or tuple(step.replace("NAME", spec.name) for step in _STEPS[spec.type])
    return Runbook(url=url, steps=steps)
