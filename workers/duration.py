"""Durations as people write them: "500ms", "5s", "10m", "1h". Pure."""

from __future__ import annotations

import re

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


class Duration(float):
    """A number of seconds that came from, and is shown as, text with a unit."""

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Return the duration that `text` says. Raises `ValueError` with the value seen and the form expected."""
        form = _FORM.fullmatch(text) if isinstance(text, str) else None
        if form is None:
            raise ValueError(
                f'{text!r} is not a duration: expected a number with a unit, as "500ms", "5s", "10m" or "1h"'
            )
        return cls(float(form[1]) * _UNITS[form[2]])

    def __str__(self) -> str:
        """Return it as a person would write it."""
        return f"{self * 1000:g}ms" if self < 1 else f"{float(self):g}s"


def ago(seconds: float | None) -> str:
    """Return an age in at most two units ("3s", "5m12s", "2h04m", "3d07h"); "-" for none."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
