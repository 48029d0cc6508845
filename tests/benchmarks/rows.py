"""The rows of `make bench`: what is measured, the bar of each, and what is said of one that falls short."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.benchmarks import bench_collector, bench_dispatch, bench_executor, bench_reaction, bench_tick
from tests.benchmarks.measuring import digits

GROWTH = (1_000, 10_000, 100_000)  # workers
FALL = 0.30  # of a recorded figure that may be lost before the quick mode fails


@dataclass(frozen=True)
class Row:
    """What was measured, in `unit`. `more` of it is better, or less. `judged`: the figure that is held against the bar.

    `is_ratio`: it says the same on any machine, so that it can be held against one that was recorded.
    """

    name: str
    unit: str
    bar: float
    values: Sequence[float]
    more: bool = False
    is_ratio: bool = False
    why: str = ""

    @property
    def judged(self) -> float:
        """Return the median."""
        return statistics.median(self.values)

    @property
    def short(self) -> float:
        """Return by which part it misses its bar, 0 if it does not."""
        share = self.judged / self.bar if self.more else self.bar / self.judged
        return max(0.0, 1 - share)

    @property
    def verdict(self) -> str:
        """Say how it stands."""
        return f"short by {self.short:.0%}" if self.short else "ok"

    def worse_than(self, recorded: float) -> float:
        """Return by which part it is worse than a recorded figure, 0 if it is not."""
        share = self.judged / recorded if self.more else recorded / self.judged
        return max(0.0, 1 - share)


@dataclass
class Growth:
    """What ticks cost by the number of workers: seconds of a quiet tick, and of a look at each worker."""

    quiet: dict[int, float] = field(default_factory=dict)
    look: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How much is measured: workers, actions, rounds and seconds."""

    fleet: int = 10_000
    naive: int = 1_000
    rounds: int = 5
    growth: tuple[int, ...] = GROWTH
    actions: int = 2_000
    turns: int = 7
    changes: int = 100
    watched: int = 1_000
    seconds: float = 30.0


WHOLE = Scale()
QUICK = Scale(fleet=2_000, naive=300, rounds=3, growth=GROWTH[:2], actions=600, turns=3)


def dispatch(scale: Scale) -> Iterator[Row]:
    """Measure how many actions a tick asks for, and the usual way beside it."""
    ours = bench_dispatch.dispatch_rates(scale.fleet, scale.rounds)
    usual = bench_dispatch.naive_rates(scale.naive, scale.rounds)
    yield Row("derive, claim and enqueue", "actions/s", bench_dispatch.BAR, ours, more=True, why=_DISPATCH)
    ratios = [one / statistics.median(usual) for one in ours]
    name = f"the same against Lock + apply_async ({digits(statistics.median(usual))}/s)"
    yield Row(name, "times", bench_dispatch.TIMES, ratios, more=True, is_ratio=True, why=_DISPATCH)


def ticks(scale: Scale, growth: Growth) -> Iterator[Row]:
    """Measure ticks over fleets of several sizes, into `growth`."""
    for workers in scale.growth:
        looks = bench_tick.scan_costs(workers, max(scale.rounds, 20_000 // workers))  # a small fleet's takes little
        quiet = bench_tick.quiet_ticks(workers, scale.rounds)
        growth.look[workers], growth.quiet[workers] = statistics.median(looks), statistics.median(quiet)
        if workers == 10_000:
            yield Row("full look at 10,000 quiet workers", "µs each", 10.0, [one * 1e6 for one in looks], why=_LOOK)
        if workers == 100_000:
            yield Row("tick over 100,000 quiet workers", "ms", 20.0, [one * 1e3 for one in quiet], why=_QUIET)
    least, most = min(growth.look), max(growth.look)
    shares = [growth.look[most] / growth.look[least]]
    yield Row(f"cost of a look, {most:,} to {least:,} workers", "times", 1.0, shares, is_ratio=True, why=_GROWTH)


def memory(scale: Scale) -> Iterator[Row]:
    """Measure what Redis keeps of a worker."""
    for kind in bench_tick.KINDS:
        used = [bench_tick.memory_per_worker(scale.fleet, kind)]
        yield Row(f"Redis memory of a {kind} worker", "bytes", 2048.0, used, is_ratio=True)


def executor(scale: Scale) -> Iterator[Row]:
    """Measure no-op actions through one executor, beside stock Celery."""
    ours, stock = bench_executor.measure(scale.actions, scale.turns)
    ratios = [mine / theirs for mine, theirs in zip(ours, stock, strict=True)]
    told = f"{digits(statistics.median(ours))} of {digits(statistics.median(stock))}/s"
    name = f"no-op actions, of stock Celery's ({told})"
    yield Row(name, "times", bench_executor.BAR, ratios, more=True, is_ratio=True, why=_EXECUTOR)


def reaction(scale: Scale) -> Iterator[Row]:
    """Measure from a change that was seen to its action's start."""
    took = sorted(one * 1e3 for one in bench_reaction.measure(scale.changes))
    for name, bar, percent in (("half of", 50.0, 50), ("99 % of", 250.0, 99)):
        cut = [statistics.quantiles(took, n=100, method="inclusive")[percent - 1]]
        yield Row(f"{name} {len(took)} changes, seen to started", "ms", bar, cut, why=_REACTION)


def resident(scale: Scale) -> Iterator[Row]:
    """Measure the memory of a process that ticks a large fleet."""
    yield Row("resident memory, 100,000 workers", "MiB", 250.0, [bench_tick.supervisor_rss(max(scale.growth))])


def collector(scale: Scale) -> Iterator[Row]:
    """Measure a collector with a tenth of its targets hung."""
    found = bench_collector.measure(scale.watched, scale.seconds)
    name = f"collector, {scale.watched:,} workers, a tenth hung"
    yield Row(name, "% of a core", 100 * bench_collector.BAR, [100 * found.share], why=_COLLECTOR)
    yield Row("its oldest observation of the others", "s", bench_collector.OLDEST, [found.oldest], why=_COLLECTOR)


_DISPATCH = (
    "By profile, while Redis runs `apply.lua`: the plan takes a quarter of a tick, loading a sixth, items, claims "
    "and their messages a quarter, waiting for Redis a fifth; publishing goes on beside it, for two thirds of it, "
    "and both share one interpreter. The ratio moves with the usual way, which differs by a fifth from run to "
    "run."
)
_LOOK = (
    "By profile: waiting for Redis 14 %, reading 10 %, decoding and making subjects 20 %, the plan 30 %, history "
    "8 %, whom to look at next 7 %; no single thing. Deriving outside the interpreter would get there, or not "
    "looking at who has not changed since, which is what all other ticks do."
)
_QUIET = "The slice that is looked at in turn is most of it; a smaller one heals a lost mark later."
_GROWTH = (
    "Of more than 20,000 workers a process keeps no wishes (a kilobyte each), so a look at all reads seven "
    "documents of a worker instead of three, and goes over them part by part. Ticks over a quiet fleet grow far "
    "less: see the picture."
)
_EXECUTOR = (
    "Begin and end are two round trips, and three events are sent; and a slot waits for its next message, as none "
    "is fetched ahead (SPEC 4.3: an executor holds only what it runs). Fetching one ahead would get there."
)
_REACTION = "Other things had the processor; the path itself is four short hops (docs/decisions/0008)."
_COLLECTOR = (
    "A look costs two HTTP requests (36 %), parsing what they answer (22 %) and the process' files (11 %). A "
    "parser outside the interpreter would get there."
)
