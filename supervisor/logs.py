"""Structured logs: JSON lines, or readable colour on a terminal (`FSM_LOG_FORMAT`). Celery's own take the same form.

What may be said, at which level and in which words, is in `logschema`; parts only name the event and give its fields.
structlog is imported with the first line: it brings rich along, and most commands of fsmctl have nothing to log.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from supervisor.clock import SystemClock
from supervisor.logschema import EVENTS, LIBRARY, SCOPES, Event, scope_of

REPEAT_EVERY = 30.0  # seconds between two lines about a condition that lasts
_URL_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/]*@")  # up to the last @: a password may hold one
_SECRET_WORDS = ("passw", "secret", "api")
_KEPT_BACK = r"[\w-]*(?:password|passwd|secret|api[_-]?key)[\w-]*"
_IS_KEPT_BACK = re.compile(_KEPT_BACK, re.IGNORECASE)
_NAMED_SECRET = re.compile(rf"({_KEPT_BACK})(['\"]?\s*[=:]\s*)(?:'[^']*'|\"[^\"]*\"|[^\s'\"&,;}}]+)", re.IGNORECASE)


def is_kept_back(key: str) -> bool:
    """Tell whether what is called so is a secret, with all that is in it."""
    return _IS_KEPT_BACK.fullmatch(key) is not None


def redact(value: Any) -> Any:
    """Return a value without the passwords of URLs and without what is called a password or secret in a text."""
    if isinstance(value, str):
        return _redact_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {key: "***" if is_kept_back(str(key)) else redact(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [redact(one) for one in value]
    return _redact_text(str(value))


def _redact_text(text: str) -> str:
    """Look for what a secret cannot do without before any search by pattern: most texts have none."""
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(r"\1:***@", text)
    if "=" in text or ":" in text:
        lower = text.lower()
        if any(word in lower for word in _SECRET_WORDS):
            text = _NAMED_SECRET.sub(r"\1\2***", text)
    return text


class Telling(Protocol):
    """What says something of an event of the schema."""

    def tell(self, event_name: str, **fields: object) -> None:
        """Say that `event_name` happened; its level, words and scope are the schema's."""


class Log:
    """The log of a part."""

    def __init__(self, name: str) -> None:
        """Speak as `name`, by which levels can be set apart."""
        self._name = name
        self._logger: Any = None

    def tell(self, event_name: str, **fields: object) -> None:
        """Say that `event_name` happened."""
        event = EVENTS[event_name]
        if not _is_wanted(event):  # known at once: a tick has thousands of lines for debugging
            return
        if _later is not None:
            configure(*_later)
        if self._logger is None:
            import structlog

            self._logger = structlog.stdlib.get_logger(self._name)
        getattr(self._logger, event.level)(event.message, event_name=event_name, **fields, **scope_of(event, fields))


class RawLog:
    """The log of the thread beside a pool that forks: written without any lock, which a fork would copy taken."""

    def tell(self, event_name: str, **fields: object) -> None:
        """Say that `event_name` happened."""
        event = EVENTS[event_name]
        if not _is_wanted(event):
            return
        line: Any = {"event": event.message, "level": event.level, "event_name": event_name}
        line |= {**fields, **scope_of(event, fields)}
        for processor in (_stamp(), *_form.rendered()):
            line = processor(None, event.level, line)
        os.write(2, line.encode(errors="replace") + b"\n")


class SaidOnce(logging.Filter):
    """Lets Celery, kombu and OpenTelemetry say a thing at first, and again every 30 s with how often it happened since.

    They say each try to reach what is away; with a traceback, which says no more than the error itself.
    """

    _MOST = 1000  # messages to remember
    _THEIRS = ("celery.", "kombu.", "opentelemetry.")

    def __init__(self, monotonic: Callable[[], float] | None = None) -> None:
        """Take the time from `monotonic`, in seconds; by default the real one."""
        super().__init__()
        self._monotonic = monotonic or SystemClock().monotonic
        self._last: dict[tuple[str, str], float] = {}
        self._left_out: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is let through."""
        if record.name == "py.warnings" and "CPendingDeprecationWarning" in record.getMessage():
            return False  # at each lost connection, of a setting that we have made
        if record.levelno < logging.WARNING or not record.name.startswith(self._THEIRS):
            return True
        key, now = (record.name, str(record.msg)), self._monotonic()
        if now - self._last.get(key, -REPEAT_EVERY) < REPEAT_EVERY:
            self._left_out[key] += 1
            return False
        if len(self._last) > self._MOST:
            self._last.clear()
        self._last[key] = now
        self._amend(record, self._left_out.pop(key, 0))
        return True

    def _amend(self, record: logging.LogRecord, left_out: int) -> None:
        """Add how often it was left out; put a warning's error in words instead of its traceback."""
        words = [record.getMessage().rstrip()]
        if record.levelno == logging.WARNING and record.exc_info:
            words.append(str(record.exc_info[1]))
            record.exc_info = None
        if left_out:
            words.append(f"({left_out} more of this since)")
        record.msg, record.args = " ".join(words), ()


