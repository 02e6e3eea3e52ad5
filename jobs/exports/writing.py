"""A job's records out of its place, in one format, to another."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import pyarrow as pa

from jobs.exports import get_format
from jobs.exports.base import File, Format, Tally
from jobs.exports.coco import Coco
from jobs.exports.reference import read_reference
from jobs.progress import JobView, State
from jobs.side_by_side import ABREAST, side_by_side
from jobs.spec import StoredJob
from jobs.summary import read_summary
from jobs.tempo import Tempo
from storage.dataset import read_tables
from storage.errors import InvalidJob, Refused
from storage.exported import place, writing
from storage.objects import Store, open_object


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did. `state` and `rows` are the job's as it began; `files` were written.

    Of the job's rows, those without a record yet are `rows` less `tally.records`.
    """

    to: str
    dest: str
    state: State
    rows: int
    files: int
    tally: Tally

    def to_json(self) -> dict[str, Any]:
        """Plain values, those of the tally among the others."""
        tally = self.tally
        return {
            "to": self.to,
            "dest": self.dest,
            "state": self.state,
            "rows": self.rows,
            "files": self.files,
            "records": tally.records,
            "written": tally.written,
            "left_out": dict(tally.left_out),
            "labels": dict(tally.labels),
            "notes": tally.notes,
        }


def make_format(to: str, categories: str | None = None) -> Format:
    """The format of this name; `categories` is the COCO file (local or s3://) that it is to fit.

    Raises InvalidJob, and what reading that file raises.
    """
    known = get_format(to)
    if not issubclass(known, Coco):
        if categories is not None:
            raise InvalidJob(f"categories go with the format coco, and not with {to}")
        return known()
    if categories is None:
        return known()
    store, key = open_object(categories)
    return known(read_reference(store.get(key), categories))


def export(
    store: Store,
    job: StoredJob,
    format_: Format,
    dest: str,
    tempo: Tempo,
    on_progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write all records that there are; those of a job at work are what is committed by now.

    DEST is a file or, where the format makes many, a folder; local or s3://. What is there
    under the names that are written is replaced, and all else is left alone. `on_progress`
    gets the records read and the job's rows. Raises InvalidJob if the records do not have
    what the format shows, Refused for a DEST that cannot be written, and Transient.
    """
    where = place(dest)
    _refuse_inside(store, where)
    tally = Tally()
    status = read_summary(store, job)
    if status is None:
        view = JobView(store, job, tempo)
        view.refresh()
        status = view.status()

    def tables() -> Iterator[pa.Table]:
        for table in read_tables(store):
            format_.check(table.schema)
            yield table
            if on_progress is not None:
                on_progress(tally.records, job.plan.rows)

    kinds = {column.name: column.type for column in job.plan.columns}
    made = format_.files(tables(), kinds, tally)
    files = _write_folder(made, where) if format_.folder else _write_single(made, where)
    return Exported(format_.name, dest, status.state, job.plan.rows, files, tally)


def _write_folder(made: Iterator[File], where: str) -> int:
    """Files of their own names; writing one is mostly waiting, so many at once."""

    def write(file: File) -> None:
        with writing(f"{where}/{file.name}") as sink:
            for chunk in file.chunks:
                sink.write(chunk)

    count = 0
    while batch := list(islice(made, ABREAST)):
        side_by_side(write, batch)
        count += len(batch)
    return count


def _write_single(made: Iterator[File], where: str) -> int:
    count = 0
    for file in made:
        with writing(_beside(where, file.beside) if file.beside else where) as sink:
            if not where.endswith(".gz"):
                for chunk in file.chunks:
                    sink.write(chunk)
            else:
                # No time in the header: the same records make the same file.
                with gzip.GzipFile(fileobj=cast("Any", sink), mode="wb", mtime=0) as packed:
                    for chunk in file.chunks:
                        packed.write(chunk)
        count += 1
    return count


def _beside(where: str, kind: str) -> str:
    """`boxes.images.json` beside `boxes.json`."""
    packed = ".gz" if where.endswith(".gz") else ""
    return f"{where.removesuffix('.gz').removesuffix('.json')}.{kind}.json{packed}"


def _refuse_inside(store: Store, where: str) -> None:
    """What is written among a job's own objects might be taken for one."""
    for folder in ("data", "_job"):
        if f"{where}/".startswith(f"{store.uri}/{folder}/"):
            raise Refused(f"{where}: lies among the job's own files; choose a place outside")
