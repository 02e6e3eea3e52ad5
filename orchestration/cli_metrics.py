"""The command `metrics`: what waits and what is done, for Prometheus and what scales by it."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Annotated

import typer

from orchestration import show
from orchestration.logs import set_up_logs
from orchestration.options import BrokerUrl, Json, LogLevel
from orchestration.settings import load_settings
from storage.errors import Refused

#: The port that exporters of OpenTelemetry and others made usual; no service of ours has it.
PORT = 9464
#: Prometheus runs on another machine.
EVERYWHERE = "0.0.0.0"  # noqa: S104


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(metrics)


def metrics(
    host: Annotated[str, typer.Option("--host", help="the address to listen at")] = EVERYWHERE,
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, help="the port to listen at")
    ] = PORT,
    once: Annotated[
        bool, typer.Option("--once", help="print the page and end; exit 1 without Redis")
    ] = False,
    broker_url: BrokerUrl = None,
    json_output: Json = False,
    log_level: LogLevel = None,
) -> None:
    """Serve metrics of all jobs on Redis to Prometheus: tokens that wait, rows, workers.

    With --once or --json one page is printed instead.
    """
    try:
        from orchestration import metrics as pages
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise Refused(
            "metrics need prometheus_client, which is not here: pip install 'mediamill[metrics]'"
        ) from None
    from orchestration.backlog import Watch
    from orchestration.board import RedisBoard

    settings = load_settings(broker_url=broker_url, log_level=log_level)
    set_up_logs(settings.log_level, settings.log_format)
    watch = Watch(RedisBoard(settings.broker_url), settings.tempo)
    # The first page is whole: nobody is to scale by what was not read yet.
    trouble = watch.try_look()
    if once or json_output:
        registry = pages.make_registry(watch, settings.tempo)
        print(pages.as_json(registry) if json_output else pages.as_text(registry).rstrip())
        raise typer.Exit(0 if trouble is None else 1)
    stop = threading.Event()

    def leave(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        stop.set()

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    show.err.print(f"metrics at http://{host}:{port}/metrics", highlight=False, soft_wrap=True)
    pages.serve(watch, settings.tempo, host, port, stop)
