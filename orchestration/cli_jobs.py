"""Commands on a job that exists; they need its output place and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.selection import Selection
from orchestration import show
from orchestration.logs import set_up_logs
from orchestration.look import Look
from orchestration.options import BrokerUrl, Json, Place, as_values
from orchestration.settings import load_settings

if TYPE_CHECKING:
    from orchestration.client import Client


def add_to(app: typer.Typer) -> None:
    """Register the commands, in the order in which `--help` lists them."""
    for command in (status, wait, retry, cancel, pause, resume):
        app.command()(command)


def _client(broker_url: str | None) -> Client:
    from orchestration.client import Client

    settings = load_settings(broker_url=broker_url)
    set_up_logs("WARNING", settings.log_format)
    return Client(settings)


def _print(look: Look, json_output: bool) -> None:
    if json_output:
        show.as_json(look.to_json())
    else:
        show.out.print(show.status_table(look))


def status(out: Place, broker_url: BrokerUrl = None, json_output: Json = False) -> None:
    """State, counts by outcome, speed."""
    _print(_client(broker_url).look(out), json_output)


def wait(
    out: Place,
    strict: Annotated[bool, typer.Option("--strict", help="exit 3 if rows failed")] = False,
    broker_url: BrokerUrl = None,
    json_output: Json = False,
) -> None:
    """Follow the job until it is done; exits 1 if it was cancelled or cannot go on."""
    raise typer.Exit(follow(_client(broker_url), out, json_output, strict))


def pause(out: Place, broker_url: BrokerUrl = None, json_output: Json = False) -> None:
    """Let workers stop at the job; what is finished is kept."""
    _print(_client(broker_url).want(out, "pause"), json_output)


def cancel(out: Place, broker_url: BrokerUrl = None, json_output: Json = False) -> None:
    """End the job; rows that were not reached have no record."""
    _print(_client(broker_url).want(out, "cancel"), json_output)


def resume(out: Place, broker_url: BrokerUrl = None, json_output: Json = False) -> None:
    """Let a paused, cancelled or given-up job go on."""
    _print(_client(broker_url).want(out, "run"), json_output)


def retry(
    out: Place,
    retryable: Annotated[
        bool, typer.Option("--retryable", help="only errors that may pass by themselves")
    ] = False,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help="only errors of this kind")
    ] = None,
    warning: Annotated[
        list[str] | None,
        typer.Option("--warning", help="only rows with this warning, those that are ok too"),
    ] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="quarantined rows as well")
    ] = False,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="change an option of the task for these rows, also where a column gives it",
        ),
    ] = None,
    broker_url: BrokerUrl = None,
    json_output: Json = False,
) -> None:
    """Redo rows that failed; workers (or `run` again) take them up.

    That is rows of status error, or with --warning rows of that warning whatever their status.
    """
    selection = Selection(
        retryable=retryable,
        kinds=tuple(kind or ()),
        warnings=tuple(warning or ()),
        quarantined=quarantined,
    )
    made = _client(broker_url).retry(out, selection, as_values("--set", sets))
    rows = 0 if made is None else sum(len(places) for places in made.rows.values())
    if json_output:
        show.as_json({"rows": rows, "generation": None if made is None else made.generation})
    elif made is None:
        show.out.print("no row to redo")
    else:
        show.out.print(f"{rows:,} rows to redo in {len(made.rows):,} shards")


def follow(client: Client, out: str, json_output: bool, strict: bool) -> int:
    """Show a job's progress until its end; the exit code."""
    first = client.look(out).status
    with show.JobProgress(out, first.rows["total"], show.progress_of(first)[0]) as progress:

        def on_look(look: Look) -> None:
            progress.update(*show.progress_of(look.status), look.tokens)
            progress.say(show.trouble(look))

        look = client.wait(out, on_look)
    _print(look, json_output)
    if look.status.state != "done":
        return 1
    failed = look.status.rows["error"] + look.status.rows["quarantined"]
    return 3 if strict and failed else 0
