"""The exporter: `/metrics`, `/healthz`, `/readyz`. Reads Redis on every scrape, so every replica tells the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisor.conditions import ConditionType, conditions
from supervisor.connection import STORE_ERRORS
from supervisor.errors import BadDocument
from supervisor.metrics import COUNTERS, HISTOGRAMS, Counter, Histogram
from supervisor.plan import phase_of
from supervisor.rendezvous import is_away
from supervisor.runtime import Runtime
from supervisor.view import World, load_world

_READY_TICKS = 5  # a supervisor without a tick for this many intervals is not ready
StartResponse = Callable[[str, list[tuple[str, str]]], object]


class StoreCollector(Collector):
    """Turns the counters and documents of the store into Prometheus metrics."""

    def __init__(self, runtime: Runtime) -> None:
        """Read through `runtime`."""
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; with Redis away `supervisor_up 0` and nothing else."""
        up = GaugeMetricFamily("supervisor_up", "1 if the store answers")
        try:
            worlds = list(self._worlds())
            counted = [(name, self._runtime.store.counters(name, world.index.places_used)) for name, world in worlds]
            used = self._runtime.store.memory_ratio()
        except STORE_ERRORS:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        memory = GaugeMetricFamily(
            "supervisor_store_memory_ratio", "Part of its maxmemory that Redis uses; 0 without a limit"
        )
        memory.add_metric([], used)
        yield memory
        yield from _gauges(worlds)
        for counter in COUNTERS:
            yield _counter(counter, counted)
        for histogram in HISTOGRAMS:
            yield _histogram(histogram, counted)

    def _worlds(self) -> Iterator[tuple[str, World]]:
        now = self._runtime.store.now()
        troubles = self._runtime.troubles
        for name in self._runtime.store.supervisors():
            try:
                index = self._runtime.store.index(name)
                world = load_world(self._runtime, name, index, now) if index is not None else None
            except BadDocument as error:
                troubles.is_now("exporter.bad_document", name, "unreadable", supervisor=name, error=str(error))
                continue
            troubles.is_now("exporter.bad_document", name, "")
            if world is not None:
                yield name, world

    def ready(self) -> str | None:
        """Return None when Redis answers and every supervisor ticks, else why not."""
        store = self._runtime.store
        try:
            for name in store.supervisors():
                index, tick = store.index(name), store.last_tick(name)
                if tick is None:
                    return f"supervisor {name} has never ticked"
                age = store.now() - tick.started_at
                if index is not None and age > _READY_TICKS * index.settings.tick_interval:
                    return f"supervisor {name} has not ticked for {age:.1f}s"
        except BadDocument as error:
            return str(error)
        except STORE_ERRORS as error:
            return f"the store does not answer: {error}"
        return None


def _gauges(worlds: Iterable[tuple[str, World]]) -> Iterator[Metric]:
    circuit = GaugeMetricFamily(
        "supervisor_circuit_breaker_open", "1 if circuit is open, 0 if closed", labels=["supervisor"]
    )
    escalated = GaugeMetricFamily(
        "supervisor_escalations_active", "1 while an incident is escalated", labels=["supervisor"]
    )
    fleet = GaugeMetricFamily(
        "supervisor_workers", "Workers by type and phase", labels=["supervisor", "worker_type", "phase"]
    )
    held = GaugeMetricFamily("supervisor_worker_conditions", "Workers by condition", labels=["supervisor", "condition"])
    overdue = GaugeMetricFamily(
        "supervisor_actions_stuck", "Actions that run for twice their timeout", labels=["supervisor"]
    )
    skew = GaugeMetricFamily(
        "supervisor_node_clock_skew_seconds",
        "Seconds by which a node's clock is ahead of Redis', of nodes that are not away",
        labels=["supervisor", "node"],
    )
    for name, world in worlds:
        for node, seconds in _skews(world).items():
            skew.add_metric([name, node], seconds)
        circuit.add_metric([name], 1 if world.breaker.is_open else 0)
        escalated.add_metric([name], 1 if world.breaker.escalated else 0)
        numbers: dict[tuple[str, str], int] = {}
        for subject in world.view.subjects:
            kind = subject.snapshot.identity.type if subject.snapshot else "unreadable"
            key = (kind, phase_of(subject).value)
            numbers[key] = numbers.get(key, 0) + 1
        for (kind, phase), number in sorted(numbers.items()):
            fleet.add_metric([name, kind, phase], number)
        for kind, number in sorted(_conditions(world).items()):
            held.add_metric([name, kind], number)
        leases = [subject.lease for subject in world.view.subjects] + [child.lease for child in world.children]
        overdue.add_metric([name], sum(lease is not None and lease.is_stuck(world.now) for lease in leases))
    yield from (circuit, escalated, fleet, held, overdue, skew)


def _skews(world: World) -> dict[str, float]:
    """Return the clock skew in seconds of each node that is not away."""
    here = sorted(place for place, (node, _) in world.nodes.items() if not is_away(node, world.now))
    skews = {place: world.clock_skew(place) for place in here}
    return {place: seconds for place, seconds in skews.items() if seconds is not None}


def _conditions(world: World) -> dict[str, int]:
    """Return the number of workers of which each condition holds, 0 included."""
    numbers = dict.fromkeys((one.value for one in ConditionType), 0)
    for subject in world.view.subjects:
        for condition in conditions(subject, world.index.settings, world.now):
            numbers[condition.type] += 1
    return numbers


def _counter(counter: Counter, counted: Iterable[tuple[str, dict[str, float]]]) -> Metric:
    family = CounterMetricFamily(
        counter.name.removesuffix("_total"), counter.help, labels=["supervisor", *counter.labels]
    )
    for supervisor, values in counted:
        found = {key: value for key, value in values.items() if key.split("|")[0] == counter.name}
        if not counter.labels:
            found.setdefault(counter.name, 0.0)
        for key, value in sorted(found.items()):
            family.add_metric([supervisor, *key.split("|")[1:]], value)
    return family


def _histogram(histogram: Histogram, counted: Iterable[tuple[str, dict[str, float]]]) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=["supervisor", *histogram.labels])
    for supervisor, values in counted:
        prefix = f"{histogram.name}_count"
        series = [key.split("|")[1:] for key in values if key.split("|")[0] == prefix]
        for labels in sorted(series or ([] if histogram.labels else [[]])):
            suffix = "".join(f"|{label}" for label in labels)
            count = values.get(prefix + suffix, 0.0)
            buckets = [
                (f"{bound:g}", values.get(f"{histogram.name}_bucket{suffix}|{bound:g}", 0.0))
                for bound in histogram.buckets
            ]
            family.add_metric(
                [supervisor, *labels], [*buckets, ("+Inf", count)], values.get(f"{histogram.name}_sum{suffix}", 0.0)
            )
    return family


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


def serve(runtime: Runtime, host: str, port: int) -> None:
    """Serve until interrupted. Raises OSError when the address is taken."""
    collector = StoreCollector(runtime)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path == "/healthz":
            return _text(start_response, "200 OK", "ok")
        if path == "/readyz":
            why = collector.ready()
            return _text(start_response, "200 OK" if why is None else "503 Service Unavailable", why or "ready")
        return _text(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz")

    with make_server(host, port, app, _Server, _Quiet) as server:
        server.serve_forever()


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
