"""The screen of `fsmctl watch`: keys and lines, on values."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.circuit import Breaker, Recovery
from supervisor.cli.keyboard import keys_of
from supervisor.cli.picture import Fleet, fleet_of
from supervisor.cli.screen import HELP, Order, State, lines_of, press, shown_workers
from supervisor.model import Incident, Stage, SupervisorSettings
from supervisor.store import Index
from supervisor.view import World
from tests.factories import NOW, make_lease, make_snapshot, make_subject, make_view
from workers.model import Control

EVENT = {"id": "1-0", "time": NOW - 3, "supervisor": "plant-1", "event": "worker.transition", "worker_id": "flow-1"}


def world_of(*subjects: Any, breaker: Breaker | None = None) -> World:
    index = Index(SupervisorSettings(name="plant-1"), {subject.id: subject.place for subject in subjects}, {})
    return World(index, NOW, breaker or Breaker(), (), {}, make_view(*subjects), {})


def fleet_with(*names: str, paused: tuple[str, ...] = ()) -> Fleet:
    """Return a fleet whose workers are all to be started, and nothing is done for the paused ones."""
    subjects = [
        make_subject(make_snapshot(worker_id=name, control=Control(paused=name in paused, by="pat", at=NOW - 60)))
        for name in names
    ]
    return fleet_of([("plant-1", world_of(*subjects))], [], [EVENT])


FLEET = fleet_with("flow-1", "flow-2", "line-1", paused=("flow-2",))


def pressed(*keys: str, state: State | None = None, fleet: Fleet = FLEET) -> tuple[State, list[Order]]:
    """Return the screen after keys, and all orders that they gave."""
    now, orders = state or State(), []
    for key in keys:
        now, order = press(now, key, fleet, 24)
        orders += [order] if order else []
    return now, orders


def texts(state: State, fleet: Fleet = FLEET, height: int = 24, width: int = 80, trouble: str = "") -> list[str]:
    return [text for text, _ in lines_of(state, fleet, width, height, trouble)[0]]


def test_keys_are_characters_and_names() -> None:
    assert keys_of("j/é\x1b[A\x1b[B\x1bOA\r\x7f\x1b[5~\x1b[6~") == [
        *("j", "/", "é", "up", "down", "up", "enter", "backspace", "pgup", "pgdn")
    ]
    assert keys_of("\x1b") == ["esc"]
    assert keys_of("\x1b[24~q") == ["q"], "a key that has no meaning here is none"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 4), (80, 1)])
@pytest.mark.parametrize("state", [State(), State(page=HELP), State(text="nothing-like-it"), State(typing=True)])
def test_the_screen_is_filled_and_never_overrun(state: State, width: int, height: int) -> None:
    lines = texts(state, height=height, width=width, trouble="10s OLD: Redis is away")
    assert len(lines) == height
    assert max(len(line) for line in lines) <= width


def test_a_worker_is_chosen_and_stays_chosen_when_others_come_and_go() -> None:
    state, _ = pressed("j", "down")
    assert state.chosen == "line-1"
    assert pressed("k", "up", "up", state=state)[0].chosen == "flow-1"
    assert pressed("end")[0].chosen == "line-1"
    assert pressed("end", "home")[0].chosen == "flow-1"
    grown = fleet_with("a-0", "flow-1", "flow-2", "line-1")
    row = next(line for line in texts(state, grown) if line.startswith(">"))
    assert row.split()[:2] == [">!", "line-1"]


def test_the_chosen_worker_is_always_on_the_screen() -> None:
    many = fleet_with(*(f"flow-{number:03}" for number in range(200)))
    state = State()
    for key in ("end", "pgup", "home", *["pgdn"] * 3, *["up"] * 20):
        state, _ = press(state, key, many, 24)
        lines, state = lines_of(state, many, 80, 24)
        assert [text.split()[1] for text, _ in lines if text.startswith(">")] == [state.chosen]


def test_a_filter_wants_all_its_words_and_is_taken_away_by_escape() -> None:
    state, orders = pressed(*"/flow", "backspace", *"w edge", "enter")
    assert (state.text, state.typing, orders) == ("flow edge", False, [])
    assert [worker.id for worker in shown_workers(state, FLEET)] == ["flow-1", "flow-2"]
    assert [worker.id for worker in shown_workers(State(text="PAUSED"), FLEET)] == ["flow-2"]
    assert pressed("esc", state=state)[0].text == ""
    assert pressed("/", "x", "esc")[0] == State()
    assert texts(pressed("/", "x")[0])[-1].startswith("filter: x_")
    assert "  no worker matches 'xyz'" in texts(State(text="xyz"))


def test_letters_are_typed_into_a_filter_and_not_commands() -> None:
    state, orders = pressed("/", "q", "p", "?")
    assert (state.text, orders) == ("qp?", [])


def test_a_worker_is_paused_only_after_a_yes_and_resumed_when_it_is_paused() -> None:
    asked, orders = pressed("p")
    assert (orders, asked.asked) == ([], Order("pause", "flow-1", "plant-1"))
    assert texts(asked)[-1] == "pause flow-1? y: yes, any other key: no"
    assert pressed("p", "y")[1] == [Order("pause", "flow-1", "plant-1")]
    state, orders = pressed("p", "n")
    assert (orders, state.asked, state.notice) == ([], None, "nothing was done")
    assert pressed("j", "p", "y")[1] == [Order("resume", "flow-2", "plant-1")]


def test_explain_quit_and_help() -> None:
    assert pressed("e")[1] == [Order("explain", "flow-1", "plant-1")]
    assert pressed("j", "enter")[1] == [Order("explain", "flow-2", "plant-1")]
    assert pressed("q")[1] == [Order("quit")]
    state, _ = pressed("?")
    assert state.page == HELP
    assert texts(state)[: len(HELP)] == list(HELP)
    assert pressed("?", "q") == (State(), []), "q leaves the page, not the program"
    assert pressed("x") == (State(), [])
    assert pressed("e", "p", "j", fleet=fleet_with())[1] == []


def test_a_page_is_scrolled_within_its_ends() -> None:
    state = State(page=tuple(str(number) for number in range(30)))
    assert pressed("j", state=state)[0].page_top == 1
    assert pressed("k", state=state)[0].page_top == 0
    assert pressed("end", state=state)[0].page_top == 8
    assert pressed("pgdn", "j", "pgup", state=state)[0].page_top == 0
    assert texts(state)[-1].rstrip() == "q back  j, k scroll   8 lines more"


def test_what_is_not_as_desired_comes_first_with_why() -> None:
    lines = texts(State())
    assert lines[:2] == ["plant-1  circuit closed", "3 workers: 3 stopped; 3 not as desired"]
    assert lines[3].split()[:5] == [">!", "flow-1", "edge-1", "running", "stopped"]
    assert lines[4].rstrip().endswith("paused: by pat 1m00s ago")
    assert lines[-2] == "    3s  worker.transition  flow-1"
    assert lines[-1].endswith("3 shown")


def test_an_open_circuit_its_incident_and_an_old_picture_cannot_be_missed() -> None:
    breaker = Breaker(
        state="open",
        opened_at=NOW - 62,
        reason="broker: no answer",
        children={"broker": Recovery(attempts=2)},
        incident="i1",
    )
    incident = Incident(id="i1", opened_at=NOW - 62, reason="broker: no answer", children=("broker",))
    fleet = fleet_of([("plant-1", world_of(breaker=breaker))], [("plant-1", incident)], [])
    lines, _ = lines_of(State(), fleet, 80, 24, "12s OLD, still trying: Redis does not answer")
    assert lines[:4] == [
        ("plant-1  circuit OPEN for 1m02s, attempt 2 of 5: broker: no answer", "bold reverse"),
        ("INCIDENT for 1m02s: broker: no answer", "bold reverse"),
        ("0 workers: none", "bold"),
        ("12s OLD, still trying: Redis does not answer", "bold reverse"),
    ]


def test_actions_in_progress_are_shown_with_their_time_the_longest_first() -> None:
    leases = [make_lease(stage=Stage.RUNNING, begun_at=NOW - age) for age in (5, 61)]
    subjects = [make_subject(make_snapshot(worker_id=f"flow-{number}"), lease) for number, lease in enumerate(leases)]
    lines = texts(State(), fleet_of([("plant-1", world_of(*subjects))], [], []))
    at = lines.index("ACTIONS in progress: 2")
    assert [line.split() for line in lines[at + 1 : at + 3]] == [
        ["1m01s", "start", "running", "flow-1", "on", "edge-1"],
        ["5s", "start", "running", "flow-0", "on", "edge-1"],
    ]
