"""What people see: progress bars, tables, messages. Progress and errors go to standard error."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from jobs.cost import seconds_per_token
from jobs.models import TINY
from jobs.progress import Status
from jobs.submit import Submitted
from orchestration.look import Look
from storage.errors import MediamillError
from storage.presigned import told
from workers.counters import Counters

out = Console()
err = Console(stderr=True)

#: Without a terminal, a line of progress is printed this often, in seconds.
_LINE_S = 5.0
#: Rates are of the last so many seconds.
_RATE_S = 15.0


def as_json(value: Any) -> None:
    """Print one JSON document on standard output, without the secrets of URLs in it."""
    print(told(json.dumps(value, default=str)))


class JobProgress:
    """Rows, rows/s, tokens/s, time left and failures of one job while it works.

    On a terminal a bar, elsewhere a line every few seconds. A context manager.
    """

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self._title = title
        self._total = total
        self._first = done
        self._samples: list[tuple[float, int, int]] = []
        self._trouble: str | None = None
        self._line_at = time.monotonic() + _LINE_S
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(title, total=total, completed=done, facts="")

    def __enter__(self) -> JobProgress:
        """Start to show."""
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the last state on the screen."""
        self._bar.stop()

    def update(self, rows: int, failed: int, tokens: int) -> None:
        """Show that `rows` have a record, `failed` of them an error; `tokens` were written."""
        now = time.monotonic()
        self._samples.append((now, rows, tokens))
        while now - self._samples[0][0] > _RATE_S:
            self._samples.pop(0)
        then, rows_then, tokens_then = self._samples[0]
        span = max(now - then, 1e-3)
        rate = (rows - rows_then) / span
        facts = f"{rate:.1f} rows/s  {(tokens - tokens_then) / span:,.0f} tokens/s"
        left = self._total - rows
        if rate > 0 and left > 0:
            facts += f"  {duration(left / rate)} left"
        if failed:
            facts += f"  [red]{failed} failed[/red]"
        self._bar.update(self._task, completed=rows, facts=facts)
        if not err.is_terminal and now >= self._line_at:
            self._line_at = now + _LINE_S
            err.print(f"{self._title}: {rows}/{self._total} rows  {facts}", highlight=False)

    def say(self, trouble: str | None) -> None:
        """Say once what keeps the job from going on; None: nothing does."""
        if trouble is not None and trouble != self._trouble:
            err.print(f"[yellow]{trouble}[/yellow]")
        self._trouble = trouble


def progress_of(status: Status) -> tuple[int, int]:
    """Rows that nothing is left to do for, and how many of them failed.

    Rows that a retry is to redo are neither; they are taken for failed ones, as most are.
    """
    rows = status.rows
    to_redo = rows["due"] - rows["remaining"]
    return rows["total"] - rows["due"], max(0, rows["error"] + rows["quarantined"] - to_redo)


class CounterProgress:
    """Feeds a JobProgress from this process' counters, for a run on one machine."""

    def __init__(self, progress: JobProgress, counters: Counters, done: int, failed: int) -> None:
        self._progress = progress
        self._start = dataclasses.replace(counters)
        self._done = done
        self._failed = failed

    def __call__(self, counters: Counters) -> None:
        """Show what was finished since the start."""
        self._progress.update(
            self._done + counters.rows - self._start.rows,
            self._failed + counters.failed - self._start.failed,
            counters.prompt_tokens
            + counters.output_tokens
            - self._start.prompt_tokens
            - self._start.output_tokens,
        )


@contextlib.contextmanager
def planning(manifest: str) -> Iterator[Callable[[int], None]]:
    """Show how many rows were planned so far."""
    manifest = told(manifest)
    with err.status(f"planning {manifest}") as status:
        yield lambda rows: status.update(f"planning {manifest}: {rows:,} rows")


def submitted(result: Submitted, json_output: bool) -> None:
    """What `submit` prints: the job's id on standard output, the rest beside it."""
    job = result.job
    if json_output:
        as_json(
            {
                "job_id": job.job_id,
                "out": job.spec.out,
                "created": result.created,
                "rows": job.plan.rows,
                "shards": job.plan.shards,
                "queue": job.queue,
                "notes": list(result.notes),
            }
        )
        return
    for note in result.notes:
        err.print(f"[yellow]note[/yellow] {note}")
    what = "submitted" if result.created else "was there already"
    err.print(f"{what}: {job.plan.rows:,} rows in {job.plan.shards:,} shards for {job.model.key}")
    print(job.job_id)


