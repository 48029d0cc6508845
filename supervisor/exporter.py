"""The exporter: `/metrics`, `/healthz`, `/readyz`. Reads Redis on every scrape, so every replica tells the same."""

from __future__ import annotations

import platform
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from supervisor.accounts import Accounts
from supervisor.connection import STORE_ERRORS
from supervisor.errors import BadDocument, UsageError
from supervisor.gauges import Sample, of_world
from supervisor.logs import logger
from supervisor.metrics import COUNTERS, GAUGES, HISTOGRAMS, Counter, Gauge, Histogram, is_of_worker, label_for
from supervisor.model import WorkerLabel
from supervisor.runtime import Runtime
from supervisor.store import Memory
from supervisor.view import load_world

log = logger("supervisor.exporter")
_READY_TICKS = 5  # a supervisor without a tick for this many intervals is not ready
_PARTS = ("count", "sum", "bucket")
StartResponse = Callable[[str, list[tuple[str, str]]], object]
App = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


@dataclass(frozen=True)
class Scraped:
    """What one scrape reads of one supervisor: its gauges, and its counters by metric name as (labels, value).

    `worker_label` is what its workers' series are labelled with.
    """

    supervisor: str
    worker_label: WorkerLabel
    gauges: tuple[Sample, ...]
    counted: Mapping[str, Sequence[tuple[tuple[str, ...], float]]]


class StoreCollector(Collector):
    """Turns the counters and documents of the store into Prometheus metrics."""

    def __init__(self, runtime: Runtime) -> None:
        """Read through `runtime`."""
        self._runtime = runtime

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics; with Redis away `supervisor_up 0` and nothing else."""
        try:
            scraped = list(self._scrape())
            memory, denied = self._runtime.store.memory(), self._runtime.store.denied()
        except STORE_ERRORS:
            (up,) = _gauges([("", Sample("supervisor_up", (), 0))], GAUGES[:1])
            yield up
            return
        samples = [("", sample) for sample in _of_store(memory, denied)]
        samples += [(one.supervisor, sample) for one in scraped for sample in one.gauges]
        yield from _gauges(samples, GAUGES)
        for counter in COUNTERS:
            yield _counter(counter, scraped)
        for histogram in HISTOGRAMS:
            yield _histogram(histogram, scraped)

    def _scrape(self) -> Iterator[Scraped]:
        store, now = self._runtime.store, self._runtime.store.now()
        troubles = self._runtime.troubles
        for name in store.supervisors():
            try:
                index = store.index(name)
                if index is None:
                    continue
                world = load_world(self._runtime, name, index, now)
                gauges = tuple(of_world(world, store.last_tick(name), store.mismatches(name)))
            except BadDocument as error:
                troubles.is_now("exporter.bad_document", name, "unreadable", supervisor=name, error=str(error))
                continue
            troubles.is_now("exporter.bad_document", name, "")
            label = index.settings.worker_label
            yield Scraped(name, label, gauges, _by_name(store.counters(name, index.places_used, index.places), label))

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


def _by_name(
    counters: Mapping[str, float], worker_label: WorkerLabel
) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """Return the fields of counters by the metric that they are of, sorted by their labels."""
    found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
    for field, value in sorted(counters.items()):
        name, *labels = field.split("|")
        if is_of_worker(field):
            shown = label_for(worker_label, labels[0])
            if shown is None:
                continue
            labels[0] = shown
        found.setdefault(name, []).append((tuple(labels), value))
    return found


def _of_store(memory: Memory | None, denied: int | None) -> Iterator[Sample]:
    yield Sample("supervisor_up", (), 1)
    yield Sample("supervisor_build_info", (version("fsm-supervisor"), platform.python_version()), 1)
    if memory is not None:
        yield Sample("supervisor_store_memory_bytes", (), memory.used)
    if denied is not None:
        yield Sample("supervisor_redis_acl_denied", (), denied)
    yield Sample("supervisor_store_memory_ratio", (), memory.ratio if memory is not None else 0.0)


def _gauges(samples: Iterable[tuple[str, Sample]], gauges: Iterable[Gauge]) -> Iterator[Metric]:
    """Yield the families of `gauges` with their samples, each given with its supervisor."""
    families = {
        gauge.name: GaugeMetricFamily(
            gauge.name, gauge.help, labels=[*([] if gauge.of_store else ["supervisor"]), *gauge.labels]
        )
        for gauge in gauges
    }
    for supervisor, sample in samples:
        labels = [supervisor, *sample.labels] if supervisor else sample.labels
        families[sample.name].add_metric(labels, sample.value)
    yield from families.values()


def _at_start(metric: Counter | Histogram) -> list[tuple[str, ...]]:
    """Return the labels of the series that exist before anything has happened."""
    return [(value,) for value in metric.values] if metric.labels else [()]


def _counter(counter: Counter, scraped: Iterable[Scraped]) -> Metric:
    name = counter.name.removesuffix("_total")
    whole = CounterMetricFamily(name, counter.help, labels=[])
    for one in scraped:
        family = CounterMetricFamily(name, counter.help, labels=_labels(counter, one))
        values = {**dict.fromkeys(_at_start(counter), 0.0), **dict(one.counted.get(counter.name, ()))}
        for series, value in values.items():
            family.add_metric([one.supervisor, *series], value)
        whole.samples += family.samples
    return whole


def _labels(metric: Counter | Histogram, one: Scraped) -> list[str]:
    """Return the names of a metric's labels at one supervisor."""
    return ["supervisor", *(one.worker_label if label == "worker_id" else label for label in metric.labels)]


