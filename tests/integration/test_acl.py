"""fsmctl acl: the files that it writes."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result

from supervisor.cli import fsmctl
from supervisor.errors import SupervisorError, UsageError
from tests.conftest import OwnRedis, RedisServer, missing, redis_binary
from tests.integration.plant import Plant

FLEET = """
supervisor = { name = "p", nodes = ["edge-1", "edge-2"], pool = ["edge-2"] }
"""


def run(folder: Path, *arguments: str, url: str = "") -> Result:
    """Run fsmctl acl into a folder."""
    environ = {"FSM_DATA_DIR": str(folder / "data"), "FSM_REDIS_URL": url, "FSM_NAMESPACE": "test", "COLUMNS": "80"}
    return CliRunner(env=environ).invoke(fsmctl, ["acl", "--dir", str(folder / "secrets"), *arguments])


def test_passwords_are_made_once_kept_and_only_their_hashes_are_in_the_acl_file(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    assert run(tmp_path, "--node", "edge-1").exit_code == 0
    passwords = {file.name: file.read_text() for file in secrets.glob("*.password")}
    text = (secrets / "users.acl").read_text()
    assert sorted(passwords) == [
        *("admin.password", "exporter.password", "flower.password", "fsmctl-operate.password"),
        *("fsmctl-read.password", "node-edge-1.password", "supervisor.password"),
    ]
    for password in passwords.values():
        assert password.strip() not in text
        assert hashlib.sha256(password.strip().encode()).hexdigest() in text
    for file in secrets.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (secrets / "admin.password").unlink()
    assert run(tmp_path, "--node", "edge-1", "--node", "edge-2", "--pool", "edge-2").exit_code == 0
    again = {file.name: file.read_text() for file in secrets.glob("*.password")}
    assert {name for name in passwords if again[name] != passwords[name]} == {"admin.password"}
    assert "user node-edge-2 " in (secrets / "users.acl").read_text()


def test_a_fleet_file_says_which_nodes_there_are_and_which_are_in_the_pool(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    done = run(tmp_path, "--fleet", str(file), "-o", "json")
    assert done.exit_code == 0, done.output
    rows = {row["user"]: row for row in json.loads(done.stdout)}
    assert rows["node-edge-1"]["for"] == "executor and collector of node edge-1"
    assert rows["node-edge-2"]["for"] == "executor and collector of node edge-2 and of the pool"
    assert rows["admin"]["password_file"] == str(tmp_path / "secrets" / "admin.password")


@pytest.fixture
def client(real_client: redis.Redis) -> redis.Redis:
    """Return the Redis of `plant`: fsmctl has to reach it."""
    return real_client


def test_without_either_the_nodes_are_those_of_the_applied_fleet(
    plant: Plant, redis_server: RedisServer, tmp_path: Path
) -> None:
    plant.store.know_node("edge-7")
    done = run(tmp_path, url=redis_server.url)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["node-edge-1", "node-edge-7"]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_what_cannot_be_is_said_in_a_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    assert isinstance(run(tmp_path, "--node", "pool").exception, UsageError)
    assert isinstance(run(tmp_path, "--pool", "edge-1").exception, UsageError)
    assert isinstance(run(tmp_path, "--node", "a", "--fleet", str(tmp_path)).exception, (UsageError, SystemExit))
    assert not secrets.exists()
    secrets.mkdir()
    (secrets / "admin.password").write_text("short\n")
    error = run(tmp_path, "--node", "edge-1").exception
    assert isinstance(error, SupervisorError)
    assert (
        str(error) == f"{secrets}/admin.password: holds 5 characters; expected 16 or more. Remove it to have one made"
    )
    assert not (secrets / "users.acl").exists()
    (tmp_path / "secrets2").write_text("")
    error = run(tmp_path / "secrets2", "--node", "edge-1").exception
    assert isinstance(error, SupervisorError)
    assert "choose a folder that you may write to" in str(error)


def test_nothing_is_lost_when_redis_reads_its_log_again(tmp_path: Path) -> None:
    """Redis replays what was done as one (MULTI, each of our scripts) with the rights of the default user."""
    version = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.partition("v=")[2].partition(".")[0]) < 7:
        missing("no redis-server 7 or newer")
    assert run(tmp_path, "--node", "edge-1").exit_code == 0
    secrets = tmp_path / "secrets"
    options = ("--aclfile", str(secrets / "users.acl"), "--appendonly", "yes", "--appendfsync", "always", "--save", "")
    server = OwnRedis(tmp_path, options, f"{(secrets / 'supervisor.password').read_text().strip()}", user="supervisor")
    server.start()
    try:
        with server.server.connect() as client, client.pipeline() as pipe:
            pipe.set("test:a", 1).hset("test:b", "c", "2").execute()
        server.kill()
        server.start()
        with server.server.connect() as client:
            assert (client.get("test:a"), client.hgetall("test:b")) == ("1", {"c": "2"})
        with redis.Redis.from_url(f"redis://127.0.0.1:{server.server.port}/0") as stranger:
            with pytest.raises(redis.AuthenticationError):
                stranger.ping()
            with pytest.raises(redis.AuthenticationError):
                stranger.auth("", "default")
    finally:
        server.kill()
