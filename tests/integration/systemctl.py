"""Stands in for systemctl where no systemd runs: it answers with what a real one (252) answered, `tests/recorded/`.

Its units are files `NAME.json` beside the program: the state that was recorded, and what differs from life to life. A
pid is made up: the driver asks systemd of a process, not the kernel. Stand-alone.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "systemd-252.json").read_text())
FRESH = {"state": "never", "pid": 0, "life": "", "began": 0, "ended": 0}


def now() -> int:
    """Return the microseconds of the monotonic clock, as systemd counts them."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def refuse(name: str) -> None:
    """End as the real one did."""
    told = RECORDED["refusals"][name]
    sys.stderr.write(told["output"])
    sys.exit(told["code"])


def show(unit: dict, properties: list[str]) -> None:
    """Print what was recorded of a unit in that state, with the numbers of this life where that had any."""
    ours = {
        "MainPID": unit["pid"],
        "ExecMainPID": unit["pid"],
        "InvocationID": unit["life"],
        "ExecMainStartTimestampMonotonic": unit["began"],
        "ActiveEnterTimestampMonotonic": unit["began"],
        "ExecMainExitTimestampMonotonic": unit["ended"],
    }
    for line in RECORDED["show"][unit["state"]]:
        name, _, value = line.partition("=")
        if name in properties:
            print(f"{name}={ours.get(name, value) if value not in ('', '0') else value}")  # noqa: T201


def main() -> None:
    """Do as systemctl does."""
    verb, *options, dashes, name = sys.argv[3:]
    assert (sys.argv[1:3], dashes) == (["--no-ask-password", "--no-pager"], "--")
    refuses = (HERE / "refuses").read_text() if (HERE / "refuses").exists() else ""
    if refuses and (refuses == "no systemd" or refuses.startswith(verb)):
        refuse(refuses)
    file = HERE / f"{name}.json"
    unit = json.loads(file.read_text()) if file.exists() else {**FRESH, "state": "not-found"}
    with (HERE / "journal").open("a") as journal:
        journal.write(f"{verb} {name}\n")
    if verb == "show":
        show(unit, options[0].removeprefix("--property=").split(","))
        return
    if unit["state"] in ("not-found", "masked", "bad-setting"):
        refuse(f"{verb} {unit['state']}")
    if verb == "start" and (HERE / "broken").exists():
        unit = {**unit, "state": "failed", "ended": now()}
    elif verb == "start" and unit["state"] not in ("running", "oneshot"):
        unit = {"state": "running", "pid": os.getpid(), "life": uuid.uuid4().hex, "began": now(), "ended": 0}
    elif verb == "kill":
        unit = {**unit, "state": "killed", "ended": now()}
    elif verb in ("stop", "reset-failed"):
        unit = {**FRESH, "state": "stopped"}
    file.write_text(json.dumps(unit))


if __name__ == "__main__":
    main()
