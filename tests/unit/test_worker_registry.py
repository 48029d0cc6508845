"""The registry of worker types."""

from __future__ import annotations

import pytest

from workers.benthos.config import BenthosConfig
from workers.benthos.states import BenthosObserved
from workers.command.config import CommandConfig
from workers.command.states import CommandObserved
from workers.dfc_read.config import DfcReadConfig
from workers.dfc_read.states import FlowObserved
from workers.endpoint.config import HttpConfig, MqttConfig, OpcuaConfig, TcpConfig
from workers.endpoint.states import EndpointObserved
from workers.model import Observed
from workers.process.config import ProcessConfig
from workers.registry import UnknownWorkerType, WorkerRegistry, built_in


def test_the_built_in_types_and_what_they_consist_of() -> None:
    types = built_in()
    assert {name: (types.get(name).config_type, types.get(name).observed_type) for name in types.names()} == {
        "benthos": (BenthosConfig, BenthosObserved),
        "command": (CommandConfig, CommandObserved),
        "dfc_read": (DfcReadConfig, FlowObserved),
        "dfc_write": (DfcReadConfig, FlowObserved),
        "http_service": (HttpConfig, EndpointObserved),
        "mqtt": (MqttConfig, EndpointObserved),
        "opcua": (OpcuaConfig, EndpointObserved),
        "process": (ProcessConfig, Observed),
        "tcp_service": (TcpConfig, EndpointObserved),
    }


def test_only_what_has_no_process_on_a_node_may_float() -> None:
    types = built_in()
    assert {name: types.get(name).floats for name in types.names()} == {
        "benthos": False,
        "command": True,
        "dfc_read": False,
        "dfc_write": False,
        "http_service": False,
        "mqtt": False,
        "opcua": False,
        "process": False,
        "tcp_service": False,
    }


def test_an_unknown_worker_type_is_answered_with_those_that_are_known() -> None:
    with pytest.raises(UnknownWorkerType, match="worker type 'robot': expected one of benthos, command, dfc_read"):
        built_in().get("robot")


def test_a_type_name_can_be_registered_once() -> None:
    process = built_in().get("process")
    registry = WorkerRegistry()
    registry.register(process)
    with pytest.raises(ValueError, match="worker type 'process' is registered already; choose another name"):
        registry.register(process)
    assert registry.names() == ("process",)
