"""fsmctl exporter: metrics for Prometheus."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from supervisor.errors import SupervisorError, UsageError
from supervisor.logs import configure
from supervisor.runtime import make_runtime
from supervisor.settings import Settings

_EPILOG = """\b
Examples:
  fsmctl exporter --port 9464
  fsmctl exporter --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem \\
      --auth-file readers
"""
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("exporter", epilog=_EPILOG)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=9464, show_default=True, help="Port to listen on.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate (PEM): serve HTTPS.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="Its private key (PEM).")
@click.option("--auth-file", type=_FILE, metavar="FILE", help="Who may read, but for /healthz: lines USER:PASSWORD.")
@click.pass_context
def command(
    context: click.Context, host: str, port: int, tls_cert: Path | None, tls_key: Path | None, auth_file: Path | None
) -> None:
    """Serve /metrics, /healthz and /readyz in the foreground.

    The files are read once, at the start.
    """
    from supervisor import exporter
    from supervisor.accounts import read_accounts
    from supervisor.connection import connect
    from supervisor.store import Store

    if (tls_cert is None) is not (tls_key is None):
        missing = "--tls-key" if tls_key is None else "--tls-cert"
        raise UsageError(f"{missing} is missing; expected --tls-cert and --tls-key together")
    accounts = read_accounts(auth_file) if auth_file is not None else None
    tls = exporter.tls_context(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_env(data_dir=context.find_root().obj["data_dir"])
    configure(settings.log_format, settings.log_level)
    # impatient: a scrape has to say `supervisor_up 0` before Prometheus gives up on it
    runtime = make_runtime(settings, Store(connect(settings, patient=False), settings.namespace))
    try:
        exporter.serve(exporter.make_app(exporter.StoreCollector(runtime), accounts), host, port, tls)
    except OSError as error:
        raise SupervisorError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from None
