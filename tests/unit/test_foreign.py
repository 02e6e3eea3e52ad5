"""Stores that are only read: the real file systems against a server, and what they raise."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import azure.core.exceptions as azure
import fsspec
import google.auth.exceptions as google
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from huggingface_hub import constants

from jobs.spec import JobSpec
from jobs.submit import dry_run, submit
from jobs.tasks.base import Row
from storage.errors import (
    BadCredentials,
    Forbidden,
    InvalidManifest,
    MediamillError,
    NotFound,
    Refused,
    RowError,
    StoreUnavailable,
)
from storage.foreign import ForeignStore
from storage.media import MediaSource
from storage.objects import open_store, split_uri
from tests.planning import planned as planned_in
from tests.unit.clouds import Clouds, serving

PNG = b"\x89PNG\r\n\x1a\n"
ROOTS = ["gs://b", "az://b", "abfs://b", "hf://datasets/b/r"]


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clouds]:
    with serving() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.azure)
        # What HF_ENDPOINT sets when the library is imported.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        urls = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", urls)
        yield server


class Memory(MemoryFileSystem):
    """A file system of this test's own."""

    protocol = "gs"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    raising: ClassVar[Exception | None] = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(MemoryFileSystem._strip_protocol(path.removeprefix("gs://")))

    def info(self, path: str, **kwargs: Any) -> Any:
        if Memory.raising is not None:
            raise Memory.raising
        return super().info(path, **kwargs)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """What `gs://` is in this test."""
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: Memory)
    monkeypatch.setattr(Memory, "store", {})
    monkeypatch.setattr(Memory, "raising", None)
    return Memory(skip_instance_cache=True)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    opened = MediaSource(local_roots=[], spool_dir=tmp_path / "spool")
    with contextlib.closing(opened):
        yield opened


def planned(uri: str, column: str | None = None) -> list[Row]:
    return planned_in(uri, media_column=column)[1]


def fault(source: MediaSource, uri: str) -> RowError:
    with pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=1 << 30)
    return caught.value


# --- each cloud, by its own file system ----------------------------------------------------


@pytest.mark.parametrize("root", ROOTS)
def test_objects_are_found_and_read(clouds: Clouds, root: str) -> None:
    clouds.objects |= {"p/a-b": b"0123456789", "p/a/x": b"x", "p/b": b"", "q": b"q"}
    store = open_store(f"{root}/")
    assert store.uri == root
    keys = [found.key for found in store.list()]
    assert keys == ["p/a-b", "p/a/x", "p/b", "q"]
    assert [found.key for found in store.list("p/a")] == ["p/a-b", "p/a/x"]
    assert [found.key for found in store.list("", after="p/a-b")] == ["p/a/x", "p/b", "q"]
    assert [found.key for found in open_store(f"{root}/p").list()] == ["a-b", "a/x", "b"]
    assert list(store.list("none/")) == []
    assert store.folders("") == ["p"]
    assert store.folders("p/") == ["a"]
    found = store.head("p/a-b")
    assert found is not None
    assert found == next(store.list())
    assert found.size == 10
    assert store.head("p/none") is None
    assert store.head("p") is None
    assert store.get_tagged("p/a-b") == (b"0123456789", found.etag)
    clouds.asked.clear()
    assert store.read("p/a-b", 2, 5, etag=found.etag) == b"234"
    assert [span for _, span in clouds.asked if span] == ["bytes=2-4"]
    assert store.read("p/a-b", 8, 50) == b"89"
    assert store.read("p/a-b", 10, 20) == b""
    assert store.get("p/b") == b""
    with pytest.raises(NotFound, match="no such object"):
        store.get("p/none")
    clouds.objects["p/a-b"] = b"9876543210"
    with pytest.raises(NotFound, match="replaced while it was read"):
        store.read("p/a-b", 2, 5, etag=found.etag)


