"""fsmctl check: whether the parts do their work, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import click

from supervisor.checkup import (
    HINTS,
    Examined,
    Finding,
    action_of,
    collectors_of,
    executors_of,
    places_of,
    queues_of,
    summary,
    tick_of,
)
from supervisor.cli.duration import DurationType
from supervisor.cli.output import print_data
from supervisor.cli.session import Session
from supervisor.connection import STORE_ERRORS, words_for
from supervisor.dispatch import Message, Publish, PublishFailed, claim_check
from supervisor.errors import NotFound, StoreUnreachable, Unhealthy
from supervisor.keys import CHECK_PREFIX
from supervisor.model import Lease, Stage
from supervisor.store import Index
from supervisor.view import World, load_world
from workers.duration import Duration

_POLL = 0.05  # seconds between two looks at what became of the no-ops
_WIDTH = 79  # columns
_FULL = 0.95  # of maxmemory
_EPILOG = """\b
Examples:
  fsmctl check
  fsmctl check --quick --node edge-1      health check of a container
  fsmctl check --stage store --stage tick -o json

\b
Exit codes: 0 all is well, 3 a stage has failed, 5 no store can be reached.
"""


@dataclass(frozen=True)
class Result:
    """What became of one stage."""

    stage: Examined
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Tell whether all is well."""
        return all(finding.ok for finding in self.findings)

    def line(self) -> str:
        """Return it for a person, with what to do when it failed; longer than a line if it has to be."""
        head = f"{self.stage:<11} {'ok' if self.ok else 'failed':<7} "
        told = summary(self.findings) + ("" if self.ok else f". {HINTS[self.stage]}")
        return click.wrap_text(told, _WIDTH, head, " " * len(head))

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "stage": self.stage.value,
            "ok": self.ok,
            "seen": summary(self.findings),
            "hint": None if self.ok else HINTS[self.stage],
            "findings": [{"subject": one.subject, "ok": one.ok, "seen": one.seen} for one in self.findings],
        }


class Checkup:
    """One run of the stages over the worlds of all supervisors."""

    def __init__(self, session: Session, node: str | None, timeout: float) -> None:
        """Load nothing yet. `timeout`: seconds that a no-op may take."""
        self._session = session
        self._runtime = session.runtime
        self._timeout = timeout
        self._only = node
        self._now = session.runtime.store.now()

    @cached_property
    def _indexes(self) -> dict[str, Index]:
        """Return what each supervisor has, or has on the node. Raises `NotFound` where there is no fleet."""
        found = dict(self._session.indexes())
        return found if self._only is None else {name: index.at(self._only) for name, index in found.items()}

    def _find_node(self, node: str) -> None:
        known = sorted({name for _, index in self._session.indexes() for name in index.nodes})
        if node not in known:
            raise NotFound(f"no node {node!r}: expected one of {', '.join(known) or 'none'}")

    @cached_property
    def _worlds(self) -> dict[str, World]:
        """Return what is judged, loaded when a stage needs it: a store that holds no fleet yet can be well."""
        return {name: load_world(self._runtime, name, index, self._now) for name, index in self._indexes.items()}

    def run(self, stages: Sequence[Examined]) -> Iterator[Result]:
        """Yield the stages as they end. Raises `NotFound` before the first of them for an unknown node."""
        if self._only is not None:
            self._find_node(self._only)
        found = {
            Examined.STORE: self._store,
            Examined.TICK: self._ticks,
            Examined.EXECUTORS: lambda: self._of_nodes(executors_of),
            Examined.COLLECTORS: lambda: self._of_nodes(collectors_of),
            Examined.QUEUES: self._queues,
            Examined.ACTION: self._actions,
        }
        for stage in stages:
            yield Result(stage, tuple(found[stage]()))

    def _nodes(self, world: World) -> list[str]:
        return [name for name in world.index.nodes if self._only in (None, name)]

    def _store(self) -> Iterator[Finding]:
        clock = self._runtime.clock
        before = clock.monotonic()
        memory = self._runtime.store.memory()
        took = clock.monotonic() - before
        used = f", {memory.ratio:.0%} of its maxmemory is used" if memory is not None and memory.limit else ""
        ok = memory is None or memory.ratio < _FULL
        yield Finding("Redis", ok, f"answers in {took * 1000:.1f}ms{used}")

    def _ticks(self) -> Iterator[Finding]:
        for name, index in self._indexes.items():
            yield tick_of(name, index.settings, self._runtime.store.last_tick(name), self._now)

    def _of_nodes(self, judge: Any) -> Iterator[Finding]:
        """Judge each node once, though several supervisors may have it."""
        told: set[str] = set()
        for world in self._worlds.values():
            for finding in judge(world, self._nodes(world)):
                if finding.subject not in told or not finding.ok:
                    told.add(finding.subject)
                    yield finding

    def _queues(self) -> Iterator[Finding]:
        for world in self._worlds.values():
            yield from queues_of(world, places_of(world, self._nodes(world), self._only is not None))

    def _actions(self) -> Iterator[Finding]:
        """Have a no-op run on each node, at once, and see what becomes of them."""
        publish = _publisher(self._session)
        wanted, messages = dict[tuple[str, str], str](), list[Message]()
        for supervisor, world in self._worlds.items():
            for node in self._nodes(world):
                message, told = claim_check(self._runtime.store, supervisor, node, self._timeout)
                if message is not None:
                    messages.append(message)
                elif told in ("full", "hold_off"):
                    yield Finding(node, False, f"nothing is claimed now: {_WHY[told]}")
                    continue
                wanted[(supervisor, node)] = told
        try:
            publish(messages)
        except PublishFailed as error:
            yield Finding("broker", False, str(error))
        ended = self._await(wanted)
        for (supervisor, node), lease in ended.items():
            busy, slots = _load(self._worlds[supervisor], node)
            yield action_of(node, lease, self._timeout, busy, slots)
            if lease is not None and lease.in_progress:
                where = (supervisor, node, f"{CHECK_PREFIX}{node}")
                self._runtime.leases.cancel(*where, lease.token, "the check did not wait longer")

    def _await(self, wanted: dict[tuple[str, str], str]) -> dict[tuple[str, str], Lease | None]:
        """Return the leases of the no-ops, by supervisor and node, when all have ended or the time is up."""
        give_up = self._runtime.clock.monotonic() + self._timeout
        while True:
            found = {where: self._lease(*where, action_id) for where, action_id in wanted.items()}
            over = all(lease is not None and not lease.in_progress for lease in found.values())
            if over or self._runtime.clock.monotonic() >= give_up:
                return found
            self._runtime.clock.sleep(_POLL)

    def _lease(self, supervisor: str, node: str, action_id: str) -> Lease | None:
        store = self._runtime.store
        lease = store.read(Lease, store.keys(supervisor).lease(node, f"{CHECK_PREFIX}{node}"))
        return lease if lease is not None and lease.action_id == action_id else None


