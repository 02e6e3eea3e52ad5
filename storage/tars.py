"""Members of a plain tar, found by its headers: what they hold is skipped, or read on demand.

Headers lie between the members, so finding them costs requests where members are large, and
bytes where they are small. Of a remote tar everything is read in large blocks while its
members are small, and a little at each header once they are not; of a local one never more
than is near a header.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from storage.errors import InvalidManifest
from storage.objects import is_local
from storage.ranges import Ranged
from storage.sniff import sniff

#: Bytes of one extended header (a long name, pax records) at most.
_MOST_HEADER = 1 << 20
_ADVICE = "make it again as a plain tar"


@dataclass(frozen=True, slots=True)
class Member:
    """An ordinary file of `size` bytes at byte `at`, or a link, which has none of its own.

    `head` is the CRC-32 of the header's last block, right before the bytes.
    """

    name: str
    at: int
    size: int
    head: int
    is_link: bool


@dataclass(frozen=True, slots=True)
class _Costs:
    """Bytes read at a header, bytes read at once while members are small, and from how many
    bytes between two reads on they are not."""

    near: int
    block: int
    far: int


#: An answer takes as long to come as some hundred kilobytes to two megabytes of it.
_REMOTE = _Costs(16 << 10, 4 << 20, 1 << 20)
_LOCAL = _Costs(4 << 10, 256 << 10, 32 << 10)


class Tar:
    """A tar to go through once. Raises InvalidManifest for what is none or is damaged."""

    def __init__(self, source: Ranged) -> None:
        self._uri = source.uri
        self._size = source.size
        self._ahead = _Ahead(source, _LOCAL if is_local(source.uri) else _REMOTE)

    def members(self) -> Iterator[Member]:
        """Files and links in order. Raises NotFound, Forbidden, StoreUnavailable too."""
        ahead = self._ahead
        start = 0
        try:
            # It gives its place, encoding and global pax records to the reading of headers; its
            # own `next` would take a damaged header for the end, and keep every member.
            archive = tarfile.TarFile(fileobj=ahead, encoding="utf-8", errors="surrogateescape")
            while True:
                ahead.jump(start)
                archive.offset = start
                try:
                    info = tarfile.TarInfo.fromtarfile(archive)
                except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
                    return
                except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
                    if start:
                        return
                    raise
                if archive.offset <= start:
                    raise tarfile.ReadError("a header leads backwards")
                start = archive.offset
                if info.issparse():
                    raise InvalidManifest(
                        f"{self._uri}: {info.name!r} is a sparse member, whose bytes do not lie "
                        "together; make the tar again without --sparse"
                    )
                if info.isreg() or info.islnk() or info.issym():
                    yield self._member(info)
        except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
            raise self._damaged(start, error) from error

    def read(self, member: Member) -> bytes:
        """What a member holds: best while it is the one just given."""
        return self._ahead.take(member.at, member.at + member.size)

    def _member(self, info: tarfile.TarInfo) -> Member:
        size = info.size if info.isreg() else 0
        if size < 0:
            raise tarfile.ReadError(f"member {info.name!r} has {size:,} bytes")
        if info.offset_data + size > self._size:
            raise tarfile.ReadError(f"the file ends within member {info.name!r}")
        head = zlib.crc32(self._ahead.last)
        name = info.name.removeprefix("./")
        return Member(name, info.offset_data, size, head, not info.isreg())

    def _damaged(self, start: int, error: Exception) -> InvalidManifest:
        looks = sniff(self._ahead.first).looks if self._ahead.first and not start else ""
        if looks.endswith("data"):
            return InvalidManifest(
                f"{self._uri}: no plain tar, but {looks}; members of a compressed tar cannot be "
                "read by range: uncompress it"
            )
        return InvalidManifest(f"{self._uri}: damaged tar, at byte {start:,} ({error}); {_ADVICE}")


class _Ahead(io.RawIOBase):
    """A file object that reads ahead as far as pays."""

    def __init__(self, source: Ranged, costs: _Costs) -> None:
        super().__init__()
        self._source, self._costs = source, costs
        self._at = 0
        self._start, self._data = 0, b""
        self._jumps = 0
        #: What was read last, and first.
        self.last = self.first = b""

    def jump(self, offset: int) -> None:
        """Go to the next header; from how far that is follows how much to read ahead."""
        self._jumps += offset - self._at > self._costs.near
        self._at = offset

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place counted from the start."""
        if whence != io.SEEK_SET:
            raise tarfile.ReadError("headers are found from the start")
        self._at = offset
        return offset

    def tell(self) -> int:
        """The place of the next read."""
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes of a header, fewer at the end. Raises tarfile.ReadError."""
        if not 0 <= size <= _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        data = self.take(self._at, min(self._at + size, self._source.size))
        self._at += len(data)
        self.first = self.first or data
        self.last = data
        return data

    def take(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end`."""
        if end <= start:
            return b""
        if start < self._start or end > self._start + len(self._data):
            large = self._jumps and self._at > self._costs.far * self._jumps
            ahead = self._costs.near if large else self._costs.block
            stop = min(max(end, start + ahead), self._source.size)
            self._start, self._data = start, self._source.read(start, stop)
        return self._data[start - self._start : end - self._start]
