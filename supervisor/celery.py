"""The Celery app and composition root: `celery -A supervisor worker|beat|flower`."""

from __future__ import annotations

import dataclasses
import functools
import sys
import warnings
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from celery.platforms import SecurityWarning
from celery.signals import setup_logging, worker_process_shutdown

from supervisor.broker import BrokerConnection, CeleryPublisher, make_sealer
from supervisor.dispatch import Publish
from supervisor.errors import SupervisorError
from supervisor.keys import EXECUTE
from supervisor.logs import configure
from supervisor.runtime import Runtime, make_runtime
from supervisor.settings import Settings
from supervisor.traces import check, make_traces


def _settings() -> Settings:
    """Read the settings; a bad one ends any Celery command with its sentence instead of a traceback."""
    try:
        settings = Settings.from_env()
        check(settings.traces)
    except SupervisorError as error:
        sys.exit(f"error: {error}")
    if not settings.redis_url:
        sys.exit("error: FSM_REDIS_URL is not set: expected the address of the Redis that this installation shares")
    return settings


settings = _settings()
# Celery warns about a root user because of pickle, which accept_content refuses
warnings.filterwarnings("ignore", category=SecurityWarning)


class Broker(AMQP):  # type: ignore[misc]  # celery ships no types
    """Celery's messaging over our connections."""

    Connection = BrokerConnection


app = Celery("supervisor", amqp=Broker, include=["supervisor.tasks"])
app.config_from_object("celeryconfig")


@setup_logging.connect  # type: ignore[untyped-decorator]  # celery ships no types
def _configure_logs(**_: Any) -> None:
    """Give Celery our handlers instead of its own."""
    configure(settings.log_format, settings.log_level)


@functools.cache
def runtime() -> Runtime:
    """Return this process' runtime; made on first use, so that each pool process has connections of its own."""
    return dataclasses.replace(make_runtime(settings), traces=make_traces(settings.traces, settings.namespace))


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]  # celery ships no types
def _end_traces(**_: Any) -> None:
    """Let a pool process that ends send its last spans."""
    if runtime.cache_info().currsize:
        runtime().traces.end()


@functools.cache
def publisher() -> Publish:
    """Return what puts actions into their queues."""
    return CeleryPublisher(app, EXECUTE, make_sealer(settings))


def _install_bootsteps() -> None:
    from supervisor.bootsteps import Attendant  # after `app`: bootsteps are classes of a configured app

    app.steps["worker"].add(Attendant)


_install_bootsteps()
