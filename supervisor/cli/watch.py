"""fsmctl watch: the whole fleet on one screen, kept up to date, with keys."""

from __future__ import annotations

import io
import queue
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from supervisor.cli.failure import exit_code_of, told
from supervisor.cli.picture import Fleet, fleet_of
from supervisor.cli.screen import Order, State, lines_of, press
from supervisor.cli.session import Session, with_session
from supervisor.clock import Clock
from supervisor.connection import STORE_ERRORS, words_for
from supervisor.errors import UsageError
from supervisor.model import Incident
from supervisor.runtime import Runtime
from supervisor.store import event_order
from supervisor.view import World
from workers.duration import ago

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.live import Live

_EVERY = 1.0  # seconds between two looks; after one that took longer, as long as that
_POLL = 0.1  # seconds until what is new is drawn
_EVENTS = 12
_LEAVING = 5.0  # seconds for a look that is under way when the person leaves
_EPILOG = """\b
Examples:
  fsmctl watch
  fsmctl --supervisor plant-1 watch
  NO_COLOR=1 fsmctl watch                 in black and white

\b
Keys: up, down, k, j choose; / filters; e explains; p pauses or resumes;
  ? shows all of them; q quits.
"""
Worlds = Callable[[], Iterable[tuple[str, World]]]
EMPTY = Fleet(now=0.0, heads=(), workers=(), counts="looking …", actions=(), events=())


class Eye:
    """Looks at the store and carries out orders in a thread of its own, so that keys are answered meanwhile."""

    def __init__(self, runtime: Runtime, worlds: Worlds, carry_out: Callable[[Order], str]) -> None:
        """Look at what `worlds` yields; `carry_out` does what a person wants and returns what is said of it."""
        self._runtime = runtime
        self._worlds = worlds
        self._carry_out = carry_out
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Order, str]] = queue.SimpleQueue()
        self.fleet = EMPTY
        self.trouble = ""
        self.seen_at = runtime.clock.monotonic()
        self.looks = 0
        self._thread = threading.Thread(target=self._run, daemon=True, name="eye")

    def order(self, order: Order) -> None:
        """Have something done."""
        self._orders.put(order)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Look for as long as the context lasts."""
        self._thread.start()
        try:
            yield
        finally:
            self._orders.put(None)
            self._thread.join(_LEAVING)

    def _run(self) -> None:
        clock = self._runtime.clock
        while True:
            began = clock.monotonic()
            self._look()
            self.looks += 1
            pause = max(_EVERY, clock.monotonic() - began)
            try:
                order = self._orders.get(timeout=pause)
            except queue.Empty:
                continue
            if order is None:
                return
            self.answers.put((order, self._carry_out(order)))

    def _look(self) -> None:
        """Take a picture, or keep the last one and say what is wrong."""
        try:
            self.fleet = _picture(self._runtime, self._worlds)
        except STORE_ERRORS as error:
            self.trouble = words_for(error, self._runtime.settings.shown_url)
        except Exception as error:  # noqa: BLE001 - the screen must not go on with a picture that nobody renews
            self.trouble = told(error)[0]
        else:
            self.trouble = ""
            self.seen_at = self._runtime.clock.monotonic()


def _picture(runtime: Runtime, worlds: Worlds) -> Fleet:
    store = runtime.store
    found = list(worlds())
    incidents: list[tuple[str, Incident]] = []
    events: list[dict[str, Any]] = []
    for name, world in found:
        if world.breaker.incident and world.breaker.state != "closed":
            incidents += [(name, one) for one in store.incidents(name) if one.closed_at is None]
        for entry_id, fields in store.events(name, world.index.places_used, _EVENTS):
            events.append({"id": entry_id, "time": event_order(entry_id)[0] / 1000, "supervisor": name, **fields})
    newest = sorted(events, key=lambda event: event_order(event["id"]))[-_EVENTS:]
    return fleet_of(found, incidents, newest)


class Screen:
    """The terminal: drawn when something is new, and given back as it was whatever happens."""

    def __init__(self, eye: Eye, clock: Clock, state: State) -> None:
        """Show what `eye` sees."""
        self._eye = eye
        self._clock = clock
        self._state = state
        self._drawn: object = None

    def say(self, text: str) -> None:
        """Show a message until the next key."""
        self._state = replace(self._state, notice=text)

    def run(self, meanwhile: Callable[[], bool]) -> None:
        """Show the fleet until a person leaves, or `meanwhile`, which is called ten times a second, says no."""
        from rich.console import Console
        from rich.live import Live

        from supervisor.cli.keyboard import Keyboard

        console = Console(file=sys.stdout, highlight=False)
        keyboard = Keyboard()
        with (
            self._eye.open(),
            keyboard.quiet(),
            _undisturbed(),
            Live(
                console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live,
        ):
            while meanwhile():
                self._answer(console.width)
                self._draw(live, console.width, console.height)
                for key in keyboard.keys(_POLL):
                    self._state, order = press(self._state, key, self._eye.fleet, console.height)
                    if order is not None and order.what == "quit":
                        return
                    if order is not None:
                        self._eye.order(order)

    def _answer(self, width: int) -> None:
        """Show what has come of orders."""
        while not self._eye.answers.empty():
            order, text = self._eye.answers.get()
            if order.what != "explain":
                self.say(" ".join(text.split()))
                continue
            wide = textwrap.TextWrapper(width, subsequent_indent="    ", replace_whitespace=False)
            page = [part for line in text.splitlines() for part in wide.wrap(line) or [""]]
            self._state = replace(self._state, page=tuple(page), page_top=0, notice="")

    def _draw(self, live: Live, width: int, height: int) -> None:
        """Draw, if what is to be seen has changed."""
        from rich.console import Group
        from rich.text import Text

        age = int(self._clock.monotonic() - self._eye.seen_at) if self._eye.trouble else 0
        new = (self._state, self._eye.looks, width, height, age)
        if new == self._drawn:
            return
        trouble = f"{ago(age)} OLD, still trying: {self._eye.trouble}" if self._eye.trouble else ""
        lines, self._state = lines_of(self._state, self._eye.fleet, width, height, trouble)
        self._drawn = (self._state, *new[1:])
        live.update(Group(*(Text(text, style, no_wrap=True, overflow="crop") for text, style in lines)), refresh=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep back what others write to stderr while the screen is ours, and write it afterwards.

    Nor may the process be stopped (Ctrl-Z): it could not give the terminal back before.
    """
    held = io.StringIO()
    stops = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        with redirect_stderr(held):
            yield
    finally:
        signal.signal(signal.SIGTSTP, stops)
        sys.stderr.write(held.getvalue()[-10_000:])


