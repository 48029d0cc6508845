"""Checks of kind redpanda: against a stand-in for the admin API, and against a real Kafka."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actions.create_topics import Topic
from actions.model import ActionError
from supervisor.looks import see_child
from supervisor.model import Check, ChildSpec
from supervisor.probes import CheckFailed, Found, probe
from supervisor.redpanda import brokers_of
from tests.certificates import make_certificates
from tests.factories import NOW, make_child
from tests.kafka_peer import MECHANISMS, USER, KafkaPeer, running
from tests.redpanda_admin import BROKERS, HEALTH, READY, AdminApi, broker, health, serving
from tests.waiting import wait_until
from workers.asking import CannotLook, in_thread
from workers.drivers.kafka import Brokers, KafkaFailed, Topics, ask, create
from workers.http import MOST

ALL_WELL = "3 of 3 brokers alive; no leaderless partitions; no under-replicated partitions"


@pytest.fixture
def api() -> Iterator[AdminApi]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPeer]:
    with running(tmp_path_factory.mktemp("kafka"), auto=True) as made:
        yield made


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaPeer]:
    """Yield a Kafka over TLS that tells nobody anything who does not log in."""
    certificates = make_certificates(tmp_path_factory.mktemp("tls"))
    with running(tmp_path_factory.mktemp("kafka"), tls=certificates, logins=True) as made:
        yield made


def login(peer: KafkaPeer, mechanism: str = "PLAIN") -> dict[str, Any]:
    """Return the keys of a check that say as whom that Kafka is asked."""
    ca = peer.tls.pem("ca") if peer.tls else ""
    return {"tls": True, "ca": ca, "sasl": mechanism, "username": USER, "password_file": str(peer.password_file)}


def child(topics: tuple[Topic, ...] = (), **check: Any) -> ChildSpec:
    return make_child(
        type="redpanda", process=None, topics=topics, check=Check(kind="redpanda", **{"timeout": 5.0, **check})
    )


def look(spec: ChildSpec) -> Found:
    return asyncio.run(probe(spec))


def test_a_redpanda_that_is_well_passes_and_is_told_with_its_numbers(api: AdminApi) -> None:
    assert look(child(admin=api.url, nodes=3)) == Found(ALL_WELL)


@pytest.mark.parametrize(
    ("path", "reply", "said"),
    [
        (READY, (503, {"status": "booting"}), "{url}: is booting, expected ready; " + ALL_WELL),
        (READY, (404, {}), "{url}/v1/status/ready answered 404, expected 200"),
        (HEALTH, (503, {"message": "timed out"}), "{url}/v1/cluster/health_overview answered 503, expected 200"),
        (
            HEALTH,
            (200, health(leaderless_count=4, is_healthy=False, unhealthy_reasons=["leaderless_partitions"])),
            "{url}: 4 leaderless partitions, expected at most 0; 3 of 3 brokers alive; 4 leaderless partitions; "
            "no under-replicated partitions; unhealthy: leaderless_partitions",
        ),
        (
            BROKERS,
            (200, [broker(0), broker(1), broker(2, is_alive=False)]),
            "{url}: 2 of 3 brokers alive, expected at least 3; 2 of 3 brokers alive; no leaderless partitions; "
            "no under-replicated partitions",
        ),
        (
            BROKERS,
            (200, {"brokers": []}),
            "{url}/v1/brokers answered b'{{\"brokers\": []}}', expected Redpanda's admin API: "
            "Expected `array`, got `object`",
        ),
    ],
)
def test_a_redpanda_that_is_not_well_has_failed_with_the_values_seen(
    api: AdminApi, path: str, reply: tuple[int, Any], said: str
) -> None:
    api.replies[path] = reply
    with pytest.raises(CheckFailed) as caught:
        look(child(admin=api.url, nodes=3))
    assert str(caught.value) == said.format(url=api.url)


def test_an_endless_reply_is_read_up_to_a_limit(api: AdminApi) -> None:
    api.replies[HEALTH] = (200, b"[" * (MOST + 100))
    with pytest.raises(CheckFailed, match="expected Redpanda's admin API"):
        look(child(admin=api.url))


def test_an_admin_api_that_hangs_has_failed_within_the_checks_timeout(api: AdminApi) -> None:
    api.hangs.set()
    with pytest.raises(CheckFailed, match=rf"^no answer from {api.url} within 0\.2s$"):
        look(child(admin=api.url, timeout=0.2))


def test_a_kafka_that_takes_connections_and_hangs_has_failed_within_the_checks_timeout() -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(CheckFailed, match=f"^(no answer from )?{address}"):
            look(child(brokers=(address,), timeout=0.3))
        assert time.monotonic() - started < 30  # seconds: the library's own limits are longer
        wait_until(lambda: threading.active_count() <= before, "the client's threads to end")


def test_a_kafka_that_listens_nowhere_has_failed_and_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(KafkaFailed, match=f"^{address}: .*Unable to bootstrap"):
        ask(Brokers((address,), 0.3), [])
    wait_until(lambda: threading.active_count() <= before, "the client's threads to end")


def test_without_the_client_library_nothing_is_known_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kafka", None)  # as python sees a package that is not there
    with pytest.raises(CannotLook, match=r"kafka-python is not installed.*pip install 'fsm-supervisor\[kafka\]'"):
        look(child(brokers=("127.0.0.1:1",)))


def test_a_call_in_a_thread_gives_its_error_back_and_is_left_alone_once_nobody_waits() -> None:
    def fail() -> None:
        raise KafkaFailed("x")

    with pytest.raises(KafkaFailed, match=r"^x$"):
        asyncio.run(in_thread(fail))
    go, done = threading.Event(), threading.Event()

    def slow() -> None:
        go.wait()
        done.set()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await in_thread(slow)

    asyncio.run(give_up())
    go.set()
    wait_until(done.is_set, "the call to end, with nobody to tell")


def test_a_real_kafka_is_seen_by_its_metadata_and_looking_creates_no_topic(peer: KafkaPeer) -> None:
    wanted = (Topic(name="looked-for"),)
    for _ in range(2):
        found = look(child(wanted, brokers=(peer.address,)))
        assert found == Found("1 broker alive; no leaderless partitions", ("looked-for",))
    assert ask(peer.brokers, ["looked-for"]).partitions == {}


def test_a_real_kafka_with_fewer_brokers_than_expected_has_failed(peer: KafkaPeer) -> None:
    with pytest.raises(CheckFailed, match=f"^{peer.address}: 1 broker alive, expected at least 3; "):
        look(child(brokers=(peer.address,), nodes=3))


def test_a_topic_with_fewer_partitions_than_wished_is_told_and_left_as_it_is(peer: KafkaPeer) -> None:
    assert create(peer.brokers, [Topic(name="narrow", partitions=2)]) == {}
    found = look(child((Topic(name="narrow", partitions=6),), brokers=(peer.address,)))
    assert found == Found(
        "1 broker alive; no leaderless partitions; topic narrow has 2 partitions, wished for 6", missing=()
    )
    assert ask(peer.brokers, ["narrow"]).partitions == {"narrow": 2}


def test_admin_api_and_kafka_are_both_asked_and_a_look_keeps_what_was_seen(peer: KafkaPeer, api: AdminApi) -> None:
    spec = child((Topic(name="not-there"),), admin=api.url, brokers=(peer.address,))
    seen = asyncio.run(see_child(spec, Path("/nowhere"), None, NOW))
    assert (seen.failures, seen.passes, seen.detail, seen.missing) == (0, 1, ALL_WELL, ("not-there",))
    api.replies[READY] = (503, {"status": "booting"})
    seen = asyncio.run(see_child(spec, Path("/nowhere"), seen, NOW))
    assert (seen.failures, seen.passes, seen.detail, seen.missing) == (1, 0, "", ())
    assert seen.error == f"{api.url} {peer.address}: is booting, expected ready; {ALL_WELL}"


def test_a_kafka_that_hangs_has_failed_within_the_checks_timeout_and_passes_once_it_goes_on(peer: KafkaPeer) -> None:
    spec, process = child(brokers=(peer.address,), timeout=1.0), peer.process
    assert process is not None
    before = threading.active_count()
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(CheckFailed, match=f"^(no answer from )?{peer.address}"):
            look(spec)
    finally:
        process.send_signal(signal.SIGCONT)
    assert look(child(brokers=(peer.address,))).detail == "1 broker alive; no leaderless partitions"
    wait_until(lambda: threading.active_count() <= before, "the client's threads to end", 30)


def test_a_kafka_over_tls_is_believed_by_the_certificate_of_its_ca_alone(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")
    (tmp_path / "kafka").mkdir()
    with running(tmp_path / "kafka", tls=certificates) as tls:
        found = look(child(brokers=(tls.address,), tls=True, ca=certificates.pem("ca")))
        assert found == Found("1 broker alive; no leaderless partitions")
        for wrong in ({"tls": True, "ca": certificates.pem("other")}, {"tls": False}):
            with pytest.raises(CheckFailed, match=f"^(no answer from )?{tls.address}"):
                look(child(brokers=(tls.address,), timeout=1.0, **wrong))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_kafka_that_wants_a_login_is_seen_and_topics_are_created_by_each_mechanism(
    guarded: KafkaPeer, mechanism: str
) -> None:
    wanted = Topic(name=f"by-{mechanism}", partitions=2)
    spec = child((wanted,), brokers=(guarded.address,), **login(guarded, mechanism))
    assert look(spec) == Found("1 broker alive; no leaderless partitions", (wanted.name,))
    assert Topics(brokers_of(spec.check), (wanted,)).create((wanted,)) == {}
    assert look(spec) == Found("1 broker alive; no leaderless partitions")
    look(make_child(process=None, check=Check(kind="kafka", address=guarded.address, **login(guarded, mechanism))))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_of_a_kafka_that_refuses_our_login_nothing_is_known(guarded: KafkaPeer, mechanism: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("guessed\n")
    spec = child(brokers=(guarded.address,), **{**login(guarded, mechanism), "password_file": str(wrong)})
    said = (
        f"{guarded.address} does not let user 'fsm' in by {mechanism}; expected that mechanism there, and the "
        f"password in {wrong}"
    )
    with pytest.raises(CannotLook) as caught:
        look(spec)
    assert str(caught.value) == said
    with pytest.raises(ActionError) as refused:
        Topics(brokers_of(spec.check), (Topic(name="x"),)).missing()
    assert str(refused.value) == said


def test_a_kafka_that_wants_a_login_has_failed_for_a_check_without_one(guarded: KafkaPeer) -> None:
    anonymous = child(brokers=(guarded.address,), timeout=1.5, tls=True, ca=login(guarded)["ca"])
    with pytest.raises(CheckFailed, match=f"^(no answer from )?{guarded.address}"):
        look(anonymous)
    with pytest.raises(KafkaFailed, match=r"Unable to bootstrap .*: it hung up on who did not log in; expected sasl"):
        ask(brokers_of(anonymous.check), [])


def test_a_kafka_says_its_first_words_over_tls_to_anybody(guarded: KafkaPeer) -> None:
    check = Check(kind="kafka", address=guarded.address, timeout=5.0, tls=True, ca=login(guarded)["ca"])
    assert look(make_child(process=None, check=check)) == Found()


def test_what_is_no_kafka_has_failed(api: AdminApi) -> None:
    address = api.url.removeprefix("http://")
    with pytest.raises(CheckFailed, match=f"^(no answer from )?{address}"):
        look(child(brokers=(address,), timeout=1.0))
