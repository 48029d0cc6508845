"""The streams driver and its looks, on a Benthos that answers as real ones did, and on their recorded answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actions.model import ActionContext, ActionError, Fenced, Incarnation
from actions.reconfigure import Reconfigure
from actions.restart import Restart
from actions.start import Start
from actions.stop import Stop
from tests.conftest import free_port
from tests.integration.benthos import FakeBenthos
from workers.benthos.replies import meters
from workers.dfc_read.config import DfcReadConfig
from workers.dfc_read.observe import component, observe
from workers.dfc_read.states import LOST, FlowObserved
from workers.drivers.process import ProcessComponent
from workers.drivers.streams import KEPT, StreamComponent, body_of, running, words_of
from workers.duration import Duration
from workers.http import Reply
from workers.model import Exit, Observed
from workers.target import Target

PROGRAMS = ("bento-v1.10.0", "benthos-v4.60.0")
DROP: dict[str, Any] = {"input": {"generate": {"mapping": "root = 1"}}, "output": {"drop": {}}}
OTHER: dict[str, Any] = {"input": {"generate": {"mapping": "root = 2"}}, "output": {"drop": {}}}
NOWHERE: dict[str, Any] = {**DROP, "output": {"nowhere": {}}}
STUCK: dict[str, Any] = {**DROP, "output": {"stuck": {}}}
UNBUILDABLE: dict[str, Any] = {**DROP, "output": {"unbuildable": {}}}


class Plant:
    """A Benthos, and one worker's folder on a node."""

    def __init__(self, folder: Path) -> None:
        self.benthos = FakeBenthos()
        self.folder = folder / "held"
        self.token = 0

    def target(self, stream: Any, config_id: str, at: str = "") -> Target:
        config = DfcReadConfig(stream=stream, benthos=at or self.benthos.address, active_within=Duration(0.3))
        return Target("flow-1", self.folder, config, config_id)

    def stream(self, stream: Any = DROP, config_id: str = "c1", at: str = "") -> StreamComponent:
        made = component(self.target(stream, config_id, at))
        assert isinstance(made, StreamComponent)
        return made

    def do(self, action: Start | Stop | Reconfigure | Restart, stream: Any = DROP, config_id: str = "c1") -> str:
        self.token += 1
        return action.execute(ActionContext(self.stream(stream, config_id), self.token))

    def look(self, stream: Any = DROP, previous: Observed | None = None, at: float = 1000.0) -> FlowObserved:
        return asyncio.run(observe(self.target(stream, "c1"), previous, at))


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.benthos.close()


def recorded(program: str) -> dict[str, Any]:
    path = Path(__file__).parent.parent / "recorded" / f"{program}.json"
    streams: dict[str, Any] = json.loads(path.read_text())["streams"]
    return streams


