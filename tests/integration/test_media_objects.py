"""Media that lie in a bucket: small ones by one read, large ones by several at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.awsrequest import AWSResponse

from storage.errors import BadCredentials, RowError
from storage.media import MediaSource, NoCredentials
from storage.objects import open_store

PNG = b"\x89PNG\r\n\x1a\n" + b"pixels"
#: A size that no part divides.
BIG = b"RIFF\0\0\0\0WAVE" + bytes(range(256)) * 160_000 + b"end"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[MediaSource]:
    opened = MediaSource(local_roots=[], spool_dir=tmp_path / "spool")
    with contextlib.closing(opened):
        yield opened


def refusal(source: MediaSource, uri: str, max_bytes: int = 1 << 30) -> RowError:
    with pytest.raises(RowError) as caught:
        source.fetch(uri, max_bytes=max_bytes)
    return caught.value


def spooled(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "spool").rglob("*") if p.is_file() and p.name != ".alive"]


def test_objects_small_and_large(source: MediaSource, s3_bucket: str, tmp_path: Path) -> None:
    store = open_store(s3_bucket)
    store.put("a b/x%20?y.png", PNG)
    store.put("big.wav", BIG)
    small = source.fetch(f"{s3_bucket}/a b/x%20?y.png", max_bytes=len(PNG))
    assert (small.kind, small.source, small.spooled) == ("image", PNG, False)
    big = source.fetch(f"{s3_bucket}/big.wav", max_bytes=len(BIG))
    assert (big.kind, big.size, big.spooled) == ("audio", len(BIG), True)
    assert isinstance(big.source, Path)
    assert big.source.read_bytes() == BIG
    assert big.sha256 == hashlib.sha256(BIG).hexdigest()
    big.close()
    assert spooled(tmp_path) == []


def test_a_relative_uri_is_looked_for_below_the_manifests_prefix(
    source: MediaSource, s3_bucket: str
) -> None:
    open_store(s3_bucket).put("lists/img/x.png", PNG)
    for uri, base in [
        ("img/x.png", "lists"),
        ("../lists/img/x.png", "lists/"),
        ("x.png", "lists/img"),
    ]:
        assert source.fetch(uri, max_bytes=100, base=f"{s3_bucket}/{base}").source == PNG


def test_objects_that_are_refused(source: MediaSource, s3_bucket: str, tmp_path: Path) -> None:
    store = open_store(s3_bucket)
    store.put("x.png", PNG)
    store.put("empty", b"")
    store.put("page", b"<!doctype html>")
    store.put("zeros", bytes(9 << 20))
    assert refusal(source, f"{s3_bucket}/none").kind == "not_found"
    assert refusal(source, f"{s3_bucket}/empty").kind == "empty"
    assert refusal(source, f"{s3_bucket}/page").kind == "wrong_kind"
    assert refusal(source, f"{s3_bucket}/zeros").kind == "wrong_kind"
    assert refusal(source, f"{s3_bucket}/x.png", max_bytes=len(PNG) - 1).kind == "too_large"
    assert refusal(source, s3_bucket).kind == "not_found"
    assert refusal(source, "s3://nobody-made-this-one/x").kind == "not_found"
    assert spooled(tmp_path) == []


def test_an_object_over_the_cap_is_not_read(
    source: MediaSource, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(s3_bucket).put("x.png", PNG)
    held = source._store(s3_bucket)
    reads: list[object] = []
    monkeypatch.setattr(held, "read", lambda *range_, **_: reads.append(range_) or b"")
    assert refusal(source, f"{s3_bucket}/x.png", max_bytes=5).kind == "too_large"
    assert reads == []


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(
    source: MediaSource, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3_bucket)
    store.put("big.wav", BIG)
    held = source._store(s3_bucket)
    read = held.read

    def replaced_after_the_head(key: str, start: int, end: int, *, etag: str = "") -> bytes:
        if start == 0:
            store.put("big.wav", BIG[::-1])
        return read(key, start, end, etag=etag)

    monkeypatch.setattr(held, "read", replaced_after_the_head)
    error = refusal(source, f"{s3_bucket}/big.wav")
    assert error.kind == "not_found"
    assert "replaced" in error.message
    assert spooled(tmp_path) == []


def test_a_store_that_is_away_is_the_rows_error(
    source: MediaSource, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    error = refusal(source, "s3://away/x.png")
    assert (error.kind, error.retryable) == ("unavailable", True)


def test_no_credentials_is_no_rows_fault(
    source: MediaSource, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert type(refusal(source, f"{s3_bucket}/x.png")) is NoCredentials, "but of a first one"
    source._answered.add("s3")
    said = set()
    for name in ("x.png", "y.png"):
        with pytest.raises(BadCredentials, match="AWS_ACCESS_KEY_ID") as caught:
            source.fetch(f"{s3_bucket}/{name}", max_bytes=100)
        said.add(str(caught.value))
    assert len(said) == 1, "one fault, whatever was asked for: equal ends are counted"


@contextlib.contextmanager
def refusing(source: MediaSource, uri: str, code: str) -> Iterator[None]:
    """The store refuses every read with this code, which an answer to HEAD has no room for."""

    class Body(io.BytesIO):
        def stream(self) -> Iterator[bytes]:
            yield self.read()

    def refuse(request: Any, **_: Any) -> AWSResponse:
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return AWSResponse(request.url, 403, {}, Body(b"" if request.method == "HEAD" else body))

    bucket = "/".join(uri.split("/")[:3])
    source._store(bucket)
    store = cast("Any", source._stores[bucket][0])
    events = store._bucket._client.meta.events
    for operation in ("HeadObject", "GetObject"):
        events.register(f"before-send.s3.{operation}", refuse)
    try:
        yield
    finally:
        for operation in ("HeadObject", "GetObject"):
            events.unregister(f"before-send.s3.{operation}", refuse)


def test_a_refused_object_is_its_rows_error(
    source: MediaSource, s3_bucket: str, tmp_path: Path
) -> None:
    open_store(s3_bucket).put("x.png", PNG)
    with refusing(source, s3_bucket, "AccessDenied"):
        error = refusal(source, f"{s3_bucket}/x.png")
    assert error.kind == "forbidden"
    assert "AccessDenied" in error.message, "and not the bare 403 of an answer to HEAD"
    assert spooled(tmp_path) == []


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_refused_credentials_are_no_rows_fault(
    source: MediaSource, s3_bucket: str, code: str
) -> None:
    open_store(s3_bucket).put("x.png", PNG)
    source.fetch(f"{s3_bucket}/x.png", max_bytes=100)
    with (
        refusing(source, s3_bucket, code),
        pytest.raises(BadCredentials, match=f"{s3_bucket}: the store .* {code}"),
    ):
        source.fetch(f"{s3_bucket}/x.png", max_bytes=100)
    assert source.fetch(f"{s3_bucket}/x.png", max_bytes=100).source == PNG
