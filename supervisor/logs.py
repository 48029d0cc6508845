"""Structured logs: JSON lines, or readable colour on a terminal (`FSM_LOG_FORMAT`). Celery's own take the same form.

Messages and fields are the plan's (tasks 1.1, 3.1-3.5, 4.2); `event` names what happened and never changes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from supervisor.clock import SystemClock

INFRASTRUCTURE = {"error_scope": "infrastructure", "impact": "all_workers"}
WORKER = {"error_scope": "worker", "impact": "single_worker"}


class SaidOnce(logging.Filter):
    """Lets Celery, kombu and OpenTelemetry say a thing at first, and again every 30 s with how often it happened since.

    They say each try to reach what is away; with a traceback, which says no more than the error itself.
    """

    _EVERY = 30.0  # seconds
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
        if now - self._last.get(key, -self._EVERY) < self._EVERY:
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


def configure(log_format: str, level: str) -> None:
    """Send structlog's and the standard library's records to stderr in one form.

    `log_format` is "json", "console" or "auto" (console on a terminal); `level` a name of `logging`.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    # structlog calls its message "event"; ours is "message", and `event_name` given to a call becomes "event"
    names: list[Any] = (
        [] if console else [structlog.processors.EventRenamer("message", replace_by="event_name"), _in_order]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(SaidOnce())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *names, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # celery.beat says "sending", celery.worker.strategy "received" and celery.app.trace "succeeded", of every pulse
    for quiet in ("httpx", "httpcore", "kombu", "celery.beat", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(quiet).setLevel(logging.WARNING)


def _in_order(_logger: object, _method: str, fields: Any) -> dict[str, Any]:
    """Put first what a reader looks for first."""
    first = ("timestamp", "level", "event", "message")
    return {**{name: fields[name] for name in first if name in fields}, **fields}


def logger(name: str) -> Any:
    """Return the logger of a part."""
    return structlog.stdlib.get_logger(name)


@dataclass
class Trouble:
    """What goes wrong again and again: told when it begins or becomes something else, and once when it is over."""

    log: Any
    event_name: str
    wrong: str
    over: str
    _told: str = ""

    def is_now(self, reason: str, **fields: object) -> None:
        """Tell if that is news. `reason` is one of few; "" when all is well. `fields` are told with it."""
        if reason == self._told:
            return
        before, self._told = self._told, reason
        if reason:
            self.log.warning(self.wrong, event_name=self.event_name, reason=reason, **fields, **INFRASTRUCTURE)
        else:
            self.log.info(self.over, event_name=f"{self.event_name}.over", was=before)


def raw_line(text: str) -> None:
    """Write one line to stderr without any lock; for the thread beside a pool that forks."""
    os.write(2, text.encode(errors="replace") + b"\n")
