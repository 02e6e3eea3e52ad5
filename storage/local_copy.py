"""A manifest file on local disk, with the digest of its bytes computed while it is read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa

from storage.ahead import ahead, parts
from storage.errors import Forbidden, InvalidManifest, NotFound
from storage.objects import Object, Store, is_local, open_object

#: Bytes of each ranged read of a remote manifest, and reads under way at once.
_RANGE_BYTES = 8 << 20
_RANGES_AT_ONCE = 4
_HASH_BYTES = 1 << 20


class LocalCopy:
    """A manifest file to read as often as needed. Use as a context manager.

    A local file is read in place and hashed by a thread of `hasher`; a remote one is
    copied into `scratch` once, and hashed on the way. Raises InvalidManifest if there is
    no such file, or if it may not be read.
    """

    def __init__(self, uri: str, scratch: Path, hasher: ThreadPoolExecutor) -> None:
        self.uri = uri
        self._stop = False
        try:
            store, key = open_object(uri)
            found = store.head(key)
            if found is None:
                raise InvalidManifest(f"{uri}: no such manifest; check the path")
            if not is_local(uri):
                self.path = scratch / f"manifest-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
                self._digest: Future[str] = Future()
                self._digest.set_result(_copy(store, found, self.path))
                self._before = None
            else:
                self.path = Path(store.uri) / key
                # Whether it may be read shows now, and not in another thread.
                self.path.open("rb").close()
                self._before = _identity(self.path)
                self._digest = hasher.submit(self._hash)
        except (Forbidden, NotFound, OSError) as error:
            raise InvalidManifest(f"{uri}: the manifest cannot be read: {error}") from error

    def __enter__(self) -> LocalCopy:
        return self

    def __exit__(self, *_: object) -> None:
        # The hasher ends by itself; a file that nobody reads any more is not read on.
        self._stop = True
        if self._before is None:
            self.path.unlink(missing_ok=True)

    def digest(self) -> str:
        """SHA-256 of the file's bytes, in hex. Raises InvalidManifest if the file changed."""
        digest = self._digest.result()
        if self._before is not None and _identity(self.path) != self._before:
            raise InvalidManifest(f"{self.uri}: changed while it was read; submit it again")
        return digest

    def open(self) -> BinaryIO:
        """The bytes from the start, uncompressed where the name ends in .gz or .zst."""
        file = self.path.open("rb")
        codec = {".gz": "gzip", ".zst": "zstd"}.get(Path(self.uri).suffix.lower())
        if codec is None:
            return file
        return cast("BinaryIO", _Uncompressed(self.uri, file, codec))

    def _hash(self) -> str:
        digest = hashlib.sha256()
        with self.path.open("rb", buffering=0) as file:
            buffer = bytearray(_HASH_BYTES)
            view = memoryview(buffer)
            while not self._stop and (n := file.readinto(buffer)):
                digest.update(view[:n])
        return digest.hexdigest()


class _Uncompressed:
    """The uncompressed bytes of a file; damage becomes InvalidManifest."""

    def __init__(self, uri: str, file: BinaryIO, codec: str) -> None:
        self._uri = uri
        self._file = file
        self._stream = pa.CompressedInputStream(file, codec)

    def __enter__(self) -> _Uncompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._file.close()

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            return bytes(self._stream.read(size))
        except OSError as error:
            raise InvalidManifest(
                f"{self._uri}: damaged compressed file ({error}); compress it again"
            ) from error

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while data := self.read(_HASH_BYTES):
            lines = (rest + data).splitlines(keepends=True)
            # splitlines would also cut at a lone CR, which csv is to judge.
            rest = b""
            for line in lines:
                rest += line
                if line.endswith(b"\n"):
                    yield rest
                    rest = b""
        if rest:
            yield rest


def _identity(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)  # noqa: PTH116
    return found.st_ino, found.st_size, found.st_mtime_ns


def _copy(store: Store, found: Object, path: Path) -> str:
    """Copy the object to `path` and give its digest."""
    digest = hashlib.sha256()
    jobs = parts(store, found, _RANGE_BYTES)
    with path.open("wb") as file, closing(ahead(jobs, _RANGES_AT_ONCE)) as read:
        for data in read:
            file.write(data)
            digest.update(data)
    return digest.hexdigest()
