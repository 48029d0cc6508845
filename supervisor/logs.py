"""Structured logs: JSON lines, or readable colour on a terminal (`FSM_LOG_FORMAT`). Celery's own take the same form.

Messages and fields are the plan's (tasks 1.1, 3.1-3.5, 4.2); `event` names what happened and never changes.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import structlog

INFRASTRUCTURE = {"error_scope": "infrastructure", "impact": "all_workers"}
WORKER = {"error_scope": "worker", "impact": "single_worker"}


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
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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


def raw_line(text: str) -> None:
    """Write one line to stderr without any lock; for the thread beside a pool that forks."""
    os.write(2, text.encode(errors="replace") + b"\n")
