"""fsmctl: one command group per file. Commands are imported when they are called, so that `--help` is quick."""

from __future__ import annotations

import importlib
import sys

import click

_COMMANDS = {
    "up": "supervisor.cli.up",
    "apply": "supervisor.cli.apply",
    "get": "supervisor.cli.get",
    "describe": "supervisor.cli.describe",
    "events": "supervisor.cli.events",
    "incidents": "supervisor.cli.incidents",
    "set": "supervisor.cli.set",
    "pause": "supervisor.cli.pause",
    "resume": "supervisor.cli.resume",
    "cancel": "supervisor.cli.cancel",
    "circuit": "supervisor.cli.circuit",
    "wait": "supervisor.cli.wait",
    "logs": "supervisor.cli.logs",
    "exporter": "supervisor.cli.exporter",
    "collector": "supervisor.cli.collector",
    "keys": "supervisor.cli.keys",
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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries; a command without one is asked itself."""
        from supervisor.cli.summaries import SUMMARIES

        lines = [(name, SUMMARIES.get(name) or self._short_help(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str()


@click.group(
    cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.option("--data-dir", metavar="DIR", help="Data folder of this installation.  [default: $FSM_DATA_DIR or .fsm]")
@click.option("--supervisor", metavar="NAME", help="Only this supervisor, where a store has several.")
@click.pass_context
def fsmctl(context: click.Context, data_dir: str | None, supervisor: str | None) -> None:
    """Supervise fleets of edge data-flow components: see, change and run them.

    Reads Redis, so it answers while every executor is busy or dead. The store is found through FSM_REDIS_URL, or
    through the data folder of a running `fsmctl up`.
    """
    context.obj = {"data_dir": data_dir, "supervisor": supervisor}


def main() -> None:
    """Run fsmctl; an error that is meant for a person is printed as one sentence with its exit code."""
    from supervisor.errors import SupervisorError

    try:
        fsmctl.main(standalone_mode=False)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SupervisorError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
