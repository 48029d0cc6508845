"""Certificates for a test, made by openssl: a CA, what it signed for a server and a client, and a CA of nobody's."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: `server` and `client` are signed by `ca`, `other` by itself; keys lie beside them."""

    folder: Path

    def pem(self, name: str) -> str:
        """Return the path of a certificate."""
        return str(self.folder / f"{name}.pem")

    def key(self, name: str) -> str:
        """Return the path of its key."""
        return str(self.folder / f"{name}.key")

    def environ(self, client: str = "client", ca: str = "ca") -> dict[str, str]:
        """Return the settings of who trusts `ca` and shows the certificate `client`, or none if that is empty."""
        shown = {"FSM_REDIS_CERT": self.pem(client), "FSM_REDIS_KEY": self.key(client)} if client else {}
        return {"FSM_REDIS_CA": self.pem(ca), **shown}

    def redis_options(self) -> tuple[str, ...]:
        """Return the options of a redis-server that asks everybody for a certificate."""
        files = ("--tls-cert-file", self.pem("server"), "--tls-key-file", self.key("server"))
        return (*files, "--tls-ca-cert-file", self.pem("ca"), "--tls-auth-clients", "yes")


def make_certificates(folder: Path) -> Certificates:
    """Make them in a folder."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("no openssl, with which certificates are made")
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder)

    def run(name: str, *arguments: str) -> None:
        out = ("-keyout", made.key(name), "-out", made.pem(name), "-subj", f"/CN={name}")
        subprocess.run([str(openssl), "req", "-x509", *_KEY, *out, *arguments], check=True, capture_output=True)

    run("ca")
    run("other", "-addext", "subjectAltName=IP:127.0.0.1")
    for name in ("server", "client"):
        signed = ("-CA", made.pem("ca"), "-CAkey", made.key("ca"))
        run(name, *signed, "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    return made
