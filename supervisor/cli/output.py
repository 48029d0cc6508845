"""How fsmctl prints: plain aligned columns, or JSON. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

FORMATS = ("table", "wide", "json")
output_option = click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True)


def print_json(data: object) -> None:
    """Print JSON that keeps its keys' order."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return left-aligned columns two spaces apart; "-" for what is not there."""
    cells = [[*columns], *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def print_rows(output: str, rows: Sequence[dict[str, Any]], columns: Sequence[tuple[str, str]], empty: str) -> None:
    """Print rows as JSON, or as a table of (heading, key) columns; `empty` says on stderr that there are none."""
    if output == "json":
        print_json(list(rows))
    elif not rows:
        click.echo(empty, err=True)
    else:
        click.echo(table([heading for heading, _ in columns], [[row[key] for _, key in columns] for row in rows]))
