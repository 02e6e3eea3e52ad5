"""Small Parquet files that unpack to far more: read a little at a time, or refused."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import parquet_cells, parquet_column, parquet_sizes
from storage.errors import InvalidManifest, RowError
from storage.manifest_cells import CellFile
from storage.media import MediaSource
from storage.tables import ParquetTable
from tests.planning import planned
from tests.unit.fakes import counting_ranges

PNG = b"\x89PNG\r\n\x1a\n"
KIB = 1 << 10
MIB = 1 << 20
#: Ways of a Parquet file to have a text once and mean it in every row.
REPEATING: list[dict[str, Any]] = [
    {"use_dictionary": True},
    {"use_dictionary": ["uri"], "column_encoding": {"note": "DELTA_BYTE_ARRAY"}},
]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    with contextlib.closing(MediaSource(local_roots=[tmp_path], spool_dir=tmp_path / "s")) as made:
        yield made


# --- media in a column -----------------------------------------------------------------------

ROWS = 300
CELL = PNG + bytes(64 * KIB)
REPEATING_MEDIA = [
    {"use_dictionary": True},
    {"use_dictionary": False, "column_encoding": {"image": "DELTA_BYTE_ARRAY"}},
]


def media(folder: Path, cells: list[bytes], **options: Any) -> list[str]:
    """The URIs of media in a column of one row group."""
    pq.write_table(pa.table({"image": cells}), folder / "m.parquet", **options)
    return [row.uris[0] for row in planned(folder / "m.parquet", media_column="image")[1]]


def fetched(source: MediaSource, uri: str, max_bytes: int = 1 << 30) -> bytes:
    found = source.fetch(uri, max_bytes=max_bytes).source
    assert isinstance(found, bytes)
    return found


def spooled(source: MediaSource) -> int:
    things = source._cells._groups._things.values()
    return sum(slot.thing.size for slot in things if slot.thing is not None)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each batch of cells, as they are decoded."""
    found: list[int] = []
    parts = parquet_column.parts

    def noting(cells: pa.Array) -> tuple[pa.Array, pa.Array | None]:
        found.append(cells.nbytes)
        return parts(cells)

    monkeypatch.setattr(parquet_column, "parts", noting)
    return found


