"""One tick: gate → load → judge → breaker → plan → apply → publish → report. It loads and applies; others decide."""

from __future__ import annotations

import gc
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec

from actions.create_topics import CreateTopics
from actions.model import Action
from actions.restart_child import RestartChild
from supervisor import breaker as breaking
from supervisor import failures
from supervisor import scope as scoping
from supervisor.admission import Skip, SkipReason
from supervisor.breaker import Decision, Notice, Said, Values
from supervisor.circuit import Breaker
from supervisor.decide import Decided, decide
from supervisor.dispatch import Applied, Circuit, Claim, Item, Publish, Sending, apply
from supervisor.failures import Notice as WorkerNotice
from supervisor.keys import CHILD_PREFIX, SUPERVISOR
from supervisor.logs import logger
from supervisor.looks import look_at_nodeless
from supervisor.metrics import counted_as
from supervisor.model import HOLD_OFF, ChildSpec, Runbook, WorkerLabel
from supervisor.plan import Plan, Step, Subject, is_as_desired
from supervisor.runbooks import runbook_of
from supervisor.runtime import Runtime
from supervisor.sifting import MOST, sifted
from supervisor.store import Index
from supervisor.traces import OFF, Span
from supervisor.view import Child, World, load_world, under, with_workers

log = logger("supervisor.tick")
_QUARANTINES = "supervisor_quarantines_total|"
_TRANSITIONS = "supervisor_circuit_transitions_total|"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a tick did. `last_action` in the plan's words: NormalTick, or ChildRestart when it restarted a child.

    `workers` that there are; `looked_at`: those of them that the tick had to look at.
    """

    tick_id: str
    now: float
    last_action: str
    circuit: str
    workers: int
    looked_at: int
    claimed: int
    refused: int
    transitions: int
    skips: dict[str, int]
    late: bool = False


@dataclass(frozen=True)
class Tick:
    """One tick of one supervisor; `started` by this host's clock, in epoch seconds."""

    runtime: Runtime
    publish: Publish
    supervisor: str
    id: str
    started: float

    def run(self, world: World, decided: Decided) -> Report:
        """Apply what was decided on a loaded world."""
        decision, plan = decided.decision, decided.plan
        self._reap(decided, world.view.data_since)
        label = world.index.settings.worker_label
        restarts = [_restart(child, label) for child in decided.restarts]
        creations = [_create(child, label) for child in decided.creations]
        frames = self._frames(world, decided)
        items = [
            *restarts,
            *creations,
            *(_item(step, label, frames.pop(step.subject.id, "")) for step in plan.steps if not step.leave),
        ]
        items += [Item(item, world.index.places[item], frame=text) for item, text in frames.items()]
        items.sort(key=lambda item: item.urgency)
        with self._span(items) as span:
            with Sending(self.publish) as sending:
                applied = self._apply(world, decision, items, span.traceparent, sending)
            self._tell_sent(applied, sending.error)
            if not applied.late:
                self._tell(decision, world)
                self._call(decision, world)
                self._tell_unreadable(world)
                self._let_leave(plan)
                self._tell_plan(plan, applied)
            span.set(supervisor=self.supervisor, tick_id=self.id)
            span.set(claimed=len(applied.messages), refused=len(applied.refused))
        return self._report(world, decision, plan, applied, bool(restarts))

    def _span(self, items: Sequence[Item]) -> AbstractContextManager[Span]:
        """Open the span of a tick that acts, which began with the tick; the others are not traced."""
        traces = self.runtime.traces if any(item.claim is not None for item in items) else OFF
        return traces.span("tick", started=self.started)

    def _frames(self, world: World, decided: Decided) -> dict[str, str]:
        """Return the decisions to keep; a tick that opens the circuit decides nothing about workers."""
        breaker = decided.decision.breaker
        if breaker.is_open and not world.breaker.is_open:
            return {}
        view = under(world.view, breaker, world.now)
        return self.runtime.recorder.frames(self.supervisor, view, decided.plan, world.index.places)

    def _reap(self, decided: Decided, data_since: float) -> None:
        """Free the leases past their deadline."""
        for item, place, lease in decided.overdue:
            longest = lease.longest_deadline(data_since)
            if self.runtime.leases.reap(self.supervisor, place, item, lease.token, self.id, longest):
                fields = {"worker_id": item, "action_type": lease.action, "action_id": lease.action_id}
                log.tell("action.lost", token=lease.token, stage=lease.stage, **fields)

    def _apply(
        self, world: World, decision: Decision, items: Sequence[Item], traceparent: str, sending: Sending
    ) -> Applied:
        changed = decision.breaker if decision.breaker != world.breaker else None
        events = [_event(said, decision.breaker) for said in decision.said if said.notice in _KEPT]
        counters = [(field, 1) for said in decision.said for field in _COUNTED.get(said.notice, ())]
        incident = breaking.incident_of(world.breaker, decision.breaker)
        circuit = Circuit(world.breaker.generation, changed, counters, events, incident)
        return apply(self.runtime.store, self.supervisor, self.id, circuit, items, traceparent, sending)

    def _tell_sent(self, applied: Applied, failed: str) -> None:
        """Tell whether what was granted could be sent, if anything was. What is lost here reaches its deadline."""
        if applied.messages:
            self._is("dispatch.failed", "", "not published" if failed else "", error=failed)

    def _is(self, event_name: str, name: str, reason: str, **fields: object) -> None:
        """Tell of what may go wrong in every tick again."""
        whose = f"{self.supervisor}/{name}"
        self.runtime.troubles.is_now(event_name, whose, reason, supervisor=self.supervisor, **fields)

    def _let_leave(self, plan: Plan) -> None:
        """Let those that are down leave their places."""
        for subject in (step.subject for step in plan.steps if step.leave):
            if self.runtime.store.leave(self.supervisor, subject.place, subject.id, subject.generation, self.id):
                _log_left(subject)

    def _tell(self, decision: Decision, world: World) -> None:
        specs = {child.spec.name: child.spec for child in world.children}
        failing = {said.child: said for said in decision.said if said.notice is Notice.CHECK_FAILED}
        for name in specs.keys() | failing:
            values = failing[name].values if name in failing else {}
            fields = {**_of_circuit(name, decision.breaker), **values}
            self._is("infrastructure.check_failed", name, "failed" if name in failing else "", **fields)
        for said in decision.said:
            if said.notice is not Notice.CHECK_FAILED:
                _log_notice(said, specs.get(said.child), decision.breaker, self.supervisor)

    def _call(self, decision: Decision, world: World) -> None:
        """Run the command that calls a person, once for an incident that escalates; nobody waits for it."""
        self.runtime.hooks.look()
        settings, specs = world.index.settings, {child.spec.name: child.spec for child in world.children}
        for said in decision.said:
            if said.notice is not Notice.ESCALATED or not settings.escalation_command:
                continue
            book = runbook_of(specs[said.child]) if said.child in specs else Runbook()
            told = {
                "FSM_SUPERVISOR": self.supervisor,
                "FSM_INCIDENT": decision.breaker.incident,
                "FSM_CHILD": said.child,
                "FSM_REASON": decision.breaker.reason,
                "FSM_DOWNTIME": f"{decision.breaker.downtime(world.now):.0f}",
                "FSM_RUNBOOK_URL": book.url,
                "FSM_MANUAL_STEPS": "; ".join(book.steps),
            }
            self.runtime.hooks.call(settings.escalation_command, told, settings.escalation_timeout)

    def _tell_unreadable(self, world: World) -> None:
        found = {child.spec.id: "" for child in world.children} | dict(world.unreadable_children)
        for item, why in found.items():
            name = item.removeprefix(CHILD_PREFIX)
            self._is("child.unreadable", name, "unreadable" if why else "", child_name=name, error=why)

    def _tell_plan(self, plan: Plan, applied: Applied) -> None:
        for step in plan.steps:
            if change := _moved(step):
                fields = {"worker_id": step.subject.id, "from_state": change["from"], "to_state": change["to"]}
                log.tell("worker.transition", reason=step.reason, **fields)
            for said in _said_of(step):
                _log_said(step.subject, said)
        for message in applied.messages:
            named = {"worker_id": message.worker_id, "action_type": message.action, "action_id": message.action_id}
            log.tell("action.enqueued", token=message.token, **named)
        for skip in plan.skips:
            _log_skip(skip)

    def _report(self, world: World, decision: Decision, plan: Plan, applied: Applied, restarted: bool) -> Report:
        return Report(
            tick_id=self.id,
            now=world.now,
            last_action="ChildRestart" if restarted else "NormalTick",
            circuit=decision.breaker.effective,
            workers=len(world.index.workers),
            looked_at=len(world.view.subjects),
            claimed=len(applied.messages),
            refused=len(applied.refused),
            transitions=sum(bool(_moved(step)) for step in plan.steps),
            skips=dict(Counter(skip.reason.value for skip in plan.skips)),
            late=applied.late,
        )


