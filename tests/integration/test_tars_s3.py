"""WebDataset tars on a real S3 API: few requests, and never the bytes of another version."""

from __future__ import annotations

import contextlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from jobs.tasks.base import Row
from storage.errors import RowError
from storage.media import MediaSource
from storage.objects import Store, open_store
from storage.s3 import S3Store
from tests.planning import planned as planned_in

PNG = b"\x89PNG\r\n\x1a\n"


def tar(members: list[tuple[str, bytes]]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def planned(uri: str, out: Store) -> tuple[list[Row], str]:
    plan, rows = planned_in(uri, out)
    return rows, plan.manifest_digest


def test_tars_in_a_bucket(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, out = open_store(s3_bucket), open_store(str(tmp_path / "out"))
    media = {}
    for number in range(3):
        members = []
        for i in range(100):
            data = PNG + bytes([number, i]) * 5000
            media[f"x-{number:02}/{i:03}"] = data
            members += [(f"{i:03}.png", data), (f"{i:03}.json", b'{"n": %d}' % i)]
        store.put(f"w ds/x-{number:02}.tar", tar(members))
    reads: list[tuple[str, int, int]] = []
    read = S3Store.read

    def noted(self: S3Store, key: str, start: int, end: int, **more: Any) -> bytes:
        reads.append((key, start, end))
        return read(self, key, start, end, **more)

    monkeypatch.setattr(S3Store, "read", noted)
    rows, digest = planned(f"{s3_bucket}/w ds/x-{{00..02}}.tar", out)
    assert [row.id for row in rows] == list(media)
    assert [row.columns["n"] for row in rows] == list(range(100)) * 3
    assert len(reads) == 3, "one block holds each of these tars"
    assert planned(f"{s3_bucket}/w ds/*.tar", open_store(str(tmp_path / "2"))) == (rows, digest)
    with contextlib.closing(MediaSource(local_roots=[], spool_dir=tmp_path / "s")) as source:
        for row in rows[::37]:
            reads.clear()
            found = source.fetch(row.uris[0], max_bytes=1 << 20)
            assert found.source == media[row.id]
            assert len(reads) == 1, "header and bytes come by one request"
        store.put("w ds/x-01.tar", tar([("000.png", PNG * 9)]))
        with pytest.raises(RowError) as caught:
            source.fetch(rows[100].uris[0], max_bytes=1 << 20)
        assert caught.value.kind == "not_found"
        assert "changed since the job was planned" in caught.value.message
        assert source.fetch(rows[0].uris[0], max_bytes=1 << 20).source == media[rows[0].id]
        with pytest.raises(RowError) as caught:
            source.fetch("tar:s3://nobody-made-this-one/x.tar#" + rows[0].uris[0].split("#")[1],
                         max_bytes=1 << 20)  # fmt: skip
        assert caught.value.kind == "not_found"
    assert planned(f"{s3_bucket}/w ds/*.tar", open_store(str(tmp_path / "3")))[1] != digest
