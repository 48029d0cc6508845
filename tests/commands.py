"""Writes the commands' part of docs/cli.md from the code: `python -m tests.commands [--check]`.

It stands between two marks; what is above them is people's.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from supervisor.cli import fsmctl
from supervisor.cli.summaries import EXIT_CODES, SUMMARIES

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
BEGIN, END = "<!-- commands: generated -->\n", "<!-- commands: end -->"
CODES = {
    3: "a part does not do its work",
    4: "nothing is known by that name, or no fleet has been applied",
    5: "the store cannot be reached",
    6: "timed out",
    7: "refused",
}


def page_of_commands() -> Iterator[str]:
    """Yield the lines: all commands in a table, then each in full."""
    root = click.Context(fsmctl, info_name="fsmctl")
    names = fsmctl.list_commands(root)
    yield "| command | |"
    yield "|---|---|"
    for name in names:
        yield f"| [`{name}`](#fsmctl-{name}) | {SUMMARIES[name]} |"
    yield ""
    yield "Before the command:"
    yield ""
    yield from _options(fsmctl, root)
    for name in names:
        command = fsmctl.get_command(root, name)
        if command is not None:
            yield from _section(command, click.Context(command, info_name=name, parent=root), 2)


def _section(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    """Yield one command, and those below it."""
    yield ""
    yield f"#{'#' * level} {context.command_path}"
    yield ""
    yield from _code([" ".join([context.command_path, *command.collect_usage_pieces(context)])])
    yield ""
    yield from _prose(command.help or "")
    options = list(_options(command, context))
    if options:
        yield ""
        yield from options
    yield from _epilog(command.epilog or "")
    if level == 2:
        yield ""
        yield f"Exit codes: {_codes(context.info_name or '')}"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            if sub is not None:
                yield from _section(sub, click.Context(sub, info_name=name, parent=context), level + 1)


def _codes(name: str) -> str:
    more = [f"{code} {CODES[code]}" for code in EXIT_CODES[name]]
    return "; ".join(["0, 1, 2, 130 as [everywhere](#exit-codes)", *more]) + "."


def _prose(text: str) -> Iterator[str]:
    """Yield a help text; what it keeps in lines of its own is code."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        lines = paragraph.splitlines()
        yield from [""] if number else []
        yield from _code(lines[1:]) if lines[0] == "\b" else lines


def _epilog(text: str) -> Iterator[str]:
    """Yield what stands below the options: a heading such as "Examples:", then lines as they are."""
    for paragraph in text.strip().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line != "\b"]
        if not lines:
            continue
        yield ""
        if lines[0].endswith(":") and len(lines) > 1:
            yield lines[0]
            yield ""
            yield from _code(inspect.cleandoc("\n".join(["", *lines[1:]])).splitlines())
        else:
            yield from (line.strip() for line in lines)


def _code(lines: list[str]) -> Iterator[str]:
    yield "```"
    yield from lines
    yield "```"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the table of options."""
    records = [param.get_help_record(context) for param in command.get_params(context)]
    shown = [record for record in records if record is not None and "--help" not in record[0]]
    if not shown:
        return
    yield "| option | |"
    yield "|---|---|"
    for left, text in shown:
        yield "| `{}` | {} |".format(*(" ".join(part.split()).replace("|", "\\|") for part in (left, text)))


def filled(page: str) -> str:
    """Return the page with its commands as the code is now. Raises `ValueError` when the marks are not there."""
    before, opened, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not opened or not closed:
        raise ValueError(f"{PAGE} has no place for the commands: expected {BEGIN.strip()} and {END}")
    return before + BEGIN + "\n".join(page_of_commands()) + "\n" + END + after


def main() -> int:
    """Write the page, or with --check compare it; return the exit code."""
    page = PAGE.read_text()
    if page == filled(page):
        return 0
    if "--check" not in sys.argv:
        PAGE.write_text(filled(page))
        return 0
    sys.stderr.write(f"{PAGE} is stale: run `make commands`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
