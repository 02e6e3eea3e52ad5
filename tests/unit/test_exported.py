"""Files for others: whole or not there, on a disk and in a bucket."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest

from storage import exported
from storage.errors import Forbidden, MediamillError, NotFound, Refused
from storage.exported import place, writing
from storage.objects import open_object, open_store


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "new" / "folder")
    bucket: str = request.getfixturevalue("s3_bucket")
    return f"{bucket}/folder"


def read(where: str) -> bytes | None:
    store, key = open_object(where)
    try:
        return store.get(key)
    except NotFound:
        return None


def fail(where: str, size: int) -> None:
    with writing(where) as sink:
        sink.write(bytes(size))
        raise ZeroDivisionError


def names(root: str) -> list[str]:
    return [found.key for found in open_store(root).list()]


def test_small_and_empty_files(root: str) -> None:
    for name, data in (("a", b"one"), ("b%2Fc", b""), ("a", b"two")):
        with writing(f"{root}/{name}") as sink:
            sink.write(data)
    assert names(root) == ["a", "b%2Fc"]
    assert (read(f"{root}/a"), read(f"{root}/b%2Fc")) == (b"two", b"")


def test_a_file_of_many_parts(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As small as S3 lets parts be, but for the last.
    monkeypatch.setattr(exported, "PART_BYTES", 5 << 20)
    block = bytes(range(256)) * 4096
    with writing(f"{root}/big") as sink:
        for _ in range(11):
            assert sink.write(block) == len(block)
    assert read(f"{root}/big") == block * 11


def test_a_failure_leaves_what_was_there(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "PART_BYTES", 5 << 20)
    with writing(f"{root}/a") as sink:
        sink.write(b"before")
    for size in (10, 11 << 20):
        with pytest.raises(ZeroDivisionError):
            fail(f"{root}/a", size)
        assert read(f"{root}/a") == b"before"
        assert names(root) == ["a"]


def test_an_upload_that_failed_leaves_no_parts(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "PART_BYTES", 5 << 20)
    with pytest.raises(ZeroDivisionError):
        fail(f"{s3_bucket}/a", 11 << 20)
    client = boto3.session.Session().client("s3")
    try:
        found = client.list_multipart_uploads(Bucket=s3_bucket.removeprefix("s3://"))
    finally:
        client.close()
    assert "Uploads" not in found


def test_nobody_sees_half_a_file(tmp_path: Path) -> None:
    with writing(str(tmp_path / "a")) as sink:
        sink.write(b"x")
        assert not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    # As any file that its user makes, and not as private as scratch files are.
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"old")
    (tmp_path / "a").symlink_to(tmp_path / "real" / "a")
    with writing(str(tmp_path / "a")) as sink:
        sink.write(b"new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real" / "a").read_bytes() == b"new"


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for where in (str(tmp_path), "/dev/null"):
        with pytest.raises(Refused, match="name a file"), writing(where):
            raise AssertionError
    with pytest.raises(MediamillError, match="file/below"), writing(f"{tmp_path}/file/below"):
        raise AssertionError
    for where in ("s3://bucket", "s3:///key"):
        with pytest.raises(Refused, match="names no object"), writing(where):
            raise AssertionError


def test_a_bucket_that_is_not_there(s3_bucket: str) -> None:
    with pytest.raises(NotFound, match="no such bucket"), writing(f"{s3_bucket}-no/a") as sink:
        sink.write(b"x")


def test_a_folder_that_may_not_be_written() -> None:
    # Nobody makes files there, root included.
    with pytest.raises(Forbidden, match="give this user access"), writing("/sys/a"):
        raise AssertionError


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place("s3://b/p/") == "s3://b/p"
    assert place("a/b/") == str(tmp_path / "a" / "b")
    assert place("file:///a%20b") == "/a b"
    with pytest.raises(Refused):
        place("ftp://h/p")
