"""A mosquitto, the MQTT broker, for a test."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import free_port, missing


def mosquitto_binary() -> str:
    """Return the system's mosquitto; Debian has it where only root looks."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if binary is None:
        missing("no mosquitto")
    return str(binary)


def mosquitto(folder: Path, *settings: str) -> tuple[list[str], str]:
    """Write a configuration; return the command and the address. It keeps nothing and stays who it is started as."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    path = folder / "mosquitto.conf"
    lines = (f"listener {port} 127.0.0.1", *settings, "persistence false", "user root")
    path.write_text("\n".join(lines) + "\n")
    return [mosquitto_binary(), "-c", str(path)], f"127.0.0.1:{port}"
