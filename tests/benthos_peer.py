"""A real Benthos for tests: the open-source core of Benthos / Redpanda Connect, built where Go is on the machine.

`FSM_BENTHOS` names a program; without it the tests look in `.benthos/benthos`. `python -m tests.benthos_peer` builds it
there, with the components of Benthos' own module. Tests build nothing. Bento and Redpanda Connect do as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = "github.com/redpanda-data/benthos/v4"
VERSION = "v4.60.0"
PROGRAM = Path(__file__).parent.parent / ".benthos" / "benthos"
_MAIN = f"""package main

import (
	"context"

	"{MODULE}/public/service"

	_ "{MODULE}/public/components/io"
	_ "{MODULE}/public/components/pure"
)

func main() {{
	service.RunCLI(context.Background())
}}
"""


def program() -> Path:
    """Return a Benthos to run; skip the test, with the reason, where there is none."""
    found = Path(os.environ.get("FSM_BENTHOS") or PROGRAM)
    if not os.access(found, os.X_OK):
        pytest.skip(f"no Benthos at {found}: run python -m tests.benthos_peer, or say where one is (FSM_BENTHOS)")
    return found


def build() -> None:
    """Build it with Go, which fetches the module."""
    folder = PROGRAM.parent
    folder.mkdir(exist_ok=True)
    (folder / "main.go").write_text(_MAIN)
    (folder / "go.mod").write_text("module benthos.peer\n")
    go = shutil.which("go") or "go"
    for command in (("get", f"{MODULE}/public/service@{VERSION}"), ("build", "-mod=mod", "-o", PROGRAM.name, ".")):
        subprocess.run([go, *command], cwd=folder, check=True)
    told = subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout
    sys.stdout.write(f"{PROGRAM}: {' '.join(told.split())}\n")


if __name__ == "__main__":
    build()
