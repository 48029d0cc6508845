"""fsmctl exporter: metrics for Prometheus."""

from __future__ import annotations

import signal
import sys

import click

from supervisor.errors import SupervisorError
from supervisor.logs import configure
from supervisor.runtime import make_runtime
from supervisor.settings import Settings

_EPILOG = """\b
Example:
  fsmctl exporter --port 9464
"""


@click.command("exporter", epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port to listen on.")
@click.pass_context
def command(context: click.Context, host: str, port: int) -> None:
    """Serve /metrics, /healthz and /readyz in the foreground."""
    from supervisor import exporter

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env(data_dir=context.find_root().obj["data_dir"])
    configure(settings.log_format, settings.log_level)
    runtime = make_runtime(settings)
    try:
        exporter.serve(runtime, host, port)
    except OSError as error:
        raise SupervisorError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
