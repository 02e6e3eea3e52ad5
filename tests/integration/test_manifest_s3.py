"""Manifests and plans on a real S3 API, as they are on local paths."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.plan import Plan
from jobs.planner import drop_plan
from jobs.tasks.base import Cost, Row
from storage import local_copy
from storage.errors import InvalidManifest
from storage.objects import Store, open_store
from tests.planning import planned as planned_in


def planned(out: Store, uri: str, **subset: int) -> tuple[Plan, list[Row]]:
    return planned_in(uri, out, costs=Cost(180, 0, 25.0, 60.0), **subset)


@pytest.fixture
def out(s3_bucket: str) -> Store:
    return open_store(f"{s3_bucket}/jobs/one")


@pytest.fixture
def bucket(s3_bucket: str) -> Store:
    return open_store(s3_bucket)


def rows(count: int) -> list[dict[str, object]]:
    return [{"id": f"r{i}", "uri": f"clip-{i}.wav", "n": i} for i in range(count)]


def as_jsonl(count: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows(count)).encode()


def as_parquet(count: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(count)), sink)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_the_same_plan_as_from_a_local_path(
    bucket: Store, out: Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small ranges, so that the manifest comes in more of them than are under way at once.
    monkeypatch.setattr(local_copy, "_RANGE_BYTES", 3000)
    data = {
        "jsonl": as_jsonl(3000),
        "jsonl.gz": gzip.compress(as_jsonl(3000)),
        "csv": ("id,uri,n\n" + "".join(f"r{i},clip-{i}.wav,{i}\n" for i in range(3000))).encode(),
        "parquet": as_parquet(3000),
    }[kind]
    bucket.put(f"in/m.{kind}", data)
    (tmp_path / f"m.{kind}").write_bytes(data)
    remote, found = planned(out, f"{bucket.uri}/in/m.{kind}")
    local, expected = planned(open_store(str(tmp_path / "out")), str(tmp_path / f"m.{kind}"))
    assert found == expected
    assert remote == local.model_copy(update={"base": f"{bucket.uri}/in"})
    assert remote.manifest_digest == hashlib.sha256(data).hexdigest()
    assert planned(out, f"{bucket.uri}/in/m.{kind}", sample=50)[0].rows == 50


def test_listings_and_patterns(bucket: Store, out: Store) -> None:
    for key in ("v/b.mp4", "v/a/1.mp4", "v/a/2.mov", "v/a/notes.txt", "v/", "w/x.mp4"):
        bucket.put(key, b"x" * len(key))
    plan, found = planned(out, f"{bucket.uri}/v/**/*.mp4")
    assert [row.id for row in found] == ["v/a/1.mp4", "v/b.mp4"]
    assert [row.uris for row in found] == [
        (f"{bucket.uri}/v/a/1.mp4",), (f"{bucket.uri}/v/b.mp4",)
    ]  # fmt: skip
    assert [row.columns for row in found] == [{"bytes": 9}, {"bytes": 7}]
    assert plan.base is None
    folder, found = planned(out, f"{bucket.uri}/v/")
    assert [row.id for row in found] == ["v/a/1.mp4", "v/a/2.mov", "v/b.mp4"]
    assert planned(out, f"{bucket.uri}/v")[0] == folder
    assert len(planned(out, bucket.uri)[1]) == 4
    bucket.put("v/b.mp4", b"another")
    assert planned(out, f"{bucket.uri}/v")[0].manifest_digest != folder.manifest_digest


def test_a_folder_of_parquet_files(bucket: Store, out: Store) -> None:
    for n in range(3):
        sink = io.BytesIO()
        pq.write_table(pa.table({"uri": [f"{n}a", f"{n}b"]}), sink)
        bucket.put(f"p/{n}.parquet", sink.getvalue())
    plan, found = planned(out, f"{bucket.uri}/p/*.parquet")
    assert [row.uris[0] for row in found] == ["0a", "0b", "1a", "1b", "2a", "2b"]
    assert plan.base == f"{bucket.uri}/p"
    assert planned(out, f"{bucket.uri}/p")[0].manifest_digest == plan.manifest_digest


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("in/none.jsonl", "no such manifest"),
        ("in/none", "unknown kind of manifest"),
        ("in/*.webm", "no objects found"),
        ("in/m.txt", "unknown kind of manifest"),
        ("in/bad.jsonl", r"row 1: no 'uri'"),
    ],
)
def test_refusals_leave_nothing(bucket: Store, out: Store, uri: str, said: str) -> None:
    bucket.put("in/m.txt", b"x")
    bucket.put("in/bad.jsonl", b'{"uri": "x"}\n{}')
    with pytest.raises(InvalidManifest, match=said):
        planned(out, f"{bucket.uri}/{uri}")
    assert not list(out.list())


def test_a_bucket_that_is_not_there(bucket: Store, out: Store) -> None:
    with pytest.raises(InvalidManifest, match="no-such-bucket-here"):
        planned(out, "s3://no-such-bucket-here/m.jsonl")


def test_a_manifest_that_is_replaced_while_it_is_copied(
    bucket: Store, out: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("m.jsonl", as_jsonl(100))
    monkeypatch.setattr(local_copy, "_RANGE_BYTES", 1000)
    ahead = local_copy.ahead

    def meddling(jobs: Any, count: int) -> Any:
        for data in ahead(jobs, count):
            bucket.put("m.jsonl", as_jsonl(99))
            yield data

    monkeypatch.setattr(local_copy, "ahead", meddling)
    with pytest.raises(InvalidManifest, match="replaced"):
        planned(out, f"{bucket.uri}/m.jsonl")


def test_dropping_a_plan_leaves_others(bucket: Store, out: Store) -> None:
    bucket.put("m.jsonl", as_jsonl(10))
    planned(out, f"{bucket.uri}/m.jsonl")
    out.put("_job/plan/other/00000.parquet", b"x")
    drop_plan(out, "t")
    assert [found.key for found in out.list()] == ["_job/plan/other/00000.parquet"]
