"""Files for others to read, at any place: each whole or not there, written in flat memory."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from storage.atomic import make_folder
from storage.errors import MediamillError, Refused
from storage.objects import local_path
from storage.walk import translated

#: Bytes of a part of an upload. S3 takes at most 10,000 parts, so files of up to 156 GiB.
PART_BYTES = 16 << 20


class Sink(Protocol):
    """Where the bytes of one file go."""

    def write(self, data: bytes, /) -> int:
        """Take all of `data`; its length."""
        ...


def place(uri: str) -> str:
    """The place as what is below it is named: a path made absolute, a URI without its slash.

    Raises Refused for a URI of another kind.
    """
    return uri.rstrip("/") if uri.startswith("s3://") else str(local_path(uri))


@contextlib.contextmanager
def writing(where: str) -> Iterator[Sink]:
    """A file at this `place` to write to. Its name is taken when the block ends, whatever was
    there; if the block raises, nothing has changed.

    Raises Refused, Forbidden, NotFound or StoreUnavailable.
    """
    if where.startswith("s3://"):
        with _uploaded(where) as upload:
            yield upload
    else:
        with _replaced(Path(where)) as file:
            yield file


class _File:
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    def write(self, data: bytes, /) -> int:
        with translated(self._path):
            return self._file.write(data)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Sink]:
    # A link stays one: what it leads to is replaced.
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise Refused(f"{path}: no file that could be replaced; name a file, or a new one")
    beside = path.parent / f".mediamill-{secrets.token_hex(8)}.part"
    try:
        with translated(path):
            make_folder(path.parent)
            file = beside.open("xb")
        with file:
            yield _File(path, file)
            with translated(path):
                file.flush()
                os.fsync(file.fileno())
        with translated(path):
            beside.replace(path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


class _Upload:
    """An object written in parts, which nobody sees until it is complete."""

    def __init__(self, where: str) -> None:
        # boto3 takes a third of a second to import, and local work does without it.
        from storage.s3_client import Bucket

        name, _, self._key = where.removeprefix("s3://").partition("/")
        if not name or not self._key:
            raise Refused(f"{where}: names no object; give s3://bucket/key")
        self._bucket = Bucket(name)
        self._held = bytearray()
        self._id: str | None = None
        self._parts: list[dict[str, object]] = []

    def write(self, data: bytes, /) -> int:
        self._held += data
        while len(self._held) > PART_BYTES:
            self._send(bytes(self._held[:PART_BYTES]))
            del self._held[:PART_BYTES]
        return len(data)

    def complete(self) -> None:
        if self._id is None:
            self._bucket.ask("put_object", self._key, Body=bytes(self._held))
            return
        self._send(bytes(self._held))
        self._bucket.ask(
            "complete_multipart_upload",
            self._key,
            UploadId=self._id,
            MultipartUpload={"Parts": self._parts},
        )

    def abort(self) -> None:
        """Take back the parts that were sent, best effort: the store may be what failed."""
        if self._id is not None:
            with contextlib.suppress(MediamillError):
                self._bucket.ask("abort_multipart_upload", self._key, UploadId=self._id)

    def _send(self, data: bytes) -> None:
        if self._id is None:
            self._id = self._bucket.ask("create_multipart_upload", self._key)["UploadId"]
        number = len(self._parts) + 1
        sent = self._bucket.ask(
            "upload_part", self._key, UploadId=self._id, PartNumber=number, Body=data
        )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})


@contextlib.contextmanager
def _uploaded(where: str) -> Iterator[Sink]:
    upload = _Upload(where)
    try:
        yield upload
        upload.complete()
    except BaseException:
        upload.abort()
        raise
