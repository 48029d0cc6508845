"""fsmctl up: everything on this host, in the foreground."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from supervisor import launch
from supervisor.cli import rows
from supervisor.clock import SystemClock
from supervisor.collector import Collector
from supervisor.connection import STORE_ERRORS, check_server
from supervisor.errors import BadDocument
from supervisor.fleet import Fleet, read_fleets
from supervisor.launch import Part, Runner
from supervisor.logs import configure
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import URL_FILE, Settings, has_own_redis
from supervisor.traces import check
from supervisor.view import load_world
from workers.registry import built_in

_REDIS_START = 10.0  # seconds for the private Redis to load its data and answer
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
        self.fleets = read_fleets(path, built_in())
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
            runtime.store.apply_fleets(self.fleets)
            for part in self._parts():
                runner.start(part)
            self._tell()
            self._show(runner, runtime, tail)

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
        if not sys.stdout.isatty():
            launch.run_until(self.stop, runner, tail.look)
            tail.look()
            return
        with Live(fleet_table(runtime, self.fleets), console=Console(), auto_refresh=False) as live:
            # messages of the runner go above the table
            runner.say = lambda text: live.console.print(text, soft_wrap=True, markup=False, highlight=False)

            def show() -> None:
                live.update(fleet_table(runtime, self.fleets), refresh=True)

            launch.run_until(self.stop, runner, show)
        runner.say = self.say

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


def fleet_table(runtime: Runtime, fleets: Sequence[Fleet]) -> Table:
    """Return the fleets as one picture of 80 columns; readable without colour."""
    table = Table(box=None, pad_edge=False, title_justify="left", expand=False)
    for heading, width in (
        ("WORKER", 20),
        ("NODE", 8),
        ("DESIRED", 8),
        ("STATE", 9),
        ("SEEN", 5),
        ("PID", 7),
        ("ACTION", 12),
    ):
        table.add_column(heading, no_wrap=True, max_width=width)
    titles = []
    for fleet in fleets:
        try:
            circuit = _add_rows(table, runtime, fleet.settings.name)
        except STORE_ERRORS as error:
            table.title = f"the store does not answer: {error}"
            return table
        except BadDocument as error:  # no reason to stop what runs
            circuit = str(error)
        titles.append(circuit if len(fleets) == 1 else f"{fleet.settings.name}: {circuit}")
    table.title = "\n".join(titles)
    return table


def _add_rows(table: Table, runtime: Runtime, name: str) -> str:
    """Add a supervisor's workers and return its circuit and children in a line."""
    index = runtime.store.index(name)
    if index is None:
        return ""
    world = load_world(runtime, name, index, runtime.store.now())
    for row in rows.worker_rows(name, world):
        cells = ("id", "node", "desired", "state", "observed_age", "pid", "action_or_why_not")
        table.add_row(
            *(str(row[cell]) if row[cell] is not None else "-" for cell in cells), style=_STYLES.get(row["phase"])
        )
    children = "  ".join(f"{child.spec.name} {child.verdict.state}" for child in world.children)
    return f"circuit {world.breaker.state}  {children}"


_STYLES = {"running": "green", "degraded": "yellow", "failed": "red", "unknown": "magenta"}


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
