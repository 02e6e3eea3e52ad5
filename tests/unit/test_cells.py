"""Media in a column of a table: planned without being read, and fetched cell by cell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.plan import Plan
from jobs.tasks.base import Row
from storage import cells, parquet_column, ranges
from storage.blocks import Faults
from storage.cell_uri import Batch, Cell, parse, references
from storage.errors import InvalidManifest, RowError
from storage.manifest import open_manifest
from storage.media import Media, MediaSource
from storage.ranges import Ranged
from tests.planning import planned as planned_in
from tests.unit.fakes import counting_ranges

PNG = b"\x89PNG\r\n\x1a\n"


def pixels(number: int, size: int = 40) -> bytes:
    return PNG + random.Random(number).randbytes(size + number)


def planned(uri: str | Path, column: str | None = "image", **subset: int) -> tuple[Plan, list[Row]]:
    return planned_in(uri, media_column=column, **subset)


def refusal(uri: str | Path, column: str | None = "image") -> str:
    with pytest.raises(InvalidManifest) as caught:
        planned(uri, column)
    return str(caught.value)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    with contextlib.closing(
        MediaSource(local_roots=[tmp_path], spool_dir=tmp_path / "spool")
    ) as opened:
        yield opened


def content(media: Media) -> bytes:
    data = media.source if isinstance(media.source, bytes) else media.source.read_bytes()
    assert media.sha256 == hashlib.sha256(data).hexdigest()
    assert media.size == len(data)
    media.close()
    return data


def fetched(source: MediaSource, row: Row, base: str | None = None) -> bytes:
    (uri,) = row.uris
    media = source.fetch(uri, max_bytes=1 << 30, base=base)
    assert media.uri == uri
    return content(media)


def fault(source: MediaSource, uri: str, max_bytes: int = 1 << 30) -> RowError:
    with pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=max_bytes)
    return caught.value


# --- writing tables as people do -----------------------------------------------------------

ROWS = 250


def table(rows: int = ROWS, kind: pa.DataType | None = None) -> pa.Table:
    """Rows whose cell in `image` holds `pixels` of their number."""
    kind = kind or pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells: list[Any] = [pixels(n) for n in range(rows)]
    if pa.types.is_struct(kind):
        cells = [{"bytes": c, "path": f"photos/{n}.png"} for n, c in enumerate(cells)]
    return pa.table(
        {
            "n": pa.array(range(rows), pa.int32()),
            "image": pa.array(cells, kind),
            "uri": [f"https://example.com/{n}" for n in range(rows)],
            "tags": [["a"] * (n % 3) for n in range(rows)],
            "text": [None if n % 7 == 0 else f"row {n}" for n in range(rows)],
        }
    )


def one_file(folder: Path) -> Path:
    pq.write_table(table(), folder / "all.parquet", row_group_size=64)
    return folder / "all.parquet"


def one_group(folder: Path) -> Path:
    kind = pa.large_binary()
    pq.write_table(table(kind=kind), folder / "all.parquet", compression="zstd")
    return folder / "all.parquet"


def several_files(folder: Path) -> Path:
    (folder / "parts").mkdir()
    for part in range(3):
        rows = table(kind=pa.binary()).slice(part * 100, 100)
        pq.write_table(rows, folder / "parts" / f"p-{part}.parquet", row_group_size=30)
    return folder / "parts"


def pattern(folder: Path) -> str:
    return f"{several_files(folder)}/p-*.parquet"


def saved(folder: Path) -> Path:
    data = table()
    features = datasets.Features.from_arrow_schema(data.schema)
    features["image"] = datasets.Image()
    made = datasets.Dataset(data.cast(features.arrow_schema), split="train")
    made = datasets.Dataset.from_list(made.with_format("arrow")[:].to_pylist(), features=features)
    datasets.DatasetDict({"train": made, "test": made.select([0])}).save_to_disk(
        folder / "saved #1", num_shards={"train": 2, "test": 1}
    )
    return folder / "saved #1" / "train"


KINDS = [one_file, one_group, several_files, pattern, saved]


@pytest.mark.parametrize("write", KINDS)
def test_every_row_gets_its_own_medium(
    tmp_path: Path, source: MediaSource, write: Callable[[Path], str | Path]
) -> None:
    plan, rows = planned(write(tmp_path))
    assert [row.id for row in rows] == [str(n) for n in range(ROWS)]
    assert [row.columns["n"] for row in rows] == list(range(ROWS))
    assert [fetched(source, row) for row in rows] == [pixels(n) for n in range(ROWS)]
    # The media are not carried, and what the table calls `uri` is.
    assert [column.name for column in plan.columns] == ["n", "in_uri", "tags", "text"]
    assert rows[8].columns == {
        "n": 8,
        "uri": "https://example.com/8",
        "tags": ["a", "a"],
        "text": "row 8",
    }


@pytest.mark.parametrize("write", KINDS)
def test_many_at_once_and_in_any_order(
    tmp_path: Path, source: MediaSource, write: Callable[[Path], str | Path]
) -> None:
    _, rows = planned(write(tmp_path))
    order = random.Random(3).sample(range(ROWS), ROWS)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: fetched(source, rows[n]), order))
    assert found == [pixels(n) for n in order]


@pytest.mark.parametrize("write", KINDS)
def test_subsets(tmp_path: Path, source: MediaSource, write: Callable[[Path], str | Path]) -> None:
    uri = write(tmp_path)
    _, first = planned(uri, limit=70)
    assert [row.columns["n"] for row in first] == list(range(70))
    assert fetched(source, first[-1]) == pixels(69)
    _, some = planned(uri, sample=9)
    assert len(some) == 9
    assert [fetched(source, row) for row in some] == [pixels(row.columns["n"]) for row in some]


@pytest.mark.parametrize("write", KINDS)
def test_planning_does_not_read_the_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], str | Path]
) -> None:
    big = 1 << 18
    monkeypatch.setitem(globals(), "pixels", lambda n: random.Random(n).randbytes(big))
    uri = write(tmp_path)
    counting, reads = counting_ranges()
    monkeypatch.setattr(ranges, "FileRanges", counting)
    assert planned(uri)[0].rows == ROWS
    # What is read ahead of a header may hold some; the media are 64 MiB.
    assert 0 < sum(reads) < ROWS * big / 8


def test_a_row_group_is_read_once_and_kept_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: MediaSource
) -> None:
    size = 200_000
    data = [PNG + random.Random(n).randbytes(size) for n in range(60)]
    path = tmp_path / "one.parquet"
    # Otherwise all would be one page, which no reader can part.
    pages = {"use_dictionary": False, "write_batch_size": 2, "data_page_size": 1000}
    pq.write_table(pa.table({"image": data}), path, **pages)
    monkeypatch.setattr(parquet_column, "_READ_AHEAD", 1 << 20)
    monkeypatch.setattr(parquet_column, "_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_column, "_BATCH_BYTES", 1 << 20)
    seen: list[int] = []
    read = ranges.FileRanges.read

    def counting(self: Ranged, start: int, end: int) -> bytes:
        seen.append(end - start)
        return read(self, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(ranges.FileRanges, "read", counting)
    _, rows = planned(path)
    seen.clear()
    assert fetched(source, rows[0]) == data[0]
    # The first rows come before the last are read: what is decoded at once is bounded.
    early = sum(seen)
    assert early < len(data) * size / 2
    for number in [*range(60), 0, 30]:
        assert fetched(source, rows[number]) == data[number]
    assert sum(seen) < 1.1 * len(data) * size
    assert max(seen) <= 2 << 20


def test_decoded_row_groups_are_given_up_beyond_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: MediaSource
) -> None:
    path = tmp_path / "one.parquet"
    pq.write_table(table(), path, row_group_size=10)
    monkeypatch.setattr(cells, "_SPILL_BYTES", 5_000)
    _, rows = planned(path)
    held = source._cells._groups
    for number in range(ROWS):
        assert fetched(source, rows[number]) == pixels(number)
        sizes = [slot.thing.size for slot in held._things.values()]  # type: ignore[union-attr]
        assert sum(sizes) <= 5_000 or len(sizes) == 1
    # The files have no names that would be left behind.
    assert [p.name for p in (tmp_path / "spool").rglob("*") if p.is_file()] == [".alive"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_that_changed_is_no_medium(tmp_path: Path, source: MediaSource, suffix: str) -> None:
    uri = one_file(tmp_path) if suffix == "parquet" else saved(tmp_path)
    _, rows = planned(uri)
    path = Path(parse(rows[0].uris[0]).file)
    fetched(source, rows[0])
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    with contextlib.closing(MediaSource(local_roots=None, spool_dir=tmp_path / "s2")) as other:
        error = fault(other, rows[1].uris[0])
    assert error.kind == "not_found"
    assert "changed since the job was planned" in error.message
    # What is open already is found out too, where it is read again.
    error = fault(source, rows[100].uris[0])
    assert error.kind == "not_found"
    path.unlink()
    with contextlib.closing(MediaSource(local_roots=None, spool_dir=tmp_path / "s2")) as other:
        assert fault(other, rows[1].uris[0]).kind == "not_found"


# --- cells without bytes -------------------------------------------------------------------

MIXED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_stream(folder: Path, data: pa.Table, batch_rows: int = 100) -> Path:
    """A dataset as `datasets` saves it, with record batches of so many rows."""
    folder.mkdir()
    path = folder / "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(str(path), data.schema) as writer:
        writer.write_table(data, batch_rows)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "f"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_path_stands_for_missing_bytes(tmp_path: Path, source: MediaSource) -> None:
    values = [
        {"bytes": pixels(0), "path": None},
        {"bytes": None, "path": "b/one.png"},
        {"bytes": pixels(2), "path": "x/äö &#%.png"},
        {"bytes": None, "path": str(tmp_path / "two.png")},
    ]
    data = pa.table({"image": pa.array(values, MIXED)})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.png").write_bytes(pixels(1))
    (tmp_path / "two.png").write_bytes(pixels(3))
    expected = [pixels(n) for n in range(4)]
    for name, size in (("mixed", 4), ("apart", 1)):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(data, path, row_group_size=size)
        plan, rows = planned(path)
        assert plan.base == str(tmp_path)
        assert [fetched(source, row, plan.base) for row in rows] == expected
    # Where the footer says that no cell of a row group has bytes, the path is the URI.
    assert [row.uris[0] for row in rows][1::2] == ["b/one.png", str(tmp_path / "two.png")]
    assert rows[2].uris[0].endswith("&name=%C3%A4%C3%B6%20%26%23%25.png")
    folder = write_stream(tmp_path / "saved", data)
    (folder / "b").mkdir()
    (folder / "b" / "one.png").write_bytes(pixels(1))
    plan, rows = planned(folder)
    assert [fetched(source, row, plan.base) for row in rows] == expected
    assert rows[1].uris == ("b/one.png",)


def test_neither_bytes_nor_a_path(tmp_path: Path, source: MediaSource) -> None:
    values = [{"bytes": pixels(0), "path": None}, {"bytes": None, "path": None}, None]
    data = pa.table({"image": pa.array(values, MIXED)})
    said = refusal(write_stream(tmp_path / "saved", data))
    assert "rows 1, 2 (2 in all): neither bytes nor a path in 'image'" in said
    pq.write_table(data, tmp_path / "apart.parquet", row_group_size=1)
    assert "rows 1, 2 (2 in all)" in refusal(tmp_path / "apart.parquet")
    # A Parquet footer counts them and does not name them: the row's own error does.
    pq.write_table(data, tmp_path / "mixed.parquet")
    _, rows = planned(tmp_path / "mixed.parquet")
    assert fetched(source, rows[0]) == pixels(0)
    for row in rows[1:]:
        error = fault(source, row.uris[0])
        assert (error.kind, "neither bytes nor a path" in error.message) == ("not_found", True)


def test_a_path_may_not_be_another_cell(tmp_path: Path, source: MediaSource) -> None:
    other = planned(one_file(tmp_path))[1][0]
    assert fetched(source, other) == pixels(0)
    path = tmp_path / "loop.parquet"
    values = [{"bytes": pixels(0), "path": ""}, {"bytes": None, "path": other.uris[0]}]
    pq.write_table(pa.table({"image": pa.array(values, MIXED)}), path)
    assert fault(source, planned(path)[1][1].uris[0]).kind == "not_found"


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), MIXED])
def test_every_type_in_streams(tmp_path: Path, source: MediaSource, kind: pa.DataType) -> None:
    folder = write_stream(tmp_path / "saved", table(kind=kind), 33)
    _, rows = planned(folder)
    assert [fetched(source, row) for row in rows] == [pixels(n) for n in range(ROWS)]


@pytest.mark.parametrize("kind", [pa.binary(), MIXED])
def test_a_table_of_media_alone(tmp_path: Path, source: MediaSource, kind: pa.DataType) -> None:
    data = table(kind=kind).select(["image"])
    pq.write_table(data, tmp_path / "m.parquet", row_group_size=100)
    for uri in (tmp_path / "m.parquet", write_stream(tmp_path / "saved", data)):
        plan, rows = planned(uri)
        assert plan.columns == ()
        assert [fetched(source, row) for row in rows] == [pixels(n) for n in range(ROWS)]


def test_ids_and_names_of_columns(tmp_path: Path, source: MediaSource) -> None:
    data = pa.table(
        {
            "id": ["a", "b"],
            "my image & more": [pixels(0), pixels(1)],
            "bytes": [5, 6],
            "other": [b"x", None],
        }
    )
    pq.write_table(data, tmp_path / "#1 &=%.parquet")
    plan, rows = planned(tmp_path / "#1 &=%.parquet", "my image & more")
    assert [row.id for row in rows] == ["a", "b"]
    assert [column.name for column in plan.columns] == ["bytes", "other"]
    assert [fetched(source, row) for row in rows] == [pixels(0), pixels(1)]
    assert "%231%20%26=%25.parquet#column=my%20image%20%26%20more&row=1&" in rows[1].uris[0]


@pytest.mark.parametrize("streamed", [False, True])
def test_sizes_are_hints(tmp_path: Path, streamed: bool) -> None:
    data = pa.table({"image": [PNG + bytes(10_000), PNG + bytes(30_000)]})
    uri = write_stream(tmp_path / "saved", data) if streamed else tmp_path / "m.parquet"
    if not streamed:
        pq.write_table(data, uri, use_dictionary=False, compression="zstd")
    with open_manifest(str(uri), tmp_path, media_column="image") as manifest:
        (block,) = manifest.source.blocks(Faults("m"))
    hints = block.hints["bytes"]
    assert hints.tolist() == (
        [10_008, 30_008] if streamed else pytest.approx([20_008] * 2, rel=0.01)
    )


# --- what is refused -----------------------------------------------------------------------


def test_what_is_said_of_columns(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    assert "no column 'picture' for --media-column; could be: image" in refusal(path, "picture")
    said = refusal(path, "n")
    assert "column 'n' is int32" in said
    assert "could be: image" in said
    bare = table().drop_columns(["uri"])
    pq.write_table(bare, tmp_path / "bare.parquet")
    assert "--media-column image" in refusal(tmp_path / "bare.parquet", None)
    pq.write_table(bare.select(["n"]), tmp_path / "none.parquet")
    assert "could be none of its columns" in refusal(tmp_path / "none.parquet")


def test_what_is_said_of_other_manifests(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"uri": "a.png"}\n')
    assert "--media-column goes with .parquet" in refusal(tmp_path / "rows.jsonl")
    assert "--media-column goes with .parquet" in refusal(f"{tmp_path}/*.png")
    assert "cannot be read" in refusal(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nothing PAR1")
    assert "not a readable table" in refusal(tmp_path / "bad.parquet")


def test_what_is_said_of_datasets(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    assert "--media-column, which could be: image" in refusal(folder, None)
    said = refusal(folder.parent)
    assert "several splits (train, test)" in said
    assert "saved #1/train" in said
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{}]}))
    assert "flatten_indices" in refusal(folder)
    (folder / "state.json").write_text("{")
    assert "not JSON" in refusal(folder)


def test_streams_that_cannot_be_read_in_place(tmp_path: Path) -> None:
    data = table().select(["image"])
    folder = write_stream(tmp_path / "packed", data)
    path = folder / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(path), data.schema, options=options) as writer:
        writer.write_table(data)
    assert "compressed" in refusal(folder)
    coded = data.append_column("c", pa.array(["x"] * ROWS).dictionary_encode())
    assert "dictionary" in refusal(write_stream(tmp_path / "coded", coded))
    for cut in (5, 300, len(whole) // 2):
        path.write_bytes(whole[:cut])
        assert "not a readable table" in refusal(folder)


def test_files_with_other_columns(tmp_path: Path) -> None:
    several_files(tmp_path)
    other = table(3, pa.binary()).drop_columns(["text"])
    pq.write_table(other, tmp_path / "parts" / "z.parquet")
    assert "column 'text' is in one of them only" in refusal(tmp_path / "parts")


def test_a_file_that_changes_while_it_is_planned(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    with open_manifest(str(path), tmp_path, media_column="image") as manifest:
        list(manifest.source.blocks(Faults("m")))
        assert manifest.digest() == manifest.digest()
        os.utime(path, ns=(1, 1))
        with pytest.raises(InvalidManifest, match="changed while it was read"):
            manifest.digest()


def test_the_digest_tells_versions_apart(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    first = planned(path)[0].manifest_digest
    assert planned(path)[0].manifest_digest == first
    found = path.stat()
    # Other media of the same lengths, by the same clock: the footer still differs.
    pq.write_table(table().slice(1).append_column("z", pa.nulls(ROWS - 1)), path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert planned(path)[0].manifest_digest != first


# --- references ----------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts, texts, st.integers(0, 10**17), st.none() | st.integers(0, 10**17), texts)
def test_references_say_what_they_mean(
    file: str, column: str, tag: str, row: int, at: int | None, name: str
) -> None:
    batch = None if at is None else Batch(at, row // 2)
    (uri,) = references(file, column, tag, pa.array([row]), batch=batch, names=[name]).to_pylist()
    assert parse(uri) == Cell(file, column, row, tag, batch)
    assert uri.isascii()
    assert "#" not in uri.partition("#")[2]


@given(st.text() | st.from_regex(r"cell:[^#]*#column=.*&row=.*&tag=.*"))
def test_other_texts_are_no_references(text: str) -> None:
    with contextlib.suppress(RowError):
        assert isinstance(parse(text), Cell)


def test_names_come_last_so_that_extensions_tell_costs() -> None:
    uris = references("/x.parquet", "a", "t", pa.array([0, 1]), names=["q/clip.mp3", None])
    assert uris.to_pylist() == [
        "cell:/x.parquet#column=a&row=0&tag=t&name=clip.mp3",
        "cell:/x.parquet#column=a&row=1&tag=t",
    ]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("https://example.com/x.parquet", "forbidden"),
        ("file:///etc/x.parquet", "forbidden"),
        ("ftp://b/x.parquet", "forbidden"),
        ("data:,x", "forbidden"),
        ("cell:/x", "forbidden"),
        ("x.parquet", "forbidden"),
        ("/etc/passwd", "forbidden"),
        ("s3://", "not_found"),
        ("s3://bucket", "not_found"),
    ],
)
def test_cells_lie_where_other_media_may(source: MediaSource, file: str, kind: str) -> None:
    (uri,) = references(file, "image", "t", pa.array([0])).to_pylist()
    assert fault(source, uri).kind == kind


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.parquet").symlink_to(path)
    _, rows = planned(tmp_path / "in" / "link.parquet")
    with contextlib.closing(MediaSource(local_roots=[tmp_path / "in"])) as inner:
        assert fault(inner, rows[0].uris[0]).kind == "forbidden"


def test_cells_that_are_not_there(tmp_path: Path, source: MediaSource) -> None:
    path = one_file(tmp_path)
    uri = planned(path)[1][0].uris[0]
    for old, new in (("row=0", f"row={ROWS}"), ("column=image", "column=n"), ("image", "none")):
        assert fault(source, uri.replace(old, new)).kind == "not_found"
    folder = saved(tmp_path)
    uri = planned(folder)[1][0].uris[0]
    assert fault(source, uri.replace("row=0", "row=100000")).kind == "not_found"
    at = parse(uri).batch
    assert at is not None
    assert fault(source, uri.replace(f"batch={at.at}-0", "batch=3-0")).kind == "corrupt"
    assert fault(source, uri.replace(f"batch={at.at}-0", "batch=0-0")).kind == "corrupt"
    assert fault(source, uri.replace(f"&batch={at.at}-0", "")).kind == "corrupt"


def test_cells_are_capped_and_sniffed(tmp_path: Path, source: MediaSource) -> None:
    data = pa.table({"image": [PNG + bytes(5000), b"", b"text of some kind"]})
    pq.write_table(data, tmp_path / "m.parquet")
    for uri in (tmp_path / "m.parquet", write_stream(tmp_path / "saved", data)):
        _, rows = planned(uri)
        assert fault(source, rows[0].uris[0], max_bytes=5000).kind == "too_large"
        assert fault(source, rows[1].uris[0]).kind == "empty"
        assert fault(source, rows[2].uris[0]).kind == "wrong_kind"
        assert len(fetched(source, rows[0])) == 5008


def test_large_cells_are_spooled(tmp_path: Path, source: MediaSource) -> None:
    big = PNG + np.random.default_rng(0).bytes(20 << 20)
    data = pa.table({"image": [big, pixels(1)]})
    pq.write_table(data, tmp_path / "m.parquet")
    for uri in (tmp_path / "m.parquet", write_stream(tmp_path / "saved", data)):
        media = source.fetch(planned(uri)[1][0].uris[0], max_bytes=1 << 30)
        assert media.spooled
        assert content(media) == big


def test_a_damaged_row_group_fails_its_rows_alone(tmp_path: Path, source: MediaSource) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(table(kind=pa.binary()).select(["image"]), path, row_group_size=125)
    chunk = pq.read_metadata(path).row_group(1).column(0)
    found = path.stat()
    data = bytearray(path.read_bytes())
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    data[at : at + 64] = b"\xff" * 64
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    _, rows = planned(path)
    assert fetched(source, rows[3]) == pixels(3)
    assert {fault(source, rows[n].uris[0]).kind for n in (125, 200)} == {"corrupt"}
    assert fetched(source, rows[4]) == pixels(4)


def test_a_failure_in_between_does_not_last(
    tmp_path: Path, source: MediaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_file(tmp_path)
    _, rows = planned(path)
    full = parquet_column.os.pwrite
    monkeypatch.setattr(
        parquet_column.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    error = fault(source, rows[0].uris[0])
    assert error.kind == "unavailable"
    assert "TMPDIR" in error.message
    monkeypatch.setattr(parquet_column.os, "pwrite", full)
    assert fetched(source, rows[0]) == pixels(0)
