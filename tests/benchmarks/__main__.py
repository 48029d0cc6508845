"""All benchmarks with bars, peers in the same run: `make bench`, or `python -m tests.benchmarks [--quick] [--write]`.

Prints machine, versions, and for each row n, median, spread, bar and verdict; a row that falls short says why. The
quick mode takes minutes less, judges ratios alone, and fails on one that has fallen by 30 % from what was recorded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.benchmarks import bench_peers, rows
from tests.benchmarks.measuring import digits, machine, say, versions
from tests.benchmarks.rows import FALL, QUICK, WHOLE, Growth, Row, Scale

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
DOCUMENT = HERE.parent.parent / "docs" / "performance.md"
TRIES = 3  # measurements of a ratio that has fallen, before it counts as such
PICTURES = HERE.parent.parent / "docs" / "img"
BEGIN, END = "<!-- table: written by make bench WRITE=1 -->\n", "<!-- end of the table -->\n"


Part = Callable[[Scale], Iterator[Row]]


def parts(scale: Scale, growth: Growth) -> list[Part]:
    """Return what is measured, each as one or several rows."""
    some: list[Part] = [rows.dispatch, lambda scale: rows.ticks(scale, growth), rows.memory, rows.executor]
    return some if scale is not WHOLE else [*some, rows.reaction, rows.resident, rows.collector]


def shown(row: Row) -> str:
    """Return a row as a line."""
    values = [digits(one) for one in (row.judged, min(row.values), max(row.values))]
    spread = f"{values[1]} to {values[2]}" if len(row.values) > 1 else ""
    bar = f"{'≥' if row.more else '≤'} {digits(row.bar)}"
    return f"{row.name:<52} {values[0]:>8} {row.unit:<11} n {len(row.values):<4} {spread:<18} {bar:<9} {row.verdict}"


def in_document(heads: list[str], found: list[Row], peers: list[bench_peers.Peer]) -> str:
    """Return the table and what is said of it, in Markdown."""
    lines = [
        *(f"{head}  " for head in heads),
        "",
        "| what | median | n | spread | bar | |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        spread = f"{digits(min(row.values))} to {digits(max(row.values))}" if len(row.values) > 1 else ""
        bar = f"{'≥' if row.more else '≤'} {digits(row.bar)}"
        told = f"{digits(row.judged)} {row.unit}"
        lines.append(f"| {row.name} | {told} | {len(row.values)} | {spread} | {bar} | {row.verdict} |")
    lines += ["", "| peer | enqueued, tasks/s | run by one worker, tasks/s |", "|---|---|---|"]
    lines += [f"| {one.name} {one.version} | {digits(one.enqueued)} | {digits(one.ran)} |" for one in peers]
    lines += [""] + [f"- {row.name}: {row.verdict}. {row.why}" for row in found if row.short]
    return "\n".join(lines) + "\n"


def fallen(found: list[Row], recorded: dict[str, float]) -> list[str]:
    """Say which ratios have fallen too far from what was recorded; one that was never recorded is said, too."""
    said = []
    for row in found:
        if not row.is_ratio:
            continue
        name = key_of(row)
        if name not in recorded:
            said.append(f"{name}: no figure recorded; write it with --quick --write")
        elif (fall := row.worse_than(recorded[name])) > FALL:
            said.append(f"{name}: {digits(row.judged)}, {fall:.0%} worse than the recorded {digits(recorded[name])}")
    return said


def key_of(row: Row) -> str:
    """Return a row's name without what it says of its peer."""
    return row.name.partition(" (")[0]


def quick(write: bool) -> int:
    """Measure ratios; record them, or hold them against what was recorded. Return the exit code."""
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    found: list[Row] = []
    said: list[str] = []
    for part in parts(QUICK, Growth()):
        measured, missed = tried(part, {} if write else recorded)
        found += measured
        said += missed
    if write:
        kept = {key_of(row): round(row.judged, 4) for row in found if row.is_ratio}
        RECORDED.write_text(json.dumps(kept, indent=2) + "\n")
        return 0
    say(*said, "ok" if not said else f"{len(said)} of the ratios have fallen, or are not recorded")
    return 1 if said else 0


def tried(part: Part, recorded: dict[str, float]) -> tuple[list[Row], list[str]]:
    """Measure a part, again if a ratio of it has fallen; return its rows, and which have fallen each time.

    Whatever else the machine does makes a figure worse, never better.
    """
    for _ in range(TRIES):
        found = []
        for row in part(QUICK):
            found.append(row)
            say(shown(row))
        said = fallen(found, recorded)
        if not said or not recorded:
            break
    return found, said


def whole(python: str, write: bool) -> int:
    """Measure and print everything; return 0 when every row is within its bar or says why not."""
    heads, growth, found = [machine(), versions()], Growth(), []
    say(*heads)
    for part in parts(WHOLE, growth):
        for row in part(WHOLE):
            found.append(row)
            say(shown(row))
    peers = bench_peers.measure(python, 2_000)
    say("", *bench_peers.table(peers), "")
    for row in found:
        if row.short:
            say(f"{row.name}: {row.verdict}. {row.why or 'NOBODY HAS SAID WHY'}")
    drawn = {"look": growth.look, "quiet": growth.quiet, "peers": [[one.name, one.enqueued] for one in peers]}
    drawn["ours"] = found[0].judged
    if write:
        text = DOCUMENT.read_text()
        before, rest = text.split(BEGIN)
        DOCUMENT.write_text(before + BEGIN + in_document(heads, found, peers) + END + rest.split(END)[1])
        words = [python, str(HERE / "plots.py"), str(PICTURES)]
        subprocess.run(words, input=json.dumps(drawn), text=True, check=True)
    return 0 if all(row.why for row in found if row.short) else 1


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ratios alone, held against those recorded")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/performance.md and its pictures; with --quick, what is recorded",
    )
    parser.add_argument("--python", default=sys.executable, help="of an environment that has peers.txt installed")
    asked = parser.parse_args()
    return quick(asked.write) if asked.quick else whole(asked.python, asked.write)


if __name__ == "__main__":
    sys.exit(main())
