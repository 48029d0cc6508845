"""What all benchmarks say of where and how they measured."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.conftest import redis_binary

PACKAGES = ("celery", "kombu", "redis", "hiredis", "msgspec", "billiard")


def machine() -> str:
    """Return the processor, its cores, and how busy they are with other things."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    load = psutil.getloadavg()[0]
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, load {load:.1f} before"


def versions() -> str:
    """Return the versions of what was measured."""
    told = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    server = next((word.removeprefix("v=") for word in told.split() if word.startswith("v=")), "?")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, Redis {server}, {packages}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Return n, median, and the least and most of what was measured."""
    shown = [digits(one) for one in (statistics.median(values), min(values), max(values))]
    return f"n {len(values)}, median {shown[0]}{unit}, {shown[1]} to {shown[2]}"


def digits(value: float) -> str:
    """Return a figure with no more digits than it deserves."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def say(*lines: str) -> None:
    """Print lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
