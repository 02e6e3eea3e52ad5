"""The command `mediamill`: what it takes and how it ends. The work is in the rooms below."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.submit import dry_run
from orchestration import cli_export, cli_jobs, cli_lists, cli_metrics, show
from orchestration.job_flags import JobFlags, with_job_flags
from orchestration.logs import set_up_logs
from orchestration.options import BrokerUrl, Json, LogLevel, as_values
from orchestration.settings import load_settings
from storage.errors import MediamillError

#: Exit codes of the contract, beside 0: the job could not be run; done but rows failed
#: and `--strict` was given; interrupted.
FAILED, ROWS_FAILED, INTERRUPTED = 1, 3, 130

app = typer.Typer(
    help="Annotate media in bulk with Gemma 4: one record for every row, as Parquet.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cli_jobs.add_to(app)
cli_export.add_to(app)
cli_lists.add_to(app)
cli_metrics.add_to(app)

EngineOption = Annotated[
    list[str] | None,
    typer.Option("--engine-option", metavar="KEY=VALUE", help="an engine argument, vLLM's name"),
]
Strict = Annotated[bool, typer.Option("--strict", help="exit 3 if rows failed")]
Slots = Annotated[int | None, typer.Option("--slots", min=1, help="open shards at once")]
Decoders = Annotated[int | None, typer.Option("--decoders", min=1, help="decode processes")]
Engines = Annotated[
    str | None, typer.Option("--engines", help="how many engines share the GPUs: auto, or a number")
]
Mps = Annotated[
    bool | None,
    typer.Option("--mps/--no-mps", help="engines on one GPU run at once, by NVIDIA's MPS"),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="what to run for: auto, quick-start, low-memory or text; what is set by hand wins",
    ),
]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda")]


@app.command()
@with_job_flags
def run(
    job: JobFlags,
    strict: Strict = False,
    engine_option: EngineOption = None,
    slots: Slots = None,
    decoders: Decoders = None,
    device: Device = None,
    engines: Engines = None,
    mps: Mps = None,
    profile: Profile = None,
    json_output: Json = False,
    log_level: LogLevel = None,
) -> None:
    """Run a job on this machine, with no services; returns when it is done."""
    settings = load_settings(
        engine_options=as_values("--engine-option", engine_option) or None,
        slots=slots,
        decoders=decoders,
        device=device,
        engines=engines,
        mps=mps,
        profile=profile,
        log_level=log_level or os.environ.get("MEDIAMILL_LOG_LEVEL", "WARNING"),
    )
    set_up_logs(settings.log_level, settings.log_format)
    specs = job.specs(settings.model)
    from orchestration.cli_run import run_here

    code = run_here(settings, specs, json_output=json_output, strict=strict)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads behind that the interpreter would wait for.
    os._exit(code)


@app.command(name="submit")
@with_job_flags
def submit_command(
    job: JobFlags,
    wait: Annotated[bool, typer.Option("--wait", help="follow the job until it is done")] = False,
    strict: Strict = False,
    broker_url: BrokerUrl = None,
    json_output: Json = False,
    log_level: LogLevel = None,
) -> None:
    """Plan a job, store it, and enqueue it on Redis; prints the job's id."""
    settings = load_settings(broker_url=broker_url, log_level=log_level)
    set_up_logs(settings.log_level, settings.log_format)
    specs = job.specs(settings.model)
    from orchestration.client import Client

    client = Client(settings)
    code = 0
    for spec in specs:
        with show.planning(spec.manifest) as on_progress:
            submitted = client.submit(spec, on_progress)
        show.submitted(submitted, json_output)
    for spec in specs if wait else ():
        code = max(code, cli_jobs.follow(client, spec.located().out, json_output, strict))
    raise typer.Exit(code)


@app.command()
@with_job_flags
def plan(
    job: JobFlags,
    json_output: Json = False,
) -> None:
    """Say what a job would be: shards, tokens, hours. Nothing is written."""
    settings = load_settings()
    # A plan needs no place, but a spec has one.
    for spec in job.specs(settings.model, default_out="mediamill-out"):
        with show.planning(spec.manifest) as on_progress:
            planned = dry_run(spec, on_progress=on_progress)
        show.plan(planned, json_output)


@app.command()
def worker(
    model: Annotated[str | None, typer.Option("--model", help="what to load and serve")] = None,
    broker_url: BrokerUrl = None,
    local_roots: Annotated[
        str | None,
        typer.Option("--local-roots", help="local folders whose media may be read, by ':'"),
    ] = None,
    slots: Slots = None,
    decoders: Decoders = None,
    fetchers: Annotated[
        int | None, typer.Option("--fetchers", min=1, help="media fetched at once")
    ] = None,
    device: Device = None,
    engines: Engines = None,
    mps: Mps = None,
    profile: Profile = None,
    engine_option: EngineOption = None,
    log_format: Annotated[str | None, typer.Option("--log-format", help="text or json")] = None,
    log_level: LogLevel = None,
) -> None:
    """Serve one model: take its shards from Redis until SIGTERM."""
    settings = load_settings(
        model=model,
        broker_url=broker_url,
        local_roots=local_roots,
        slots=slots,
        decoders=decoders,
        fetchers=fetchers,
        device=device,
        engines=engines,
        mps=mps,
        profile=profile,
        engine_options=as_values("--engine-option", engine_option) or None,
        log_format=log_format,
        log_level=log_level,
    )
    set_up_logs(settings.log_level, settings.log_format)
    from orchestration.parent import outlive

    def serve(in_hand: Path, cause: str | None) -> None:
        from orchestration.deaths import report
        from orchestration.worker import Worker

        if cause is not None:
            report(in_hand, cause)
        Worker(settings, in_hand).run()

    outlive(serve)


def main() -> None:
    """The console script: errors of ours become one message and exit code 1."""
    try:
        app(standalone_mode=True)
    except MediamillError as error:
        show.failure(error, as_json="--json" in sys.argv)
        sys.exit(FAILED)
