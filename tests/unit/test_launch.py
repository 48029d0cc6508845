"""What `fsmctl up` checks before it starts anything."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from supervisor import launch
from supervisor.errors import Refused, SupervisorError
from supervisor.settings import Settings


def settings(folder: Path) -> Settings:
    return Settings.from_env({"FSM_DATA_DIR": str(folder)})


def test_a_missing_redis_server_is_one_sentence_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.shutil, "which", lambda *_, **__: None)
    with pytest.raises(SupervisorError, match=r"no redis-server was found .* install Debian's package redis-server"):
        launch.redis_part(settings(tmp_path), 7379)


def test_the_private_redis_is_on_loopback_with_a_password_that_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch.shutil, "which", lambda *_, **__: "/usr/bin/redis-server")
    part, url = launch.redis_part(settings(tmp_path), 7379)
    config = tmp_path / "redis" / "redis.conf"
    assert part.command == ("/usr/bin/redis-server", str(config))
    assert "bind 127.0.0.1" in config.read_text().splitlines()
    assert config.stat().st_mode & 0o777 == 0o600
    assert url.startswith("redis://:")
    assert url.split(":")[2].split("@")[0] not in " ".join(part.command)
    assert launch.redis_part(settings(tmp_path), 7379)[1] == url


def test_a_taken_port_is_named_with_the_option_that_chooses_another() -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        with pytest.raises(Refused, match=f"port {port} for Flower is taken; .* --flower-port"):
            launch.check_ports([("Flower", port, "--flower-port")])


def test_a_data_folder_has_one_runner_at_a_time(tmp_path: Path) -> None:
    with launch.lock_data_dir(settings(tmp_path)), pytest.raises(Refused, match="another fsmctl up"):
        launch.lock_data_dir(settings(tmp_path))
    launch.lock_data_dir(settings(tmp_path)).close()


def test_the_tail_follows_a_file_across_its_rotation(tmp_path: Path) -> None:
    said: list[str] = []
    log = tmp_path / "parts" / "redis" / "output.log"
    log.parent.mkdir(parents=True)
    log.write_text("of an earlier run\n")
    tail = launch.Tail(tmp_path, said.append)
    with log.open("a") as file:
        file.write("one\n")
    tail.look()
    with log.open("a") as file:
        file.write("two\n")
    log.rename(log.with_suffix(".log.1"))
    log.write_text("three\n")
    tail.look()
    assert [line.split(" | ")[1] for line in said] == ["one", "two", "three"]
