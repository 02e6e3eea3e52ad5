"""Media in columns of tables on a real S3 API: planned and read by ranges, of one version."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.tasks.base import Row
from storage.errors import InvalidManifest, RowError
from storage.media import MediaSource
from storage.objects import Store, open_store
from storage.s3 import S3Store
from tests.planning import planned as planned_in

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = 60
SIZE = 100_000


def content(number: int) -> bytes:
    return PNG + number.to_bytes(4, "big") * (SIZE // 4)


def table() -> pa.Table:
    return pa.table(
        {
            "image": pa.array(
                [{"bytes": content(n), "path": f"{n}.png"} for n in range(ROWS)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "n": range(ROWS),
        }
    )


def put_parquet(bucket: Store) -> str:
    for part in range(2):
        sink = io.BytesIO()
        half = table().slice(part * ROWS // 2, ROWS // 2)
        pq.write_table(half, sink, row_group_size=10, compression="none", use_dictionary=False)
        bucket.put(f"data set/x #{part}.parquet", sink.getvalue())
    return f"{bucket.uri}/data set/*.parquet"


def put_dataset(bucket: Store, folder: Path) -> str:
    features = datasets.Features({"image": datasets.Image(), "n": datasets.Value("int64")})
    made = datasets.Dataset.from_dict(table().to_pydict(), features=features)
    made.save_to_disk(folder, num_shards=2)
    for file in folder.iterdir():
        bucket.put(f"saved/{file.name}", file.read_bytes())
    return f"{bucket.uri}/saved"


def planned(out: Store, uri: str, column: str | None = "image") -> list[Row]:
    return planned_in(uri, out, media_column=column)[1]


@pytest.fixture
def bucket(s3_bucket: str) -> Store:
    return open_store(s3_bucket)


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out"))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    with contextlib.closing(MediaSource(local_roots=[], spool_dir=tmp_path / "spool")) as opened:
        yield opened


@pytest.mark.parametrize("saved", [False, True])
def test_planned_without_the_media_and_fetched_by_ranges(
    bucket: Store,
    out: Store,
    source: MediaSource,
    tmp_path: Path,
    saved: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uri = put_dataset(bucket, tmp_path / "d") if saved else put_parquet(bucket)
    sizes: list[int] = []
    read = S3Store.read

    def counting(self: S3Store, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        assert etag
        sizes.append(end - start)
        return read(self, key, start, end, etag=etag)

    monkeypatch.setattr(S3Store, "read", counting)
    rows = planned(out, uri)
    assert sum(sizes) < ROWS * SIZE / 4
    assert [row.columns["n"] for row in rows] == list(range(ROWS))
    sizes.clear()
    for number, row in enumerate(rows):
        media = source.fetch(row.uris[0], max_bytes=SIZE * 2)
        assert media.source == content(number)
    assert ROWS * SIZE <= sum(sizes) < 1.2 * ROWS * SIZE
    if not saved:
        # Two ends of files and six row groups, not a read for each row.
        assert len(sizes) < ROWS / 2


@pytest.mark.parametrize("saved", [False, True])
def test_a_table_that_was_replaced(
    bucket: Store, out: Store, source: MediaSource, tmp_path: Path, saved: bool
) -> None:
    uri = put_dataset(bucket, tmp_path / "d") if saved else put_parquet(bucket)
    rows = planned(out, uri)
    source.fetch(rows[0].uris[0], max_bytes=SIZE * 2)
    for found in list(bucket.list()):
        bucket.put(found.key, bucket.get(found.key).replace(content(5), content(6)))
        bucket.put(found.key, bucket.get(found.key).replace(content(50), content(51)))
    for number in (1 if saved else 10, ROWS - 1):
        with pytest.raises(RowError) as caught:
            source.fetch(rows[number].uris[0], max_bytes=SIZE * 2)
        assert caught.value.kind == "not_found"
        assert "replaced" in caught.value.message or "changed" in caught.value.message


def test_a_table_of_media_is_not_copied_to_find_out(
    bucket: Store, out: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = put_parquet(bucket)
    sizes: list[int] = []
    read = S3Store.read

    def counting(self: S3Store, key: str, start: int, end: int, *, etag: str = "") -> bytes:
        sizes.append(end - start)
        return read(self, key, start, end, etag=etag)

    monkeypatch.setattr(S3Store, "read", counting)
    one = f"{bucket.uri}/data set/x #0.parquet"
    for asked in (uri, one, f"{bucket.uri}/data set"):
        with pytest.raises(InvalidManifest, match="--media-column image"):
            planned(out, asked, None)
    assert sum(sizes) < SIZE * 4


def test_what_is_not_there(bucket: Store, out: Store) -> None:
    with pytest.raises(InvalidManifest, match="no such object"):
        planned(out, f"{bucket.uri}/none.parquet")
    with pytest.raises(InvalidManifest, match="no such object"):
        planned(out, f"{bucket.uri}/none.parquet", None)
    with pytest.raises(InvalidManifest, match="--media-column goes with"):
        planned(out, f"{bucket.uri}/none")
