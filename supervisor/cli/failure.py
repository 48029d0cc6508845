"""How fsmctl fails: one sentence on stderr and the exit code of SPEC 5, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback

import click

from supervisor.errors import SupervisorError
from supervisor.settings import wants_details

INTERRUPTED = 130


class NobodyReads(Exception):
    """The reader of our output has left, as `head` does."""


def exit_code_of(error: BaseException) -> int:
    """Tell an error to the person and return the exit code. An unexpected one says what to report."""
    if isinstance(error, NobodyReads | BrokenPipeError):
        return _nobody_reads()
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit):
        return _code_of_exit(error)
    if wants_details():
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    sentence, code = told(error)
    click.echo(f"error: {sentence}", err=True)
    return code


def told(error: BaseException) -> tuple[str, int]:
    """Return the sentence about an error, and its exit code."""
    if isinstance(error, click.ClickException):
        return _usage(error), error.exit_code
    if isinstance(error, SupervisorError):
        return str(error), error.exit_code
    if isinstance(error, _redis_errors()):
        return f"Redis does not answer as it should: {error}", 5
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}", SupervisorError.exit_code
    return _unexpected(error), SupervisorError.exit_code


def _usage(error: click.ClickException) -> str:
    """Return what click says as one sentence, with where the command is explained."""
    text = " ".join(error.format_message().split()).rstrip(".")
    if text[1:2].islower():
        text = text[0].lower() + text[1:]
    context = getattr(error, "ctx", None)
    if context is None or "`fsmctl" in text:
        return text
    see = f"see `{context.command_path} --help`"
    return f"{text} Or {see}" if text.endswith("?") else f"{text}; {see}"


def _unexpected(error: BaseException) -> str:
    """Return what to report of a fault of our own."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119 - it is a name, not a file
    return (
        f"fsmctl itself has failed{where}: {type(error).__name__}: {error}; "
        "please report it with what FSM_DEBUG=1 in front of the command adds, and `fsmctl --version`"
    )


def _redis_errors() -> tuple[type[BaseException], ...]:
    """Return Redis' errors, if anything has loaded its client at all."""
    client = sys.modules.get("redis")
    return () if client is None else (client.RedisError,)


def _code_of_exit(leave: SystemExit) -> int:
    if leave.code is None or isinstance(leave.code, int):
        return leave.code or 0
    click.echo(leave.code, err=True)
    return SupervisorError.exit_code


def _nobody_reads() -> int:
    """End quietly when the reader of a pipe has left; what is still held back goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
