"""A timeline as an SVG picture: one self-contained file, readable in colour and in black and white."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import zip_longest
from xml.sax.saxutils import escape

from supervisor.timeline import Row, Span, Timeline, ticks_of
from workers.duration import ago

_WIDTH, _LEFT, _RIGHT = 1000, 120, 24
_TOP, _ROW, _BAR = 84, 46, 26
_CHARACTER = 6.7  # width of a character of 11.5 px
_TICKS = 8
_LEAST = 3.0  # width of the shortest span
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', sans-serif"
# by kind: fill, colour of the text on it, and whether it is hatched, so that black and white tells them apart as well
_STYLES = {
    "running": ("#2a9d8f", "#ffffff", False),
    "degraded": ("#f4a261", "#3a2410", True),
    "starting": ("#a8dadc", "#12343b", False),
    "stopping": ("#cbd5e1", "#1f2937", True),
    "stopped": ("#e5e7eb", "#374151", False),
    "failed": ("#c1121f", "#ffffff", True),
    "unknown": ("#f3f4f6", "#6b7280", True),
    "closed": ("#e5e7eb", "#374151", False),
    "open": ("#c1121f", "#ffffff", True),
    "half_open": ("#f6c85f", "#3a2f0b", False),
    "success": ("#1d4e89", "#ffffff", False),
    "in progress": ("#7fa7d6", "#0b2545", False),
    "did not succeed": ("#c1121f", "#ffffff", True),
}
_WAIT = "#9ca3af"


def draw(timeline: Timeline) -> str:
    """Return the picture."""
    height = _TOP + _ROW * len(timeline.rows) + (30 if timeline.marks else 0) + 58
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="{_FONT}" font-size="11.5" role="img">',
        f"<title>{escape(timeline.title)}</title>",
        f"<defs>{_HATCH}</defs>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(20, 30, timeline.title, size=17, weight=600),
        _text(20, 50, _period(timeline), colour="#6b7280"),
        *_axis(timeline),
        *_marks(timeline),
        *(part for number, row in enumerate(timeline.rows) for part in _row(row, number, timeline)),
        *_legend(timeline, height - 22),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


_HATCH = (
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="1.6" height="6" fill="#000000" fill-opacity="0.22"/></pattern>'
)


def _text(
    at: float,
    down: float,
    text: str,
    *,
    size: float = 11.5,
    colour: str = "#111827",
    weight: int = 400,
    anchor: str = "",
) -> str:
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    bold = f' font-weight="{weight}"' if weight != 400 else ""
    sized = f' font-size="{size}"' if size != 11.5 else ""
    return f'<text x="{at:.1f}" y="{down:.1f}" fill="{colour}"{sized}{bold}{anchored}>{escape(text)}</text>'


def _period(timeline: Timeline) -> str:
    start, end = _time(timeline.start), _time(timeline.end)
    return f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC, {ago(timeline.end - timeline.start)}"


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _x(at: float, timeline: Timeline) -> float:
    share = (at - timeline.start) / max(1e-9, timeline.end - timeline.start)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _axis(timeline: Timeline) -> Iterator[str]:
    at, step = ticks_of(timeline.start, timeline.end, _TICKS)
    bottom = _TOP + _ROW * len(timeline.rows)
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%m-%d"
    while at <= timeline.end:
        x = _x(at, timeline)
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#e5e7eb"/>'
        yield _text(x, _TOP - 13, format(_time(at), form), colour="#6b7280", anchor="middle")
        at += step
    yield f'<line x1="{_LEFT}" y1="{_TOP - 8}" x2="{_WIDTH - _RIGHT}" y2="{_TOP - 8}" stroke="#9ca3af"/>'


def _row(row: Row, number: int, timeline: Timeline) -> Iterator[str]:
    top = _TOP + _ROW * number + (_ROW - _BAR) / 2
    yield _text(_LEFT - 12, top + _BAR / 2 + 4, row.label.removeprefix("child/"), weight=600, anchor="end")
    if row.label not in ("state", "circuit"):
        y = top + _BAR / 2
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}" stroke="#e5e7eb"/>'
    for span in sorted(row.spans, key=lambda one: one.start - one.end):  # so that a short one is not painted over
        yield from (_lasting if span.waited_until is None else _acting)(span, top, timeline)
    for span, following in zip_longest(row.spans, row.spans[1:]):
        if span.waited_until is not None:
            x, width = _box(span, timeline)
            until = _WIDTH if following is None else _x(following.start, timeline)
            if x + width + 8 + _CHARACTER * len(span.name) <= until:
                yield _haloed(_text(x + width + 5, top + _BAR / 2 + 4, span.name, colour="#374151"), "#ffffff")


def _box(span: Span, timeline: Timeline) -> tuple[float, float]:
    """Return where a span begins and how wide it is; the shortest can still be seen."""
    x = _x(span.start, timeline)
    return x, max(_LEAST, _x(span.end, timeline) - x)


def _bar(x: float, top: float, width: float, kind: str, tip: str) -> Iterator[str]:
    fill, _, hatched = _STYLES[kind]
    round_ = min(3.0, width / 2)
    box = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_BAR}" rx="{round_:.1f}"'
    yield f'<g><title>{escape(tip)}</title><rect {box} fill="{fill}" stroke="#ffffff" stroke-width="0.8"/>'
    if hatched:
        yield f'<rect {box} fill="url(#hatch)"/>'
    yield "</g>"


def _lasting(span: Span, top: float, timeline: Timeline) -> Iterator[str]:
    """Draw a state, with its name inside where that fits."""
    x, width = _box(span, timeline)
    kind = span.kind if span.kind in _STYLES else "unknown"
    yield from _bar(x, top, width, kind, _tip(span))
    name = span.name
    if _CHARACTER * len(name) + 10 <= width:
        text = _text(x + width / 2, top + _BAR / 2 + 4, name, colour=_STYLES[kind][1], anchor="middle", weight=500)
        yield _haloed(text, _STYLES[kind][0])


def _haloed(text: str, colour: str) -> str:
    """Return a text that keeps what is behind it at a distance."""
    return text.replace("<text ", f'<text stroke="{colour}" stroke-width="3" paint-order="stroke" ', 1)


def _acting(span: Span, top: float, timeline: Timeline) -> Iterator[str]:
    """Draw an action: a thin line while it waits in the queue, then a bar."""
    begun = max(span.start, min(span.end, span.waited_until if span.waited_until is not None else span.start))
    if begun > span.start:
        x, y = _x(span.start, timeline), top + _BAR / 2
        yield f'<line x1="{x:.1f}" y1="{y}" x2="{_x(begun, timeline):.1f}" y2="{y}" stroke="{_WAIT}" stroke-width="3"/>'
    x = _x(begun, timeline)
    yield from _bar(x, top, max(_LEAST, _x(span.end, timeline) - x), _act(span), _tip(span))


def _act(span: Span) -> str:
    return {"success": "success", "running": "in progress"}.get(span.kind, "did not succeed")


def _tip(span: Span) -> str:
    """Return what a pointer is told."""
    outcome = f" {span.kind}" if span.waited_until is not None else ""
    tip = f"{span.name}{outcome}, {span.end - span.start:.1f}s from {_time(span.start):%H:%M:%S}"
    return f"{tip}: {span.detail}" if span.detail else tip


def _marks(timeline: Timeline) -> Iterator[str]:
    bottom = _TOP + _ROW * len(timeline.rows)
    free = 0.0
    for mark in timeline.marks:
        x = _x(mark.at, timeline)
        tip = f"{mark.name} {_time(mark.at):%H:%M:%S} {mark.detail}".rstrip()
        yield f'<g><title>{escape(tip)}</title><line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom + 8}" '
        yield 'stroke="#111827" stroke-dasharray="3 3"/>'
        yield f'<path d="M{x:.1f} {bottom + 6} l5 8 h-10 z" fill="#111827"/></g>'
        width = _CHARACTER * len(mark.name)
        if x - width / 2 >= free:
            free = x + width / 2 + 8
            left = min(x, _WIDTH - _RIGHT - width / 2)
            yield _text(left, bottom + 27, mark.name, anchor="middle")


def _legend(timeline: Timeline, down: float) -> Iterator[str]:
    """Draw what was used, in the order of the styles."""
    kinds = [_act(span) if span.waited_until is not None else span.kind for row in timeline.rows for span in row.spans]
    x = float(_LEFT)
    for kind in [kind for kind in _STYLES if kind in kinds]:
        fill, _, hatched = _STYLES[kind]
        box = f'x="{x:.1f}" y="{down - 9.5:.1f}" width="14" height="12" rx="2"'
        yield f'<rect {box} fill="{fill}"/>' + (f'<rect {box} fill="url(#hatch)"/>' if hatched else "")
        name = {"success": "action"}.get(kind, f"action {kind}" if kind in ("in progress", "did not succeed") else kind)
        yield _text(x + 19, down, name, colour="#4b5563")
        x += 19 + _CHARACTER * len(name) + 16