def carry_out(root: click.Command, options: Mapping[str, str | None], order: Order) -> str:
    """Do what a person wants with fsmctl's own commands, and return what they print."""
    used = {**options, "supervisor": order.supervisor or options["supervisor"]}
    words = [part for name, value in used.items() if value for part in (f"--{name.replace('_', '-')}", value)]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            root.main([*words, *_command(root, order)], prog_name="fsmctl", standalone_mode=False)
        except BaseException as error:  # noqa: BLE001 - as fsmctl's `main`: told as a sentence, never a traceback
            exit_code_of(error)
    return said.getvalue()


def _command(root: click.Command, order: Order) -> list[str]:
    known = root.list_commands(click.Context(root)) if isinstance(root, click.Group) else []
    if order.what == "explain":
        return ["explain", f"worker/{order.worker}"] if "explain" in known else ["describe", "worker", order.worker]
    return [order.what, order.worker]


def is_terminal() -> bool:
    """Tell whether there is a terminal on which a screen can be drawn."""
    from supervisor.settings import is_dumb_terminal

    return sys.stdout.isatty() and not is_dumb_terminal()


@click.command("watch", epilog=_EPILOG)
@with_session
def command(session: Session) -> None:
    """Show the whole fleet on one screen, kept up to date: circuits, incidents, workers, actions, events.

    Workers that are not as desired come first. When Redis is away the last picture stays, with its age, until Redis
    answers again.
    """
    if not is_terminal() or not sys.stdin.isatty():
        raise UsageError("watch needs a terminal; without one see `fsmctl get workers` and `fsmctl events --follow`")
    context = click.get_current_context().find_root()
    options = {name: context.params[name] for name in ("data_dir", "supervisor")}
    eye = Eye(session.runtime, session.worlds, lambda order: carry_out(context.command, options, order))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    Screen(eye, session.runtime.clock, State()).run(lambda: True)


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
