"""fsmctl keys: the keys that seal the messages of actions, in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from supervisor import keyring

_EPILOG = """\b
Example of a rotation, in which nothing is refused:
  fsmctl keys add keys    then copy keys/verify.keys to every executor
  fsmctl keys use keys    then copy keys/signing.key to the supervisors
  fsmctl keys drop keys   then copy keys/verify.keys to every executor
"""
_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))


@click.group("keys", epilog=_EPILOG)
def command() -> None:
    """Make and change the keys that seal actions.

    A supervisor's executor seals with DIR/signing.key, named by FSM_SIGNING_KEY;
    every executor that runs actions knows DIR/verify.keys, named by
    FSM_VERIFY_KEYS. Files are read again when they change; nothing is restarted.
    """


@command.command("new", short_help="Make the first key.", epilog="\b\nExample:\n  fsmctl keys new keys\n")
@_folder
def new(folder: Path) -> None:
    """Make the first key in DIR."""
    made = keyring.make_keys(folder)
    click.echo(f"made key {made}")
    click.echo(f"supervisors' executors: FSM_SIGNING_KEY={folder / keyring.SIGNING_KEY}", err=True)
    click.echo(f"every executor:         FSM_VERIFY_KEYS={folder / keyring.VERIFY_KEYS}", err=True)


@command.command(
    "add", short_help="Begin a rotation: make the next key.", epilog="\b\nExample:\n  fsmctl keys add keys\n"
)
@_folder
def add(folder: Path) -> None:
    """Begin a rotation: make the next key in DIR, known beside the one in use."""
    made = keyring.add_key(folder)
    click.echo(f"made key {made}")
    _next(folder, keyring.VERIFY_KEYS, "every executor that runs actions", "use")


@command.command("use", short_help="Seal with the next key.", epilog="\b\nExample:\n  fsmctl keys use keys\n")
@_folder
def use(folder: Path) -> None:
    """Seal with the next key of DIR, and forget the private half of the old one."""
    used = keyring.use_key(folder)
    click.echo(f"signing with key {used}")
    _next(folder, keyring.SIGNING_KEY, "the supervisors' executors", "drop")


@command.command(
    "drop", short_help="End a rotation: only the key in use counts.", epilog="\b\nExample:\n  fsmctl keys drop keys\n"
)
@_folder
def drop(folder: Path) -> None:
    """End a rotation: only the key in use counts.

    Not sooner than 30 s after the supervisors were given it: what they sealed
    with the old one has expired by then.
    """
    left = keyring.drop_key(folder)
    click.echo(f"only key {left} counts")
    click.echo(f"now copy {folder / keyring.VERIFY_KEYS} to every executor that runs actions", err=True)


def _next(folder: Path, file: str, whom: str, step: str) -> None:
    click.echo(f"now copy {folder / file} to {whom}, then: fsmctl keys {step} {folder}", err=True)
