"""The command `mediamill`: what it takes and how it ends. The work is in the rooms below."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from jobs.spec import JobSpec, make_spec
from jobs.submit import dry_run
from orchestration import cli_jobs, cli_lists, show
from orchestration.client import Client
from orchestration.logs import set_up_logs
from orchestration.options import BrokerUrl, Json, LogLevel, as_values
from orchestration.settings import load_settings
from storage.errors import InvalidJob, MediamillError

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
cli_lists.add_to(app)

Manifest = Annotated[
    str | None,
    typer.Argument(
        metavar="MANIFEST",
        help="JSONL, CSV, Parquet, a folder or a pattern, local or s3://; or a JOB.yaml",
        show_default=False,
    ),
]
TaskName = Annotated[
    list[str] | None,
    typer.Option("--task", help="what to ask, see `mediamill tasks`; several: one job each"),
]
Out = Annotated[
    str | None,
    typer.Option("--out", help="a local path or s3://bucket/prefix; with several tasks OUT/TASK"),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="tiny, a Hugging Face id (id@revision), or a folder")
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="an option of the task")
]
FromColumns = Annotated[
    str | None,
    typer.Option("--from-columns", help="options that columns override, such as prompt,language"),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="the first N rows")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="N rows over the manifest")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="of --sample")]
PriorityName = Annotated[str | None, typer.Option("--priority", help="high, normal or low")]
Unsafe = Annotated[
    bool,
    typer.Option("--unsafe-store", help="accept a store without conditional writes (one writer)"),
]
PrintJob = Annotated[bool, typer.Option("--print-job", help="print the JOB.yaml and do nothing")]
EngineOption = Annotated[
    list[str] | None,
    typer.Option("--engine-option", metavar="KEY=VALUE", help="an engine argument, vLLM's name"),
]
Strict = Annotated[bool, typer.Option("--strict", help="exit 3 if rows failed")]
Slots = Annotated[int | None, typer.Option("--slots", min=1, help="open shards at once")]
Decoders = Annotated[int | None, typer.Option("--decoders", min=1, help="decode processes")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu or cuda")]


def _specs(
    manifest: str | None,
    tasks: list[str] | None,
    out: str | None,
    print_job: bool,
    default_model: str,
    **flags: Any,
) -> list[JobSpec]:
    """One spec a task, from a job file and flags on top of it."""
    values: dict[str, Any] = {}
    if manifest is not None and manifest.endswith((".yaml", ".yml")):
        values = _read_job(Path(manifest))
        manifest = None
    sets = as_values("--set", flags.pop("sets"))
    columns = flags.pop("from_columns")
    if sets:
        values["options"] = {**values.get("options", {}), **sets}
    if columns is not None:
        values["from_columns"] = [name.strip() for name in columns.split(",") if name.strip()]
    given = {"manifest": manifest, "out": out, **flags}
    values.update({name: value for name, value in given.items() if value not in (None, False)})
    values.setdefault("model", default_model)
    names = tasks or ([values["task"]] if "task" in values else [])
    for name, missing in (("MANIFEST", "manifest"), ("--out", "out")):
        if missing not in values:
            raise typer.BadParameter(f"{name} is missing")
    if not names:
        raise typer.BadParameter("--task is missing; `mediamill tasks` lists them")
    root = str(values["out"]).rstrip("/")
    places = [root] if len(names) == 1 else [f"{root}/{name}" for name in names]
    specs = [
        make_spec({**values, "task": name, "out": place})
        for name, place in zip(names, places, strict=True)
    ]
    if print_job:
        documents = [spec.model_dump(mode="json", exclude_defaults=True) for spec in specs]
        print(yaml.safe_dump_all(documents, sort_keys=False), end="")
        raise typer.Exit
    return specs


def _read_job(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InvalidJob(f"{path}: cannot be read as a job file: {error}") from None
    if not isinstance(values, dict):
        raise InvalidJob(f"{path}: a job file is one mapping of a job's fields")
    return values


@app.command()
def run(
    manifest: Manifest = None,
    task: TaskName = None,
    out: Out = None,
    model: ModelName = None,
    sets: Sets = None,
    from_columns: FromColumns = None,
    limit: Limit = None,
    sample: Sample = None,
    seed: Seed = None,
    unsafe_store: Unsafe = False,
    print_job: PrintJob = False,
    strict: Strict = False,
    engine_option: EngineOption = None,
    slots: Slots = None,
    decoders: Decoders = None,
    device: Device = None,
    json_output: Json = False,
    log_level: LogLevel = None,
) -> None:
    """Run a job on this machine, with no services; returns when it is done."""
    settings = load_settings(
        engine_options=as_values("--engine-option", engine_option) or None,
        slots=slots,
        decoders=decoders,
        device=device,
        log_level=log_level or os.environ.get("MEDIAMILL_LOG_LEVEL", "WARNING"),
    )
    set_up_logs(settings.log_level, settings.log_format)
    specs = _specs(
        manifest,
        task,
        out,
        print_job,
        settings.model,
        model=model,
        sets=sets,
        from_columns=from_columns,
        limit=limit,
        sample=sample,
        seed=seed,
        unsafe_store=unsafe_store,
    )
    from orchestration.cli_run import run_here

    code = run_here(settings, specs, json_output=json_output, strict=strict)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries leave threads behind that the interpreter would wait for.
    os._exit(code)


@app.command(name="submit")
def submit_command(
    manifest: Manifest = None,
    task: TaskName = None,
    out: Out = None,
    model: ModelName = None,
    sets: Sets = None,
    from_columns: FromColumns = None,
    limit: Limit = None,
    sample: Sample = None,
    seed: Seed = None,
    priority: PriorityName = None,
    unsafe_store: Unsafe = False,
    print_job: PrintJob = False,
    wait: Annotated[bool, typer.Option("--wait", help="follow the job until it is done")] = False,
    strict: Strict = False,
    broker_url: BrokerUrl = None,
    json_output: Json = False,
    log_level: LogLevel = None,
) -> None:
    """Plan a job, store it, and enqueue it on Redis; prints the job's id."""
    settings = load_settings(broker_url=broker_url, log_level=log_level)
    set_up_logs(settings.log_level, settings.log_format)
    specs = _specs(
        manifest,
        task,
        out,
        print_job,
        settings.model,
        model=model,
        sets=sets,
        from_columns=from_columns,
        limit=limit,
        sample=sample,
        seed=seed,
        priority=priority,
        unsafe_store=unsafe_store,
    )
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
def plan(
    manifest: Manifest = None,
    task: TaskName = None,
    out: Out = None,
    model: ModelName = None,
    sets: Sets = None,
    from_columns: FromColumns = None,
    limit: Limit = None,
    sample: Sample = None,
    seed: Seed = None,
    json_output: Json = False,
) -> None:
    """Say what a job would be: shards, tokens, hours. Nothing is written."""
    settings = load_settings()
    specs = _specs(
        manifest,
        task,
        # A plan needs no place, but a spec has one.
        out or "mediamill-out",
        False,
        settings.model,
        model=model,
        sets=sets,
        from_columns=from_columns,
        limit=limit,
        sample=sample,
        seed=seed,
    )
    for spec in specs:
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
        engine_options=as_values("--engine-option", engine_option) or None,
        log_format=log_format,
        log_level=log_level,
    )
    set_up_logs(settings.log_level, settings.log_format)
    from orchestration.worker import Worker

    Worker(settings).run()


def main() -> None:
    """The console script: errors of ours become one message and exit code 1."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        app(standalone_mode=True)
    except MediamillError as error:
        show.failure(error, as_json="--json" in sys.argv)
        sys.exit(FAILED)
