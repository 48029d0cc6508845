"""What all acts share: a dry run changes nothing, what destroys needs a yes, and who acts is known."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner, Result

from supervisor.cli import acts
from supervisor.cli.acts import Act, act_options, end_options
from supervisor.errors import Refused


class Terminal:
    """A standard input that is a terminal."""

    def isatty(self) -> bool:
        return True


@click.command()
@act_options(asks=True)
def burn(act: Act) -> None:
    """Burn the house."""
    if act.begins("burn the house", asks=True):
        click.echo(f"burnt by {act.words}")


def burning(*arguments: str) -> Result:
    return CliRunner().invoke(burn, list(arguments))


def test_a_dry_run_says_what_would_change_and_does_not_begin() -> None:
    result = burning("--dry-run", "--yes")
    assert (result.exit_code, result.stdout) == (0, "would burn the house\n")


def test_who_acts_and_why_are_known_when_it_was_said_yes_to() -> None:
    me = f"{getpass.getuser()}@{socket.gethostname()}"
    assert burning("--yes", "--reason", "it is cold").stdout == f"burnt by {me}: it is cold\n"
    assert burning("-y").stdout == f"burnt by {me}\n"


def test_without_a_terminal_and_without_a_yes_it_is_refused_with_what_to_say() -> None:
    result = burning()
    assert isinstance(result.exception, Refused)
    assert result.exception.exit_code == 7
    assert str(result.exception) == (
        "to burn the house needs a yes, and there is no terminal to ask on: "
        "say --yes to do it, or --dry-run to see what would change"
    )
    assert result.stdout == ""


@pytest.mark.parametrize(("answer", "refused"), [(True, False), (False, True)])
def test_on_a_terminal_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, answer: bool, refused: bool) -> None:
    asked: list[tuple[str, bool]] = []

    def ask(question: str, err: bool) -> bool:
        asked.append((question, err))
        return answer

    monkeypatch.setattr(acts.sys, "stdin", Terminal())
    monkeypatch.setattr(click, "confirm", ask)
    if refused:
        with pytest.raises(Refused, match="not confirmed: nothing has changed"):
            acts.confirm("burn the house", yes=False)
    else:
        acts.confirm("burn the house", yes=False)
    assert asked == [("This will burn the house. Go on?", True)]


@click.command()
@end_options
def rest(lasts: Callable[[float], float]) -> None:
    """Rest for a while."""
    click.echo(lasts(0.0))


@pytest.mark.parametrize("none", ["0s", "0ms", "0h"])
def test_what_is_to_last_no_time_is_refused_and_does_not_last_for_ever(none: str) -> None:
    result = CliRunner().invoke(rest, ["--for", none])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--for is 0: expected a longer time, as 30m; without --for there is no end" in result.stderr


def test_what_is_given_a_time_lasts_that_long_and_without_one_has_no_end() -> None:
    assert CliRunner().invoke(rest, ["--for", "30m"]).stdout == "1800.0\n"
    assert CliRunner().invoke(rest, []).stdout == "0.0\n"