def supervisors(runtime: Runtime) -> list[str]:
    """Return the supervisors to tick: those in the store, and those that it may have lost."""
    return sorted({*runtime.store.supervisors(), *runtime.mirror.names()})


def clock_was_set(runtime: Runtime) -> bool:
    """Tell whether Redis' clock was set since this process last asked."""
    before = runtime.clock.monotonic()
    shared = runtime.store.now()
    return runtime.steps.stepped(shared, before, runtime.clock.monotonic())


def run(runtime: Runtime, publish: Publish, supervisor: str, stepped: bool = False) -> Report | None:
    """Run one tick of a supervisor if its gate lets it start; return None if not. Never sleeps.

    `stepped`: Redis' clock was set since this process' last tick.
    """
    index = _index(runtime, supervisor)
    if index is None:
        return None
    gc.disable()  # a tick makes a hundred thousand values, none of which refer to each other in a circle
    try:
        report = _run_gated(runtime, publish, supervisor, index, stepped)
    finally:
        gc.enable()
    runtime.mirror.keep(supervisor, index)
    return report


def _index(runtime: Runtime, supervisor: str) -> Index | None:
    """Return what a supervisor has, brought back from the mirror if Redis has lost it."""
    index = runtime.store.index(supervisor)
    return runtime.store.index(supervisor) if runtime.mirror.restore(supervisor, index) else index


