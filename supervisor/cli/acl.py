"""fsmctl acl: Redis' users and their passwords."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.cli.output import output_option, print_rows
from supervisor.errors import SupervisorError, UsageError

if TYPE_CHECKING:
    from supervisor.acl import User

ACL_FILE = "users.acl"
_LEAST = 16  # characters of a password
_EPILOG = """\b
Examples:
  fsmctl acl --dir secrets --fleet fleet.toml      before the first start
  fsmctl acl --dir secrets --node edge-1 --node edge-2 --pool edge-2
  fsmctl acl --dir secrets                         for the applied fleet

\b
Then, in redis.conf: aclfile DIR/users.acl
After a change: redis-cli --user admin ACL LOAD
"""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("acl", epilog=_EPILOG)
@click.option(
    "--dir", "folder", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Folder."
)
@click.option("-f", "--fleet", "path", metavar="FILE", type=_FILE, help="Take the nodes from this fleet file.")
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="A node; again for each.")
@click.option("--pool", "pool", multiple=True, metavar="NAME", help="Which of them act for floating workers.")
@click.option("--sentinel", is_flag=True, help="Add users for replicas and sentinels.")
@output_option
@click.pass_context
def command(
    context: click.Context,
    folder: Path,
    path: Path | None,
    nodes: Sequence[str],
    pool: Sequence[str],
    sentinel: bool,
    output: str,
) -> None:
    """Write DIR/users.acl, an ACL file for Redis 7 or newer.

    One user for each node and role, with no more rights than it needs (docs/security.md); the default user is off. Its
    password is read from DIR/USER.password, or made and written there; the ACL file has only hashes. To change a
    password, remove its file and run this again. The nodes are those of --node, of --fleet, or of the applied fleet.
    """
    from supervisor.acl import of_sentinel, users
    from supervisor.settings import Settings

    settings = Settings.from_env(data_dir=context.find_root().obj["data_dir"])
    if nodes and path is not None:
        raise UsageError("--node and --fleet both say which nodes there are; expected one of them")
    if pool and not nodes:
        raise UsageError("--pool says which of the --node are in the pool; the fleet file says it by its own `pool`")
    if not nodes:
        nodes, pool = _of_file(path) if path is not None else _of_store(context)
    made = [*users(settings.namespace, nodes, pool), *(of_sentinel() if sentinel else [])]
    _write(folder, made)
    rows = [
        {"user": user.name, "password_file": str(_password_file(folder, user)), "for": user.purpose} for user in made
    ]
    print_rows(output, rows, (("USER", "user"), ("FOR", "for")), "")
    click.echo(f"wrote {folder / ACL_FILE}; passwords are in {folder}/USER.password", err=True)


def _of_file(path: Path) -> tuple[list[str], list[str]]:
    """Return the nodes of a fleet file and the members of its pool."""
    from supervisor.extensions import load_extensions
    from supervisor.fleet import read_fleets

    extensions = load_extensions()
    fleets = read_fleets(path, extensions.workers, own_checks=extensions.checks)
    return _merged([({*fleet.nodes, *fleet.settings.nodes}, fleet.settings.pool) for fleet in fleets])


def _of_store(context: click.Context) -> tuple[list[str], list[str]]:
    """Return the nodes of what is applied, and those that have ever reported."""
    from supervisor.cli.session import Session

    session = Session(context.find_root().obj["data_dir"], None)
    known = session.runtime.store.known_nodes()
    return _merged([({*index.nodes, *known}, index.settings.pool) for _, index in session.indexes()])


def _merged(found: Iterable[tuple[Iterable[str], Sequence[str]]]) -> tuple[list[str], list[str]]:
    """Return all nodes and members; where a supervisor names no members, all nodes are."""
    everything = list(found)
    nodes = {node for of, _ in everything for node in of}
    members = {node for of, pool in everything for node in (pool or of)}
    return sorted(nodes), sorted(members & nodes)


def _password_file(folder: Path, user: User) -> Path:
    return folder / f"{user.name}.password"


def _write(folder: Path, made: Sequence[User]) -> None:
    """Write the ACL file, and the passwords that are not there yet; only their owner can read them."""
    from supervisor.acl import acl_file
    from supervisor.launch import write_private

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for user in made:
            if not _password_file(folder, user).exists():
                write_private(_password_file(folder, user), secrets.token_urlsafe(32) + "\n")
        passwords = {user.name: _password(_password_file(folder, user)) for user in made}
        unfinished = folder / f"{ACL_FILE}.new"
        write_private(unfinished, acl_file(made, passwords))
        unfinished.replace(folder / ACL_FILE)  # Redis may read it at any time
    except OSError as error:
        raise SupervisorError(f"{error.filename}: {error.strerror}; choose a folder that you may write to") from None


def _password(file: Path) -> str:
    """Return the password in a file. Raises `SupervisorError` for one that is too short to be one."""
    password = file.read_text().strip()
    if len(password) < _LEAST:
        raise SupervisorError(
            f"{file}: holds {len(password)} characters; expected {_LEAST} or more. Remove it to have one made"
        )
    return password
