"""What another manager keeps, systemd or Docker: how it is observed, and which ends of it were asked for by us."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from actions.model import ActionError
from workers.drivers.process import Look
from workers.model import Exit, Observed

_NOTE = "stopped"  # in the folder: the life that was stopped by us last


class Kept(Protocol):
    """A component whose manager can be asked about it."""

    @property
    def folder(self) -> Path:
        """Return where its fence and our note lie."""

    async def look(self) -> Look:
        """Ask the manager. Raises `ActionError` when it cannot tell."""


def note_stop(folder: Path, life: int) -> None:
    """Note down that we stop this life: no manager tells later who did. Raises `ActionError` when that cannot be."""
    try:
        (folder / _NOTE).write_text(str(life))
    except OSError as error:
        raise ActionError(f"the stop cannot be noted down in {folder}: {error.strerror}") from None


def stopped_by_us(folder: Path, life: int) -> bool:
    """Tell whether that life was ended by us."""
    try:
        return (folder / _NOTE).read_text() == str(life)
    except OSError:
        return False


async def observe(kept: Kept, previous: Observed | None, collected_at: float) -> Observed:
    """Return what its manager says; an error when that cannot tell."""
    last_exit = previous.last_exit if previous else None
    try:
        seen = await kept.look()
    except ActionError as error:
        return Observed(
            collected_at=collected_at,
            error=str(error),
            start_ticks=previous.start_ticks if previous else 0,
            started_at=previous.started_at if previous else None,
            last_exit=last_exit,
        )
    ended = seen.last_exit(collected_at)
    if seen.pid is None and ended is None:
        ended = _forgotten(kept.folder, previous, collected_at)
    return Observed(
        collected_at=collected_at,
        pid=seen.pid,
        start_ticks=seen.start_ticks,
        started_at=None if seen.age is None else collected_at - seen.age,
        config_id=seen.config_id,
        last_exit=ended or last_exit,
    )


def _forgotten(folder: Path, previous: Observed | None, now: float) -> Exit | None:
    """Return the end of what ran at an earlier look, and of which its manager knows nothing any more.

    systemd forgets a unit that ended well; a container may have been made anew.
    """
    if previous is None or previous.started_at is None:
        return None
    return Exit(
        pid=previous.pid or 0,
        start_ticks=previous.start_ticks,
        started_at=previous.started_at,
        ended_at=now,
        requested=stopped_by_us(folder, previous.start_ticks),
        reason="its manager says no more of it",
    )
