"""Commands that a tick starts and never waits for, as the one that calls a person when an incident escalates."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from supervisor.logs import logger
from workers.drivers.minding import MINDER, complaint, request
from workers.drivers.process import environment

log = logger("supervisor.hooks")


@dataclass
class Hooks:
    """What this process has started. A minder ends each in time, and with this process."""

    _running: list[tuple[str, subprocess.Popen[bytes]]] = field(default_factory=list)

    def call(self, command: Sequence[str], told: Mapping[str, str], timeout: float) -> None:
        """Start a command that is told by its environment. One that cannot be started is told in the log, too."""
        line = request(command, "/", environment(told), timeout)
        try:
            minder = subprocess.Popen(MINDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            if minder.stdin is not None:
                minder.stdin.write(line)
                minder.stdin.flush()
        except OSError as error:
            self._tell(command[0], {"error": str(error)})
            return
        self._running.append((command[0], minder))

    def look(self) -> None:
        """Tell how those have ended that have; never waits."""
        ended = [one for one in self._running if one[1].poll() is not None]
        self._running = [one for one in self._running if one not in ended]
        for name, minder in ended:
            with minder:
                answer = minder.stdout.readline() if minder.stdout is not None else b""
            self._tell(name, json.loads(answer) if answer else {"error": "its minder died"})

    def close(self) -> None:
        """End what still runs."""
        for _, minder in self._running:
            with suppress(OSError):
                minder.kill()
            minder.wait()

    def _tell(self, name: str, answer: Mapping[str, object]) -> None:
        if answer.get("code") == 0:
            log.tell("hook.ended", command=name)
        else:
            log.tell("hook.failed", command=name, error=complaint(name, answer))
