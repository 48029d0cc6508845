"""A pool process as its executor knows it: its name as a runner, and the signal that tells it to give up."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from actions.model import Cancelled

INSTANCE = uuid.uuid4().hex[:12]  # of this executor's main process; its pool processes are forked and share it
CANCEL = signal.SIGUSR2  # Celery uses SIGUSR1 for its soft time limit
_inside = False


def runner_of(pid: int) -> str:
    """Name the executions in a pool process of this executor."""
    return f"{INSTANCE}/{pid}"


def listen() -> None:
    """Take the signal from now on; called in each new pool process."""
    signal.signal(CANCEL, _give_up)


def _give_up(_number: int, _frame: FrameType | None) -> None:
    """Raise in the action that runs; between actions there is nothing to give up, and the signal counts for nothing."""
    if _inside:
        raise Cancelled


@contextmanager
def cancellable() -> Iterator[None]:
    """Let `Cancelled` be raised inside."""
    global _inside  # noqa: PLW0603 - a signal handler has no other way to know
    _inside = True
    try:
        yield
    finally:
        _inside = False
