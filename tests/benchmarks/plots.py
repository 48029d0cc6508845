"""The pictures of docs/performance.md: `python plots.py FOLDER < figures.json`, in an environment with peers.txt."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "fsm", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False, "figure.figsize": (7.2, 3.6)})

from matplotlib import pyplot as plt  # noqa: E402 - after its settings

QUIET = {"metadata": {"Date": None}}


def growth(figures: dict[str, Any], path: Path) -> None:
    """Draw what a tick takes by the number of workers: a full look, and a quiet tick."""
    _, axes = plt.subplots()
    look = {int(workers): took * int(workers) * 1e3 for workers, took in figures["look"].items()}
    quiet = {int(workers): took * 1e3 for workers, took in figures["quiet"].items()}
    axes.loglog(list(look), list(look.values()), "o-", color="#b04a2f", label="a look at all")
    axes.loglog(list(quiet), list(quiet.values()), "s-", color="#2f6db0", label="a tick with nothing changed")
    first = min(look)
    axes.loglog(list(look), [look[first] * workers / first for workers in look], ":", color="#888888", label="linear")
    for series, above in ((look, -15), (quiet, 7)):
        for workers, took in series.items():
            told = f"{took:,.0f} ms" if took >= 100 else f"{took:.3g} ms"
            axes.annotate(told, (workers, took), textcoords="offset points", xytext=(0, above), ha="center")
    axes.set_xticks(list(look), [f"{workers:,}" for workers in look])
    axes.minorticks_off()
    axes.set(xlabel="workers", ylabel="milliseconds a tick", title="What a tick takes, by the size of the fleet")
    axes.margins(x=0.12, y=0.2)
    axes.legend(frameon=False)
    plt.tight_layout()
    plt.savefig(path, **QUIET)


def peers(figures: dict[str, Any], path: Path) -> None:
    """Draw how many actions or tasks a second one process enqueues, each once at a time."""
    _, axes = plt.subplots()
    bars = [*figures["peers"], ["fsm-supervisor", figures["ours"]]]
    names = {"celery": "celery, redis-py Lock", "dramatiq": "dramatiq, no lock", "huey": "huey, no lock"}
    shown = axes.barh(
        [names.get(name, name) for name, _ in bars],
        [rate for _, rate in bars],
        color=["#9aa5b1"] * (len(bars) - 1) + ["#2f6db0"],
    )
    axes.bar_label(shown, [f"{rate:,.0f}/s" for _, rate in bars], padding=4)
    axes.margins(x=0.14)
    axes.set(xlabel="enqueued a second by one process", title="From a decision to a message in its queue")
    plt.tight_layout()
    plt.savefig(path, **QUIET)


def main() -> None:
    """Draw both."""
    figures, folder = json.load(sys.stdin), Path(sys.argv[1])
    growth(figures, folder / "bench-growth.svg")
    peers(figures, folder / "bench-peers.svg")


if __name__ == "__main__":
    main()
