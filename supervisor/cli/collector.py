"""fsmctl collector: observe for a node without an executor."""

from __future__ import annotations

import os
import sys

import click

_EPILOG = """\b
Example:
  fsmctl collector edge-1
"""


@click.command("collector", epilog=_EPILOG)
@click.argument("node")
@click.pass_context
def command(context: click.Context, node: str) -> None:
    """Observe what is placed on NODE, in the foreground. An executor of the node brings one along by itself."""
    from supervisor import collector

    if data_dir := context.find_root().obj["data_dir"]:
        os.environ["FSM_DATA_DIR"] = data_dir  # the collector reads its settings as every other process does
    sys.exit(collector.main(node))
