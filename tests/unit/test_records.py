"""Records and the one Arrow schema of all shards of a job."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.tasks import get_task
from storage.records import (
    RECORD_FIELDS,
    Record,
    check_columns,
    count_warnings,
    record_schema,
    reserved_names,
    to_table,
)

LINEAGE = {
    "job_id": "j",
    "model": "tiny",
    "model_revision": "r",
    "engine": "scripted 1",
    "prompt_sha256": None,
    "attempt": 0,
    "worker": "w",
    "finished_at": 1_000_000.25,
}
CARRIED = pa.table({
    "a_bool": pa.array([True, None], pa.bool_()),
    "a_int": pa.array([2**62, None], pa.int64()),
    "a_double": pa.array([0.1, None], pa.float64()),
    "a_string": pa.array(["ä", None], pa.string()),
    "a_large": pa.array(["x", None], pa.large_string()),
    "a_binary": pa.array([b"\0", None], pa.binary()),
    "a_time": pa.array([1, None], pa.timestamp("ns", tz="Europe/Berlin")),
    "a_date": pa.array([1, None], pa.date32()),
    "a_decimal": pa.array([None, None], pa.decimal128(20, 3)),
    "a_uint8": pa.array([255, None], pa.uint8()),
    "all_null": pa.array([None, None], pa.float32()),
})  # fmt: skip


def record(row_id: str, **changes: Any) -> Record:
    values: dict[str, Any] = {"uri": f"{row_id}.png", "task": "detect", "status": "ok"}
    return Record(row_id=row_id, lineage=LINEAGE, **(values | changes))


def failed(row_id: str) -> Record:
    error = {"kind": "corrupt", "message": "as it is", "retryable": False}
    return record(row_id, status="error", error=error)


def full(row_id: str) -> Record:
    box = {"x0": 1.5, "y0": 2.0, "x1": 3.0, "y1": 4.0}
    found = {"label": "cat", "box": box, "box_1000": [1, 2, 3, 4], "media_index": 0, "time_s": None}
    return record(
        row_id,
        text="a cat",
        raw="<raw>a cat",
        finish_reason="stop",
        warnings=["clipped_boxes:1"],
        media=[
            {
                "kind": "image",
                "bytes": 9,
                "sha256": "ab",
                "width": 4,
                "height": 3,
                "duration_s": None,
                "pages": None,
            }
        ],
        usage={"prompt_tokens": 10, "output_tokens": 2, "seconds": 0.5},
        columns={"objects": [found]},
    )


def through_parquet(table: pa.Table) -> pa.Table:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return pq.read_table(sink)


DETECT = get_task("detect").columns


@pytest.mark.parametrize("make", [failed, full, record], ids=["errors", "full", "nulls"])
@pytest.mark.parametrize("carried", [CARRIED, CARRIED.select([])], ids=["carried", "bare"])
def test_every_shard_has_the_same_schema(make: Any, carried: pa.Table) -> None:
    # A table made of no columns forgets its rows; a slice of one does not.
    table = to_table([make("a"), make("b")], DETECT, carried)
    assert table.schema == record_schema(DETECT, carried.schema)
    read = through_parquet(table)
    assert read.schema == table.schema
    assert read.equals(table)
    table.validate(full=True)


def test_values_come_back_as_they_went() -> None:
    table = through_parquet(to_table([full("a"), failed("b")], DETECT, CARRIED))
    first, second = table.select([f.name for f in (*RECORD_FIELDS, *DETECT)]).to_pylist()
    expected = full("a")
    for name in ("row_id", "uri", "text", "raw", "warnings", "media", "usage", "error"):
        assert first[name] == getattr(expected, name)
    assert first["objects"] == expected.columns["objects"]
    assert first["lineage"]["finished_at"].timestamp() == 1_000_000.25
    assert second["error"] == {"kind": "corrupt", "message": "as it is", "retryable": False}
    assert second["warnings"] == []
    assert second["objects"] is None
    assert table.column("a_int").to_pylist() == [2**62, None]


@pytest.mark.parametrize("make", [failed, full, record])
def test_a_record_waits_as_json(make: Any) -> None:
    before = make("a")
    after = Record.from_json(json.loads(json.dumps(before.to_json())))
    one, other = (to_table([r], DETECT, CARRIED.slice(0, 1)) for r in (before, after))
    assert one.equals(other)


def test_records_and_rows_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 records for 2 rows"):
        to_table([full("a")], DETECT, CARRIED)


def test_reserved_names_are_those_of_the_record_and_of_the_task() -> None:
    names = reserved_names(DETECT)
    assert {"row_id", "uri", "error", "lineage", "objects"} <= names
    assert "caption" not in names


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"objects": 7}, "[Cc]ould not|not iterable|list"),
        ({"objects": [{"label": "\ud83d"}]}, "surrogates"),
        ({"objects": [{"box_1000": [2**40]}]}, "too large"),
        ({"other": 1}, "does not declare: other"),
    ],
)
def test_columns_that_cannot_be_written_are_found_at_their_row(
    columns: dict[str, Any], why: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=why):
        check_columns("text", columns, DETECT)


def test_columns_that_cannot_wait_as_json_are_found_too() -> None:
    with pytest.raises(TypeError, match="bytes"):
        check_columns("text", {"b": b"x"}, [pa.field("b", pa.binary())])
    check_columns("text", full("a").columns, DETECT)
    check_columns("text", {}, DETECT)


def test_warnings_are_counted_by_row_and_without_figures() -> None:
    rows = [["malformed_boxes:2", "upscaled"], [], ["upscaled", "malformed_boxes:1", "upscaled"]]
    assert count_warnings([*rows, ["upscaled"]]) == {"upscaled": 3, "malformed_boxes": 2}