@pytest.mark.parametrize("root", ROOTS[:2] + ROOTS[3:])
def test_manifests_and_media_work_as_on_s3(clouds: Clouds, root: str, source: MediaSource) -> None:
    image = PNG + b"image"
    table = io.BytesIO()
    pq.write_table(pa.table({"uri": ["../i/a.png"], "n": [1]}), table)
    cells = io.BytesIO()
    pq.write_table(pa.table({"image": [image]}), cells)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo("k.png")
        info.size = len(image)
        tar.addfile(info, io.BytesIO(image))
    clouds.objects |= {
        "i/a.png": image,
        "m/m.jsonl": json.dumps({"uri": "../i/a.png"}).encode(),
        "m/m.parquet": table.getvalue(),
        "m/cells.parquet": cells.getvalue(),
        "t/x-0.tar": archive.getvalue(),
        "t/x-1.tar": archive.getvalue(),
    }
    under = "" if root.count("/") == 2 else root.split("/", 3)[3] + "/"
    for manifest, column, ids in (
        (f"{root}/i", None, [f"{under}i/a.png"]),
        (f"{root}/**/*.png", None, [f"{under}i/a.png"]),
        (f"{root}/m/m.jsonl", None, ["0"]),
        (f"{root}/m/m.parquet", None, ["0"]),
        (f"{root}/m/cells.parquet", "image", ["0"]),
        (f"{root}/t/x-{{0..1}}.tar", None, ["x-0/k", "x-1/k"]),
        (f"{root}/t/*.tar", None, ["x-0/k", "x-1/k"]),
    ):
        rows = planned(manifest, column)
        assert [row.id for row in rows] == ids, manifest
        for row in rows:
            media = source.fetch(row.uris[0], max_bytes=1 << 20, base=split_uri(manifest)[0])
            assert media.source == image
    tar_uri = rows[0].uris[0]
    clouds.objects["t/x-0.tar"] = bytes(reversed(archive.getvalue()))
    assert "changed since the job was planned" in fault(source, tar_uri).message
    assert fault(source, f"{root}/i/none.png").kind == "not_found"
    assert fault(source, f"{root}/").kind == "not_found"
    with pytest.raises(InvalidManifest, match="no such manifest"):
        planned(f"{root}/m/none.jsonl")
    with pytest.raises(InvalidManifest, match=r"x-2.tar: the tar cannot be read"):
        planned(f"{root}/t/x-{{0..2}}.tar")


@pytest.mark.parametrize("root", ROOTS[:2] + ROOTS[3:])
def test_refusals_of_each_cloud(clouds: Clouds, root: str) -> None:
    clouds.objects["k"] = b"k"
    clouds.refusing = 403
    with pytest.raises(Forbidden):
        open_store(root).read("k", 0, 1)
    with pytest.raises(Forbidden):
        list(open_store(root).list())


def test_a_large_object_comes_whole(memory: Memory, source: MediaSource, tmp_path: Path) -> None:
    data = PNG + bytes(range(256)) * 80_000
    memory.pipe_file("gs://b/big.png", data)
    media = source.fetch("gs://b/big.png", max_bytes=1 << 30)
    assert isinstance(media.source, Path)
    assert media.source.read_bytes() == data


# --- what is refused -----------------------------------------------------------------------


