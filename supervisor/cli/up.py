"""fsmctl up: everything on this host, in the foreground."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from supervisor import launch
from supervisor.cli.apply import replaced
from supervisor.cli.screen import State
from supervisor.cli.watch import Eye, Screen, carry_out, is_terminal
from supervisor.clock import SystemClock
from supervisor.collector import Collector
from supervisor.connection import STORE_ERRORS, check_server
from supervisor.extensions import load_extensions
from supervisor.fleet import read_fleets
from supervisor.launch import Part, Runner
from supervisor.logs import configure
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import URL_FILE, Settings, has_own_redis
from supervisor.store import Store
from supervisor.traces import check
from supervisor.view import World, load_world

_REDIS_START = 10.0  # seconds for the private Redis to load its data and answer
_SAID = 50  # of what the parts' runner said while the screen was the fleet's, lines to be shown afterwards
_EPILOG = """\b
Examples:
  fsmctl up --fleet compose/demo/fleet.toml
  FSM_REDIS_URL=redis://10.0.0.5/0 fsmctl up --fleet plant.toml
"""
_PORT = click.IntRange(1, 65535)


@dataclasses.dataclass(frozen=True)
class Ports:
    """Where the parts listen, on loopback."""

    redis: int
    exporter: int
    flower: int


class Up:
    """One run of `fsmctl up`, from the checks to the last process stopped."""

    def __init__(self, settings: Settings, path: Path, ports: Ports) -> None:
        """Check everything that can be checked before anything is started. Raises `SupervisorError`."""
        check(settings.traces)
        self.private = not has_own_redis()
        self.path = path
        self.ports = ports
        extensions = load_extensions()
        self.fleets = read_fleets(path, extensions.workers, own_checks=extensions.checks)
        pulse = min(settings.pulse, *(fleet.settings.tick_interval for fleet in self.fleets))
        self.settings = dataclasses.replace(settings, pulse=pulse)
        self.clock = SystemClock()
        self.stop = threading.Event()
        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """Tell the person."""
        self.console.print(text, soft_wrap=True, markup=False)

    def run(self) -> None:
        """Start, show, and stop in order whatever happened."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self.stop.set())
        with ExitStack() as stack:
            stack.enter_context(launch.lock_data_dir(self.settings))
            redis_part, url = self._redis()
            self.settings = dataclasses.replace(self.settings, redis_url=url)
            runner = Runner(self.settings, self.clock, self.say)
            runner.clean_up()
            self._check_ports()
            if redis_part is None:
                self._check_store(make_runtime(self.settings))  # before anything runs that would have to be stopped
            tail = launch.Tail(self.settings.data_dir, click.echo)
            stack.callback((self.settings.data_dir / URL_FILE).unlink, missing_ok=True)
            stack.callback(self._stop, runner)
            runtime = self._start_store(runner, redis_part)
            runtime.mirror.restore_all()  # before the file is applied: what it does not say, as an operator's wish
            self._apply(runtime.store)
            for part in self._parts():
                runner.start(part)
            self._tell()
            self._show(runner, runtime, tail)

    def _apply(self, store: Store) -> None:
        """Make the file the wish; tell which settings in the store it replaces that cannot be read."""
        stored = {name: store.index(name, even_damaged=True) for name in (one.settings.name for one in self.fleets)}
        store.apply_fleets(self.fleets)
        for name, index in stored.items():
            if index is not None and index.damage:
                self.say(replaced(name, index.damage))

    def _parts(self) -> list[Part]:
        return launch.parts_of(self._nodes(), self.settings, self.ports.exporter, self.ports.flower)

    def _nodes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(node for fleet in self.fleets for node in fleet.nodes))

    def _redis(self) -> tuple[Part | None, str]:
        if not self.private:
            return None, Settings.from_env(data_dir=str(self.settings.data_dir)).redis_url
        return launch.redis_part(self.settings, self.ports.redis)

    def _check_ports(self) -> None:
        wanted = [("metrics", self.ports.exporter, "--exporter-port"), ("Flower", self.ports.flower, "--flower-port")]
        if self.private:
            wanted.append(("the private Redis", self.ports.redis, "--redis-port"))
        launch.check_ports(wanted)

    def _start_store(self, runner: Runner, part: Part | None) -> Runtime:
        if part is not None:
            runner.start(part)
        runtime = make_runtime(self.settings)
        if part is not None:
            launch.wait_until(runtime.store.answers, "the private Redis to answer", _REDIS_START, self.clock)
        self._check_store(runtime)
        launch.write_private(self.settings.data_dir / URL_FILE, self.settings.redis_url + "\n")
        return runtime

    def _check_store(self, runtime: Runtime) -> None:
        check_server(runtime.store.client, self.settings)
        runtime.store.check_schema()

    def _tell(self) -> None:
        own = f"private, data in {self.settings.data_dir / 'redis'}" if self.private else "yours"
        names = " ".join(part.name for part in self._parts())
        supervisors = ", ".join(fleet.settings.name for fleet in self.fleets)
        self.say(f"supervisor {supervisors} runs, fleet from {self.path}")
        self.say(f"  store    {self.settings.shown_url} ({own})")
        self.say(f"  parts    {names}")
        self.say(f"  output   {self.settings.data_dir / 'parts'}/*/output.log")
        self.say(f"  metrics  http://127.0.0.1:{self.ports.exporter}/metrics")
        self.say(f"  Flower   http://127.0.0.1:{self.ports.flower}")
        self.say(f"  look     {_fsmctl(self.settings)} get workers, describe worker ID, events -f")
        self.say("  stop     Ctrl-C")

    def _show(self, runner: Runner, runtime: Runtime, tail: launch.Tail) -> None:
        """Show the fleet live on a terminal, the parts' log lines otherwise."""
        if is_terminal():
            self._show_live(runner, runtime)
            return
        launch.run_until(self.stop, runner, tail.look)
        tail.look()

    def _show_live(self, runner: Runner, runtime: Runtime) -> None:
        """Show what `fsmctl watch` shows; what the runner has to say is there, and afterwards above the prompt."""
        root = click.get_current_context().find_root().command
        options = {"data_dir": str(self.settings.data_dir)}
        eye = Eye(runtime, lambda: self._worlds(runtime), lambda order: carry_out(root, options, order))
        screen = Screen(eye, self.clock, State(quits="stop all"))
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            screen.say(text)

        runner.say = say
        try:
            screen.run(self._minding(runner))
        finally:
            runner.say = self.say
            for text in said[-_SAID:]:
                self.say(text)

    def _worlds(self, runtime: Runtime) -> Iterator[tuple[str, World]]:
        now = runtime.store.now()
        for fleet in self.fleets:
            index = runtime.store.index(fleet.settings.name)
            if index is not None:
                yield fleet.settings.name, load_world(runtime, fleet.settings.name, index, now)

    def _minding(self, runner: Runner) -> Callable[[], bool]:
        """Return what minds the parts every now and then, and tells whether to go on."""
        due = 0.0

        def minds() -> bool:
            nonlocal due
            if self.clock.monotonic() >= due:
                runner.watch()
                due = self.clock.monotonic() + launch.LOOK_EVERY
            return not self.stop.is_set()

        return minds

    def _stop(self, runner: Runner) -> None:
        self.say("stopping")
        runner.stop(self._last_look)
        self.say("stopped; what is desired stays as it is")

    def _last_look(self) -> None:
        """Write down that nothing runs any more, so that nobody is told the contrary until the next run."""
        runtime = make_runtime(self.settings)
        try:
            for node in self._nodes():
                asyncio.run(Collector(runtime, node).look_once())
        except STORE_ERRORS as error:
            self.say(f"the last look was not written, the store does not answer: {error}")


