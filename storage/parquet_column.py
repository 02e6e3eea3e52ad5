"""A media column of a Parquet file, decoded row group by row group onto disk."""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.cell_columns import Value, parts
from storage.errors import RowError
from storage.parquet_sizes import has_dictionary, is_coded, longest_values
from storage.ranges import Ranged, RangeFile
from storage.spool import Spool

#: Bytes of one ranged read of a column chunk, and of decoded cells held in memory at once
#: (or one cell, or one page of the file, if those are larger).
_READ_AHEAD = 8 << 20
_BATCH_BYTES = 8 << 20
#: A column chunk up to so many bytes is decoded whole: a reader that waits holds a page of the
#: file, and writers put up to a thousand cells into one.
_WHOLE_BYTES = 64 << 20
#: Bytes of decoded cells kept of one column, and a few cells: what a file says once may stand
#: in every row.
_KEPT_BYTES = 4 << 30
#: Bytes to which the cells of a column chunk may unpack beyond what it says: all those before a
#: row are decoded to find it.
_REPEATED_BYTES = 16 << 30
#: A step of so many rows is about as fast as a larger one.
_ENOUGH_ROWS = 4


class Forgotten(Exception):
    """Raised for a cell that is kept no longer: decode its column anew."""


class ParquetColumn:
    """A media column of one row group, decoded in order.

    A large one only as far as it is asked for, so that its first rows need not wait.

    What is decoded lies in files of the spool that have no name and go away with this
    object, so that memory holds no more than a few cells. Thread-safe.
    """

    def __init__(
        self,
        source: Ranged,
        metadata: pq.FileMetaData,
        group: int,
        names: list[str],
        spool: Spool,
        turns: threading.Semaphore,
    ) -> None:
        """`names` are the column's leaves; `turns` bounds how many columns decode at once."""
        self.uri = source.uri
        self._spool = spool
        self._lock = threading.Lock()
        self._turns = turns
        self._window = _Window(spool, 0)
        shape = metadata.row_group(group)
        size = sum(c.total_uncompressed_size for c in _chunks(metadata, group, names))
        self._rows = shape.num_rows
        self._ahead = shape.num_rows if size <= _WHOLE_BYTES else 0
        self._left = size + _REPEATED_BYTES
        self._decoded = _decoded(source, metadata, group, names)
        self._failure: BaseException | None = None

    @property
    def size(self) -> int:
        """Bytes that lie in the spool."""
        return self._window.size

    def find(self, row: int, fits: Callable[[int], bool]) -> Value:
        """The cell of a row of the group; cells of so many bytes that do not fit aren't kept.

        Raises IndexError, Forgotten, RowError, pa.ArrowException, OSError, and what reading
        does; after any of these this object is of no use.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                self._decode(row, fits)
            except StopIteration:
                raise IndexError(row) from None
            except BaseException as error:
                # For those who wait: reading cannot go on where it broke off.
                self._failure = error
                raise
            window = self._window
        return window.find(row, fits)

    def _decode(self, row: int, fits: Callable[[int], bool]) -> None:
        """Go on until the row is there. Raises StopIteration if there are fewer."""
        if self._window.end > row and (self._window.end >= self._ahead or self._window.is_heavy):
            return
        with self._turns:
            # Only rows on the way are forgotten: what is read ahead is not heavy.
            while self._window.end <= row or (
                self._window.end < self._ahead and not self._window.is_heavy
            ):
                self._keep(*parts(next(self._decoded)), fits)
        if self._window.end == self._rows:
            # A reader holds a page as long as it lives.
            self._decoded.close()

    def _keep(self, cells: pa.Array, paths: pa.Array | None, fits: Callable[[int], bool]) -> None:
        try:
            if self._window.is_full:
                self._window = _Window(self._spool, self._window.end)
            for number, value in enumerate(cells):
                data = value.as_buffer()
                if data is None:
                    self._window.add_path(None if paths is None else paths[number].as_py())
                else:
                    self._count(data.size)
                    self._window.add(memoryview(data), fits)
        except OSError as error:
            raise RowError(
                "unavailable",
                f"{self.uri}: its media cannot be kept on disk ({error.strerror}); make room in "
                "the folder for temporary files, or set TMPDIR to one on a larger disk",
            ) from error

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise RowError(
                "too_large",
                f"{self.uri}: a row group unpacks to far more than it is, since its cells repeat; "
                "write the table again with smaller row groups",
            )


class _Window:
    """Neighbouring cells, from row `first` of a row group on, in a file without a name."""

    def __init__(self, spool: Spool, first: int) -> None:
        with spool.new_file() as file:
            self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        Path(file.name).unlink()
        self._first = first
        #: Where cells end in the file, and bytes of those that did not fit.
        self._ends = array("q")
        self._large: dict[int, int] = {}
        self._paths: dict[int, str | None] = {}
        self._path_bytes = 0
        #: Bytes of the file.
        self.size = 0

    @property
    def end(self) -> int:
        """The row after the last."""
        return self._first + len(self._ends)

    @property
    def is_heavy(self) -> bool:
        """Whether no more should be added that nobody asked for."""
        return self.size > _WHOLE_BYTES or self._path_bytes > _WHOLE_BYTES

    @property
    def is_full(self) -> bool:
        """Whether it should grow no more."""
        return self.size > _KEPT_BYTES or self._path_bytes > _WHOLE_BYTES

    def find(self, row: int, fits: Callable[[int], bool]) -> Value:
        """The cell of a row before `end`. Raises Forgotten."""
        if row < self._first:
            raise Forgotten
        if row in self._large:
            if fits(self._large[row]):
                raise Forgotten
            return Value(self._read, 0, self._large[row])
        if row in self._paths:
            return Value(None, path=self._paths[row])
        at = row - self._first
        return Value(self._read, self._ends[at - 1] if at else 0, self._ends[at])

    def add(self, data: memoryview, fits: Callable[[int], bool]) -> None:
        """Append a cell. Raises OSError."""
        if fits(len(data)):
            while data:
                written = os.pwrite(self._handle, data, self.size)
                self.size += written
                data = data[written:]
        else:
            self._large[self.end] = len(data)
        self._ends.append(self.size)

    def add_path(self, path: str | None) -> None:
        """Append a cell that has no bytes."""
        self._paths[self.end] = path
        self._path_bytes += len(path or "")
        self._ends.append(self.size)

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._handle, end - start, start)


def _chunks(
    metadata: pq.FileMetaData, group: int, names: list[str]
) -> list[pq.ColumnChunkMetaData]:
    shape = metadata.row_group(group)
    chunks = (shape.column(i) for i in range(shape.num_columns))
    return [chunk for chunk in chunks if chunk.path_in_schema in names]


def _decoded(
    source: Ranged, metadata: pq.FileMetaData, group: int, names: list[str]
) -> Generator[pa.Array, None, None]:
    """The column's cells, a few at a time; the column chunk is read in order, once."""
    twice = _ReadTwice(source)
    step = _step(twice, metadata, group, names)
    twice.again = True
    with _opened(twice, metadata) as file:
        for batch in file.iter_batches(step, [group], names, use_threads=False):
            twice.known.clear()
            yield batch.column(0)


