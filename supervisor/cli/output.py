"""How fsmctl prints: plain aligned columns, JSON, YAML or names. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

FORMATS = ("table", "wide", "json", "yaml", "name")
output_option = click.option(
    "-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True, help="How to print it."
)
document_option = click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json", "yaml")),
    default="text",
    show_default=True,
    help="How to print.",
)


def print_json(data: object) -> None:
    """Print JSON that keeps its keys' order."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def print_data(output: str, data: object) -> None:
    """Print data as "json" or "yaml"."""
    if output == "yaml":
        from supervisor.cli.yamltext import dump

        click.echo(dump(data), nl=False)
    else:
        print_json(data)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], room: int | None = None) -> str:
    """Return left-aligned columns two spaces apart; "-" for what is not there. `room`: the most characters of a line.

    Where that is too few, the widest columns give way, down to their headings.
    """
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    cells = [[heading, *map(_cell, column)] for heading, column in zip(columns, values, strict=True)]
    widths = [max(map(len, column)) for column in cells]
    if room is not None and sum(widths) + 2 * (len(widths) - 1) > room:
        widths = fitted(widths, [len(heading) for heading in columns], room - 2 * (len(widths) - 1))
        cells = [[_cut(cell, width) for cell in column] for column, width in zip(cells, widths, strict=True)]
    line = "  ".join(f"{{:<{width}}}" for width in widths).format  # ten thousand lines: no work of our own for each
    return "\n".join(text.rstrip() for text in map(line, *cells))


def fitted(widths: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Return widths that add up to `room`, if they can: the widest have given way, none below its `least`."""
    fit = list(widths)
    while sum(fit) > room:
        widest = max(range(len(fit)), key=lambda number: fit[number] if fit[number] > least[number] else 0)
        if fit[widest] <= least[widest]:
            break
        fit[widest] -= 1
    return fit


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def room() -> int | None:
    """Return the columns of the terminal that is printed on; None for a pipe or a file, where nothing is ever cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def rows_text(output: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], kind: str) -> str:
    """Return rows as a table of (heading, key) columns, or as names."""
    if output == "name":
        return "\n".join(f"{kind}/{name_of(row)}" if kind else name_of(row) for row in rows)
    cells = [[row[key] for _, key in columns] for row in rows]
    return table([heading for heading, _ in columns], cells, None if output == "wide" else room())


def name_of(row: Mapping[str, Any]) -> str:
    """Return what a row is called: its id, else its name, else its supervisor's."""
    return str(next(row[key] for key in ("id", "name", "supervisor") if key in row))


def print_rows(
    output: str, rows: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str]], empty: str, kind: str = ""
) -> None:
    """Print rows as JSON or YAML, as a table of (heading, key) columns, or their ids as names of a kind.

    `empty` says on stderr that there are none.
    """
    if output in ("json", "yaml"):
        print_data(output, list(rows))
    elif not rows:
        click.echo(empty, err=True)
    else:
        click.echo(rows_text(output, rows, columns, kind))
