"""What the HTTP interface of a Benthos answers, read into values. No I/O.

Redpanda Connect, Benthos and Bento share the interface and differ in two things. `/ready` is JSON with the status of
each connection, or text of the ends that are not up. `/metrics` is Prometheus' text or, with `json_api`, JSON whose
keys look like Prometheus' samples. Of them all `*_connection_up` counts connects and not connections: one that is up
has been lost less often than it came up.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

MAX_WORDS = 200  # characters kept of what Benthos says
_WANTED = (
    "input_connection_",
    "output_connection_",
    "input_received",
    "output_sent",
    "output_error",
    "output_latency_ns",
    "processor_error",
)
_QUANTILES = {"p50": "0.5", "p90": "0.9", "p99": "0.99"}


class Connection(msgspec.Struct, frozen=True):
    """One connection of `/ready`; `path` is as `input` or `output.broker.outputs.0`."""

    path: str
    connected: bool = False
    label: str = ""
    error: str = ""

    @property
    def words(self) -> str:
        """Name it, and say what is wrong with it."""
        return f"{self.label or self.path}: {self.error or 'not connected'}"


class _Ready(msgspec.Struct, frozen=True):
    statuses: tuple[Connection, ...] | None = None


class Meters(msgspec.Struct, frozen=True):
    """What the metrics say: counters since the start, and which ends are connected as far as these tell."""

    received: int = 0
    sent: int = 0
    errors: int = 0
    write_ms: float | None = None
    input_connected: bool = False
    output_connected: bool = False


def connections(text: str) -> tuple[Connection, ...]:
    """Return the connections that `/ready` tells of; its text has those only that are not up. Raises ValueError."""
    if not text.startswith("{"):
        return tuple(Connection(end) for end in ("input", "output") if f"{end} not connected" in text)
    return msgspec.json.decode(text, type=_Ready).statuses or ()


def version(text: str) -> str:
    """Return the version that `/version` tells. Raises ValueError for another reply."""
    return msgspec.json.decode(text, type=dict[str, str]).get("version", "")[:MAX_WORDS]


def meters(text: str, stream: str | None = None) -> Meters:
    """Return what `/metrics` says, of one stream in streams mode. Raises ValueError for neither of its forms."""
    from prometheus_client.parser import text_string_to_metric_families  # fsmctl knows of this type and never looks

    table: dict[str, dict[str, float]] = defaultdict(dict)
    writes: list[float] = []
    for family in text_string_to_metric_families(_ours(_as_samples(text))):
        for sample in family.samples:
            if stream is not None and sample.labels.get("stream") != stream:
                continue
            name = sample.name.removesuffix("_total")
            if name == "output_latency_ns" and sample.labels.get("quantile") == "0.99":
                writes.append(sample.value)
            where = (
                f"{sample.labels.get('stream', '')} {sample.labels.get('path', '')} {sample.labels.get('label', '')}"
            )
            table[name][where] = sample.value
    return _meters(table, [took for took in writes if not math.isnan(took)])


def _meters(table: Mapping[str, Mapping[str, float]], writes: Iterable[float]) -> Meters:
    def total(*names: str) -> int:
        return int(sum(sum(table.get(name, {}).values()) for name in names))

    return Meters(
        received=total("input_received"),
        sent=total("output_sent"),
        errors=total("output_error", "processor_error"),
        write_ms=max((took / 1e6 for took in writes), default=None),
        input_connected=_connected(table, "input"),
        output_connected=_connected(table, "output"),
    )


def _connected(table: Mapping[str, Mapping[str, float]], end: str) -> bool:
    """Tell whether every connection of an end that ever came up is up."""
    ups, lost = table.get(f"{end}_connection_up", {}), table.get(f"{end}_connection_lost", {})
    return bool(ups) and all(up > lost.get(where, 0.0) for where, up in ups.items())


def _ours(text: str) -> str:
    """Leave out samples that are of no use here: a Benthos tells far more than is looked at, and parsing takes time."""
    first, *others = text.splitlines() or [""]
    kept = (line for line in others if line.startswith(_WANTED) or not line[:1].isalpha())
    return "\n".join([first, *kept]) + "\n"


def _as_samples(text: str) -> str:
    """Return metrics as Prometheus' text, whichever form they are in."""
    return "\n".join(_lines(json.loads(text))) + "\n" if text.startswith("{") else text


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            for name, took in value.items():
                if name in _QUANTILES and key.endswith("}"):
                    yield f'{key[:-1]},quantile="{_QUANTILES[name]}"}} {float(took)}'
        else:
            yield f"{key} {float(value)}"
