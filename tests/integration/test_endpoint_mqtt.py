"""Looks at MQTT brokers, real ones: frozen, killed, with passwords, rights and certificates; and at what is none."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_certificates
from tests.integration.endpoints import Endpoint
from tests.integration.mosquitto import mosquitto
from workers.asking import CannotLook
from workers.endpoint.observe import Library, observer

Make = Callable[..., Endpoint]
ANONYMOUS = "allow_anonymous true"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what makes brokers with some settings; none is left running."""
    made: list[Endpoint] = []

    def one(*settings: str, **config: Any) -> Endpoint:
        command, address = mosquitto(tmp_path, *settings)
        made.append(Endpoint(tmp_path, "mqtt", command=command, address=address, **config))
        return made[-1]

    yield one
    for endpoint in made:
        endpoint.end()


def test_a_broker_is_started_and_degraded_while_it_is_frozen(make: Make) -> None:
    broker = make(ANONYMOUS, timeout=3.0)
    brought = rf"pid \d+ runs and answers: {broker.peer} brought a message back on 'fsm/look' in \d+ ms"
    assert re.fullmatch(brought, broker.until("running"))
    broker.signal(signal.SIGSTOP)
    frozen = broker.until("degraded")
    broker.signal(signal.SIGCONT)
    assert frozen.endswith(f"does not answer as it should: {broker.peer}: waited 2.7s in vain for its CONNACK")
    broker.until("running")


def test_a_broker_that_was_killed_is_started_again(make: Make) -> None:
    broker = make(ANONYMOUS)
    broker.until("running")
    broker.signal(signal.SIGKILL)
    broker.until("running")
    assert broker.token == 2


def test_a_password_comes_from_its_file_at_each_look(make: Make, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("look:secret\n")
    hashed = mosquitto_passwords(tmp_path / "passwords")
    (tmp_path / "password").write_text("secret\n")
    broker = make(f"password_file {hashed}", username="look", password_file=str(tmp_path / "password"))
    broker.until("running")
    (tmp_path / "password").write_text("wrong\n")
    assert broker.until("degraded").endswith(f"{broker.peer}: refused the connection: Not authorized")
    (tmp_path / "password").unlink()
    gone = f"it cannot be asked: password_file: {tmp_path}/password cannot be read: No such file or directory"
    assert broker.until("degraded", "cannot").endswith(gone)
    afar = Endpoint(tmp_path / "afar", "mqtt", address=broker.peer, username="look", password_file=str(tmp_path / "no"))
    with pytest.raises(CannotLook, match=r"^password_file: .*/no cannot be read: No such file or directory$"):
        afar.look()


def mosquitto_passwords(path: Path) -> Path:
    """Turn a file of users and passwords into what mosquitto reads."""
    subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True)
    path.chmod(0o600)
    return path


def test_a_message_that_does_not_come_back_is_told(make: Make, tmp_path: Path) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic read fsm/look\ntopic readwrite ours\n")
    acl.chmod(0o600)
    broker = make(ANONYMOUS, f"acl_file {acl}", topic="ours", timeout=3.0)
    broker.until("running")
    afar = Endpoint(tmp_path / "afar", "mqtt", address=broker.peer, timeout=3.0)
    assert afar.look().trouble == (
        f"{broker.peer}: waited 2.7s in vain for a message of ours on topic 'fsm/look'; may we publish there?"
    )


def test_without_a_topic_a_connection_is_enough(make: Make, tmp_path: Path) -> None:
    broker = make(ANONYMOUS, topic="")
    assert f"answers: {broker.peer} took a connection in" in broker.until("running")


def test_a_broker_is_believed_by_its_authority_and_by_no_other(make: Make, tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "certificates")
    files = (f"certfile {made.pem('server')}", f"keyfile {made.key('server')}")
    broker = make(ANONYMOUS, *files, tls=True, ca=made.pem("ca"))
    broker.until("running")
    afar = Endpoint(tmp_path / "afar", "mqtt", address=broker.peer, tls=True, ca=made.pem("other"))
    assert "CERTIFICATE_VERIFY_FAILED" in str(afar.look().trouble)
    afar.wish(address=broker.peer)
    assert "while waiting for its CONNACK" in str(afar.look().trouble)


def test_what_is_no_broker_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        afar = Endpoint(tmp_path, "mqtt", address=address)
        hangs_up = threading.Thread(target=hang_up, args=(server,))
        hangs_up.start()
        assert re.fullmatch(
            f"{address}: The connection was lost.* while waiting for its CONNACK", str(afar.look().trouble)
        )
        hangs_up.join()
    assert afar.look().trouble == f"{address}: [Errno 111] Connection refused"


def hang_up(server: socket.socket) -> None:
    """Take one connection, and end it."""
    server.accept()[0].close()


def take(server: socket.socket, suback: bytes, then: bytes) -> None:
    """Be a broker for one client: CONNACK, SUBACK with a reason, and `then`, until it leaves."""
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(b"\x20\x02\x00\x00")
        subscribe = client.recv(4096)
        client.sendall(b"\x90\x03" + subscribe[2:4] + suback + then)
        while client.recv(4096):
            pass


@pytest.mark.parametrize(
    ("suback", "then", "trouble"),
    [
        (b"\x80", b"", "refused the subscription of topic 'fsm/look': Unspecified error"),
        (
            b"\x01",
            b"\x30\x0b\x00\x08fsm/look?",
            "waited 2.7s in vain for a message of ours on topic 'fsm/look'; may we",
        ),
    ],
    ids=["refused", "a message of somebody else's"],
)
def test_a_subscription_refused_and_a_message_that_is_not_ours_are_told(
    suback: bytes, then: bytes, trouble: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        broker = threading.Thread(target=take, args=(server, suback, then))
        broker.start()
        seen = Endpoint(tmp_path, "mqtt", address=address, timeout=3.0).look()
        broker.join()
    assert str(seen.trouble).startswith(f"{address}: {trouble}")


def test_without_its_library_nothing_is_known_and_the_extra_is_named(tmp_path: Path) -> None:
    afar = Endpoint(tmp_path, "mqtt", address="127.0.0.1:1")
    afar.kind = type(afar.kind)(**{**vars(afar.kind), "observe": observer(ask_nobody, Library("no_such_mqtt", "mqtt"))})
    expected = (
        r"^No module named 'no_such_mqtt'; install fsm-supervisor\[mqtt\] on this node to look at workers of this"
    )
    with pytest.raises(CannotLook, match=expected):
        afar.look()


async def ask_nobody(_config: object) -> str:
    raise AssertionError
