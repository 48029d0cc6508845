"""The errors that a person gets to read. Each message says what was wrong, the value seen, and what to do."""

from __future__ import annotations


class SupervisorError(Exception):
    """Base of all errors meant for a person; `exit_code` is fsmctl's (SPEC 5)."""

    exit_code = 1


class UsageError(SupervisorError):
    """A wrong setting, argument or fleet file."""

    exit_code = 2


class Unhealthy(SupervisorError):
    """A part does not do its work."""

    exit_code = 3


class NotFound(SupervisorError):
    """Nothing is known under that name."""

    exit_code = 4


class SnapshotMissing(NotFound):
    """A worker has no identity or desired document."""


class StoreUnreachable(SupervisorError):
    """Redis does not answer, or not as the user we are."""

    exit_code = 5


class TimedOut(SupervisorError):
    """What was waited for did not happen in time."""

    exit_code = 6


class Refused(SupervisorError):
    """It may not be done now."""

    exit_code = 7


class NewerStore(SupervisorError):
    """The store was written by a newer version of this program."""


class BadDocument(SupervisorError):
    """A stored document cannot be read: wrong schema number, not JSON, or a field that does not fit."""
