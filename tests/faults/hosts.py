"""Hosts as network namespaces: each node of a plant on a network of its own with Redis' host, which can be cut.

Needs root, `ip` and `iptables`. Names and addresses are this process' own, so that test sessions do not
meet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

TO_REDIS, FROM_REDIS = "OUTPUT", "INPUT"  # what is lost, as the node's own iptables call it


def hosts_missing() -> str:
    """Return why there can be no namespaces here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    probe = f"fsm-probe-{os.getpid()}"
    try:
        _run("ip", "netns", "add", probe)
        _run("ip", "netns", "exec", probe, "iptables", "-L", "-n")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces with iptables here: {error.stderr.decode().strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", probe], capture_output=True, check=False)
    return ""


def _run(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)


@dataclass
class Hosts:
    """A bridge on which Redis listens, and a namespace for each node."""

    nodes: Sequence[str]

    @property
    def _net(self) -> str:
        return f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"

    @property
    def address(self) -> str:
        """Return the address of the host where Redis and the supervisors are."""
        return f"{self._net}.1"

    @property
    def _bridge(self) -> str:
        return f"fsm{os.getpid()}"

    def _space(self, node: str) -> str:
        return f"fsm-{os.getpid()}-{node}"

    def make(self) -> None:
        """Make the bridge and the namespaces."""
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        for number, node in enumerate(self.nodes, 2):
            space, outer = self._space(node), f"{self._bridge}v{number}"
            _run("ip", "netns", "add", space)
            _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _run("ip", "link", "set", outer, "master", self._bridge, "up")
            for words in (f"addr add {self._net}.{number}/24 dev eth0", "link set eth0 up", "link set lo up"):
                _run("ip", "-n", space, *words.split())

    def destroy(self) -> None:
        """Leave nothing behind."""
        for number, node in enumerate(self.nodes, 2):
            # the link by name: connections that were cut keep a namespace alive for as long as they try
            subprocess.run(["ip", "link", "del", f"{self._bridge}v{number}"], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", self._space(node)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self._bridge], capture_output=True, check=False)

    def inside(self, node: str) -> tuple[str, ...]:
        """Return what a command has to begin with to run on a node."""
        return ("ip", "netns", "exec", self._space(node))

    def cut(self, node: str, *ways: str) -> None:
        """Drop what goes to Redis' host, comes from it, or both; nobody is told."""
        for way in ways:
            _run(
                *self.inside(node), "iptables", "-I", way, "!", "-i" if way == FROM_REDIS else "-o", "lo", "-j", "DROP"
            )

    def mend(self, node: str) -> None:
        """Let everything through again."""
        _run(*self.inside(node), "iptables", "-F")
