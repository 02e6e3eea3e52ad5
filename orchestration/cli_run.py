"""`mediamill run`: submit, load the model once, bring every job to its end, say what was found."""

from __future__ import annotations

import signal
from typing import Any

from rich.table import Table

from jobs.progress import Status
from jobs.spec import JobSpec, StoredJob
from jobs.submit import submit
from orchestration import show
from orchestration.choices import Choices
from orchestration.embedded import Embedded, ShardsGivenUp, Stopped, finished
from orchestration.look import Look
from orchestration.settings import Settings
from storage.errors import InvalidJob
from workers.engine import engine_options


def run_here(settings: Settings, specs: list[JobSpec], *, json_output: bool, strict: bool) -> int:
    """Run the jobs one after another on one engine; the exit code."""
    # Before anything is written: a wrong engine option must not leave a job behind.
    engine_options(settings.engine_options)
    choices = Choices(settings)
    jobs: list[StoredJob] = []
    for spec in specs:
        with show.planning(spec.manifest) as on_progress:
            planned = submit(
                spec,
                slots=choices.slots(),
                device=choices.device,
                on_progress=on_progress,
            )
        for note in planned.notes:
            show.err.print(f"[yellow]note[/yellow] {note}")
        jobs.append(planned.job)
    if any(job.model.key != jobs[0].model.key for job in jobs):
        raise InvalidJob("jobs of several models: run them one by one")
    try:
        results = _run(settings, jobs)
    except Stopped as stopped:
        show.err.print(
            f"interrupted; what was finished is kept. The same command goes on: {stopped}"
        )
        return 130
    except ShardsGivenUp as error:
        show.failure(error, as_json=json_output)
        return 1
    _say(jobs, results, json_output)
    if any(status.state != "done" for status in results):
        return 1  # paused or cancelled meanwhile
    failed = any(s.rows["error"] or s.rows["quarantined"] for s in results)
    return 3 if failed and strict else 0


def _run(settings: Settings, jobs: list[StoredJob]) -> list[Status]:
    """Bring the jobs to their ends. An engine is loaded for those that are not there yet."""
    # All at once: later the store may be away for a while, and workers are patient.
    ends = [finished(job, settings.tempo) for job in jobs]
    left = [job for job, end in zip(jobs, ends, strict=True) if end is None]
    ran = iter(_on_an_engine(settings, left) if left else ())
    return [next(ran) if end is None else end for end in ends]


def _on_an_engine(settings: Settings, jobs: list[StoredJob]) -> list[Status]:
    embedded = Embedded(settings, jobs[0].model)
    embedded.interrupt_on(signal.SIGINT, signal.SIGTERM)
    try:
        with show.err.status(f"loading {jobs[0].model.name}"):
            embedded.__enter__()
        return [_run_one(embedded, job) for job in jobs]
    finally:
        embedded.__exit__()


def _run_one(embedded: Embedded, job: StoredJob) -> Status:
    before = embedded.begin(job)
    done, failed = show.progress_of(before)
    with show.JobProgress(job.spec.task, job.plan.rows, done) as progress:
        return embedded.run(job, show.CounterProgress(progress, embedded.counters, done, failed))


def _say(jobs: list[StoredJob], results: list[Status], json_output: bool) -> None:
    if json_output:
        looks: list[Any] = [
            Look(status, job).to_json() for job, status in zip(jobs, results, strict=True)
        ]
        show.as_json(looks[0] if len(looks) == 1 else looks)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    warned = any(status.warnings for status in results)
    for name in ("task", "state", "rows", *(("warnings",) if warned else ()), "records"):
        table.add_column(name, overflow="fold")
    for job, status in zip(jobs, results, strict=True):
        warnings = (show.warned(status),) if warned else ()
        records = f"{job.spec.out}/data/*.parquet"
        table.add_row(job.spec.task, status.state, show.counts(status), *warnings, records)
    show.out.print(table)