def _histogram(histogram: Histogram, scraped: Iterable[Scraped]) -> Metric:
    whole = HistogramMetricFamily(histogram.name, histogram.help, labels=[])
    for one in scraped:
        family = HistogramMetricFamily(histogram.name, histogram.help, labels=_labels(histogram, one))
        counts, sums, buckets = (dict(one.counted.get(f"{histogram.name}_{part}", ())) for part in _PARTS)
        for series in {**dict.fromkeys(_at_start(histogram)), **counts}:
            bounds = [f"{bound:g}" for bound in histogram.buckets]
            steps = [(bound, buckets.get((*series, bound), 0.0)) for bound in bounds]
            count = counts.get(series, 0.0)
            family.add_metric([one.supervisor, *series], [*steps, ("+Inf", count)], sums.get(series, 0.0))
        whole.samples += family.samples
    return whole


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 32

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or speaks no TLS where TLS is spoken, is its own business."""
        log.tell("exporter.request_failed", error=str(sys.exc_info()[1]))


class _Quiet(WSGIRequestHandler):
    timeout = 10.0  # seconds in which a client has to say what it wants

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are no news."""


def make_app(collector: StoreCollector, accounts: Accounts | None = None) -> App:
    """Return the pages; with `accounts` all but `/healthz` are for those who are in there."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/healthz":
            return _text(start_response, "200 OK", "ok")
        if accounts is not None and not accounts.admit(environ.get("HTTP_AUTHORIZATION", "")):
            asked = ("WWW-Authenticate", 'Basic realm="metrics", charset="UTF-8"')
            return _text(start_response, "401 Unauthorized", "a user and a password are needed", asked)
        if path == "/metrics":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        if path == "/readyz":
            why = collector.ready()
            return _text(start_response, "200 OK" if why is None else "503 Service Unavailable", why or "ready")
        return _text(start_response, "404 Not Found", "there are /metrics, /healthz and /readyz")

    return app


def _text(start_response: StartResponse, status: str, text: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [f"{text}\n".encode()]


def tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a server's TLS with a certificate and its key, both PEM. Raises `UsageError`."""
    for path in (cert, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}; expected a PEM file") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except ssl.SSLError as error:
        why = error.reason or error
        raise UsageError(
            f"{cert} and {key}: expected a certificate and its key, both PEM, without a password: {why}"
        ) from None
    return context


def serve(app: App, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
    """Serve until interrupted. Raises OSError when the address is taken."""
    with make_server(host, port, app, _Server, _Quiet) as server:
        if tls is not None:  # each connection's own thread shakes hands, so that no client holds up the others
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.serve_forever()
