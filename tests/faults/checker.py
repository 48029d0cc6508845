"""Reads a ground-truth journal and says what in it must never happen, and how long what was wanted took. Pure.

A journal is a list of lines (dicts, see gateway.py) in the order of events. The harness adds lines of its own:
`{"do": "fault", "what": "kill" | "freeze" | "thaw" | ..., "nodes": [...]}` and `{"do": "want", "worker": ...,
"state": "running" | "stopped"}`.

Violations:
    overlap      an effect began while another one of the same worker was under way
    token        an effect began under a token smaller than one seen before for that worker
    repeated     an effect began twice under one token
    fenced       an effect was committed under a token although a larger one had been seen
    needless     a start began although the worker ran: it was decided on an observation older than the last effect
    impossible   the journal contradicts itself

What is not promised is excused, and only that: an effect of a `command` worker whose executor was frozen while it was
under way may overlap its successor, and be committed before it (docs/reliability.md); its commit *after* the successor
has begun is a violation all the same. `run` lines (processes, fenced by their holder) are never excused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Violation:
    """What must never happen, and where in the journal (line number from 1)."""

    kind: str
    worker: str
    line: int
    detail: str


@dataclass(frozen=True)
class Recovery:
    """An effect that a kill cut off, and the seconds until the worker's next one began (None: it never did)."""

    worker: str
    node: str
    killed_at: float
    seconds: float | None


@dataclass(frozen=True)
class Wait:
    """A change that was wanted at a time, and the time at which it was committed (None: not yet)."""

    worker: str
    state: str
    since: float
    done: float | None

    def seconds(self, until: float) -> float:
        """Return how long the change took, or has been waited for at `until`."""
        return (until if self.done is None else self.done) - self.since


@dataclass
class _Effect:
    """An effect under way."""

    verb: str
    token: int
    pid: int
    node: str
    frozen: bool


@dataclass
class _Worker:
    """What is known of one worker at a point of the journal."""

    seen: int = 0
    begun: set[tuple[str, int]] = field(default_factory=set)
    open: dict[tuple[str, int], _Effect] = field(default_factory=dict)
    running: bool = False
    until: float | None = None
    after_freeze: bool = False  # a frozen effect was under way since the last commit by another one


def _process(line: Line) -> tuple[str, int]:
    """Return who wrote a line: nodes in containers have pids of their own."""
    return line["node"], line["pid"]


def parse(text: str) -> list[Line]:
    """Return the lines of a journal; a last line cut off by a crash of the host would be an error, and is none here."""
    return [json.loads(line) for line in text.splitlines()]


def violations(lines: Iterable[Line]) -> list[Violation]:
    """Return everything in a journal that must never happen."""
    return _Reading().read(lines)


class _Reading:
    """One pass over a journal."""

    def __init__(self) -> None:
        self.workers: dict[str, _Worker] = {}
        self.frozen: set[str] = set()
        self.found: list[Violation] = []

    def read(self, lines: Iterable[Line]) -> list[Violation]:
        for number, line in enumerate(lines, 1):
            handle = getattr(self, f"_{line['do']}", None)
            if handle is None:
                self.found.append(
                    Violation("impossible", line.get("worker", ""), number, f"unknown line {line['do']!r}")
                )
            else:
                handle(number, line)
        return self.found

    def _say(self, kind: str, number: int, line: Line, detail: str) -> None:
        self.found.append(Violation(kind, line["worker"], number, detail))

    def _want(self, number: int, line: Line) -> None:
        """A wish is no effect; `waits` reads it."""

    def _fault(self, number: int, line: Line) -> None:
        nodes = set(line.get("nodes", ()))
        if line["what"] == "freeze":
            self.frozen |= nodes
        elif line["what"] == "thaw":
            self.frozen -= nodes
        for worker in self.workers.values():
            for effect in worker.open.values():
                effect.frozen = effect.frozen or (line["what"] == "freeze" and effect.node in nodes)

    def _begin(self, number: int, line: Line) -> None:
        worker = self.workers.setdefault(line["worker"], _Worker())
        verb, token = line["verb"], line["token"]
        self._check_overlap(number, line, worker)
        if token < worker.seen:
            self._say("token", number, line, f"{verb} began under {token}, after {worker.seen}")
        if (verb, token) in worker.begun:
            self._say("repeated", number, line, f"{verb} began again under {token}")
        if verb == "start" and not worker.after_freeze and self._runs(worker, line["time"]):
            self._say("needless", number, line, "start began although the worker ran")
        worker.seen = max(worker.seen, token)
        worker.begun.add((verb, token))
        effect = _Effect(verb, token, line["pid"], line["node"], frozen=line["node"] in self.frozen)
        worker.open[_process(line)] = effect

    def _check_overlap(self, number: int, line: Line, worker: _Worker) -> None:
        """See that nothing else is under way; `alone` is the kernel's word, also for who died without one."""
        others = list(worker.open.values())
        if line["alone"]:
            worker.open.clear()
            return
        if not others:
            self._say("impossible", number, line, "somebody had the effect lock whose beginning was not journaled")
        for other in others:
            if other.frozen and other.verb != "run":
                worker.after_freeze = True
            else:
                self._say("overlap", number, line, f"{other.verb} under {other.token} on {other.node} was under way")

    def _commit(self, number: int, line: Line) -> None:
        worker = self.workers.setdefault(line["worker"], _Worker())
        effect = worker.open.pop(_process(line), None)
        token = line["token"]
        if effect is None and not any(token == known for _, known in worker.begun):
            self._say("impossible", number, line, f"{line['verb']} under {token} was committed and never began")
        elif effect is None:
            self._say(
                "overlap", number, line, f"{line['verb']} under {token} was committed after its successor began alone"
            )
        if token < worker.seen:
            self._say(
                "fenced", number, line, f"{line['verb']} under {token} was committed after {worker.seen} was seen"
            )
        worker.running = line["verb"] == "start"
        worker.until = line["until"]
        worker.after_freeze = effect is not None and effect.frozen

    def _end(self, number: int, line: Line) -> None:
        """An incarnation of a process has ended by itself."""
        worker = self.workers.setdefault(line["worker"], _Worker())
        if worker.open.pop(_process(line), None) is None:
            self._say("overlap", number, line, f"pid {line['pid']} ended after its successor began alone")

    def _refused(self, number: int, line: Line) -> None:
        """The gateway fenced an effect: what was asked for did not happen."""
        self.workers.setdefault(line["worker"], _Worker()).open.pop(_process(line), None)

    @staticmethod
    def _runs(worker: _Worker, time: float) -> bool:
        return worker.running and (worker.until is None or time < worker.until)


