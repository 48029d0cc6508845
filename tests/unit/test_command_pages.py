"""docs/cli.md says of every command what the code says."""

from __future__ import annotations

import re

import click

from supervisor.cli import fsmctl
from tests.commands import PAGE, filled

NAMES = fsmctl.list_commands(click.Context(fsmctl))


def test_the_commands_in_docs_cli_md_are_as_the_code_is() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text()), "run `make commands`"


def test_every_command_has_its_usage_examples_and_exit_codes_there() -> None:
    page = PAGE.read_text()
    for name in NAMES:
        section = page.partition(f"\n### fsmctl {name}\n")[2].partition("\n### ")[0]
        assert f"\nfsmctl {name}" in section, name
        assert re.search(rf"\nExamples?:\n\n```\n(.*\n)*(\S+=\S+ )*fsmctl (\S+ \S+ )?{name}", section), name
        assert "\nExit codes: 0, 1, 2, 130" in section, name
