"""All worker types' tables: total, legal, connected; and the page of diagrams made from them."""

from __future__ import annotations

from itertools import product

import pytest

from actions.model import Action
from actions.start import Start
from tests.diagrams import PAGE, page
from workers.benthos.states import Flow
from workers.dfc_read.states import AWAY, CONNECTED, UNCONNECTED
from workers.endpoint.states import Answer
from workers.machine import IllegalTransition, Machine
from workers.model import Phase, Signal, Transition
from workers.process.states import Condition
from workers.registry import built_in

TYPES = built_in()
FLOW = {str(condition) for condition in Condition if condition is not Condition.UP} | {CONNECTED, UNCONNECTED, AWAY}
FLOW_PHASES = {Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.DEGRADED, Phase.STOPPING, Phase.FAILED}
MACHINES = {name: TYPES.get(name).machine for name in TYPES.names()}
CONDITIONS = {
    "benthos": {str(condition) for condition in Condition if condition is not Condition.UP}
    | {str(flow) for flow in Flow},
    "command": {str(condition) for condition in Condition},
    "process": {str(condition) for condition in Condition},
    "dfc_read": FLOW,
    "dfc_write": FLOW,
}
ENDPOINTS = ("http_service", "mqtt", "opcua", "tcp_service")
CONDITIONS |= dict.fromkeys(
    ENDPOINTS, {str(c) for c in Condition if c is not Condition.UP} | {str(one) for one in Answer}
)
PHASES = {
    "benthos": {Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.DEGRADED, Phase.STOPPING, Phase.FAILED},
    "command": {Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.FAILED},
    "process": {Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.FAILED},
    "dfc_read": FLOW_PHASES,
    "dfc_write": FLOW_PHASES,
}
PHASES |= dict.fromkeys(ENDPOINTS, PHASES["dfc_read"])
TINY = Machine(
    initial="down",
    phases={"down": Phase.STOPPED, "up": Phase.RUNNING},
    table={("down", "wanted"): Start(), ("down", "there"): "up", ("up", "there"): "up"},
)

each_type = pytest.mark.parametrize("name", MACHINES)


@each_type
def test_the_table_is_total_over_states_and_conditions(name: str) -> None:
    assert set(MACHINES[name].table) == set(product(MACHINES[name].phases, CONDITIONS[name]))


@each_type
def test_every_pair_gives_the_state_or_the_action_that_stands_in_the_table(name: str) -> None:
    machine = MACHINES[name]
    for (state, condition), entry in machine.table.items():
        expected = (None, entry) if isinstance(entry, Action) else (entry, None)
        transition = machine.step(state, condition, "because 3 > 2", Signal.SETTLED)
        assert (transition.state, transition.action) == expected
        assert (transition.reason, transition.signal) == ("because 3 > 2", Signal.SETTLED)


@each_type
def test_an_unknown_condition_is_illegal_in_every_state(name: str) -> None:
    for state in MACHINES[name].phases:
        with pytest.raises(
            IllegalTransition, match=f"state '{state}' has no entry for condition 'on fire' \\(pid 7\\)"
        ):
            MACHINES[name].step(state, "on fire", "pid 7")


@each_type
def test_an_unknown_state_is_illegal_under_every_condition(name: str) -> None:
    for condition in CONDITIONS[name]:
        with pytest.raises(IllegalTransition, match=f"state 'flying' has no entry for condition '{condition}'"):
            MACHINES[name].step("flying", condition, "pid 7")


def test_a_condition_of_one_type_is_illegal_in_the_other() -> None:
    with pytest.raises(IllegalTransition):
        MACHINES["process"].step("running", CONNECTED, "pid 7")
    with pytest.raises(IllegalTransition):
        MACHINES["dfc_read"].step("running", Condition.UP, "pid 7")


@each_type
def test_every_state_is_reachable_from_the_initial_one(name: str) -> None:
    machine = MACHINES[name]
    reached = {machine.initial}
    while more := {
        entry
        for (state, _), entry in machine.table.items()
        if state in reached and isinstance(entry, str) and entry not in reached
    }:
        reached |= more
    assert reached == set(machine.phases)


@each_type
def test_every_state_has_an_exit(name: str) -> None:
    machine = MACHINES[name]
    left = {state for (state, _), entry in machine.table.items() if isinstance(entry, str) and entry != state}
    assert left == set(machine.phases)


@each_type
def test_every_state_has_a_phase_and_unknown_is_nobodys_own(name: str) -> None:
    assert set(MACHINES[name].phases.values()) == PHASES[name]


@each_type
def test_no_action_starts_what_is_unwanted_and_only_that_is_stopped(name: str) -> None:
    for (_, condition), entry in MACHINES[name].table.items():
        if isinstance(entry, Action):
            allowed = {"missing": {"start"}, "failing": {"start"}, "outdated": {"reconfigure"}, "unwanted": {"stop"}}
            assert entry.name in allowed[condition]


def test_a_table_that_speaks_of_states_without_a_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="states without a phase: lost, nowhere, start"):
        Machine(
            initial="start",
            phases={"up": Phase.RUNNING},
            table={("up", "gone"): "nowhere", ("lost", "found"): "up", ("up", "there"): Start()},
        )


def test_an_illegal_pair_changes_nothing() -> None:
    before = dict(TINY.table)
    with pytest.raises(IllegalTransition):
        TINY.step("up", "wanted", "pid 7")
    assert (TINY.table, TINY.step("down", "wanted", "pid 7")) == (before, Transition(action=Start(), reason="pid 7"))


def test_a_machine_draws_itself_without_what_stays() -> None:
    assert TINY.mermaid() == (
        "stateDiagram-v2\n"
        "    [*] --> down\n"
        "    down: down (stopped)\n"
        "    up: up (running)\n"
        "    down --> down: wanted / start\n"
        "    down --> up: there\n"
    )


def test_the_page_of_diagrams_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == page()