@pytest.mark.parametrize("options", REPEATING_MEDIA)
def test_a_cell_in_every_row_is_not_unpacked_ahead(
    tmp_path: Path,
    source: MediaSource,
    decoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(parquet_column, "_WHOLE_BYTES", MIB)
    monkeypatch.setattr(parquet_column, "_BATCH_BYTES", 256 * KIB)
    uris = media(tmp_path, [CELL] * ROWS, **options)
    assert (tmp_path / "m.parquet").stat().st_size < 2 * len(CELL)
    assert fetched(source, uris[0]) == CELL
    assert spooled(source) <= 2 * MIB
    assert fetched(source, uris[-1]) == CELL
    assert max(decoded) <= MIB


def test_cells_that_differ_are_decoded_many_at_a_time_and_read_once(
    tmp_path: Path, source: MediaSource, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As writers do by default: a dictionary until that is too long.
    cells = [PNG + random.Random(n).randbytes(16 * KIB) for n in range(ROWS)]
    uris = media(tmp_path, cells)
    monkeypatch.setattr(parquet_column, "_WHOLE_BYTES", MIB)
    monkeypatch.setattr(parquet_column, "_BATCH_BYTES", MIB)
    counting, reads = counting_ranges()
    monkeypatch.setattr("storage.references.FileRanges", counting)
    assert [fetched(source, uri) for uri in uris] == cells
    assert len(decoded) <= 10
    assert 0 < sum(reads) < 1.05 * sum(map(len, cells))


def test_cells_over_the_cap_are_not_kept(tmp_path: Path, source: MediaSource) -> None:
    uris = media(tmp_path, [CELL, PNG + b"small"])
    with pytest.raises(RowError) as caught:
        fetched(source, uris[0], max_bytes=1000)
    assert caught.value.kind == "too_large"
    assert spooled(source) < 1000
    assert fetched(source, uris[1], max_bytes=1000) == PNG + b"small"
    # Another job may take them.
    assert fetched(source, uris[0]) == CELL


def test_a_column_keeps_no_more_than_so_much(
    tmp_path: Path, source: MediaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_column, "_WHOLE_BYTES", MIB)
    monkeypatch.setattr(parquet_column, "_KEPT_BYTES", MIB)
    monkeypatch.setattr(parquet_column, "_BATCH_BYTES", 256 * KIB)
    cells = [CELL, CELL + b"other"] * (ROWS // 2)
    uris = media(tmp_path, cells)
    for row in (ROWS - 1, 0, 200, 201):
        assert fetched(source, uris[row]) == cells[row]
        assert spooled(source) <= 2 * MIB


def test_a_row_group_is_not_unpacked_without_end(
    tmp_path: Path, source: MediaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_column, "_WHOLE_BYTES", MIB)
    monkeypatch.setattr(parquet_column, "_BATCH_BYTES", 256 * KIB)
    monkeypatch.setattr(parquet_column, "_REPEATED_BYTES", 2 * MIB)
    uris = media(tmp_path, [CELL] * ROWS)
    with pytest.raises(RowError, match="unpacks to far more") as caught:
        fetched(source, uris[-1])
    assert caught.value.kind == "too_large"
    assert fetched(source, uris[0]) == CELL


# --- manifests -------------------------------------------------------------------------------

COUNT = 4000
NOTE = "word " * 2000


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of manifests, 64 times smaller."""
    monkeypatch.setattr(parquet_sizes, "_MOST_BYTES", MIB)
    monkeypatch.setattr(parquet_sizes, "_MOST_ROW", MIB)
    monkeypatch.setattr(parquet_sizes, "_MOST_LISTS", 8 * MIB)
    monkeypatch.setattr(parquet_cells, "_HELD_BYTES", MIB, raising=False)


def batches(path: Path, column: str, media_column: bool) -> list[pa.RecordBatch]:
    """What the readers of manifests take of a file at a time."""
    if media_column:
        return list(CellFile(str(path), "image").batches([column]))
    return list(ParquetTable(path.name, path).batches(["uri", column]))


def write(folder: Path, column: str, values: Any, **options: Any) -> Path:
    path = folder / "m.parquet"
    count = len(values)
    data = pa.table(
        {"uri": [f"{n}.png" for n in range(count)], column: values, "image": [b"a"] * count}
    )
    pq.write_table(data, path, **options)
    return path


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("media_column", [False, True])
@pytest.mark.parametrize("options", REPEATING)
def test_a_text_in_every_row(tmp_path: Path, options: dict[str, Any], media_column: bool) -> None:
    path = write(tmp_path, "note", [NOTE] * COUNT, **options)
    assert path.stat().st_size < COUNT * len(NOTE) // 100
    found = batches(path, "note", media_column)
    assert sum(batch.num_rows for batch in found) == COUNT
    assert max(batch.nbytes for batch in found) <= 2 * MIB


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("media_column", [False, True])
@pytest.mark.parametrize("value", [b"a" * 10_000, None])
def test_bytes_of_one_length(tmp_path: Path, value: bytes | None, media_column: bool) -> None:
    path = write(tmp_path, "note", pa.array([value] * COUNT, pa.binary(10_000)))
    found = batches(path, "note", media_column)
    assert sum(batch.num_rows for batch in found) == COUNT
    assert max(batch.nbytes for batch in found) <= 2 * MIB


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("media_column", [False, True])
@pytest.mark.parametrize("value", [0, None, "word"])
def test_lists_of_one_value_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, media_column: bool
) -> None:
    for room in ("tables", "manifest_cells"):
        monkeypatch.setattr(f"storage.{room}.check_rows", lambda *_: pytest.fail("read"))
    many = [value] * (2 * MIB)
    kind = pa.list_(pa.int64() if value is None else pa.scalar(value).type)
    path = write(tmp_path, "note", pa.array([many, *[[]] * 99], kind))
    assert path.stat().st_size < MIB
    with pytest.raises(InvalidManifest, match=r"smaller row groups|longer than"):
        batches(path, "note", media_column)


@pytest.mark.usefixtures("limits")
def test_lists_as_people_have_them(tmp_path: Path) -> None:
    """One text is long, so that by the dictionary alone all might be."""
    texts = [
        [f"text {n % 50}", f"text {n % 7}", "word " * (1000 if n == 5 else 1)] for n in range(COUNT)
    ]
    for kind in (pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_(pa.string(), 3)):
        path = write(tmp_path, "note", pa.array(texts, kind))
        found = batches(path, "note", False)
        assert pa.Table.from_batches(found).column("note").to_pylist() == texts


@pytest.mark.parametrize("media_column", [False, True])
def test_manifests_as_people_have_them_are_read_many_rows_at_a_time(
    tmp_path: Path, media_column: bool
) -> None:
    count = 2 * parquet_sizes.MOST_ROWS
    path = write(tmp_path, "note", [f"https://example.com/{n}" for n in range(count)])
    assert [b.num_rows for b in batches(path, "note", media_column)] == [count // 2] * 2