def _run_gated(runtime: Runtime, publish: Publish, supervisor: str, index: Index, stepped: bool) -> Report | None:
    store, tick_id, started = runtime.store, str(uuid.uuid4()), runtime.clock.now()
    mirrored = runtime.mirror.revision(supervisor) > 0
    gate = store.begin_tick(supervisor, index, tick_id, mirrored, stepped)
    if gate.held_off:
        fields = {"supervisor": supervisor, "reason": gate.held_off, "seconds": round(HOLD_OFF, 3)}
        log.tell("store.hold_off", **fields)
    if gate.answer != "started":
        return None
    # the gate has taken the marks: of what was wished for since the first reading, this tick alone hears
    index = store.index(supervisor) or index
    now = store.now() if look_at_nodeless(runtime, supervisor, index) else gate.now
    world = load_world(runtime, supervisor, index, now, workers=False)
    found = scoping.facts(world.breaker, world.view, world.nodes, world.drained, now)
    look = scoping.look(gate.scope, gate.marks, found, index.workers, index.places, now)
    world = with_workers(runtime, supervisor, world, sifted(runtime, supervisor, world, found, look.items))
    decided = decide(world)
    report = Tick(runtime, publish, supervisor, tick_id, started).run(world, decided)
    if len(look.items) > MOST:
        report = msgspec.structs.replace(report, looked_at=len(look.items))
    mismatches = [subject.id for subject in world.view.subjects if not is_as_desired(subject)]
    scope = scoping.next_scope(tick_id, found, look, world.view.subjects, decided.plan, mismatches, now)
    text = msgspec.json.encode(report).decode()
    store.finish_tick(supervisor, tick_id, text, report.skips, mismatches, scope, (SUPERVISOR, *index.places_used))
    store.know_nodes([name for name, (beat, _) in world.nodes.items() if beat is not None])
    return report


def _item(step: Step, label: WorkerLabel, frame: str) -> Item:
    """Turn a step into what is written for it, with its decision if that is kept."""
    subject, lease = step.subject, step.subject.lease
    claim = None
    if step.action is not None and subject.snapshot is not None:
        status = step.status or subject.snapshot.status
        claim = Claim(
            step.action,
            step.reason,
            subject.last_token,
            subject.generation,
            failures=failures.failures_of(status, lease),
            kills=failures.kills_of(status, lease),
            counted_as=counted_as(label, subject.snapshot.identity.type),
        )
    whose = {"worker_id": subject.id}
    change = _moved(step)
    moved = [_flat({"event": "worker.transition", **whose, **change, "reason": step.reason})] if change else []
    said_of = _said_of(step)
    return Item(
        subject.id,
        subject.place,
        step.status,
        (*moved, *(_flat({"event": said.notice, **whose, **said.values}) for said in said_of)),
        tuple(_QUARANTINES + failures.kind_of(said) for said in said_of if said.notice is WorkerNotice.QUARANTINED),
        claim,
        (subject.last_token, step.reason) if step.cancel else None,
        frame,
        bool(change),
    )


def _moved(step: Step) -> dict[str, str]:
    """Return from which state to which a step leads, if it does."""
    before = step.subject.snapshot.status.state if step.subject.snapshot else ""
    after = step.status.state if step.status else before
    return {"from": before, "to": after} if after != before else {}