def _fsmctl(settings: Settings) -> str:
    """Return how this installation's fsmctl is called from a second shell."""
    program = Path(sys.argv[0])
    name = str(program) if program.parent != Path() else "fsmctl"
    default = Path(".fsm").resolve() == settings.data_dir
    return name if default else f"{name} --data-dir {settings.data_dir}"


@click.command("up", epilog=_EPILOG)
@click.option(
    "--fleet", "path", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Fleet file (TOML)."
)
@click.option("--data-dir", metavar="DIR", help="Data folder; a second run goes on from it.  [default: .fsm]")
@click.option(
    "--redis-port",
    type=_PORT,
    default=7379,
    show_default=True,
    envvar="FSM_UP_REDIS_PORT",
    help="Port of the private Redis.",
)
@click.option(
    "--exporter-port",
    type=_PORT,
    default=9464,
    show_default=True,
    envvar="FSM_UP_EXPORTER_PORT",
    help="Port of /metrics.",
)
@click.option(
    "--flower-port", type=_PORT, default=5555, show_default=True, envvar="FSM_UP_FLOWER_PORT", help="Port of Flower."
)
@click.pass_context
def command(
    context: click.Context, path: Path, data_dir: str | None, redis_port: int, exporter_port: int, flower_port: int
) -> None:
    """Run everything here: Redis, beats, executors of every node of the fleet, exporter, Flower.

    Without FSM_REDIS_URL a private Redis is started, on loopback. A part that dies is started again. Ctrl-C or SIGTERM
    stops everything, supervised processes included; a second run goes on from the stored state.
    """
    settings = Settings.from_env(data_dir=data_dir or context.find_root().obj["data_dir"])
    configure(settings.log_format, settings.log_level)
    Up(settings, path, Ports(redis_port, exporter_port, flower_port)).run()
