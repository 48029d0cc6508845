"""fsmctl: one command group per file. Commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import difflib
import importlib
import sys

import click

_COMMANDS = {
    "up": "supervisor.cli.up",
    "watch": "supervisor.cli.watch",
    "apply": "supervisor.cli.apply",
    "diff": "supervisor.cli.diff",
    "get": "supervisor.cli.get",
    "describe": "supervisor.cli.describe",
    "explain": "supervisor.cli.explain",
    "plan": "supervisor.cli.plan",
    "replay": "supervisor.cli.replay",
    "events": "supervisor.cli.events",
    "actions": "supervisor.cli.actions",
    "timeline": "supervisor.cli.timeline",
    "incidents": "supervisor.cli.incidents",
    "set": "supervisor.cli.set",
    "pause": "supervisor.cli.pause",
    "resume": "supervisor.cli.resume",
    "cancel": "supervisor.cli.cancel",
    "restart": "supervisor.cli.restart",
    "observe": "supervisor.cli.observe",
    "drain": "supervisor.cli.drain",
    "delete": "supervisor.cli.delete",
    "config": "supervisor.cli.config",
    "circuit": "supervisor.cli.circuit",
    "check": "supervisor.cli.check",
    "wait": "supervisor.cli.wait",
    "logs": "supervisor.cli.logs",
    "acl": "supervisor.cli.acl",
    "exporter": "supervisor.cli.exporter",
    "collector": "supervisor.cli.collector",
    "context": "supervisor.cli.context",
    "completion": "supervisor.cli.completion",
}
_EPILOG = """\b
Examples:
  fsmctl up --fleet compose/demo/fleet.toml  run everything here
  fsmctl get workers                         what runs, where, in what state
  fsmctl describe worker/line-1-temperature  one worker in full
  fsmctl set line-1-temperature stopped      the operator's wish
  fsmctl events -f                           what happens, as it happens

\b
Exit codes: 0 ok, 1 error, 2 usage, 3 unhealthy, 4 not found,
  5 store unreachable, 6 timed out, 7 refused.
"""


class _Lazy(click.Group):
    """Imports a command's module when the command is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a day's work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, or None for an unknown name."""
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[name]).command
        if ctx.resilient_parsing:  # a shell wants to complete
            from supervisor.cli.completion import add_live_names

            add_live_names(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called. Raises `UsageError` with what may have been meant."""
        name = args[0]
        if name in _COMMANDS or ctx.resilient_parsing or name.startswith("-"):
            return super().resolve_command(ctx, args)
        close = difflib.get_close_matches(name, _COMMANDS, n=1)
        hint = f"did you mean `fsmctl {close[0]}`?" if close else "see `fsmctl --help`"
        raise click.UsageError(f"no command {name!r}; {hint}", ctx)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that is called. Raises `NobodyReads` where click would make an error of a closed pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            from supervisor.cli.failure import NobodyReads

            raise NobodyReads from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries; a command without one is asked itself."""
        from supervisor.cli.summaries import SUMMARIES

        lines = [(name, SUMMARIES.get(name) or self._short_help(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str()


def _names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return what a shell may complete the value of --context or --supervisor with."""
    from supervisor.cli.completion import live_names
    from supervisor.cli.context import known_contexts

    names = known_contexts() if param.name == "chosen" else live_names(ctx, "SUPERVISOR")
    return [name for name in names if name.startswith(incomplete)]


@click.group(
    cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.option("--data-dir", metavar="DIR", help="Data folder of this installation.  [default: $FSM_DATA_DIR or .fsm]")
@click.option(
    "--supervisor", metavar="NAME", shell_complete=_names, help="Only this supervisor, where a store has several."
)
@click.option(
    "--context",
    "chosen",
    metavar="NAME",
    envvar="FSM_CONTEXT",
    shell_complete=_names,
    help="Installation from the contexts file (or $FSM_CONTEXT); see `fsmctl context`.",
)
@click.version_option(package_name="fsm-supervisor", prog_name="fsmctl", message="%(prog)s %(version)s")
@click.pass_context
def fsmctl(context: click.Context, data_dir: str | None, supervisor: str | None, chosen: str | None) -> None:
    """Supervise fleets of edge data-flow components: see, change and run them.

    Reads Redis, so it answers while every executor is busy or dead. The store is found through --context, else
    FSM_REDIS_URL, else the data folder of a running `fsmctl up`.
    """
    from supervisor.cli.context import enter

    entered = enter(chosen, data_dir, context.invoked_subcommand or "")
    only = supervisor or (entered.supervisor if entered else None)
    context.obj = {"data_dir": data_dir, "supervisor": only, "context": entered}


def main() -> None:
    """Run fsmctl; whatever goes wrong is told as one sentence, with its exit code."""
    from supervisor.cli.failure import exit_code_of

    try:
        answer = fsmctl.main(prog_name="fsmctl", standalone_mode=False)
        sys.stdout.flush()  # here, where a pipe that nobody reads any more is expected
    except BaseException as error:  # noqa: BLE001 - the last line of defence against a traceback
        sys.exit(exit_code_of(error))
    sys.exit(answer if isinstance(answer, int) else 0)