def test_nothing_is_written(memory: Memory, tmp_path: Path) -> None:
    store = open_store("gs://b/out")
    for write in (
        lambda: store.put("k", b""),
        lambda: store.put_if_absent("k", b""),
        lambda: store.put_if_match("k", b"", "t"),
        lambda: store.delete("k"),
    ):
        with pytest.raises(Refused, match="only read from; results go to s3://"):
            write()
    (tmp_path / "a.png").write_bytes(PNG)
    for scheme in ("gs", "az", "abfs", "hf"):
        spec = JobSpec(manifest=str(tmp_path), task="caption", out=f"{scheme}://b/out")
        for begin in (submit, dry_run):
            with pytest.raises(Refused, match=f"{scheme}:// is only read from.*conditional write"):
                begin(spec)
    assert memory.store == {}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, source: MediaSource) -> None:
    for name in ("gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, name, None)
    # What was imported before counts as missing too.
    monkeypatch.setattr(sys.modules["fsspec.registry"], "registry", {})
    for scheme in ("gs", "az"):
        with pytest.raises(InvalidManifest, match=r"pip install 'mediamill\[fsspec\]'"):
            planned(f"{scheme}://b/m.jsonl")
        assert "pip install 'mediamill[fsspec]'" in fault(source, f"{scheme}://b/k.png").message


@pytest.mark.parametrize(
    "uri",
    ["gs://", "gs:///k", "gs://b::file:", "az://c@evil.example/k", "gs://b#x/k", "gs://b?x/k"],
)
def test_names_that_are_no_buckets_are_refused(
    uri: str, source: MediaSource, memory: Memory
) -> None:
    with pytest.raises(Refused):
        open_store(uri)
    assert fault(source, f"{uri}/x.png").kind in ("not_found", "forbidden")


def test_chained_urls_are_names_like_others(
    source: MediaSource, memory: Memory, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    assert fault(source, f"gs://b/k::file://{tmp_path}/a.png").kind == "not_found"


def test_an_account_that_is_not_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    with pytest.raises(BadCredentials, match="az://: no usable account"):
        open_store("az://b")


class _Google(Exception):
    """As gcsfs' HttpError, whose module is not to be imported before it is asked for."""

    def __init__(self, code: int | str) -> None:
        super().__init__("m")
        self.code = code


def _azure(kind: type[Exception], status: int) -> Exception:
    error = kind("said")
    error.status_code = status  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("raised", "meant"),
    [
        (FileNotFoundError("k"), NotFound),
        (_Google(404), NotFound),
        (_Google("401"), Forbidden),
        (_Google(429), StoreUnavailable),
        (_Google(503), StoreUnavailable),
        (OSError("Forbidden: https://…"), Forbidden),
        (FileExistsError("k"), NotFound),
        (PermissionError("k"), Forbidden),
        (ConnectionResetError(104, "reset"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (aiohttp.ServerDisconnectedError(), StoreUnavailable),
        (httpx.ConnectError("refused"), StoreUnavailable),
        (azure.ServiceRequestError("no route"), StoreUnavailable),
        (_azure(azure.ResourceNotFoundError, 404), NotFound),
        (_azure(azure.HttpResponseError, 403), Forbidden),
        (_azure(azure.HttpResponseError, 500), StoreUnavailable),
        (azure.ClientAuthenticationError("no token"), BadCredentials),
        (google.DefaultCredentialsError("none"), BadCredentials),  # type: ignore[no-untyped-call]
        (google.TransportError("away"), StoreUnavailable),  # type: ignore[no-untyped-call]
        (ValueError("Bad Request: invalid"), Forbidden),
        (ZeroDivisionError("a fault of the code"), ZeroDivisionError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_errors_mean_what_ours_do(
    memory: Memory,
    monkeypatch: pytest.MonkeyPatch,
    source: MediaSource,
    raised: Exception,
    meant: type[Exception],
) -> None:
    monkeypatch.setattr(Memory, "raising", raised)
    if meant is NotFound:
        assert open_store("gs://b").head("k") is None
        return
    with pytest.raises(meant) as caught:
        open_store("gs://b").head("k")
    assert type(caught.value) is meant
    if not isinstance(caught.value, MediamillError) or meant is BadCredentials:
        return
    assert "gs://b/k" in str(caught.value)
    assert fault(source, "gs://b/k").retryable == (meant is StoreUnavailable)


def test_who_does_not_use_them_does_not_import_them() -> None:
    code = (
        "import sys, storage.media, storage.manifest, jobs.submit; "
        "from storage.objects import open_store; open_store('/tmp'); "
        "print(sorted({'fsspec', 'gcsfs', 'adlfs', 'storage.foreign'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_clock_is_this_machines(memory: Memory) -> None:
    assert isinstance(open_store("gs://b"), ForeignStore)
    assert open_store("gs://b").now() > 1.7e9
