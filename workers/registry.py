"""Names to worker types; the only file that imports concrete types."""

from __future__ import annotations

import workers.benthos.observe
import workers.benthos.states
import workers.command.observe
import workers.command.states
import workers.dfc_read.observe
import workers.dfc_read.states
import workers.endpoint.look_http
import workers.endpoint.look_mqtt
import workers.endpoint.look_opcua
import workers.endpoint.look_tcp
import workers.endpoint.observe
import workers.endpoint.states
import workers.process.observe
import workers.process.states
from workers.benthos.config import BenthosConfig
from workers.command.config import CommandConfig
from workers.dfc_read.config import DfcReadConfig
from workers.endpoint.config import EndpointConfig, HttpConfig, MqttConfig, OpcuaConfig, TcpConfig
from workers.endpoint.observe import Library, Look
from workers.model import Observed
from workers.process.config import ProcessConfig
from workers.target import WorkerType


class UnknownWorkerType(Exception):
    """No worker type is registered under that name."""


class WorkerRegistry:
    """Maps type names to worker types."""

    def __init__(self) -> None:
        """Make an empty registry."""
        self._types: dict[str, WorkerType] = {}

    def register(self, worker_type: WorkerType) -> None:
        """Make `worker_type` known under its name. Raises `ValueError` if the name is taken."""
        if worker_type.name in self._types:
            raise ValueError(f"worker type {worker_type.name!r} is registered already; choose another name")
        self._types[worker_type.name] = worker_type

    def get(self, name: str) -> WorkerType:
        """Return the type called `name`. Raises `UnknownWorkerType` naming those that are known."""
        try:
            return self._types[name]
        except KeyError:
            raise UnknownWorkerType(
                f"unknown worker type {name!r}: expected one of {', '.join(self.names())}"
            ) from None

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted."""
        return tuple(sorted(self._types))


def built_in() -> WorkerRegistry:
    """Return a registry of the types that come with this package."""
    registry = WorkerRegistry()
    registry.register(
        WorkerType(
            name="process",
            config_type=ProcessConfig,
            observed_type=Observed,
            machine=workers.process.states.MACHINE,
            derive=workers.process.states.derive,
            observe=workers.process.observe.observe,
            component=workers.process.observe.component,
        )
    )
    for name in ("dfc_read", "dfc_write"):  # one machine: towards the broker, and away from it
        registry.register(
            WorkerType(
                name=name,
                config_type=DfcReadConfig,
                observed_type=workers.dfc_read.states.FlowObserved,
                machine=workers.dfc_read.states.MACHINE,
                derive=workers.dfc_read.states.derive,
                observe=workers.dfc_read.observe.observe,
                component=workers.dfc_read.observe.component,
            )
        )
    registry.register(
        WorkerType(
            name="benthos",
            config_type=BenthosConfig,
            observed_type=workers.benthos.states.BenthosObserved,
            machine=workers.benthos.states.MACHINE,
            derive=workers.benthos.states.derive,
            observe=workers.benthos.observe.observe,
            component=workers.process.observe.component,
            matters=workers.benthos.observe.matters,
        )
    )
    registry.register(
        WorkerType(
            name="command",
            config_type=CommandConfig,
            observed_type=workers.command.states.CommandObserved,
            machine=workers.command.states.MACHINE,
            derive=workers.command.states.derive,
            observe=workers.command.observe.observe,
            component=workers.command.observe.component,
            floats=True,
        )
    )
    registry.register(_endpoint("tcp_service", TcpConfig, workers.endpoint.look_tcp.look))
    registry.register(_endpoint("http_service", HttpConfig, workers.endpoint.look_http.look))
    registry.register(
        _endpoint("mqtt", MqttConfig, workers.endpoint.look_mqtt.look, workers.endpoint.look_mqtt.LIBRARY)
    )
    registry.register(
        _endpoint("opcua", OpcuaConfig, workers.endpoint.look_opcua.look, workers.endpoint.look_opcua.LIBRARY)
    )
    return registry


def _endpoint(name: str, config_type: type[EndpointConfig], look: Look, library: Library | None = None) -> WorkerType:
    """Return a type of what answers on a network; they differ in how they are asked alone."""
    return WorkerType(
        name=name,
        config_type=config_type,
        observed_type=workers.endpoint.states.EndpointObserved,
        machine=workers.endpoint.states.MACHINE,
        derive=workers.endpoint.states.derive,
        observe=workers.endpoint.observe.observer(look, library),
        component=workers.endpoint.observe.component,
        matters=workers.endpoint.observe.matters,
    )
