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

from supervisor.cli.session import operator
from supervisor.errors import Refused

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