def _said_of(step: Step) -> list[failures.Said]:
    """Return what is to be told of a step beside its change of state."""
    if step.status is None or step.subject.snapshot is None:
        return []
    return failures.told(step.subject.snapshot.status, step.status, step.subject.lease)


def _restart(child: Child, label: WorkerLabel) -> Item:
    seen = child.observed
    action = RestartChild(
        child_name=child.spec.name,
        failed_pid=(seen.pid or 0) if seen else 0,
        failed_start_ticks=seen.start_ticks if seen else 0,
    )
    why = f"asked for by {child.control.restart_by}; " if child.wants_restart else ""
    return _of_child(child, action, f"{why}{child.verdict.state}: {child.verdict.detail}", label)


def _create(child: Child, label: WorkerLabel) -> Item:
    return _of_child(child, CreateTopics(child_name=child.spec.name), f"lacks {child.verdict.lacks}", label)


def _of_child(child: Child, action: Action, reason: str, label: WorkerLabel) -> Item:
    """Return the claim of an action for a child."""
    lease = child.lease
    claim = Claim(
        action,
        reason,
        lease.token if lease else "",
        child.generation,
        failures=lease.failures if lease else 0,
        kills=lease.kills if lease else 0,
        counted_as=counted_as(label),
    )
    return Item(child.spec.id, child.place, claim=claim)


def _flat(fields: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(part) for pair in fields.items() for part in pair)


_KEPT = frozenset(Notice) - {Notice.CHECK_FAILED, Notice.HEARTBEAT}
_COUNTED = {
    Notice.CHECK_FAILED: ("supervisor_infrastructure_check_failures_total",),
    Notice.OPENED: (f"{_TRANSITIONS}open",),
    Notice.HALF_OPENED: (f"{_TRANSITIONS}half_open",),
    Notice.CLOSED: (f"{_TRANSITIONS}closed", "supervisor_circuit_breaker_recoveries_total"),
    Notice.ESCALATED: ("supervisor_escalations_total",),
}
EVENTS = {
    Notice.HEARTBEAT: "circuit.heartbeat",
    Notice.OPENED: "circuit.opened",
    Notice.RESTART: "circuit.restart",
    Notice.ONE_LEFT: "circuit.one_attempt_left",
    Notice.ESCALATED: "circuit.escalated",
    Notice.HALF_OPENED: "circuit.half_opened",
    Notice.CLOSED: "circuit.closed",
}


def _event(said: Said, breaker: Breaker) -> tuple[str, ...]:
    whose = {"child_name": said.child, "incident": breaker.incident}
    return _flat({"event": EVENTS[said.notice], **whose, **_rounded(said.values)})


def _rounded(values: Values) -> Values:
    """Return the values with times to the millisecond."""
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def _of_circuit(child: str, breaker: Breaker) -> dict[str, object]:
    return {"child_name": child, "circuit_open": breaker.is_open, "incident": breaker.incident}


def _log_notice(said: Said, spec: ChildSpec | None, breaker: Breaker, supervisor: str) -> None:
    fields = {"supervisor": supervisor, **_of_circuit(said.child, breaker)}
    if said.notice is Notice.ESCALATED and spec is not None:
        book = runbook_of(spec)
        fields |= {"runbook_url": book.url, "manual_steps": list(book.steps)}
    log.tell(EVENTS[said.notice], **fields, **_rounded(said.values))


def _log_said(subject: Subject, said: failures.Said) -> None:
    fields: dict[str, object] = {"worker_id": subject.id, **said.values}
    if subject.snapshot is not None:
        fields["worker_type"] = subject.snapshot.identity.type
    if said.notice is WorkerNotice.STUCK and subject.lease is not None:
        fields |= {"action_type": subject.lease.action, "action_id": subject.lease.action_id}
    log.tell(said.notice.value, **fields)


def _log_left(subject: Subject) -> None:
    to = subject.snapshot.desired.moves_to if subject.snapshot else ""
    if to:
        fields = {"worker_id": subject.id, "from_place": subject.place, "to_place": to}
        log.tell("worker.moved", **fields)
    else:
        log.tell("worker.forgotten", worker_id=subject.id)


def _log_skip(skip: Skip) -> None:
    busy = skip.reason is SkipReason.ACTION_IN_PROGRESS
    log.tell(
        "worker.in_progress" if busy else "worker.skipped",
        worker_id=skip.worker_id,
        skip=skip.reason.value,
        detail=skip.detail,
    )
