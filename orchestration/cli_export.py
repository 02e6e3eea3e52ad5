"""The command `export`: a job's records in a format that other tools read."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from jobs.exports import FORMATS
from orchestration import show
from orchestration.logs import set_up_logs
from orchestration.look import open_place
from orchestration.options import Json, Place
from orchestration.settings import load_settings

#: Why a record is in no file, as people are told.
_REASONS = {
    "error": "with an error",
    "quarantined": "quarantined",
    "no_speech": "without speech",
    "no_times": "with segments that have no times",
    "several_media": "with several media, whose segments do not say whose they are",
    "no_such_image": "that are none of the images given",
    "several_images": "that are several images, or a video",
}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(export)


def export(
    out: Place,
    dest: Annotated[
        str, typer.Argument(metavar="DEST", help="a file; a folder for subtitles; local or s3://")
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=", ".join(FORMATS))],
    categories: Annotated[
        str | None,
        typer.Option(
            "--categories",
            metavar="FILE",
            help="coco: results for the categories and images of this COCO file",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Write a job's records as subtitles, as COCO or as JSON lines.

    A job that is not done is exported as far as it is. Existing files of the same names are
    replaced.
    """
    if to not in FORMATS:
        raise typer.BadParameter(f"--to {to}: unknown; known: {', '.join(FORMATS)}")
    if categories is not None and to != "coco":
        raise typer.BadParameter(f"--categories goes with --to coco, and not with {to}")
    settings = load_settings()
    set_up_logs("WARNING", settings.log_format)
    from jobs.exports.writing import Exported, make_format
    from jobs.exports.writing import export as write

    store, job = open_place(out)
    with show.err.status(f"exporting {escape(out)}") as line:

        def on_progress(records: int, rows: int) -> None:
            line.update(f"exporting {escape(out)}: {records:,} of {rows:,} rows")

        done: Exported = write(
            store, job, make_format(to, categories), dest, settings.tempo, on_progress
        )
    tally = done.tally
    missing = done.rows - tally.records
    if missing:
        _say(f"the job is {done.state}: {missing:,} of its {done.rows:,} rows have no record yet")
    for reason, count in sorted(tally.left_out.items()):
        _say(f"left out: {count:,} rows {_REASONS.get(reason, reason)}")
    for note in tally.notes:
        _say(note)
    if json_output:
        show.as_json({"out": out, "job_id": job.job_id, **done.to_json()})
    else:
        files = "1 file" if done.files == 1 else f"{done.files:,} files"
        show.out.print(
            f"{tally.written:,} of {done.rows:,} rows in {files}: {escape(dest)}",
            highlight=False,
            soft_wrap=True,
        )


def _say(note: str) -> None:
    show.err.print(f"[yellow]note[/yellow] {escape(note)}", highlight=False, soft_wrap=True)
