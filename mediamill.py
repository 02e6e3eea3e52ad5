"""mediamill: annotate media in bulk with Gemma 4. This is all that users import.

    import mediamill

    job = mediamill.run("photos/", task="caption", out="captions")
    print(job.read().to_pandas())

`run` works on this machine with no services; `submit` hands the job to workers over
Redis and returns at once. Both are idempotent: the same call finds the job again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.progress import Status
from jobs.selection import Selection
from jobs.spec import JobSpec, make_spec
from jobs.tasks.base import Task
from orchestration.look import open_place
from orchestration.settings import Settings, load_settings
from storage.dataset import read_tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobs.exports.writing import Exported

__all__ = ["Job", "JobSpec", "Task", "run", "submit"]


class Job:
    """A job that lies in its output place. Needs nothing but that place."""

    def __init__(self, out: str, settings: Settings | None = None) -> None:
        from orchestration.client import Client

        self.out = out
        self._client = Client(settings or load_settings())

    def status(self) -> Status:
        """State and counts, read from storage; `workers_alive` is None without Redis."""
        return self._client.look(self.out).status

    def wait(self, timeout_s: float | None = None) -> Status:
        """Block until the job is done or cancelled. Raises TimeoutError."""
        return self._client.wait(self.out, timeout_s=timeout_s).status

    def pause(self) -> None:
        """Let workers stop at the job; what is finished is kept."""
        self._client.want(self.out, "pause")

    def resume(self) -> None:
        """Let a paused or cancelled job go on."""
        self._client.want(self.out, "run")

    def cancel(self) -> None:
        """End the job; rows that were not reached have no record."""
        self._client.want(self.out, "cancel")

    def retry(self, selection: Selection | None = None, **options: Any) -> int:
        """Have failed rows redone, with changed options if given; how many there are."""
        made = self._client.retry(self.out, selection or Selection(), options)
        return 0 if made is None else sum(len(places) for places in made.rows.values())

    def batches(self) -> Iterator[pa.Table]:
        """Records shard by shard, in the manifest's order; every row at most once at any time."""
        yield from read_tables(open_place(self.out)[0])

    def read(self) -> pa.Table:
        """All records that there are, as one Arrow table."""
        tables = list(self.batches())
        return pa.concat_tables(tables) if tables else pa.table({})

    def export(self, to: str, dest: str, *, categories: str | None = None) -> Exported:
        """Write the records that there are as srt, vtt, coco or jsonl; what became of them.

        DEST is a file (a folder for subtitles), local or s3://. `categories` is a COCO file
        whose categories and images the results of coco are to fit. Raises InvalidJob if the
        format is unknown, or shows what this job's records do not have.
        """
        from jobs.exports.writing import export, make_format

        format_ = make_format(to, categories)
        return export(*open_place(self.out), format_, dest, self._client.settings.tempo)

    def __repr__(self) -> str:
        return f"mediamill.Job({self.out!r})"


def run(
    manifest: str,
    *,
    task: str,
    out: str,
    model: str | None = None,
    settings: Settings | None = None,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Job:
    """Run a job in this process and return when it is done, or paused or cancelled meanwhile.

    `options` are the task's; further `fields` are those of JobSpec (limit, sample,
    from_columns, media_column, …). Raises Refused if the job cannot be run. Failed rows do not
    raise: they are records with an error.
    """
    from jobs.submit import submit as put
    from orchestration.embedded import Embedded, finished

    settings = settings or load_settings()
    job = put(_spec(manifest, task, out, model or settings.model, options, fields)).job
    if finished(job, settings.tempo) is None:
        with Embedded(settings, job.model) as embedded:
            embedded.run(job)
    return Job(job.spec.out, settings)


def submit(
    manifest: str,
    *,
    task: str,
    out: str,
    model: str | None = None,
    settings: Settings | None = None,
    options: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Job:
    """Plan a job, store it, enqueue it on Redis, and return at once. Arguments as in `run`."""
    from orchestration.client import Client

    settings = settings or load_settings()
    spec = _spec(manifest, task, out, model or settings.model, options, fields)
    submitted = Client(settings).submit(spec)
    return Job(submitted.job.spec.out, settings)


def _spec(
    manifest: str,
    task: str,
    out: str,
    model: str,
    options: Mapping[str, Any] | None,
    fields: dict[str, Any],
) -> JobSpec:
    values = {
        "manifest": manifest,
        "task": task,
        "out": out,
        "model": model,
        "options": dict(options or {}),
    }
    return make_spec({**values, **fields})