def recoveries(lines: Iterable[Line]) -> list[Recovery]:
    """Return, for each effect that a kill cut off, how long it took until the worker's next effect began."""
    kills = _Kills()
    for line in lines:
        if line["do"] == "begin":
            kills.begun(line)
        elif line["do"] in ("commit", "end", "refused"):
            kills.ended(line)
        elif line["do"] == "fault" and line["what"] == "kill":
            kills.killed(line)
    return kills.found + [Recovery(worker, node, at, None) for worker, (_, node, at) in kills.cut_off.items()]


class _Kills:
    """What is under way, and what was cut off and has not begun again: worker to pid, node (and time of the kill)."""

    def __init__(self) -> None:
        self.under_way: dict[str, tuple[int, str]] = {}
        self.cut_off: dict[str, tuple[int, str, float]] = {}
        self.found: list[Recovery] = []

    def begun(self, line: Line) -> None:
        worker = line["worker"]
        if worker in self.cut_off:
            _, node, killed_at = self.cut_off.pop(worker)
            self.found.append(Recovery(worker, node, killed_at, line["time"] - killed_at))
        self.under_way[worker] = (line["pid"], line["node"])

    def ended(self, line: Line) -> None:
        """Forget it, also if it outlived its killed executor: then it was not cut off after all."""
        worker, pid = line["worker"], line["pid"]
        if self.under_way.get(worker, (0,))[0] == pid:
            del self.under_way[worker]
        if self.cut_off.get(worker, (0,))[0] == pid:
            del self.cut_off[worker]

    def killed(self, line: Line) -> None:
        for worker, (pid, node) in list(self.under_way.items()):
            if node in line["nodes"]:
                self.cut_off[worker] = (pid, node, line["time"])
                del self.under_way[worker]


def waits(lines: Iterable[Line]) -> list[Wait]:
    """Return every change of a `command` worker that was wanted, and when it was committed.

    A start that ends by itself at `until` is wanted again from then on, unless the worker is wanted stopped.
    """
    wanted: dict[str, str] = {}
    pending: dict[str, Wait] = {}
    found: list[Wait] = []
    for line in lines:
        worker = line.get("worker", "")
        if line["do"] == "want":
            wanted[worker] = line["state"]
            pending[worker] = Wait(worker, line["state"], line["time"], None)
        elif line["do"] == "commit":
            state = "running" if line["verb"] == "start" else "stopped"
            waited = pending.get(worker)
            if waited is not None and waited.state == state and waited.since <= line["time"]:
                found.append(Wait(worker, state, waited.since, line["time"]))
                del pending[worker]
            if line["until"] is not None and wanted.get(worker, "running") == "running":
                pending[worker] = Wait(worker, "running", line["until"], None)
    return found + list(pending.values())


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of all values do not exceed. Raises for no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]
