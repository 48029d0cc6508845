"""The screen of `fsmctl watch`: what a key does to it, and its lines. Pure: no terminal, no store, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from supervisor.cli.picture import STYLES, Fleet, Style, Worker, event_cells

Line = tuple[str, Style]
HEADINGS = ("WORKER", "NODE", "DESIRED", "STATE", "SEEN", "ACTION, OR WHY NONE")
_WIDEST = (28, 10, 8, 12, 6)
_ACTIONS = 4  # lines at most
_EVENTS = 5
_LEAST_WORKERS = 3  # lines that workers get however small the screen is
HELP = (
    "fsmctl watch: the fleet as it is, looked at every second",
    "",
    "  up, down, k, j     choose a worker; PgUp, PgDn, Home, End go farther",
    "  /                  filter: words that id, node, state, phase or reason",
    "                     must have; Enter keeps it, Esc takes it away",
    "  e, Enter           explain the chosen worker",
    "  p                  pause the chosen worker, or resume it (asks first)",
    "  ?                  this page",
    "  q                  quit",
    "",
    "Workers that are not as desired come first, marked with !.",
    "A paused worker is marked with P. Seen: age of the last look at it.",
    "",
    "The words of the filter may be not-as-desired, paused, failed, edge-1 …",
    "The whole story of a worker: fsmctl describe worker/ID, fsmctl events.",
)
_KEYS = "q {quits}  / filter  e explain  p pause  ? help"


@dataclass(frozen=True)
class Order:
    """What the person wants done: leave, have a worker of a supervisor explained, paused or resumed."""

    what: Literal["quit", "explain", "pause", "resume"]
    worker: str = ""
    supervisor: str = ""


@dataclass(frozen=True)
class State:
    """What is chosen and shown.

    `page`: lines that cover the fleet, if any; `asked`: an order that waits for a yes; `quits`: what leaving means.
    """

    chosen: str = ""
    first: int = 0
    text: str = ""
    typing: bool = False
    page: tuple[str, ...] = ()
    page_top: int = 0
    asked: Order | None = None
    notice: str = ""
    quits: str = "quit"


def shown_workers(state: State, fleet: Fleet) -> Sequence[Worker]:
    """Return the workers that the filter lets through."""
    return fleet.workers if not state.text else [worker for worker in fleet.workers if worker.matches(state.text)]


def press(state: State, key: str, fleet: Fleet, height: int) -> tuple[State, Order | None]:
    """Return the screen after a key, and what is to be done for it."""
    if state.asked is not None:
        order = state.asked if key in ("y", "Y") else None
        return replace(state, asked=None, notice="" if order else "nothing was done"), order
    if state.typing:
        return _type(state, key), None
    if state.page:
        return _turn(state, key, height), None
    moved = _move(state, key, fleet, height)
    return (moved, None) if moved is not None else _command(replace(state, notice=""), key, fleet)


def _type(state: State, key: str) -> State:
    if key == "enter":
        return replace(state, typing=False)
    if key == "esc":
        return replace(state, typing=False, text="")
    if key == "backspace":
        return replace(state, text=state.text[:-1])
    return replace(state, text=state.text + key, first=0) if len(key) == 1 and key.isprintable() else state


def _turn(state: State, key: str, height: int) -> State:
    """Scroll a page, or close it."""
    far = height - 2
    by = {"down": 1, "j": 1, "up": -1, "k": -1, "pgdn": far, " ": far, "pgup": -far, "end": 1 << 30, "home": -(1 << 30)}
    if key in by:
        last = max(0, len(state.page) - far)
        return replace(state, page_top=min(last, max(0, state.page_top + by[key])))
    return replace(state, page=(), page_top=0) if key in ("q", "esc", "e", "enter", "?") else state


def _move(state: State, key: str, fleet: Fleet, height: int) -> State | None:
    """Choose another worker; None when the key is none that moves."""
    far = max(1, height // 2)
    by = {"down": 1, "j": 1, "up": -1, "k": -1, "pgdn": far, "pgup": -far, "end": 1 << 30, "home": -(1 << 30)}
    if key not in by:
        return None
    workers = shown_workers(state, fleet)
    if not workers:
        return state
    at = min(len(workers) - 1, max(0, position(state, workers) + by[key]))
    return replace(state, chosen=workers[at].id, notice="")


def _command(state: State, key: str, fleet: Fleet) -> tuple[State, Order | None]:
    """Do what a letter stands for."""
    if key == "q":
        return state, Order("quit")
    plain: dict[str, dict[str, Any]] = {"?": {"page": HELP}, "/": {"typing": True, "text": ""}, "esc": {"text": ""}}
    if key in plain:
        return replace(state, **plain[key]), None
    workers = shown_workers(state, fleet)
    if key not in ("e", "enter", "p") or not workers:
        return state, None
    worker = workers[position(state, workers)]
    if key == "p":
        order = Order("resume" if worker.is_paused else "pause", worker.id, worker.supervisor)
        return replace(state, chosen=worker.id, asked=order), None
    looking = replace(state, chosen=worker.id, notice=f"looking at {worker.id} …")
    return looking, Order("explain", worker.id, worker.supervisor)


def position(state: State, workers: Sequence[Worker]) -> int:
    """Return where the chosen worker is; the first when it is not shown."""
    return next((at for at, worker in enumerate(workers) if worker.id == state.chosen), 0)


def lines_of(state: State, fleet: Fleet, width: int, height: int, trouble: str = "") -> tuple[list[Line], State]:
    """Return exactly `height` lines of at most `width` columns, and the state with its scrolling brought up to date."""
    if state.page:
        return _page_lines(state, width, height), state
    top = [*_header(fleet, height), *([(trouble, "bold reverse")] if trouble else [])]
    bottom = _bottom(fleet, max(0, height - len(top) - 3 - _LEAST_WORKERS))
    workers = shown_workers(state, fleet)
    room = max(0, height - len(top) - len(bottom) - 3)  # beside headings, the chosen one's line and the keys
    at = position(state, workers)
    first = min(max(state.first, at - room + 1), at, max(0, len(workers) - room))
    body = _table(workers[first : first + room], state.chosen or (workers[0].id if workers else ""), width)
    if not workers:
        body.append((f"  no worker matches {state.text!r}" if state.text else "  no workers", "dim"))
    body = body[: room + 1] + [("", "")] * (room + 1 - len(body))
    body.append(_of_chosen(workers[at]) if workers else ("", ""))
    footer = _footer(state, first, len(workers), room, width)
    cut = [(_fit(text, width), style) for text, style in (*top, *body, *bottom)][: height - 1]
    return [*cut, footer], replace(state, first=first)


def _header(fleet: Fleet, height: int) -> list[Line]:
    most = max(2, height // 4)
    heads = list(fleet.heads[:most])
    if len(fleet.heads) > most:
        heads[-1] = (f"… and {len(fleet.heads) - most + 1} lines more; see fsmctl get circuit", "dim")
    return [*heads, (fleet.counts, "bold")]


def _bottom(fleet: Fleet, room: int) -> list[Line]:
    """Return the actions in progress and the newest events, in at most `room` lines."""
    actions = [(line, "") for line in fleet.actions[:_ACTIONS]]
    more = len(fleet.actions) - len(actions)
    heading = f"ACTIONS in progress: {len(fleet.actions)}" + (f", the {len(actions)} longest" if more else "")
    events = [(event_cells(event, fleet.now), "") for event in fleet.events[-_EVENTS:]]
    lines: list[Line] = [(heading, "bold"), *actions, ("EVENTS", "bold"), *events]
    return lines if len(lines) <= room else lines[: max(0, room)]


def _table(workers: Sequence[Worker], chosen: str, width: int) -> list[Line]:
    """Return the heading and the rows, in columns as wide as what is in them."""
    cells = [worker.cells() for worker in workers]
    widths = [
        min(most, max([len(HEADINGS[column]), *(len(row[column]) for row in cells)]))
        for column, most in enumerate(_WIDEST)
    ]

    def line(marks: str, row: Sequence[str]) -> str:
        fixed = "  ".join(_fit(cell, wide).ljust(wide) for cell, wide in zip(row, widths, strict=False))
        return f"{marks} {fixed}  {row[-1]}"

    lines: list[Line] = [(line("  ", HEADINGS), "bold")]
    for worker, row in zip(workers, cells, strict=True):
        mark = "P" if worker.is_paused else " " if worker.as_desired else "!"
        style = "reverse" if worker.id == chosen else STYLES.get(worker.phase, "")
        text = line((">" if worker.id == chosen else " ") + mark, row)
        lines.append((_fit(text, width).ljust(width) if worker.id == chosen else text, style))
    return lines


def _of_chosen(worker: Worker) -> Line:
    """Return in a line of its own what is done for the chosen worker, or why nothing is: its column is narrow."""
    doing = worker.cells()[-1]
    return (f"{worker.id}: {doing}" if doing else "", "dim")


def _footer(state: State, first: int, count: int, room: int, width: int) -> Line:
    if state.asked is not None:
        return _fit(f"{state.asked.what} {state.asked.worker}? y: yes, any other key: no", width), "bold reverse"
    if state.typing:
        return _fit(f"filter: {state.text}_   Enter keeps it, Esc takes it away", width), "bold reverse"
    if state.notice:
        return _fit(state.notice, width), "bold"
    last = min(first + room, count)
    where = f"{first + 1}-{last} of {count}" if count > room else f"{count} shown"
    where += f", filter {state.text!r}" if state.text else ""
    keys = _KEYS.format(quits=state.quits)
    return _fit(f"{keys}{where:>{max(len(where) + 1, width - len(keys))}}", width), "reverse"


def _page_lines(state: State, width: int, height: int) -> list[Line]:
    room = max(0, height - 2)
    shown = [(_fit(text, width), "") for text in state.page[state.page_top : state.page_top + room]]
    shown += [("", "")] * (room + 1 - len(shown))
    more = len(state.page) - state.page_top - room
    hint = "q back  j, k scroll" + (f"   {more} lines more" if more > 0 else "")
    return [*shown[: height - 1], (_fit(hint, width).ljust(width), "reverse")]


def _fit(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
