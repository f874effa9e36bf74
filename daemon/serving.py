"""The command `mapgap serve`: the server alone, or beside a running daemon."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import click

from daemon.cli import CONFIG, load_config, main
from daemon.signals import stop_on_signals


@main.command()
@click.option("--host", help="Address to listen on; default: web.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; default: web.port.")
@CONFIG
def serve(host: str | None, port: int | None, config_path: Path) -> None:
    """Serve the feeds over HTTP until told to stop: Osmose's API, the own API, metrics.

    Works beside `mapgap run`, or without it on what the database holds. SIGTERM lets answers under way end.
    """
    from daemon.config import with_web
    from daemon.notify import Notifier
    from daemon.web.backend import open_backend
    from daemon.web.server import WebServer

    config = with_web(load_config(config_path), host=host, port=port)
    stop = threading.Event()
    notifier = Notifier.from_environment()
    with stop_on_signals(stop), open_backend(config, stop) as backend, closing(WebServer(backend)) as server:
        click.echo(f"serving at {server.url}", err=True)
        notifier.ready()
        server.run(stop)
        notifier.stopping()
