"""A real Kafka for tests: one broker of Apache Kafka (KRaft), where Java and its jars are on the machine.

`FSM_KAFKA_LIBS` names a folder with the jars of `org.apache.kafka:kafka_2.13` and of what it needs at run time; without
it the tests look in `.kafka/libs`. `python -m tests.kafka_peer` fetches them there with Maven. Tests fetch nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.certificates import Certificates
from tests.live.system import free_ports
from tests.waiting import wait_until
from workers.drivers.kafka import Brokers, KafkaFailed, Login, ask

VERSION = "4.1.1"  # the newest series of brokers that run on Java 17
LIBS = Path(__file__).parent.parent / ".kafka" / "libs"
CLUSTER = "ZnNtLXN1cGVydmlzb3ItMQ"
_POM = f"""<project><modelVersion>4.0.0</modelVersion>
<groupId>fsm</groupId><artifactId>kafka-peer</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-nop</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
inter.broker.listener.name={protocol}
advertised.listeners={protocol}://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map={protocol}:{protocol},CONTROLLER:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
auto.create.topics.enable={auto}
"""
_TLS = """
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.both
ssl.truststore.type=PEM
ssl.truststore.location={ca}
"""

USER, PASSWORD = "fsm", "told nobody"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_LOGINS = """
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.{listener}.plain.sasl.jaas.config={plain} required \\
  username="{user}" password="{password}" user_{user}="{password}";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={scram} required;
listener.name.{listener}.scram-sha-512.sasl.jaas.config={scram} required;
"""
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def jars() -> Path:
    """Return the folder of Kafka's jars; skip the test, with the reason, where it or Java is missing."""
    libs = Path(os.environ.get("FSM_KAFKA_LIBS") or LIBS)
    if shutil.which("java") is None:
        pytest.skip("no java here, which a real Kafka needs")
    if not list(libs.glob("kafka_2.13-*.jar")):
        pytest.skip(f"no Kafka in {libs}: run python -m tests.kafka_peer, or say where its jars are (FSM_KAFKA_LIBS)")
    return libs


@dataclass
class KafkaPeer:
    """One broker, its own controller.

    `auto`: it makes topics that are asked for. `tls`: it speaks TLS alone. `logins`: who is not `USER` with `PASSWORD`,
    by any of `MECHANISMS`, is told nothing.
    """

    folder: Path
    libs: Path
    auto: bool = False
    tls: Certificates | None = None
    logins: bool = False
    process: subprocess.Popen[bytes] | None = None
    port: int = field(init=False)

    def __post_init__(self) -> None:
        """Write its settings and format its data folder."""
        self.port, controller = free_ports(2)
        protocol = ("SASL_" if self.logins else "") + ("SSL" if self.tls else "PLAINTEXT")
        auto, scram = str(self.auto).lower(), []
        text = _PROPERTIES.format(
            port=self.port, controller=controller, folder=self.folder, auto=auto, protocol=protocol
        )
        if self.tls is not None:
            both = Path(self.tls.key("server")).read_text() + Path(self.tls.pem("server")).read_text()
            (self.folder / "server.both").write_text(both)
            text += _TLS.format(folder=self.folder, ca=self.tls.pem("ca"))
        if self.logins:
            self.password_file.write_text(f"{PASSWORD}\n")
            who = {"user": USER, "password": PASSWORD, "plain": _PLAIN, "scram": _SCRAM}
            text += _LOGINS.format(listener=protocol.lower(), **who)
            for mechanism in MECHANISMS[1:]:
                scram += ["--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]"]
        self.properties.write_text(text)
        self._java(
            "kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c", str(self.properties), *scram
        )

    @property
    def properties(self) -> Path:
        """Return the file of its settings."""
        return self.folder / "server.properties"

    @property
    def address(self) -> str:
        """Return where clients find it."""
        return f"127.0.0.1:{self.port}"

    @property
    def password_file(self) -> Path:
        """Return the file of the password, if it wants one."""
        return self.folder / "password"

    @property
    def brokers(self) -> Brokers:
        """Return where it is asked."""
        login = Login(MECHANISMS[1], USER, str(self.password_file)) if self.logins else None
        return Brokers((self.address,), 5.0, self.tls is not None, self.tls.pem("ca") if self.tls else "", login)

    def command(self, *arguments: str) -> list[str]:
        """Return the command of a class of Kafka's; with no arguments that of the broker."""
        main = arguments or ("kafka.Kafka", str(self.properties))
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", f"{self.libs}/*", *main]

    def _java(self, *arguments: str) -> None:
        subprocess.run(self.command(*arguments), check=True, capture_output=True, timeout=120)

    def answers(self) -> bool:
        """Tell whether it answers a client."""
        try:
            return ask(self.brokers, []).brokers == 1
        except KafkaFailed:
            return False


@contextmanager
def running(
    folder: Path, auto: bool = False, tls: Certificates | None = None, logins: bool = False
) -> Iterator[KafkaPeer]:
    """Yield a Kafka that answers; end it with the block."""
    peer = KafkaPeer(folder, jars(), auto, tls, logins)
    with (folder / "kafka.out").open("wb") as output:
        process = subprocess.Popen(peer.command(), stdout=output, stderr=output, cwd=folder)
    peer.process = process
    try:
        wait_until(peer.answers, "Kafka to answer", 120)
        yield peer
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(30)


def fetch() -> None:
    """Fetch the jars with Maven."""
    LIBS.parent.mkdir(exist_ok=True)
    (LIBS.parent / "pom.xml").write_text(_POM)
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={LIBS}")
    subprocess.run(["mvn", "--batch-mode", "--quiet", "-f", str(LIBS.parent / "pom.xml"), *goal], check=True)
    sys.stdout.write(f"{len(list(LIBS.glob('*.jar')))} jars in {LIBS}\n")


if __name__ == "__main__":
    fetch()