def plan(result: Submitted, json_output: bool) -> None:
    """What `plan` prints: shards, tokens, hours of one engine."""
    job, planned = result.job, result.job.plan
    device = "cpu" if job.model.name == TINY else "cuda"
    hours = planned.tokens * seconds_per_token(job.model.active, device) / 3600
    if json_output:
        as_json(
            {
                "task": job.spec.task,
                "model": job.model.key,
                "rows": planned.rows,
                "shards": planned.shards,
                "tokens": planned.tokens,
                "engine_hours": hours,
                "device": device,
                "columns": {column.name: column.type for column in planned.columns},
                "notes": list(result.notes),
            }
        )
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("task", f"{job.spec.task} with {job.model.key}")
    table.add_row("rows", f"{planned.rows:,}")
    table.add_row("shards", f"{planned.shards:,}")
    table.add_row("tokens", f"about {planned.tokens:,}")
    place = "one H100" if device == "cuda" else "two CPU cores"
    table.add_row("time", f"about {duration(hours * 3600)} of one engine on {place}")
    table.add_row("carried", ", ".join(column.name for column in planned.columns) or "no columns")
    for note in result.notes:
        table.add_row("note", note)
    out.print(table)


def failure(error: MediamillError, *, as_json: bool) -> None:
    """One message: what is wrong, where, and what to do; without the secrets of URLs in it."""
    if as_json:
        print(told(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}})))
        return
    message = told(str(error))
    # As one line, which a terminal may fold: a path that is cut in two cannot be copied.
    err.print(f"[bold red]error[/bold red] {escape(message)}", highlight=False, soft_wrap=True)


def status_table(look: Look) -> Table:
    """What `status` prints for people."""
    status, job = look.status, look.job
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    state = {"done": "green", "running": "cyan", "planned": "cyan"}.get(status.state, "yellow")
    table.add_row("state", f"[{state}]{status.state}[/]{' (stalled)' if status.stalled else ''}")
    table.add_row("job", f"{status.job_id}  {job.spec.task} with {job.model.name}")
    table.add_row("manifest", job.spec.manifest)
    table.add_row("out", job.spec.out)
    table.add_row("rows", counts(status))
    if status.warnings:
        table.add_row("warnings", warned(status))
    table.add_row("shards", f"{status.shards['done']} of {status.shards['total']} done")
    if status.generation:
        table.add_row("retries", str(status.generation))
    if status.rows_per_s is not None and status.state == "running":
        eta = "" if status.eta_s is None else f", {duration(status.eta_s)} left"
        table.add_row("speed", f"{status.rows_per_s:.1f} rows/s{eta}")
    for shard, error in list(status.given_up.items())[:3]:
        table.add_row("given up", f"[red]shard {shard}: {escape(told(error))}[/red]")
    if status.state in ("running", "planned"):
        table.add_row("workers", escape(workers_line(look)))
    return table


def workers_line(look: Look) -> str:
    """Who serves the job's model, as far as Redis says."""
    if look.broker is not None:
        return f"not known: {look.broker}"
    if look.status.workers_alive == 0:
        return f"no worker serves {look.job.model.key}"
    return f"{look.status.workers_alive} alive"


def trouble(look: Look) -> str | None:
    """What keeps a job that is to run from going on, as far as can be seen from here."""
    status = look.status
    if status.state == "paused":
        return "the job is paused; `mediamill resume` lets it go on"
    if status.state not in ("running", "planned"):
        return None
    if look.broker is not None or look.status.workers_alive == 0:
        return escape(workers_line(look))
    return "no shard has been worked on for a while" if status.stalled else None


def counts(status: Status) -> str:
    """Rows by outcome in one line."""
    rows = status.rows
    parts = [f"{rows['total']:,} in all", f"{rows['ok']:,} ok"]
    if rows["error"]:
        parts.append(f"[red]{rows['error']:,} error[/red]")
    if rows["quarantined"]:
        parts.append(f"[red]{rows['quarantined']:,} quarantined[/red]")
    if rows["remaining"]:
        parts.append(f"{rows['remaining']:,} remaining")
    if rows["due"] > rows["remaining"]:
        parts.append(f"{rows['due'] - rows['remaining']:,} to redo")
    return ", ".join(parts)


def warned(status: Status) -> str:
    """Rows by warning in one line; empty if there are none."""
    return escape(", ".join(f"{rows:,} {name}" for name, rows in status.warnings.items()))


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `7 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
