"""A real Benthos for tests, built where Go is on the machine: two programs, each from a `main` of a few lines.

`benthos` is the open-source core of Benthos and Redpanda Connect; `FSM_BENTHOS` names another program to take for it.
`bento` is the fork that has Kafka in its own module; `FSM_BENTO` names another, which has to have that, too. Without
these the tests look in `.benthos/bin`, where `python -m tests.benthos_peer` builds both. Tests build and fetch nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / ".benthos"
_MAIN = """package main

import (
	"context"

	"{module}/public/service"

{components}
)

func main() {{
	service.RunCLI(context.Background())
}}
"""


@dataclass(frozen=True)
class Peer:
    """A program: the module it is made from, what it can do, and what its module wants replaced."""

    name: str
    module: str
    version: str
    components: tuple[str, ...]
    replaced: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Return the variable that names another program."""
        return f"FSM_{self.name.upper()}"

    @property
    def built(self) -> Path:
        """Return where it is built."""
        return FOLDER / "bin" / self.name

    @property
    def found(self) -> Path | None:
        """Return the program to run, if there is one."""
        path = Path(os.environ.get(self.variable) or self.built)
        return path if os.access(path, os.X_OK) else None

    def build(self) -> None:
        """Build it with Go, which fetches its modules."""
        source = FOLDER / self.name
        source.mkdir(parents=True, exist_ok=True)
        imports = "\n".join(f'\t_ "{self.module}/public/components/{name}"' for name in self.components)
        (source / "main.go").write_text(_MAIN.format(module=self.module, components=imports))
        replace = "".join(f"replace {line}\n" for line in self.replaced)
        (source / "go.mod").write_text(f"module benthos.peer/{self.name}\n\n{replace}")
        (source / "go.sum").unlink(missing_ok=True)
        get = ("get", f"{self.module}/public/service@{self.version}")
        go = shutil.which("go") or "go"
        for command in (get, ("build", "-mod=mod", "-o", str(self.built), ".")):
            subprocess.run([go, *command], cwd=source, check=True)


BENTHOS = Peer("benthos", "github.com/redpanda-data/benthos/v4", "v4.60.0", ("io", "pure"))
BENTO = Peer(
    "bento",
    "github.com/warpstreamlabs/bento",
    "v1.10.0",
    ("io", "kafka", "prometheus", "pure"),
    (
        "github.com/99designs/keyring => github.com/Jeffail/keyring v1.2.3",
        "inet.af/peercred => github.com/tailscale/peercred v0.0.0-20240214030740-b535050b2aa4",
    ),
)


def program(peer: Peer = BENTHOS) -> Path:
    """Return a program to run; skip the test, with the reason, where there is none."""
    found = peer.found
    if found is None:
        pytest.skip(
            f"no {peer.name} at {os.environ.get(peer.variable) or peer.built}: "
            f"run python -m tests.benthos_peer, or say where one is ({peer.variable})"
        )
    return found


def version(path: Path) -> str:
    """Return what a program says of itself, as "Version: v4.60.0 Date: unknown"."""
    return " ".join(subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout.split())


def build() -> None:
    """Build both."""
    for peer in (BENTHOS, BENTO):
        peer.build()
        sys.stdout.write(f"{peer.built}: {version(peer.built)}\n")


if __name__ == "__main__":
    build()
