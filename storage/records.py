"""The outcome of one row, and the Arrow schema that every record of a job shares."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import pyarrow as pa

from storage.blocks import URIS
from storage.presigned import masked

#: Kept in every Parquet footer. A new column is a minor step, a changed one a major.
SCHEMA_VERSION = "1.2"

Status = Literal["ok", "error", "quarantined"]

_ERROR = pa.struct([("kind", pa.string()), ("message", pa.string()), ("retryable", pa.bool_())])
_MEDIUM = pa.struct(
    [
        ("kind", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_s", pa.float64()),
        ("pages", pa.int32()),
    ]
)
_USAGE = pa.struct(
    [("prompt_tokens", pa.int64()), ("output_tokens", pa.int64()), ("seconds", pa.float64())]
)
_LINEAGE = pa.struct(
    [
        ("job_id", pa.string()),
        ("model", pa.string()),
        ("model_revision", pa.string()),
        ("engine", pa.string()),
        ("prompt_sha256", pa.string()),
        ("attempt", pa.int32()),
        ("worker", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)

#: Columns of every record, whatever the task; the task's own follow, then the manifest's.
RECORD_FIELDS: tuple[pa.Field, ...] = (
    pa.field("row_id", pa.string(), nullable=False),
    pa.field("uri", pa.string()),
    pa.field("task", pa.string(), nullable=False),
    pa.field("status", pa.string(), nullable=False),
    pa.field("error", _ERROR),
    pa.field("text", pa.string()),
    pa.field("raw", pa.string()),
    pa.field("thought", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("warnings", pa.list_(pa.string()), nullable=False),
    pa.field("media", pa.list_(_MEDIUM), nullable=False),
    pa.field("usage", _USAGE, nullable=False),
    pa.field("lineage", _LINEAGE, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one row; the fields are the columns of `RECORD_FIELDS`.

    `columns` holds the task's own columns. Plain values throughout, so that a record
    can wait in a checkpoint as JSON.
    """

    row_id: str
    uri: str | None
    task: str
    status: Status
    lineage: Mapping[str, Any]
    error: Mapping[str, Any] | None = None
    text: str | None = None
    raw: str | None = None
    thought: str | None = None
    finish_reason: str | None = None
    warnings: Sequence[str] = ()
    media: Sequence[Mapping[str, Any]] = ()
    usage: Mapping[str, Any] = field(
        default_factory=lambda: {"prompt_tokens": 0, "output_tokens": 0, "seconds": 0.0}
    )
    columns: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives an equal record back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return cls(**value)


def warning_name(warning: str) -> str:
    """A warning without its figure: `malformed_boxes` of `malformed_boxes:2`."""
    return warning.partition(":")[0]


def count_warnings(rows: Iterable[Iterable[str]]) -> dict[str, int]:
    """How many of the rows have each warning, by name, the most frequent first."""
    counts = Counter(name for row in rows for name in {warning_name(w) for w in row})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def reserved_names(task_fields: Iterable[pa.Field]) -> frozenset[str]:
    """Column names that a manifest's column cannot keep in the records of such a task."""
    return frozenset(f.name for f in (*RECORD_FIELDS, *task_fields))


def record_schema(task_fields: Iterable[pa.Field], carried: pa.Schema) -> pa.Schema:
    """The schema of a job's records, fixed before the first is written."""
    return pa.schema([*RECORD_FIELDS, *task_fields, *carried])


def to_table(
    records: Sequence[Record], task_fields: Sequence[pa.Field], carried: pa.Table
) -> pa.Table:
    """Records and the carried columns of the same rows, in the same order, as one table."""
    if len(records) != carried.num_rows:
        raise ValueError(f"{len(records)} records for {carried.num_rows} rows")
    arrays = [
        pa.array([_cell(record, f) for record in records], type=f.type) for f in RECORD_FIELDS
    ]
    arrays += [pa.array([r.columns.get(f.name) for r in records], type=f.type) for f in task_fields]
    schema = record_schema(task_fields, carried.schema)
    shown = [_shown(name, carried.column(i)) for i, name in enumerate(carried.column_names)]
    return pa.Table.from_arrays([*arrays, *shown], schema=schema)


def _shown(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """A carried column as records have it: `uris` names media, and so is masked as `uri` is."""
    if name != URIS.source:
        return column
    lists = [
        None if uris is None else [uri if uri is None else masked(uri) for uri in uris]
        for uris in column.to_pylist()
    ]
    return pa.array(lists, column.type)


def check_columns(text: str, columns: Mapping[str, Any], task_fields: Sequence[pa.Field]) -> None:
    """Raises ValueError or TypeError if a row's text and task columns cannot be written."""
    unknown = sorted(set(columns) - {f.name for f in task_fields})
    if unknown:
        raise ValueError(f"columns that the task does not declare: {', '.join(unknown)}")
    pa.array([text], pa.string())
    for f in task_fields:
        pa.array([columns.get(f.name)], type=f.type)
    # Until the shard is written, records wait in checkpoints.
    json.dumps(columns)


def _cell(record: Record, column: pa.Field) -> Any:
    value = getattr(record, column.name)
    if column.name == "lineage" and isinstance(value["finished_at"], float):
        # Seconds since the epoch in memory and checkpoints, a timestamp in Parquet.
        return {**value, "finished_at": int(value["finished_at"] * 1e6)}
    return value