def _step(source: Ranged, metadata: pq.FileMetaData, group: int, names: list[str]) -> int:
    """How many cells to decode at once: as many as fit, however often one is repeated."""
    chunks = _chunks(metadata, group, names)
    rows: int = metadata.row_group(group).num_rows
    size: int = sum(chunk.total_uncompressed_size for chunk in chunks)
    step = max(1, min(rows, _BATCH_BYTES * rows // max(1, size)))
    coded = [chunk for chunk in chunks if is_coded(chunk)]
    # A value is no longer than its chunk is.
    longest: int = sum(chunk.total_uncompressed_size for chunk in coded)
    most = _WHOLE_BYTES
    # What is a dictionary for a thousand large cells would take longer to look at than to step by.
    if most < longest * _ENOUGH_ROWS and all(map(_has_short_dictionary, coded)):
        paths = [chunk.path_in_schema for chunk in coded]
        with _opened(source, metadata, read_dictionary=paths) as file:
            longest, most = longest_values(file, group, paths), _BATCH_BYTES
    return max(1, min(step, most // max(1, longest)))


def _has_short_dictionary(chunk: pq.ColumnChunkMetaData) -> bool:
    if not has_dictionary(chunk) or not chunk.has_dictionary_page:
        return False
    return bool(chunk.data_page_offset - chunk.dictionary_page_offset <= _READ_AHEAD)


def _opened(source: Ranged, metadata: pq.FileMetaData, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        RangeFile(source), metadata=metadata, buffer_size=_READ_AHEAD, pre_buffer=False, **options
    )


class _ReadTwice:
    """A source that is read a second time, where the first reads are the same. See `Ranged`."""

    def __init__(self, source: Ranged) -> None:
        self.uri, self.size, self.tag = source.uri, source.size, source.tag
        self._source = source
        #: What was read by now, by its start and end, until it is read again.
        self.known: dict[tuple[int, int], bytes] = {}
        self.again = False

    def read(self, start: int, end: int) -> bytes:
        """See `Ranged.read`."""
        data = self.known.pop((start, end), None) or self._source.read(start, end)
        if not self.again:
            self.known[start, end] = data
        return data


class ParquetGroups:
    """Which row group a row of a file lies in."""

    def __init__(self, metadata: pq.FileMetaData) -> None:
        self._firsts = [0]
        for group in range(metadata.num_row_groups):
            self._firsts.append(self._firsts[-1] + metadata.row_group(group).num_rows)

    def find(self, row: int) -> tuple[int, int]:
        """The row's group, and its number in it. Raises IndexError."""
        if not 0 <= row < self._firsts[-1]:
            raise IndexError(row)
        group = bisect_right(self._firsts, row) - 1
        return group, row - self._firsts[group]
