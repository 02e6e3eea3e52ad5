"""The bytes of tars' members, by their references: one ranged read of header and data.

The header is what the plan saw or the row is an error, so that never other bytes are taken
for a member's.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator

from storage.errors import NotFound, RowError, as_row_errors
from storage.objects import REMOTE, Object, Store, split_bucket
from storage.ranges import ObjectRanges, Ranged
from storage.references import local_ranges
from storage.roots import Roots
from storage.spool import Sink
from storage.tar_uri import BLOCK, TarMember, parse

#: Bytes of one ranged read.
_PART_BYTES = 8 << 20


class TarMembers:
    """Reads members for one process. Thread-safe.

    Local tars must lie below `roots`; `store` gives the store of `s3://bucket`.
    """

    def __init__(self, roots: Roots, store: Callable[[str], Store]) -> None:
        self._roots = roots
        self._store = store

    def fill(self, uri: str, sink: Sink) -> None:
        """Put a member's bytes into `sink`.

        Raises RowError (not_found too if the tar is no more what was planned), and
        BadCredentials.
        """
        member = parse(uri)
        sink.expect(member.size)
        with _row_errors(member):
            source = self._source(member)
            end = member.at + member.size
            start, stop = member.at - BLOCK, min(end, member.at - BLOCK + _PART_BYTES)
            data = source.read(start, stop)
            if zlib.crc32(data[:BLOCK]) != member.head:
                raise _changed(member)
            sink.write(data[BLOCK:])
            while stop < end:
                start, stop = stop, min(end, stop + _PART_BYTES)
                sink.write(source.read(start, stop))

    def _source(self, member: TarMember) -> Ranged:
        uri = member.file
        if uri.partition("://")[0] in REMOTE:
            bucket, key = split_bucket(uri)
            # Not looked at first: the tag goes with each read, which the store then decides.
            size = member.at + member.size
            return ObjectRanges(self._store(bucket), Object(key, size, member.tag, 0.0))
        source = local_ranges(self._roots, uri)
        if source.tag != member.tag:
            raise _changed(member)
        return source


def _changed(member: TarMember) -> RowError:
    return RowError(
        "not_found",
        f"{member.file}: gone, or changed since the job was planned, so that member "
        f"{member.member!r} may be another now; submit it again with another --out",
    )


@contextlib.contextmanager
def _row_errors(member: TarMember) -> Iterator[None]:
    """What reading a tar raises, as the outcome of a row."""
    with as_row_errors():
        try:
            yield
        except NotFound as error:
            raise _changed(member) from error
