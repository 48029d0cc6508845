"""What an endpoint needs next: the process table with how it answers laid over it; and its configuration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from actions.reconfigure import Reconfigure
from actions.start import Start
from actions.stop import Stop
from tests.factories import NOW, make_snapshot
from workers.duration import Duration
from workers.endpoint.config import EndpointConfig, HttpConfig, MqttConfig, OpcuaConfig, TcpConfig
from workers.endpoint.states import Answer, EndpointObserved, answer_of, classify, derive
from workers.model import Exit, Observed, Signal, Snapshot, Transition
from workers.process.states import Condition

OURS = ("broker", "--port", "1883")
WELL = EndpointObserved(
    collected_at=NOW - 1,
    pid=42,
    start_ticks=7,
    started_at=NOW - 100,
    config_id="c1",
    answered=True,
    latency_ms=3.2,
    answer="http://plc/ answered 200",
)
REFUSED = "http://plc/ answered 503, expected 200"


def but(seen: EndpointObserved = WELL, **changes: Any) -> EndpointObserved:
    """Return an endpoint that is well but for `changes`."""
    return msgspec.structs.replace(seen, **changes)


SILENT = but(answered=False, trouble=REFUSED, answer="")
SLOW = but(latency_ms=1000.5)
GONE = EndpointObserved(collected_at=NOW - 1)
AFAR = but(pid=None, start_ticks=0, started_at=None, config_id="")


def endpoint(
    observed: Observed, state: str = "running", desired: str = "running", command: Any = OURS, **config: Any
) -> Snapshot:
    snapshot = make_snapshot(kind="tcp_service", observed=observed, state=state, desired=desired)
    wanted = {**snapshot.desired.config, "command": command, **config}
    return msgspec.structs.replace(snapshot, desired=msgspec.structs.replace(snapshot.desired, config=wanted))


CASES = {
    "answers": (WELL, (Answer.ANSWERS, "pid 42 runs and answers: http://plc/ answered 200 in 3 ms")),
    "slow": (
        SLOW,
        (Answer.SLOW, "pid 42 runs and is slow: http://plc/ answered 200 in 1000 ms, at most 1000 ms may pass"),
    ),
    "as slow as may be": (
        but(latency_ms=1000.0),
        (Answer.ANSWERS, "pid 42 runs and answers: http://plc/ answered 200 in 1000 ms"),
    ),
    "wrong answer": (SILENT, (Answer.SILENT, f"pid 42 runs and does not answer as it should: {REFUSED}")),
    "wrong and slow": (
        but(SILENT, latency_ms=2000.0),
        (Answer.SILENT, f"pid 42 runs and does not answer as it should: {REFUSED}"),
    ),
    "only looked at as a process": (
        Observed(collected_at=NOW - 1, pid=42, config_id="c1"),
        (Answer.SILENT, "pid 42 runs and has not been asked yet"),
    ),
    "outdated": (but(config_id="c0"), (Condition.OUTDATED, "pid 42 runs configuration c0, wanted is c1")),
    "gone": (
        GONE,
        (Condition.MISSING, "desired is running and nothing runs: nothing has been started since the host booted"),
    ),
}


@pytest.mark.parametrize(("observed", "expected"), CASES.values(), ids=CASES.keys())
def test_an_endpoint_of_ours_is_classified_with_the_values_that_decided(
    observed: Observed, expected: tuple[str, str]
) -> None:
    assert classify(endpoint(observed), observed) == expected


WATCHED = {
    "answers": (AFAR, "running", (Answer.ANSWERS, "it is watched only and answers: http://plc/ answered 200 in 3 ms")),
    "wrong answer": (
        but(AFAR, answered=False, trouble=REFUSED),
        "running",
        (Answer.SILENT, f"it is watched only and does not answer as it should: {REFUSED}"),
    ),
    "not to be watched": (
        AFAR,
        "stopped",
        (Condition.DOWN, "desired is stopped, it is watched only and nothing of ours runs"),
    ),
    "with what an earlier command started": (
        WELL,
        "running",
        (Condition.UNWANTED, "it is watched only, and pid 42 of an earlier command runs"),
    ),
}


@pytest.mark.parametrize(("observed", "desired", "expected"), WATCHED.values(), ids=WATCHED.keys())
def test_an_endpoint_that_is_watched_only_is_never_started_and_never_outdated(
    observed: Observed, desired: str, expected: tuple[str, str]
) -> None:
    assert classify(endpoint(observed, desired=desired, command=()), observed) == expected


def test_how_long_an_answer_may_take_is_configured() -> None:
    assert classify(endpoint(WELL, max_latency=0.003), WELL) == (
        Answer.SLOW,
        "pid 42 runs and is slow: http://plc/ answered 200 in 3 ms, at most 3 ms may pass",
    )


@pytest.mark.parametrize("seen", [WELL, SLOW, SILENT])
def test_how_it_answers_is_news_as_it_is_told_to_derive(seen: EndpointObserved) -> None:
    assert answer_of(seen, 1.0) == classify(endpoint(seen), seen)[0]


@pytest.mark.parametrize(
    ("state", "observed", "desired", "expected"),
    [
        ("stopped", GONE, "running", "starting"),
        ("stopped", WELL, "running", "starting"),
        ("starting", GONE, "running", Start()),
        ("starting", SILENT, "running", "starting"),
        ("starting", SLOW, "running", "degraded"),
        ("starting", WELL, "running", "running"),
        ("running", SILENT, "running", "degraded"),
        ("running", SLOW, "running", "degraded"),
        ("running", WELL, "running", "running"),
        ("running", GONE, "running", "starting"),
        ("running", but(config_id="c0"), "running", Reconfigure()),
        ("degraded", SILENT, "running", "degraded"),
        ("degraded", WELL, "running", "running"),
        ("degraded", GONE, "running", "starting"),
        ("degraded", WELL, "stopped", "stopping"),
        ("degraded", but(config_id="c0"), "running", Reconfigure()),
        ("stopping", SILENT, "stopped", Stop()),
        ("stopping", GONE, "stopped", "stopped"),
        ("stopping", WELL, "running", "running"),
        ("failed", SILENT, "running", "starting"),
        ("failed", WELL, "running", "running"),
    ],
)
def test_derive_takes_the_step_that_the_table_has_for_the_condition(
    state: str, observed: EndpointObserved, desired: str, expected: object
) -> None:
    snapshot = endpoint(observed, state, desired)
    step = {"state": expected} if isinstance(expected, str) else {"action": expected}
    assert derive(snapshot, NOW) == Transition(reason=classify(snapshot, observed)[1], **step)


def test_an_endpoint_that_ended_early_is_told_so() -> None:
    ended = Exit(41, 6, started_at=NOW - 4, ended_at=NOW - 2, code=1)
    assert derive(endpoint(msgspec.structs.replace(GONE, last_exit=ended)), NOW) == Transition(
        state="starting",
        reason="desired is running and nothing runs: pid 41 ended with exit code 1 after 2.0s",
        signal=Signal.EXITED_EARLY,
    )


def configured(kind: type[EndpointConfig], **config: Any) -> EndpointConfig:
    """Return a configuration as a fleet file has it."""
    return msgspec.convert(config, kind, dec_hook=lambda to, value: to(value))


TCP = {"address": "127.0.0.1:7"}
HTTP = {"url": "http://plc/state"}
MQTT = {"address": "127.0.0.1:1883"}
OPCUA = {"url": "opc.tcp://plc:4840/"}
WRONG: dict[str, tuple[type[EndpointConfig], dict[str, Any], str]] = {
    "empty program": (TcpConfig, {**TCP, "command": [" "]}, "command begins with an empty word"),
    "user of nothing": (TcpConfig, {**TCP, "user": "plc"}, "user is of a process: expected a command beside it, or no"),
    "environment of nothing": (TcpConfig, {**TCP, "env": {"A": "1"}}, "env is of a process: expected a command"),
    "no time": (TcpConfig, {**TCP, "timeout": 0.0}, "timeout is 0s: expected more than 0s and at most 5s"),
    "too much time": (TcpConfig, {**TCP, "timeout": 5.5}, "timeout is 5.5s: expected more than 0s and at most 5s"),
    "no latency": (TcpConfig, {**TCP, "max_latency": 0.0}, "max_latency is 0s: expected more than 0s"),
    "no port": (TcpConfig, {"address": "plc"}, r"at `\$.address`"),
    "no pattern": (TcpConfig, {**TCP, "expect": "("}, r"expect is '\(': expected a regular expression: missing \)"),
    "an answer nobody reads": (TcpConfig, {**TCP, "send": "PING"}, "send is 'PING' without expect: expected a pattern"),
    "another scheme": (
        HttpConfig,
        {"url": "ftp://plc"},
        "url is 'ftp://plc': expected http://HOST:PORT or https://HOST:PORT",
    ),
    "no host": (HttpConfig, {"url": "http:///state"}, "url is 'http:///state': expected http://HOST:PORT"),
    "no such port": (HttpConfig, {"url": "http://plc:70000"}, "url is 'http://plc:70000': expected http://HOST:PORT"),
    "a blank": (HttpConfig, {"url": "http://plc/a b"}, "url is 'http://plc/a b': expected http://HOST:PORT"),
    "a password": (HttpConfig, {"url": "http://me:secret@plc"}, "url has a user or password in it, which every"),
    "no status": (HttpConfig, {**HTTP, "status": []}, r"status is \[\]: expected one status at least"),
    "status that is none": (HttpConfig, {**HTTP, "status": 700}, r"Expected `int` <= 599"),
    "many topics": (MqttConfig, {**MQTT, "topic": "fsm/#"}, r"topic is 'fsm/#': expected one topic, without \+ and #"),
    "the broker's own topic": (MqttConfig, {**MQTT, "topic": "$SYS/x"}, r"topic is '\$SYS/x': expected one topic"),
    "a password of nobody": (MqttConfig, {**MQTT, "password_file": "f"}, "password_file is of no use without username"),
    "trust for nothing": (
        MqttConfig,
        {**MQTT, "ca": "f"},
        "ca is of no use without tls: expected tls = true beside it",
    ),
    "another protocol": (OpcuaConfig, {"url": "http://plc"}, "url is 'http://plc': expected opc.tcp://HOST:PORT"),
    "no node": (
        OpcuaConfig,
        {**OPCUA, "node": "Speed"},
        "node is 'Speed': expected a node id, as \"ns=2;s=Line1.Speed\"",
    ),
    "a server's password of nobody": (OpcuaConfig, {**OPCUA, "password_file": "f"}, "is of no use without username"),
    "no pattern of a page": (HttpConfig, {**HTTP, "body": "*"}, r"body is '\*': expected a regular expression"),
}


@pytest.mark.parametrize(("kind", "config", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_configuration_that_cannot_be_is_refused(
    kind: type[EndpointConfig], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=message) as refused:
        configured(kind, **config)
    assert "secret" not in str(refused.value)


def test_a_configuration_has_the_defaults_that_are_documented() -> None:
    tcp, http, mqtt = configured(TcpConfig, **TCP), configured(HttpConfig, **HTTP), configured(MqttConfig, **MQTT)
    assert (tcp.command, tcp.timeout, tcp.max_latency) == ((), Duration(2.0), Duration(1.0))
    assert isinstance(http, HttpConfig)
    assert isinstance(mqtt, MqttConfig)
    assert (http.statuses, mqtt.topic) == ((200,), "fsm/look")
    assert (tcp.peer, http.peer, mqtt.peer) == ("127.0.0.1:7", "http://plc/state", "127.0.0.1:1883")
    with pytest.raises(NotImplementedError):
        _ = EndpointConfig().peer


@pytest.mark.parametrize("node", ["", "i=2258", "ns=2;s=Line1.Speed", "ns=3;i=7", "ns=1;b=AQID"])
def test_a_node_is_named_as_opc_ua_names_it(node: str) -> None:
    assert configured(OpcuaConfig, **OPCUA, node=node).peer == "opc.tcp://plc:4840/"


def test_several_statuses_may_be_right() -> None:
    http = configured(HttpConfig, **HTTP, status=[200, 204])
    assert isinstance(http, HttpConfig)
    assert http.statuses == (200, 204)
