"""The mutation check: with a safeguard taken out, at least one fault test must fail. `make mutation`.

Each mutant is a copy of the source with a few lines changed; a fault test that passes on the original is run on it,
up to TRIES times: what goes wrong then takes an instant, which one short run may miss.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PARTS = ("actions", "workers", "supervisor", "tests", "compose", "celeryconfig.py", "pyproject.toml")
TRIES = 5
F17 = "tests/faults/test_messages.py::test_f17_doubled_and_reordered_messages_have_one_effect_per_token"


@dataclass(frozen=True)
class Mutant:
    """What is changed (file, old text, new text), and the test that must notice."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    test: str


MUTANTS = (
    Mutant(
        "no token is compared, neither at the lease nor at the effect",
        (
            (
                "supervisor/lua/begin.lua",
                "if lease.token ~= ARGV[3] or lease.action_id ~= ARGV[4] then",
                "if false then",
            ),
            (
                "supervisor/lua/end.lua",
                "lease and lease.token == ARGV[2] and lease.action_id == ARGV[3]",
                "lease",
            ),
            ("workers/holder.py", "    if token < last:\n", "    if False:\n"),
        ),
        F17,
    ),
    Mutant(
        "an action is decided on without an observation newer than the last one's end",
        (
            (
                "supervisor/plan.py",
                "observed.collected_at <= ended <= now",
                "observed.collected_at <= ended - 1e9 <= now",
            ),
        ),
        F17,
    ),
)


def run(tree: Path, test: str, log: Path) -> bool:
    """Run a fault test on a tree and tell whether it passed; its output goes to `log`."""
    environ = {**os.environ, "PYTHONPATH": str(tree), "FAULTS_KEEP": str(log.parent / "kept")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--basetemp",
        str(log.parent / "tmp"),
    ]
    command.append(test)
    with log.open("w") as output:
        return subprocess.run(command, cwd=tree, env=environ, stdout=output, stderr=output, check=False).returncode == 0


def mutate(mutant: Mutant, tree: Path) -> None:
    """Make the mutant. Raises `SystemExit` when the source is not what the mutant was written for."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tree / part)
    for name, old, new in mutant.changes:
        text = (tree / name).read_text()
        if text.count(old) != 1:
            raise SystemExit(f"error: {name} has {text.count(old)} times {old!r}: expected once; mend {__file__}")
        (tree / name).write_text(text.replace(old, new))


def main() -> int:
    """Check every mutant; return 1 if one was not noticed, or if the original fails."""
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    bad = 0
    for number, mutant in enumerate((Mutant("the original", (), F17), *MUTANTS)):
        tree = folder / str(number)
        tree.mkdir()
        mutate(mutant, tree)
        tries = TRIES if mutant.changes else 1
        passed = all(run(tree, mutant.test, folder / f"{number}-{one}.log") for one in range(tries))
        right = passed is (not mutant.changes)
        bad += not right
        told = "passes" if passed else "fails"
        print(f"{'ok ' if right else 'BAD'} {mutant.name}: {mutant.test.rpartition('::')[2]} {told}")  # noqa: T201
    print(f"output: {folder}")  # noqa: T201
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
