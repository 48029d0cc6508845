"""Redis as plants have it: over TLS alone, and two servers of which three sentinels make one the master."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.certificates import Certificates
from tests.conftest import free_port, missing, redis_binary
from tests.waiting import wait_until

SERVICE = "plant"
DOWN_AFTER = 2.0  # seconds of silence after which sentinels hold a server for down


@dataclass
class Server:
    """A redis-server or a sentinel on one port of the loopback; with `certificates`, over TLS alone."""

    folder: Path
    password: str = ""
    certificates: Certificates | None = None
    config: tuple[str, ...] = ()
    sentinel: bool = False
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Write its configuration."""
        self.folder.mkdir(parents=True)
        lines = ["bind 127.0.0.1", f'dir "{self.folder}"', *(f"port {0 if self.certificates else self.port}",)]
        if self.certificates:
            options = self.certificates.redis_options()
            lines += [f"tls-port {self.port}", "tls-replication yes"]
            lines += [f"{name[2:]} {value}" for name, value in zip(options[::2], options[1::2], strict=True)]
        if self.password:
            lines += [f"requirepass {self.password}"]
        (self.folder / "redis.conf").write_text("\n".join([*lines, *self.config]) + "\n")

    @property
    def url(self) -> str:
        """Return its address, without a password."""
        return f"{'rediss' if self.certificates else 'redis'}://127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """Return a client whose answers are text, and which tries once."""
        tls: dict[str, Any] = {}
        if self.certificates:
            tls = {"ssl_ca_certs": self.certificates.pem("ca"), "ssl_certfile": self.certificates.pem("client")}
            tls["ssl_keyfile"] = self.certificates.key("client")
        return redis.Redis.from_url(
            self.url, password=self.password or None, decode_responses=True, socket_timeout=3, retry=None, **tls
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / "server.log"
        command = [redis_binary(), str(self.folder / "redis.conf"), *(["--sentinel"] if self.sentinel else [])]
        with log.open("ab") as output:
            made = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.process = made
        wait_until(lambda: made.poll() is not None or self.answers(), f"a server to answer, see {log}", 20)
        if made.poll() is not None and "Bad directive" in log.read_text():
            missing("this redis-server speaks no TLS; install Debian's redis-server")
        assert made.poll() is None, log.read_text()

    def answers(self) -> bool:
        """Tell whether it answers."""
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        """SIGKILL it, if it runs."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(20)


def needs_redis_7() -> None:
    """Skip where the redis-server is an older one, or was built without TLS."""
    version = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    if " v=6" in version or shutil.which("redis-server") is None:
        missing("no redis-server 7 of the system's; install Debian's packages redis-server and redis-sentinel")


@contextmanager
def tls_server(folder: Path, certificates: Certificates, password: str = "") -> Iterator[Server]:
    """Yield a running redis-server that speaks TLS alone, and asks everybody for a certificate."""
    needs_redis_7()
    made = Server(folder, password, certificates)
    try:
        made.start()
        yield made
    finally:
        made.kill()


@dataclass
class Watched:
    """Two servers, the second a replica of the first, and three sentinels of which two have to agree."""

    folder: Path
    password: str = "of the servers"
    sentinel_password: str = ""
    certificates: Certificates | None = None
    servers: list[Server] = field(default_factory=list)
    sentinels: list[Server] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Write the configurations."""
        needs_redis_7()
        ours = ("appendonly yes", 'save ""', f'masterauth "{self.password}"', "repl-diskless-sync-delay 0")
        for number in range(2):
            follows = (f"replicaof 127.0.0.1 {self.servers[0].port}",) if number else ()
            self.servers.append(self._server(f"server-{number}", f'"{self.password}"', (*ours, *follows)))
        for server in self.servers:
            server.password = self.password
        told = [
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2",
            f'sentinel auth-pass {SERVICE} "{self.password}"',
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER * 1000:.0f}",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        told += [f"sentinel sentinel-pass {self.sentinel_password}"] if self.sentinel_password else []
        for number in range(3):
            self.sentinels.append(self._server(f"sentinel-{number}", self.sentinel_password, tuple(told), True))

    def _server(self, name: str, password: str, config: tuple[str, ...], sentinel: bool = False) -> Server:
        return Server(self.folder / name, password, self.certificates, config, sentinel)

    @property
    def url(self) -> str:
        """Return the address under which the sentinels know them, without a password."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"{'sentinels' if self.certificates else 'sentinel'}://{hosts}/{SERVICE}?db=0"

    def start(self) -> None:
        """Start all, and wait until the sentinels know the replica and each other."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        wait_until(self._is_complete, f"the sentinels to know all, see {self.folder}", 30)

    def _is_complete(self) -> bool:
        states = []
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                states.append(client.sentinel_master(SERVICE))
        known = [(state["num-slaves"], state["num-other-sentinels"]) for state in states]
        with self.servers[1].client() as client:
            return known == [(1, 2)] * 3 and client.info("replication")["master_link_status"] == "up"

    @property
    def master(self) -> Server:
        """Return which server a sentinel that lives calls master."""
        asked = next(one for one in self.sentinels if one.process is not None and one.process.poll() is None)
        with asked.client() as client:
            _, port = client.sentinel_get_master_addr_by_name(SERVICE)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> Server:
        """Return the other one."""
        return next(server for server in self.servers if server is not self.master)

    def cut_off(self) -> None:
        """Let the replica lose its master: it knows nothing of what is written from now on, and may be promoted."""
        with self.replica.client() as replica, self.master.client() as master:
            replica.config_set("masterauth", "wrong")
            master.execute_command("CLIENT", "KILL", "TYPE", "replica")
            wait_until(lambda: replica.info("replication")["master_link_status"] == "down", "the replica cut off")

    def fail_over(self) -> Server:
        """SIGKILL the master, and return the server that the sentinels have made master instead."""
        lost = self.master
        lost.kill()
        wait_until(lambda: self.master is not lost, f"another master, see {self.folder}", 60)
        with self.master.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "master", "it to be one", 30)
            client.config_set("masterauth", self.password)
        return self.master

    def bring_back(self, server: Server) -> None:
        """Start a server that was killed, and wait until it is the replica, with all data."""
        server.start()

        def follows() -> bool:
            with contextlib.suppress(redis.RedisError), server.client() as client:
                found = client.info("replication")
                return bool(found["role"] == "slave" and found["master_link_status"] == "up")
            return False

        wait_until(follows, f"the old master to follow the new one, see {self.folder}", 60)

    def destroy(self) -> None:
        """End all."""
        for server in (*self.sentinels, *self.servers):
            server.kill()
