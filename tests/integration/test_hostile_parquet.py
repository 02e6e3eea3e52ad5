"""Parquet manifests that unpack to far more than they are, or hold what no manifest should."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.planning import ROOM_MB, plan_apart, planned, refusal


def _repeating(path: Path, count: int) -> int:
    """Rows of 100 kB that a Parquet file's dictionary holds once; gives their bytes in all."""
    filler = "word " * 20_000
    once = pa.DictionaryArray.from_arrays(pa.array([0, 1] * (count // 2), pa.int32()), ["", filler])
    lists = pa.ListArray.from_arrays(pa.array(range(count + 1), pa.int32()), once)
    uris = [f"media/{n}.png" for n in range(count)]
    pq.write_table(pa.table({"uri": uris, "note": once, "notes": lists}), path)
    return count * len(filler)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [4_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_a_parquet_file_that_unpacks_to_gigabytes_is_planned_in_little_memory(
    tmp_path: Path, count: int
) -> None:
    path = tmp_path / "m.parquet"
    size = _repeating(path, count)
    assert size >= count * 100_000
    assert path.stat().st_size < size // 100
    found = plan_apart(path, tmp_path / "out", 550)
    assert (found["said"], found["rows"]) == (None, count)
    assert found["held_mb"] < ROOM_MB


@pytest.mark.parametrize(
    ("megabytes", "others", "dictionary"),
    [
        (80, 0, False),
        (80, 99, False),
        (80, 99, True),
        pytest.param(1024, 0, False, marks=pytest.mark.full),
    ],
)
def test_a_row_that_is_far_too_long_is_refused(
    tmp_path: Path, megabytes: int, others: int, dictionary: bool
) -> None:
    """Alone without a look at it; among others its page must be unpacked to know it."""
    path = tmp_path / "m.parquet"
    notes = pa.array([*["short"] * others, "a" * (megabytes << 20)], pa.large_string())
    table = pa.table({"uri": ["a"] * (others + 1), "note": notes})
    # Quick to make: what it is packed by is of no matter.
    more: dict[str, Any] = {"compression": "lz4", "write_statistics": False}
    pq.write_table(table, path, use_dictionary=dictionary, **more)
    del table, notes
    found = plan_apart(path, tmp_path / "out", 120)
    assert found["rows"] is None
    assert "longer than 64 MiB" in found["said"]
    assert str(path) in found["said"]
    assert found["held_mb"] < ROOM_MB


def _table(*columns: tuple[str, Any], rows: int = 1) -> bytes:
    """A Parquet file with `uri` and these columns, which may have one name."""
    sink = io.BytesIO()
    names, arrays = zip(("uri", ["a"] * rows), *columns, strict=True)
    pq.write_table(pa.Table.from_arrays([pa.array(a) for a in arrays], names=list(names)), sink)
    return sink.getvalue()


def _no_text() -> pa.Array:
    """A column of text that is no UTF-8, which Arrow itself would not make."""
    parts = [None, pa.py_buffer(b"\0\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb")]
    return pa.Array.from_buffers(pa.string(), 1, parts)


def _nested(levels: int) -> pa.Array:
    found = pa.array([1])
    for _ in range(levels):
        found = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), found)
    return found


_REFUSED: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (_table(("x", _no_text())), "Invalid UTF8 sequence"),
    "ids twice": (_table(("id", [5, 5]), rows=2), "row 1 (row 0 is '5'"),
    "a column twice": (_table(("x", [1]), ("x", [2])), "called 'x'; rename one"),
    "fractions as ids": (_table(("id", [1.5])), "'id' is double, and must be text"),
    "truths as ids": (_table(("id", [True])), "'id' is bool, and must be text"),
    "bytes as ids": (_table(("id", [b"x"])), "'id' is binary, and must be text"),
    "deep": (_table(("x", _nested(120))), "too deeply nested"),
    "nothing": (_table(rows=0), "no rows; a job needs at least one"),
}


@pytest.mark.parametrize("what", list(_REFUSED))
def test_what_is_refused_is_told_with_its_place(tmp_path: Path, what: str) -> None:
    data, said = _REFUSED[what]
    path = tmp_path / "m.parquet"
    path.write_bytes(data)
    message = refusal(path)
    assert said in message
    assert str(path) in message


def test_whole_numbers_are_ids_in_parquet_too(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    for kind, ids in ((pa.uint64(), [2**64 - 1, None, 7]), (pa.int8(), [-3, 0, None])):
        path.write_bytes(_table(("id", pa.array(ids, kind)), rows=3))
        _, rows = planned(path)
        assert [row.id for row in rows] == [str(at if v is None else v) for at, v in enumerate(ids)]
