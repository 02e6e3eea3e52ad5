"""Jobs with records of one's choice, to be exported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.progress import write_marker
from jobs.spec import StoredJob
from storage.dataset import commit
from storage.objects import Store
from storage.records import Record, to_table
from tests.unit.fakes import footer
from tests.unit.scripted import plan_job

_LINEAGE = {
    "job_id": "j",
    "model": "m",
    "model_revision": "r",
    "engine": "e",
    "prompt_sha256": "",
    "attempt": 0,
    "worker": "w",
    "finished_at": 1_767_225_600.25,
}
IMAGE = {"kind": "image", "bytes": 1, "sha256": "", "width": 640, "height": 480}
SOUND = {"kind": "audio", "bytes": 1, "sha256": "", "duration_s": 9.0}


def record(row_id: str, task: str, **fields: Any) -> Record:
    """A record that is ok; `fields` are the task's columns, or those of a record."""
    own = {k: fields.pop(k) for k in ("segments", "objects", "html") if k in fields}
    values: dict[str, Any] = {"uri": f"/media/{row_id}", "status": "ok", "lineage": _LINEAGE}
    return Record(row_id=row_id, task=task, **{**values, **fields}, columns=own)


def failed(row_id: str, task: str) -> Record:
    """A record of a row that could not be done."""
    error = {"kind": "not_found", "message": "m", "retryable": False}
    return record(row_id, task, status="error", error=error)


def job_of(
    store: Store,
    task: str,
    shards: Sequence[Sequence[Record]],
    *,
    carried: Mapping[str, pa.Array] | None = None,
    missing: int = 0,
    options: Mapping[str, Any] | None = None,
) -> StoredJob:
    """A job in the store with these records; `missing` shards of a row have none yet."""
    rows = sum(len(shard) for shard in shards)
    sizes = [len(shard) for shard in shards] + [1] * missing
    columns = dict(carried or {})
    padded = {
        name: pa.concat_arrays([array, pa.nulls(missing, array.type)])
        for name, array in columns.items()
    }
    uris = [["data:,"]] * (rows + missing)
    job = plan_job(store, uris, sizes=sizes, task=task, columns=padded, options=options)
    at = 0
    for number, shard in enumerate(shards):
        table = pa.table({name: array[at : at + len(shard)] for name, array in columns.items()})
        if not columns:
            table = pa.table({"_": pa.nulls(len(shard))}).select([])
        at += len(shard)
        errors = sum(r.status != "ok" for r in shard)
        said = footer(number, ok=len(shard) - errors, error=errors)
        assert commit(store, number, to_table(shard, job.task.columns, table), said)
        write_marker(store, said)
    return job
