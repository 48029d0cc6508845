"""Our Celery app without some of what it tells: `BENCH_WITHOUT=scripts,celery python -m tests.benchmarks.bare …`.

`scripts`: no counters, histograms and events of ours; `celery`: no events of Celery's.
"""

from __future__ import annotations

import os
import re

from celery.__main__ import main as celery

import celeryconfig
from supervisor import scripts

TELLING = ("event", "count", "observe")
whole = scripts.source


def source(name: str) -> str:
    """Return a script whose counters, histograms and events do nothing."""
    text = whole(name)
    for function in TELLING:
        text, found = re.subn(
            rf"^local function {function}\(.*?(?=^$)", f"local function {function}() end\n", text, flags=re.M | re.S
        )
        assert found == 1, function
    return text


def main() -> None:
    """Run Celery."""
    without = os.environ["BENCH_WITHOUT"].split(",")
    if "scripts" in without:
        scripts.source = source  # type: ignore[assignment]  # a function for a cached function
    if "celery" in without:
        celeryconfig.worker_send_task_events = False
    celery()


if __name__ == "__main__":
    main()