_WHY = {"full": "Redis is full", "hold_off": "Redis came back a moment ago, and what runs is to be heard of first"}


def _load(world: World, node: str) -> tuple[int, int]:
    """Return how many actions a node runs, and its slots."""
    leases = [subject.lease for subject in world.view.subjects if subject.place == node]
    leases += [child.lease for child in world.children if child.place == node]
    document, _ = world.nodes[node]
    busy = sum(1 for lease in leases if lease is not None and lease.stage is Stage.RUNNING)
    return busy, document.slots if document else 0


def _publisher(session: Session) -> Publish:
    """Return what puts messages into queues: the very one that ticks use."""
    os.environ.update(session.settings.environment())  # Celery's app is made from the environment, when it is imported
    from supervisor.celery import publisher

    return publisher()


def _stages(chosen: Sequence[str], quick: bool, node: str | None) -> list[Examined]:
    if chosen:
        return [stage for stage in Examined if stage in chosen]
    left_out = {Examined.ACTION} if quick else set()
    left_out |= {Examined.TICK} if node is not None else set()
    return [stage for stage in Examined if stage not in left_out]


@click.command("check", epilog=_EPILOG)
@click.option("--node", metavar="NAME", help="Only what is this node's.")
@click.option(
    "--stage",
    "chosen",
    type=click.Choice([stage.value for stage in Examined]),
    multiple=True,
    help="Only this stage; may be repeated.",
)
@click.option("--quick", is_flag=True, help="All but the no-op: nothing is written.")
@click.option("--timeout", type=DurationType(), default="5s", show_default=True, help="What a no-op may take.")
@click.option("-o", "--output", type=click.Choice(("table", "json", "yaml")), default="table", help="How to print it.")
@click.pass_context
def command(
    context: click.Context, node: str | None, chosen: tuple[str, ...], quick: bool, timeout: Duration, output: str
) -> None:
    """Check stage by stage whether the parts do their work; say what was seen, and what to do.

    Redis answers; every supervisor has ticked; every node's executor and collector has been heard of; nothing waits
    long in a queue; a no-op action runs end to end on each node, through the real queue and a lease of its own, in no
    worker's way. That an outage holds workers back is no fault of the parts: see `fsmctl get circuit`.
    """
    options = context.find_root().obj
    stages = _stages(chosen, quick, node)
    try:
        session = Session(options["data_dir"], options["supervisor"])
    except StoreUnreachable as error:
        _print([Result(Examined.STORE, (Finding("Redis", False, "cannot be reached"),))], output)
        raise error from None
    try:
        results = []
        for result in Checkup(session, node, float(timeout)).run(stages):
            results.append(result)
            if output == "table":
                _print([result], output)
    except STORE_ERRORS as error:
        raise StoreUnreachable(words_for(error, session.settings.shown_url)) from None
    if output != "table":
        _print(results, output)
    failed = [result.stage.value for result in results if not result.ok]
    if failed:
        raise Unhealthy(f"failed: {', '.join(failed)}")


def _print(results: Sequence[Result], output: str) -> None:
    if output == "table":
        for result in results:
            click.echo(result.line())
    else:
        print_data(output, [result.plain() for result in results])
