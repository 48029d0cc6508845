"""What all acts share: who acts and why, a question before what destroys, and a dry run that changes nothing.

An act is written as

    @act_options(asks=True)
    def command(session: Session, act: Act, …) -> None:
        if act.begins("stop worker/flow-1"):
            …change the store, with act.by and act.reason in the event…
            act.done("worker/flow-1 is to be stopped")
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from supervisor.cli.duration import DurationType
from supervisor.cli.session import operator
from supervisor.errors import Refused
from workers.duration import Duration

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Act:
    """How an act is done. `by` is user@host; `reason` is the operator's own, "" for none."""

    by: str
    reason: str = ""
    dry_run: bool = False
    yes: bool = False

    def begins(self, what: str, asks: bool = False) -> bool:
        """Tell whether to go on; `what` is a sentence without its subject: "stop worker/flow-1".

        A dry run says it on stdout and does not. One that `asks` needs a yes. Raises `Refused` when there is none.
        """
        if self.dry_run:
            click.echo(f"would {what}")
            return False
        if asks:
            confirm(what, self.yes)
        return True

    def done(self, what: str) -> None:
        """Say what was done, for a person."""
        click.echo(what, err=True)

    @property
    def words(self) -> str:
        """Return who acts and why, for a text that is stored: "ann@ops: broker upgrade"."""
        return f"{self.by}: {self.reason}" if self.reason else self.by


def confirm(what: str, yes: bool) -> None:
    """See that a person wants it: by --yes, or by an answer on the terminal. Raises `Refused`, with nothing changed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(
            f"to {what} needs a yes, and there is no terminal to ask on: "
            "say --yes to do it, or --dry-run to see what would change"
        )
    if not click.confirm(f"This will {what}. Go on?", err=True):
        raise Refused("not confirmed: nothing has changed")


def act_options(asks: bool = False) -> Callable[[F], F]:
    """Give a command --dry-run and --reason, and --yes if it `asks`, as one argument `act`."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, dry_run: bool, reason: str, yes: bool = False, **kwargs: Any) -> Any:
            return function(*args, act=Act(operator(), reason, dry_run, yes), **kwargs)

        options = [
            click.option("--reason", default="", metavar="TEXT", help="Why; kept with the act's event."),
            click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing."),
        ]
        if asks:
            options.append(click.option("-y", "--yes", is_flag=True, help="Do not ask."))
        wrapped: Any = command
        for option in reversed(options):
            wrapped = option(wrapped)
        return cast("F", wrapped)

    return decorate


def seconds_until(text: str, now: float) -> float:
    """Return the seconds from `now` (epoch) until a time of day, or a date and time, here: "18:00", "2027-01-31T06:00".

    A time of day that has passed is tomorrow's. Raises `UsageError` for a time that is none, or has passed.
    """
    from datetime import UTC, datetime, time, timedelta

    here = datetime.fromtimestamp(now, UTC).astimezone()
    try:
        if "-" in text:
            end = datetime.fromisoformat(text).astimezone()
        else:
            end = datetime.combine(here.date(), time.fromisoformat(text)).astimezone()
            end += timedelta(days=1) if end <= here else timedelta()
    except ValueError:
        raise click.UsageError(
            f'{text!r} is not a time: expected a time of day, as "18:00", or a date and time, as "2027-01-31T06:00"'
        ) from None
    if end <= here:
        raise click.UsageError(f"{text} has passed: it is {here:%Y-%m-%dT%H:%M}; give a time to come")
    return (end - here).total_seconds()


def end_options(function: F) -> F:
    """Give a command --for and --until, as one argument `lasts`: a function of the present time (epoch).

    It returns the seconds; 0 when neither was given. A --for of no time is a `UsageError`: 0 would mean without an end.
    """

    @click.option("--for", "duration", type=DurationType(), help="Ends by itself after that time, as 30m.")
    @click.option("--until", "end", metavar="TIME", help='Ends by itself then: "18:00" or "2027-01-31T06:00".')
    @functools.wraps(function)
    def command(*args: Any, duration: Duration | None, end: str | None, **kwargs: Any) -> Any:
        if duration is not None and end is not None:
            raise click.UsageError("--for and --until say the same thing: give one of them")
        if duration is not None and duration <= 0:
            raise click.UsageError("--for is 0: expected a longer time, as 30m; without --for there is no end")

        def lasts(now: float) -> float:
            return seconds_until(end, now) if end is not None else float(duration or 0.0)

        return function(*args, lasts=lasts, **kwargs)

    return cast("F", command)