def reply(said: list[Any]) -> Reply:
    return Reply(said[0], said[1].encode())


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_real_programs_say_of_a_stream_is_understood(program: str) -> None:
    said = recorded(program)["both"]
    seen = running(reply(said["/streams/a"]), "here")
    assert seen is not None
    assert (seen.active, seen.config["output"]) == (True, {"drop": {}})
    assert running(reply(said["/streams/c"]), "here") is None
    values = meters(said["/streams/a/stats"][1], "a")
    assert (values.input_connected, values.output_connected, values.sent > 100) == (True, True, True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_refusal_is_told_in_the_words_of_real_programs(program: str) -> None:
    said = recorded(program)
    assert words_of(reply(said["PUT /streams/a lint"])) == "(1,1) field outputt not recognised"
    assert words_of(reply(said["POST /streams/c type"])) == "(1,1) unable to infer output type from candidates: [dropp]"
    assert words_of(Reply(502, b"")) == "status 502"
    assert words_of(None) == "no answer in time"


def test_a_stream_is_made_once_and_removed_once(plant: Plant) -> None:
    assert [plant.do(Start()), plant.do(Start())] == ["started", "already running"]
    assert plant.benthos.streams == {"flow-1": DROP}
    assert plant.stream().current() == Incarnation(0, 0, "c1")
    assert [plant.do(Stop()), plant.do(Stop())] == ["stopped it", "was not running"]
    assert plant.benthos.streams == {}
    assert plant.benthos.asked[0] == "POST /streams/flow-1"


def test_a_restart_makes_it_anew(plant: Plant) -> None:
    plant.do(Start())
    assert plant.do(Restart()) == "restarted: was it, now it"
    assert plant.benthos.asked == ["POST /streams/flow-1", "DELETE /streams/flow-1", "POST /streams/flow-1"]


def test_one_that_has_ended_by_itself_is_made_anew(plant: Plant) -> None:
    plant.do(Start())
    plant.benthos.inactive = True
    assert plant.stream().current() is None
    plant.do(Start())
    assert plant.benthos.asked[-1] == "PUT /streams/flow-1"


def test_a_changed_configuration_is_put_and_an_equal_one_is_not(plant: Plant) -> None:
    plant.do(Start())
    assert plant.do(Reconfigure(), OTHER, "c2") == "it runs configuration c2"
    assert plant.do(Reconfigure(), OTHER, "c2") == "it already runs configuration c2"
    assert plant.do(Reconfigure(), OTHER, "c3") == "it runs configuration c3"
    assert plant.benthos.asked == ["POST /streams/flow-1", "PUT /streams/flow-1"]
    assert plant.benthos.streams == {"flow-1": OTHER}


def test_what_is_not_there_is_made_by_a_reconfigure_too(plant: Plant) -> None:
    assert plant.do(Reconfigure()) == "it runs configuration c1"


def test_a_stream_with_secrets_of_the_environment_of_benthos_is_known_again_and_they_are_not_kept(plant: Plant) -> None:
    secret = {**DROP, "output": {"http_client": {"url": "http://${SECRET}/"}}}
    plant.do(Start(), secret)
    assert plant.stream(secret).current() == Incarnation(0, 0, "c1")
    assert "told-nobody" in json.dumps(plant.benthos.streams)
    assert "told-nobody" not in (plant.folder / KEPT).read_text()
    assert (plant.folder / KEPT).stat().st_mode & 0o77 == 0


def test_yaml_text_is_sent_as_it_stands(plant: Plant) -> None:
    text = "input: {}\noutput: {}\n"
    plant.do(Start(), text)
    assert plant.benthos.streams == {"flow-1": {"yaml": text}}
    assert plant.stream(text).current() == Incarnation(0, 0, "c1")
    (plant.folder / KEPT).unlink()
    seen = plant.stream(text).current()
    assert seen is not None
    assert seen.config_id.startswith("foreign-")


def test_what_another_has_put_is_told_from_what_is_wanted(plant: Plant) -> None:
    plant.do(Start())
    plant.benthos.streams["flow-1"] = OTHER
    assert plant.look().config_id.startswith("foreign-")
    assert plant.do(Reconfigure()) == "it runs configuration c1"
    assert plant.benthos.streams == {"flow-1": DROP}
    (plant.folder / KEPT).unlink()
    assert plant.look().config_id == "c1"


def test_a_refused_configuration_leaves_the_one_that_runs_and_is_told_in_words_of_benthos(plant: Plant) -> None:
    plant.do(Start())
    with pytest.raises(ActionError, match=r"refuses stream flow-1: \(1,1\) field outputt not recognised"):
        plant.do(Reconfigure(), {**DROP, "outputt": {}}, "c2")
    assert plant.benthos.streams == {"flow-1": DROP}
    assert plant.look().config_id == "c1"


def test_one_that_does_not_become_active_in_time_gives_way_to_the_last_good_one(plant: Plant) -> None:
    plant.do(Start())
    with pytest.raises(ActionError, match=r"not active after 0.3s \(output not connected\); rolled back to .* c1"):
        plant.do(Reconfigure(), NOWHERE, "c2")
    assert plant.benthos.streams == {"flow-1": DROP}
    assert plant.look().config_id == "c1"


def test_one_that_cannot_be_built_gives_way_too(plant: Plant) -> None:
    plant.do(Start())
    with pytest.raises(ActionError, match=r"failed to init output; rolled back to configuration c1"):
        plant.do(Reconfigure(), UNBUILDABLE, "c2")
    assert plant.benthos.streams == {"flow-1": DROP}


def test_without_a_good_one_what_is_wanted_stays(plant: Plant) -> None:
    plant.do(Start(), NOWHERE)
    other = {**NOWHERE, "buffer": {}}
    assert plant.do(Reconfigure(), other, "c2") == "it runs configuration c2"
    assert plant.benthos.streams == {"flow-1": other}


def test_one_that_waits_for_messages_it_cannot_send_is_removed_and_made_anew(plant: Plant) -> None:
    plant.do(Start(), STUCK)
    assert plant.do(Reconfigure(), OTHER, "c2") == "it runs configuration c2"
    assert plant.benthos.asked[1:] == ["PUT /streams/flow-1", "DELETE /streams/flow-1", "POST /streams/flow-1"]


def test_one_that_moves_to_another_benthos_leaves_the_first(plant: Plant) -> None:
    plant.do(Start())
    second = FakeBenthos()
    plant.stream(at=second.address).start(9)
    assert (plant.benthos.streams, second.streams) == ({}, {"flow-1": DROP})
    second.close()
    plant.stream(at=plant.benthos.address).replace(10)
    assert plant.benthos.streams == {"flow-1": DROP}


def test_an_older_token_changes_nothing(plant: Plant) -> None:
    plant.stream().start(5)
    for late in (plant.stream().stop, plant.stream().start, plant.stream(OTHER, "c2").replace):
        with pytest.raises(Fenced):
            late(4)
    assert plant.benthos.streams == {"flow-1": DROP}


def test_where_no_benthos_listens_nothing_runs_and_nothing_can_be_started(plant: Plant) -> None:
    at = f"127.0.0.1:{free_port()}"
    with pytest.raises(ActionError, match=f"no Benthos listens at {at}"):
        plant.stream(at=at).start(1)
    plant.stream(at=at).stop(2)
    seen = asyncio.run(observe(plant.target(DROP, "c1", at), None, 1000.0))
    assert (seen.running, seen.error) == (False, None)
    assert seen.away is not None
    assert seen.away.startswith(f"nothing listens at {at}")


def test_a_benthos_that_does_not_tell_is_no_reason_to_believe_anything(plant: Plant) -> None:
    plant.do(Start())
    first = plant.look()
    plant.benthos.broken = True
    assert plant.stream().current() == Incarnation(0, 0, "")
    seen = plant.look(previous=first)
    assert seen.error is not None
    assert "does not tell of its streams: oh" in seen.error
    assert seen.started_at == first.started_at
    with pytest.raises(ActionError, match="does not remove stream flow-1: oh"):
        plant.stream().stop(9)


def test_looks_follow_a_stream_from_life_to_life(plant: Plant) -> None:
    assert plant.look().last_exit is None
    plant.do(Start())
    first = plant.look(at=1000.0)
    assert (first.running, first.config_id, first.started_at, first.messages_out) == (True, "c1", 999.0, 5)
    second = plant.look(previous=first, at=1000.5)
    assert (second.started_at, second.messages_out_per_second) == (999.0, 0.0)
    later = plant.look(previous=second, at=1060.0)
    assert (later.started_at, later.messages_out_per_second) == (1059.0, None)
    plant.do(Stop())
    gone = plant.look(previous=later, at=1070.0)
    assert gone.last_exit is not None
    assert (gone.running, gone.last_exit.started_at, gone.last_exit.ended_at) == (False, 1059.0, 1070.0)
    assert gone.last_exit.reason == LOST
    assert plant.look(previous=gone, at=1080.0).last_exit == gone.last_exit
    assert msgspec.json.decode(msgspec.json.encode(second), type=FlowObserved) == second


def test_what_ended_by_itself_is_told_from_what_went_with_benthos(plant: Plant) -> None:
    plant.do(Start())
    first = plant.look(at=1000.0)
    plant.benthos.inactive = True
    ended = plant.look(previous=first, at=1010.0)
    assert ended.last_exit == Exit(0, 999_000, started_at=999.0, ended_at=1010.0)
    plant.benthos.close()
    away = plant.look(previous=first, at=1010.0)
    assert away.last_exit == Exit(0, 999_000, started_at=999.0, ended_at=1010.0, reason=LOST)


def test_a_flow_without_a_stream_is_a_process_still(tmp_path: Path) -> None:
    config = DfcReadConfig(command=("true",), http="127.0.0.1:1")
    assert isinstance(component(Target("flow-1", tmp_path, config, "c1")), ProcessComponent)
    assert body_of({"b": 1, "a": 2}) == '{"a": 2, "b": 1}'