def _redacted(_logger: object, _method: str, fields: Any) -> dict[str, Any]:
    """Take secrets out of a line: of ours and of libraries, of exceptions too."""
    return {key: redact(value) for key, value in fields.items()}


def _of_library(_logger: object, _method: str, fields: Any) -> Any:
    """Give a library's line what every line has."""
    return {**fields, "event_name": LIBRARY, "logger": fields["_record"].name, **SCOPES["infrastructure"]}


def _in_order(_logger: object, _method: str, fields: Any) -> dict[str, Any]:
    """Put first what a reader looks for first."""
    first = ("timestamp", "level", "event", "message")
    return {**{name: fields[name] for name in first if name in fields}, **fields}


@cache
def _stamp() -> Any:
    import structlog

    return structlog.processors.TimeStamper(fmt="iso", utc=True)


@cache
def _json() -> tuple[Any, ...]:
    import structlog

    # structlog calls its message "event"; ours is "message", and `event_name` becomes "event"
    renamed = structlog.processors.EventRenamer("message", replace_by="event_name")
    return (_redacted, renamed, _in_order, structlog.processors.JSONRenderer())


@cache
def _console() -> tuple[Any, ...]:
    import structlog

    return (_redacted, structlog.dev.ConsoleRenderer())


@dataclass(frozen=True)
class _Form:
    """How lines are written: the least level, and what makes a line of a dict."""

    level: int
    rendered: Callable[[], tuple[Any, ...]]


_form = _Form(logging.NOTSET, _json)
_later: tuple[str, str] | None = None
_LEVELS = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}


def _is_wanted(event: Event) -> bool:
    return _LEVELS[event.level] >= _form.level


def configure_later(log_format: str, level: str) -> None:
    """Do as `configure`, but with the first line of ours that is to be written, if there ever is one."""
    global _form, _later
    _form, _later = _Form(_LEVELS[level.lower()], _json), (log_format, level)


def configure(log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records to stderr in one form.

    `log_format` is "json", "console" or "auto" (console on a terminal); `level` a name of `logging`.
    """
    import structlog

    global _form, _later  # one per process, as logging's own set-up; RawLog must not ask that for it
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    least = _LEVELS[level.lower()]
    _form, _later = _Form(least, _console if console else _json), None
    rendered = _form.rendered()  # made now: RawLog's thread must import nothing
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _stamp(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(SaidOnce())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared if console else [*shared, _of_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # celery.beat says "sending", celery.worker.strategy "received" and celery.app.trace "succeeded", of every pulse
    for quiet in ("kombu", "celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(quiet).setLevel(logging.WARNING)


def logger(name: str) -> Log:
    """Return the log of a part."""
    return Log(name)


@dataclass
class Trouble:
    """A condition that lasts: told when it begins or becomes another, every 30 s with a count, and when it is over."""

    log: Telling
    event_name: str
    monotonic: Callable[[], float] = field(default_factory=lambda: SystemClock().monotonic)
    _reason: str = ""
    _count: int = 0
    _began: float = 0.0
    _next: float = 0.0
    _fields: Mapping[str, object] = field(default_factory=dict)

    def is_now(self, reason: str, **fields: object) -> None:
        """Tell if that is news, or due again. `reason` is one of few; "" when all is well. `fields` go with it."""
        if not reason and not self._reason:
            return
        now, before = self.monotonic(), self._reason
        self._reason = reason
        if not reason:
            self._is_over(before, now)
            return
        if not before:
            self._began, self._count = now, 0
        self._count, self._fields = self._count + 1, fields
        if reason != before or now >= self._next:
            self._next = now + REPEAT_EVERY
            self.log.tell(self.event_name, reason=reason, count=self._count, **fields)

    def _is_over(self, was: str, now: float) -> None:
        """Tell the end of it, of whom it was."""
        over = f"{self.event_name}.over"
        whose = {name: value for name, value in self._fields.items() if EVENTS[over].knows(name)}
        self.log.tell(over, was=was, count=self._count, duration=round(now - self._began, 3), **whose)


class Troubles:
    """Troubles that come with a name: of which document, which child, which supervisor."""

    def __init__(self, log: Telling, monotonic: Callable[[], float] | None = None) -> None:
        """Tell of none yet."""
        self._log = log
        self._monotonic = monotonic or SystemClock().monotonic
        self._known: dict[tuple[str, str], Trouble] = {}

    def is_now(self, event_name: str, name: str, reason: str, **fields: object) -> None:
        """Tell of one what a `Trouble` would."""
        key = (event_name, name)
        if reason:
            self._known.setdefault(key, Trouble(self._log, event_name, self._monotonic)).is_now(reason, **fields)
        elif known := self._known.pop(key, None):
            known.is_now("")
