"""One version of a file or object, read a range at a time: never other bytes than it was opened on.

Large tables are read in place so, by the planner (a few columns) and by workers (a few
cells).
"""

from __future__ import annotations

import io
import os
import stat
import weakref
from pathlib import Path
from typing import Protocol

from storage.errors import NotFound, StoreUnavailable
from storage.objects import Object, Store, is_local, local_path, open_object
from storage.walk import translated


class Ranged(Protocol):
    """A file of `size` bytes whose version `tag` tells. Thread-safe."""

    uri: str
    size: int
    tag: str

    def read(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive), all of them.

        Raises NotFound if the file was replaced or changed, StoreUnavailable, Forbidden.
        """
        ...


class ObjectRanges:
    """An object of a store. Its tag is the etag without quotes. See `Ranged`."""

    def __init__(self, store: Store, found: Object) -> None:
        self.uri = f"{store.uri}/{found.key}"
        self.size = found.size
        self.tag = found.etag.strip('"')
        self._store = store
        self._found = found

    def read(self, start: int, end: int) -> bytes:
        """See `Ranged.read`."""
        data = self._store.read(self._found.key, start, end, etag=self._found.etag)
        if len(data) != end - start:
            raise StoreUnavailable(f"{self.uri}: {len(data):,} of {end - start:,} bytes came")
        return data


class Twice:
    """What is read of it is read twice, and the same: for what has no checksum. See `Ranged`."""

    def __init__(self, source: Ranged) -> None:
        self.uri, self.size, self.tag = source.uri, source.size, source.tag
        self._source = source

    def read(self, start: int, end: int) -> bytes:
        """See `Ranged.read`. Raises StoreUnavailable also if other bytes come the second time."""
        data = self._source.read(start, end)
        if self._source.read(start, end) != data:
            raise StoreUnavailable(f"{self.uri}: other bytes came when the same were read again")
        return data


class FileRanges:
    """A local file, kept open. Its tag is its time of change and size. See `Ranged`.

    No inode in the tag: the machines of a cluster may each have a copy (`rsync -a`).
    """

    def __init__(self, path: Path, handle: int) -> None:
        """`handle` is a descriptor of the file, ours from here on."""
        self._handle = handle
        weakref.finalize(self, os.close, handle)
        self.uri = str(path)
        self.size, self.tag = self._look()

    def read(self, start: int, end: int) -> bytes:
        """See `Ranged.read`."""
        parts = []
        with translated(self.uri):
            if self._look()[1] != self.tag:
                raise NotFound(f"{self.uri}: changed while it was read")
            while start < end and (part := os.pread(self._handle, end - start, start)):
                parts.append(part)
                start += len(part)
        if start < end:
            raise NotFound(f"{self.uri}: ends {end - start:,} bytes early")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _look(self) -> tuple[int, str]:
        found = os.fstat(self._handle)
        return found.st_size, f"{found.st_mtime_ns:x}-{found.st_size:x}"


def open_ranges(uri: str) -> Ranged:
    """The object or local file at `uri`. Raises NotFound, Forbidden, StoreUnavailable, Refused."""
    if not is_local(uri):
        store, key = open_object(uri)
        found = store.head(key)
        if found is None:
            raise NotFound(f"{uri}: no such object")
        return ObjectRanges(store, found)
    path = local_path(uri)
    with translated(path):
        ranges = FileRanges(path, handle := os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NotFound(f"{path}: no ordinary file")
    return ranges


class RangeFile(io.RawIOBase):
    """A file object over ranges: one ranged read for each read that is asked for.

    `tail` is the file's end where it has been read already.
    """

    def __init__(self, source: Ranged, tail: bytes = b"") -> None:
        super().__init__()
        self._source, self._tail, self._at = source, tail, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; where that is."""
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}
        self._at = starts[whence] + offset
        return self._at

    def tell(self) -> int:
        """The place of the next read."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, fewer at the end."""
        total = self._source.size
        start, end = self._at, total if size < 0 else min(total, self._at + size)
        if end <= start:
            return b""
        kept = total - len(self._tail)
        if start >= kept:
            data = self._tail[start - kept : end - kept]
        else:
            data = self._source.read(start, end)
        self._at = end
        return data
