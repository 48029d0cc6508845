"""Durations as options of fsmctl."""

from __future__ import annotations

import click

from workers.duration import Duration


class DurationType(click.ParamType[Duration]):
    """A duration as people write it."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Duration:
        """Return the duration."""
        if isinstance(value, Duration):
            return value
        try:
            return Duration.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
