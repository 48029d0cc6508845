"""What fsmctl says of itself, and what it imports for that."""

from __future__ import annotations

import subprocess
import sys

from supervisor.cli import _COMMANDS
from supervisor.cli.summaries import SUMMARIES
from tests.golden.conftest import Run

HEAVY = ("celery", "kombu", "aiohttp", "rich", "structlog", "prometheus_client", "yaml", "cffi")  # cffi: cryptography's


def test_each_command_has_a_summary_that_fits_its_line(run: Run) -> None:
    text = run("--help").stdout
    shown = dict(line.split(maxsplit=1) for line in text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines())
    assert shown == {name: SUMMARIES[name] for name in _COMMANDS}
    assert max(len(line) for line in text.splitlines()) <= 80


def imported_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after some code."""
    names = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules, file=sys.__stdout__)"]
    done = subprocess.run(names, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_help_imports_no_command_and_no_redis() -> None:
    code = "import contextlib, io\nfrom supervisor.cli import fsmctl\nwith contextlib.redirect_stdout(io.StringIO()):\n"
    code += "    fsmctl.main(['--help'], standalone_mode=False)"
    assert imported_by(code) & {"redis", "msgspec", "supervisor.view", *HEAVY} == set()


def test_looking_imports_nothing_that_only_others_need() -> None:
    found = imported_by("import supervisor.cli.get, supervisor.cli.describe")
    assert found & set(HEAVY) == set()
