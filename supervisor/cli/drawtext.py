"""A timeline as characters: readable in 80 columns and in black and white."""

from __future__ import annotations

from supervisor.timeline import Row, Span, Timeline, ticks_of
from workers.duration import ago

_LABEL = 10  # columns
FILLS = {  # of a phase, an outcome or a circuit's state
    "running": "=",
    "degraded": "~",
    "starting": ">",
    "stopping": "<",
    "stopped": ".",
    "failed": "x",
    "unknown": "?",
    "closed": "-",
    "open": "#",
    "half_open": "+",
}
_OF_ACTION = {"running": "*", "success": "*"}
_FAILED = "!"
_TICKS = 5


def draw(timeline: Timeline, width: int) -> str:
    """Return the picture: one line for each row under an axis, what the characters mean, and what happened when."""
    room = width - _LABEL
    lines = [timeline.title, *_axis(timeline, room)]
    lines += [f"{_short(row.label):<{_LABEL}}{_row(row, timeline, room)}".rstrip() for row in timeline.rows]
    if timeline.marks:
        lines.append(f"{'':<{_LABEL}}{_marks(timeline, room)}".rstrip())
    return "\n".join([*lines, "", *_legend(timeline, width), "", *_told(timeline, width)])


def _short(label: str) -> str:
    name = label.removeprefix("child/")
    return name if len(name) < _LABEL else f"{name[: _LABEL - 2]}…"


def column(at: float, timeline: Timeline, room: int) -> int:
    """Return the column of a time."""
    share = (at - timeline.start) / max(1e-9, timeline.end - timeline.start)
    return min(room - 1, max(0, int(share * room)))


def _axis(timeline: Timeline, room: int) -> list[str]:
    """Return the ages, and the ticks under them; at the right end "now", or the age of the end."""
    labels, ticks = [" "] * room, ["-"] * room
    youngest, oldest = round(timeline.now - timeline.end, 3), round(timeline.now - timeline.start, 3)
    age, step = ticks_of(youngest, oldest, _TICKS)
    ends = _age(youngest) if youngest else "now"
    ticks[-1] = "|"
    labels[room - len(ends) :] = ends
    age += step if age == youngest else 0.0
    while age <= oldest:
        where = column(timeline.now - age, timeline, room)
        ticks[where] = "|"
        _write(labels, where, _age(age))
        age += step
    return [f"{'':<{_LABEL}}{''.join(labels)}".rstrip(), f"{'':<{_LABEL}}{''.join(ticks)}"]


def _age(seconds: float) -> str:
    return f"-{ago(seconds).removesuffix('00s').removesuffix('00m')}"


def _write(cells: list[str], at: int, text: str) -> None:
    """Write a text where there is nothing yet, with a column free on both sides."""
    if at + len(text) <= len(cells) and all(cell == " " for cell in cells[max(0, at - 1) : at + len(text) + 1]):
        cells[at : at + len(text)] = text


def _row(row: Row, timeline: Timeline, room: int) -> str:
    """Paint the long spans first, so that a short one always has its column; then write names where they fit."""
    cells = [" "] * room
    for span in sorted(row.spans, key=lambda one: one.start - one.end):
        first, last = column(span.start, timeline, room), column(span.end, timeline, room)
        for number in range(first, max(first, last - (last < room - 1)) + 1):
            cells[number] = _fill(span)
    if row.label in ("state", "circuit"):
        for span in row.spans:
            _name_inside(cells, span, timeline, room)
    else:
        for span in row.spans:
            _write(cells, column(span.end, timeline, room) + 2, span.name)
    return "".join(cells)


def _fill(span: Span) -> str:
    if span.waited_until is not None or span.kind not in FILLS:
        return _OF_ACTION.get(span.kind, _FAILED)
    return FILLS[span.kind]


def _name_inside(cells: list[str], span: Span, timeline: Timeline, room: int) -> None:
    """Write a name into its own span, if that still is wide enough."""
    first, fill = column(span.start, timeline, room), _fill(span)
    text = f" {span.name} "
    where = first + 1
    if all(cell == fill for cell in cells[first : where + len(text) + 1]) and where + len(text) < room:
        cells[where : where + len(text)] = text


def _marks(timeline: Timeline, room: int) -> str:
    cells = [" "] * room
    for mark in timeline.marks:
        cells[column(mark.at, timeline, room)] = "^"
    for mark in timeline.marks:
        _write(cells, column(mark.at, timeline, room) + 2, mark.name)
    return "".join(cells)


def _legend(timeline: Timeline, width: int) -> list[str]:
    """Return what the characters mean that were used."""
    spans = [span for row in timeline.rows for span in row.spans]
    phases = {span.kind: FILLS[span.kind] for span in spans if span.waited_until is None and span.kind in FILLS}
    acts = {"action" if _fill(span) == "*" else "failed action": _fill(span) for span in spans if _is_act(span)}
    lines = [""]
    for kind, fill in {**phases, **acts}.items():
        longer = f"{lines[-1]}  {fill} {kind}".strip()
        lines[-1:] = [longer] if len(longer) <= width else [lines[-1], f"{fill} {kind}"]
    return lines


def _is_act(span: Span) -> bool:
    return span.waited_until is not None or span.kind not in FILLS


_LISTED = 20  # the newest


def _told(timeline: Timeline, width: int) -> list[str]:
    """Return what happened, with ages, the oldest first; long lines are cut."""
    told = [(mark.at, mark.name, mark.detail) for mark in timeline.marks]
    for row in timeline.rows:
        prefix = "circuit " if row.label == "circuit" else ""
        prefix = f"{row.label.removeprefix('child/')} " if "/" in row.label else prefix
        spans = [span for span in row.spans if span.start > timeline.start or _is_act(span)]
        told += [(span.start, f"{prefix}{span.name}", _words(span)) for span in spans]
    shown = sorted(told, key=lambda one: one[0])[-_LISTED:]
    lines = [f"{ago(timeline.now - at):>7}  {name:<22} {words}".rstrip() for at, name, words in shown]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]


def _words(span: Span) -> str:
    if not _is_act(span):
        return span.detail
    return f"{span.kind} {span.end - span.start:.1f}s" + (f": {span.detail}" if span.detail else "")
