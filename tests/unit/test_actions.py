"""The registry of actions, and the one contract that every action keeps: run twice, changed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from actions.create_topics import CreateTopics, HasTopics, Topic
from actions.model import Action, ActionContext, ActionError, Fenced, Incarnation, InvalidParams, UnknownAction
from actions.noop import Noop
from actions.reconfigure import Reconfigure
from actions.registry import ActionRegistry, built_in, params_of
from actions.restart import Restart
from actions.restart_child import RestartChild
from actions.start import Start
from actions.stop import Stop

OLD = Incarnation(pid=41, start_ticks=7, config_id="c0")
SAME_PID = Incarnation(pid=41, start_ticks=8, config_id="c1")  # the pid of OLD, used again by a later process
RIGHT = Incarnation(pid=42, start_ticks=9, config_id="c1")


class FakeComponent:
    """A component in memory that writes down what really changed, and under which token."""

    config_id = "c1"

    def __init__(self, running: Incarnation | None = None) -> None:
        self.running = running
        self.effects: list[tuple[str, int]] = []

    def current(self) -> Incarnation | None:
        return self.running

    def start(self, token: int) -> Incarnation:
        if self.running is None:
            self.running = Incarnation(pid=100 + len(self.effects), start_ticks=1, config_id=self.config_id)
            self.effects.append(("start", token))
        return self.running

    def stop(self, token: int) -> None:
        if self.running is not None:
            self.running = None
            self.effects.append(("stop", token))


class Broker(FakeComponent):
    """A component with topics in memory: those of `there`, and those that it does not refuse."""

    def __init__(self, there: Sequence[str] = (), refused: Sequence[str] = ()) -> None:
        super().__init__()
        self.there = list(there)
        self.refused = refused

    def missing(self) -> tuple[Topic, ...]:
        return tuple(Topic(name=name) for name in ("a", "b", "c") if name not in self.there)

    def create(self, topics: Sequence[Topic]) -> dict[str, str]:
        self.there += [topic.name for topic in topics if topic.name not in self.refused]
        return {topic.name: "no room" for topic in topics if topic.name in self.refused}


class Immortal(FakeComponent):
    """A component that says it stopped and did not."""

    def stop(self, token: int) -> None:
        self.effects.append(("stop", token))


class Refusing(FakeComponent):
    """A component that has accepted a larger token."""

    def start(self, token: int) -> Incarnation:
        raise Fenced(token, 9, "it")

    def stop(self, token: int) -> None:
        raise Fenced(token, 9, "it")


Case = tuple[Action, Incarnation | None, list[tuple[str, int]]]
RESTART = RestartChild(child_name="broker", failed_pid=41, failed_start_ticks=7)
CONTRACT: dict[str, Case] = {
    "noop changes nothing": (Noop(), OLD, []),
    "start of what is down": (Start(), None, [("start", 5)]),
    "start of what runs": (Start(), RIGHT, []),
    "stop of what runs": (Stop(), RIGHT, [("stop", 5)]),
    "stop of what is down": (Stop(), None, []),
    "reconfigure of what is outdated": (Reconfigure(), OLD, [("stop", 5), ("start", 5)]),
    "reconfigure of what is right": (Reconfigure(), RIGHT, []),
    "reconfigure of what is down": (Reconfigure(), None, [("start", 5)]),
    "restart of the one that failed": (RESTART, OLD, [("stop", 5), ("start", 5)]),
    "restart of what is down": (RestartChild(child_name="broker"), None, [("start", 5)]),
    "new life for what is down": (Restart(), None, [("start", 5)]),
    "restart of what was restarted already": (RESTART, RIGHT, []),
    "restart of what has the failed one's pid again": (RESTART, SAME_PID, []),
}


@pytest.mark.parametrize(("action", "running", "effects"), CONTRACT.values(), ids=CONTRACT.keys())
def test_an_action_run_twice_under_one_token_changes_the_world_once(
    action: Action, running: Incarnation | None, effects: list[tuple[str, int]]
) -> None:
    component = FakeComponent(running)
    first = action.execute(ActionContext(component, token=5))
    after_first = component.running
    second = action.execute(ActionContext(component, token=5))
    assert component.effects == effects
    assert component.running == after_first
    assert first
    assert second


def test_every_built_in_action_is_in_the_idempotence_contract() -> None:
    assert {action.name for action, _, _ in CONTRACT.values()} | {"create_topics"} == set(built_in().names())


def test_creating_topics_twice_creates_each_once_and_says_what_it_did() -> None:
    broker = Broker(there=["b"])
    assert isinstance(broker, HasTopics)
    action, context = CreateTopics(child_name="broker"), ActionContext(broker, token=5)
    assert action.execute(context) == "created a, c"
    assert action.execute(context) == "all topics are there already"
    assert broker.there == ["b", "a", "c"]
    assert broker.effects == []


def test_topics_that_are_refused_are_told_and_the_others_are_created() -> None:
    broker = Broker(refused=["c", "a"])
    with pytest.raises(ActionError, match=r"^topic a was refused: no room; topic c was refused: no room$"):
        CreateTopics(child_name="broker").execute(ActionContext(broker, token=5))
    assert broker.there == ["b"]


def test_topics_of_a_child_that_has_none_are_an_error() -> None:
    with pytest.raises(ActionError, match=r"^child broker has no topics in the fleet file$"):
        CreateTopics(child_name="broker").execute(ActionContext(FakeComponent(), token=5))


@pytest.mark.parametrize(
    ("action", "running", "sentence"),
    [
        (Noop(), None, "nothing to do"),
        (Start(), None, "started as pid 100"),
        (Start(), RIGHT, "already running as pid 42"),
        (Stop(), RIGHT, "stopped pid 42"),
        (Stop(), None, "was not running"),
        (Reconfigure(), OLD, "pid 101 runs configuration c1"),
        (Reconfigure(), RIGHT, "pid 42 already runs configuration c1"),
        (RESTART, OLD, "restarted: was pid 41, now pid 101"),
        (RESTART, None, "restarted: was not running, now pid 100"),
        (RESTART, RIGHT, "already runs anew as pid 42"),
    ],
)
def test_an_action_says_what_it_did(action: Action, running: Incarnation | None, sentence: str) -> None:
    assert action.execute(ActionContext(FakeComponent(running), token=5)) == sentence


def test_restart_child_brings_a_new_incarnation_under_its_token() -> None:
    component = FakeComponent(OLD)
    RESTART.execute(ActionContext(component, token=77))
    assert component.effects == [("stop", 77), ("start", 77)]
    assert component.running == Incarnation(pid=101, start_ticks=1, config_id="c1")


def test_restart_child_fails_when_the_old_incarnation_still_runs() -> None:
    with pytest.raises(ActionError, match="is still pid 41: expected a new incarnation after the restart"):
        RESTART.execute(ActionContext(Immortal(OLD), token=5))


@pytest.mark.parametrize("action", [Start(), Stop(), Reconfigure(), RESTART], ids=lambda action: action.name)
def test_a_fenced_effect_ends_the_action_and_changes_nothing(action: Action) -> None:
    component = Refusing(OLD)
    with pytest.raises(Fenced, match="token 5 is older than 9"):
        action.execute(ActionContext(component, token=5))
    assert (component.running, component.effects) == (OLD, [])


def test_s7_registry_builds_a_registered_action() -> None:
    registry = ActionRegistry()
    registry.register(RestartChild)
    assert registry.get("restart_child") is RestartChild
    built = registry.build("restart_child", {"child_name": "broker", "failed_pid": 41, "failed_start_ticks": 7})
    assert built == RESTART


@pytest.mark.parametrize("look_up", [lambda registry: registry.get("fly"), lambda registry: registry.build("fly", {})])
def test_s7_registry_names_what_it_knows_for_an_unknown_name(look_up: Callable[[ActionRegistry], object]) -> None:
    with pytest.raises(UnknownAction) as caught:
        look_up(built_in())
    assert str(caught.value) == (
        "unknown action 'fly': expected one of create_topics, noop, reconfigure, restart, restart_child, start, stop"
    )


def test_s7_an_empty_registry_says_that_it_knows_none() -> None:
    with pytest.raises(UnknownAction, match="unknown action 'noop': expected one of none"):
        ActionRegistry().get("noop")


@pytest.mark.parametrize(
    ("name", "params", "complaint"),
    [
        (
            "restart_child",
            {},
            "action 'restart_child' refuses its parameters {}: .*missing required field `child_name`",
        ),
        ("restart_child", {"child_name": 3}, "Expected `str`, got `int` - at `\\$.child_name`"),
        ("restart_child", {"child_name": "broker", "failed_pid": "41"}, "Expected `int`, got `str`"),
        ("noop", {"command": ["rm"]}, "contains unknown field `command`"),
    ],
)
def test_s7_registry_refuses_wrong_parameters(name: str, params: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidParams, match=complaint):
        built_in().build(name, params)


def test_s7_a_name_belongs_to_one_action() -> None:
    class Impostor(Action, frozen=True):
        name: ClassVar[str] = "noop"

    registry = built_in()
    with pytest.raises(ValueError, match="action name 'noop' is taken by Noop; give Impostor another name"):
        registry.register(Impostor)
    assert registry.get("noop") is Noop


def test_s7_registering_the_same_action_again_changes_nothing() -> None:
    registry = built_in()
    registry.register(Noop)
    assert registry.names() == ("create_topics", "noop", "reconfigure", "restart", "restart_child", "start", "stop")


@pytest.mark.parametrize(
    "action",
    [
        Noop(),
        Start(),
        Stop(),
        Reconfigure(),
        Restart(failed_pid=41, failed_start_ticks=7),
        RESTART,
        CreateTopics(child_name="b"),
    ],
    ids=lambda action: action.name,
)
def test_an_action_comes_back_equal_from_the_parameters_of_its_message(action: Action) -> None:
    assert built_in().build(action.name, params_of(action)) == action


def test_where_and_for_how_long_each_action_may_run() -> None:
    registry = built_in()
    assert {name: (registry.get(name).runs_on, registry.get(name).timeout) for name in registry.names()} == {
        "create_topics": ("node", 30.0),
        "noop": ("pool", 30.0),
        "reconfigure": ("node", 30.0),
        "restart": ("node", 60.0),
        "restart_child": ("node", 60.0),
        "start": ("node", 30.0),
        "stop": ("node", 30.0),
    }


def test_an_action_that_does_not_say_how_it_is_executed_raises() -> None:
    class Wish(Action, frozen=True):
        name: ClassVar[str] = "wish"

    with pytest.raises(TypeError, match="Wish does not say how it is executed"):
        Wish().execute(ActionContext(FakeComponent(), token=5))
