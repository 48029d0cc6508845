"""Looks at a process whose HTTP interface gives the answers that a real Benthos gave."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.conftest import free_port
from tests.waiting import wait_until
from workers.benthos.config import BenthosConfig
from workers.benthos.observe import observe
from workers.benthos.states import BenthosObserved
from workers.model import Observed
from workers.process.observe import component
from workers.target import Target

RECORDED = Path(__file__).parent.parent / "recorded"
SERVER = textwrap.dedent("""
    import http.server, json, pathlib, sys
    answers = pathlib.Path(sys.argv[2])
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with open("asked", "a") as file:
                file.write(self.path + "\\n")
            status, body = json.loads(answers.read_text()).get(self.path, (404, "404 page not found"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())
        def log_message(self, *args): pass
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
""")


class Plant:
    """A process that answers as a real Benthos did, and looks at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flows = json.loads((RECORDED / "benthos-v4.60.0.json").read_text())["flows"]
        port = free_port()
        (folder / "server.py").write_text(SERVER)
        self.answer(self.flows["flowing"])
        command = ("python3", "server.py", str(port), "answers.json")
        config = BenthosConfig(command=command, cwd=str(folder), http=f"127.0.0.1:{port}")
        self.target = Target("flow-1", folder / "held", config, "c1")
        self.component = component(self.target)
        self.address = config.http

    def answer(self, answers: dict[str, tuple[int, str]]) -> None:
        (self.folder / "answers.json").write_text(json.dumps(answers))

    def look(self, previous: Observed | None = None, at: float = 1000.0) -> BenthosObserved:
        return asyncio.run(observe(self.target, previous, at))

    def up(self) -> BenthosObserved:
        """Start it and return the first look that it answered."""
        self.component.start(1)
        return wait_until(lambda: seen if (seen := self.look()).http_error is None else None, "it to answer")


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    yield made
    made.component.stop(1)


def test_what_does_not_run_is_not_asked(plant: Plant) -> None:
    seen = plant.look()
    assert (seen.pid, seen.http_error, seen.version) == (None, None, "")
    assert not (plant.folder / "asked").exists()


def test_a_look_tells_what_the_process_and_its_interface_say(plant: Plant) -> None:
    seen = plant.up()
    assert seen.pid is not None
    assert (seen.error, seen.config_id, seen.version) == (None, "c1", "v4.60.0")
    assert (seen.ready, seen.input_connected, seen.output_connected) == (True, True, True)
    assert seen.messages_out > 100
    assert msgspec.json.decode(msgspec.json.encode(seen), type=BenthosObserved) == seen


def test_a_second_look_counts_from_the_first_and_does_not_ask_for_the_version_again(plant: Plant) -> None:
    first = plant.up()
    plant.answer(plant.flows["lost"])
    (plant.folder / "asked").unlink()
    second = plant.look(first, 1060.0)
    assert (plant.folder / "asked").read_text().split() == ["/ping", "/ready", "/metrics"]
    assert (second.version, second.ready, second.output_connected) == ("v4.60.0", False, False)
    assert "connection refused" in second.lost
    assert [sample.at for sample in second.samples][-1] == 1060.0


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"/ping": None}, "/ping answered 404, expected 200"),
        ({"/ready": [500, "oh"]}, "/ready answered 500, expected 200 or 503"),
        ({"/metrics": None}, "/metrics answered 404, expected 200"),
        ({"/metrics": [200, "{"]}, "Expecting property name"),
    ],
)
def test_an_answer_that_no_benthos_gives_is_told_and_what_was_known_is_kept(
    plant: Plant, answers: dict[str, tuple[int, str] | None], error: str
) -> None:
    first = plant.up()
    changed = {**plant.flows["flowing"], **answers}
    plant.answer({path: said for path, said in changed.items() if said is not None})
    second = plant.look(first, 1060.0)
    assert second.http_error is not None
    assert second.http_error.startswith(f"{plant.address}: {error}")
    assert (second.ready, second.version, second.samples) == (False, "v4.60.0", first.samples)


def test_one_that_does_not_listen_runs_all_the_same(plant: Plant) -> None:
    plant.up()
    deaf = msgspec.structs.replace(plant.target.config, http=f"127.0.0.1:{free_port()}")
    target = Target("flow-1", plant.target.folder, deaf, "c1")
    seen = asyncio.run(observe(target, None, 1000.0))
    assert seen.pid is not None
    assert seen.http_error is not None
    assert "cannot connect: " in seen.http_error
