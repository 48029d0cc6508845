"""`fsmctl watch` on a real terminal, driven by its keys through tmux: what a person sees in 80 columns and 24 lines."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conftest import missing
from tests.live.system import SCRIPTS, System
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.slow]

FLEET = """
[supervisor]
name = "plant-1"
observation_interval = "1s"

[[workers]]
id = "steady"
type = "process"
node = "edge-1"
config = { command = ["sleep", "1000"], min_uptime = "1s" }

[[workers]]
id = "resting"
type = "process"
node = "edge-1"
desired = "stopped"
config = { command = ["sleep", "1000"], min_uptime = "1s" }
"""


@dataclass
class Terminal:
    """A terminal of a tmux server of its own, in which a shell runs."""

    socket: Path
    folder: Path

    def tmux(self, *arguments: str) -> str:
        """Run a tmux command."""
        command = ["tmux", "-S", str(self.socket), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout

    def start(self, environ: dict[str, str], *command: str) -> None:
        """Run a command, and write how it ended and how the terminal is then."""
        sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in environ.items())
        line = f"stty -a > before; env {sets} {shlex.join(command)}; echo code $?; stty -a > after; exec cat"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", str(self.folder), line)

    def press(self, *keys: str) -> None:
        """Press keys, as tmux names them."""
        self.tmux("send-keys", *keys)

    def lines(self) -> list[str]:
        """Return what is on the screen."""
        return self.tmux("capture-pane", "-p").splitlines()

    def shows(self, text: str, limit: float = 30) -> list[str]:
        """Wait until a text is on the screen, and return all of it."""
        wait_until(lambda: any(text in line for line in self.lines()), f"{text!r} on the screen", limit)
        return self.lines()

    def row(self, worker_id: str) -> str:
        """Return a worker's row; empty when it is not on the screen."""
        rows = [line for line in self.lines() if line[3:].startswith(worker_id + " ")]
        return rows[0] if rows else ""

    def is_as_before(self) -> bool:
        """Tell whether the terminal's settings are what they were before the command."""
        return (self.folder / "before").read_text() == (self.folder / "after").read_text()

    def process(self, word: str) -> psutil.Process:
        """Return the process of this terminal that has `word` as an argument."""

        def found() -> psutil.Process | None:
            shell = psutil.Process(int(self.tmux("display", "-p", "#{pane_pid}")))
            return next((one for one in shell.children(recursive=True) if word in one.cmdline()), None)

        process = wait_until(found, f"fsmctl {word} to run", 20)
        assert process is not None
        return process


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Return a terminal, and end it with all that runs in it."""
    if shutil.which("tmux") is None:
        missing("no tmux: the screen is driven through it")
    made = Terminal(tmp_path / "tmux", tmp_path)
    try:
        yield made
    finally:
        subprocess.run(["tmux", "-S", str(made.socket), "kill-server"], check=False, capture_output=True)


@pytest.fixture
def plant(system: System) -> System:
    """Return a running installation with a fleet of its own."""
    system.fleet.write_text(FLEET)
    system.start()
    system.wait_for("worker/steady", "state=running")
    return system


Watch = Callable[[], Terminal]


@pytest.fixture
def watch(plant: System, terminal: Terminal) -> Watch:
    """Return what starts `fsmctl watch` in black and white and waits for its first picture."""

    def start() -> Terminal:
        environ = {"FSM_DATA_DIR": str(plant.data), "NO_COLOR": "1"}
        terminal.start(environ, str(SCRIPTS / "fsmctl"), "watch")
        terminal.shows("2 workers")
        return terminal

    return start


def test_the_keys_filter_explain_pause_and_quit(plant: System, watch: Watch) -> None:
    terminal = watch()
    lines = terminal.shows("circuit closed")
    assert max(len(line) for line in lines) <= 80
    assert lines[-1].startswith("q quit  / filter  e explain  p pause  ? help")
    row = ["steady", "edge-1", "running", "running"]
    wait_until(lambda: terminal.row("steady")[3:].split()[:4] == row, "its row", 20)

    terminal.press("/", "s", "t", "e", "a", "d", "y")
    terminal.shows("filter: steady_")
    wait_until(lambda: not terminal.row("resting") and terminal.row("steady"), "steady alone", 10)
    terminal.press("Enter")
    terminal.shows("1 shown, filter 'steady'")

    terminal.press("e")
    page = terminal.shows("q back")
    assert any("steady" in line for line in page)
    assert any("running" in line for line in page)
    terminal.press("q")

    terminal.shows("1 shown")
    terminal.press("p")
    terminal.shows("pause steady? y: yes")
    terminal.press("y")
    terminal.shows("operator.pause")
    wait_until(lambda: "paused" in terminal.row("steady"), "the row of a paused worker", 20)
    assert [one["type"] for one in plant.worker("steady")["conditions"]] == ["paused"]
    terminal.press("p", "y")
    wait_until(lambda: plant.worker("steady")["conditions"] == [], "it to be resumed", 20)

    terminal.press("?")
    terminal.shows("this page")
    terminal.press("q", "q")
    terminal.shows("code 0")
    wait_until(terminal.is_as_before, "the terminal's settings", 10)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_terminal_is_given_back_after_a_signal(watch: Watch, number: signal.Signals, code: int) -> None:
    terminal = watch()
    terminal.process("watch").send_signal(number)
    lines = terminal.shows(f"code {code}")
    assert not any("circuit" in line or "Traceback" in line for line in lines), "the screen before is back"
    wait_until(terminal.is_as_before, "the terminal's settings", 10)


def test_it_goes_on_without_redis_and_recovers(plant: System, watch: Watch) -> None:
    terminal = watch()
    redis = psutil.Process(plant.part_pid("redis"))
    redis.suspend()
    try:
        lines = terminal.shows("OLD, still trying: Redis at ")
        assert any("steady" in line for line in lines), "the last picture stays"
        terminal.press("?")
        terminal.shows("this page", 5)
        terminal.press("q")
    finally:
        redis.resume()
    wait_until(lambda: not any("OLD" in line for line in terminal.lines()), "the picture to be fresh again", 30)
    terminal.press("q")
    terminal.shows("code 0")


def test_up_shows_it_and_q_stops_all(system: System, terminal: Terminal) -> None:
    system.fleet.write_text(FLEET)
    redis, exporter, flower = (str(port) for port in system.ports)
    ports = ("--redis-port", redis, "--exporter-port", exporter, "--flower-port", flower)
    environ = {"FSM_DATA_DIR": str(system.data)}
    terminal.start(environ, str(SCRIPTS / "fsmctl"), "up", "--fleet", str(system.fleet), *ports)
    terminal.shows("q stop all", 60)
    wait_until(lambda: " running  running " in terminal.row("steady"), "the worker to run", 60)
    mine = {os.getpid(), *(one.pid for one in psutil.Process(int(terminal.tmux("display", "-p", "#{pid}"))).children())}
    terminal.press("q")
    terminal.shows("code 0", 60)
    assert any("what is desired stays as it is" in line for line in terminal.lines())
    wait_until(terminal.is_as_before, "the terminal's settings", 10)
    left = [one for one in system.processes() if one.pid not in mine and "tmux" not in one.name()]
    assert left == []


def test_without_a_terminal_it_says_what_to_use_instead(plant: System) -> None:
    assert plant.fsmctl("watch", code=2).stderr == (
        "error: watch needs a terminal; without one see `fsmctl get workers` and `fsmctl events --follow`\n"
    )
