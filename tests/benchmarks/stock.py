"""Stock Celery with its defaults, to compare with: `STOCK_REDIS_URL=… celery -A tests.benchmarks.stock worker`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

URL = os.environ.get("STOCK_REDIS_URL", "")
QUEUE = "celery"

app = Celery("stock", broker=URL, set_as_current=False)


@app.task(name="noop", ignore_result=True)  # type: ignore[untyped-decorator]  # celery ships no types
def noop(**_: Any) -> None:
    """Do nothing."""
