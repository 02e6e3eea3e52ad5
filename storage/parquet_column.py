"""A media column of a Parquet file, decoded row group by row group onto disk."""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from storage.cell_columns import Value, parts
from storage.errors import RowError
from storage.ranges import Ranged, RangeFile
from storage.spool import Spool

#: Bytes of one ranged read of a column chunk, and of decoded cells held in memory at once
#: (or one cell, or one page of the file, if those are larger).
_READ_AHEAD = 8 << 20
_BATCH_BYTES = 8 << 20
#: A column chunk up to so many bytes is decoded whole: a reader that waits holds a page of the
#: file, and writers put up to a thousand cells into one.
_WHOLE_BYTES = 64 << 20


class ParquetColumn:
    """A media column of one row group, decoded once and in order.

    A large one only as far as it is asked for, so that its first rows need not wait.

    What is decoded lies in a file of the spool that has no name and goes away with this
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
        file = spool.new_file()
        with file:
            self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        Path(file.name).unlink()
        self.uri = source.uri
        #: Bytes that lie in the spool.
        self.size = 0
        self._lock = threading.Lock()
        self._turns = turns
        self._ends = array("q")
        self._paths: dict[int, str | None] = {}
        shape = metadata.row_group(group)
        chunks = (shape.column(i) for i in range(shape.num_columns))
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema in names)
        self._rows = shape.num_rows
        self._ahead = shape.num_rows if size <= _WHOLE_BYTES else 0
        step = max(1, min(shape.num_rows, _BATCH_BYTES * shape.num_rows // max(1, size)))
        self._decoded = _decoded(source, metadata, group, names, step)
        self._failure: BaseException | None = None

    def find(self, row: int) -> Value:
        """The cell of a row of the group.

        Raises IndexError, RowError, pa.ArrowException, OSError, and what reading does;
        after any of these this object is of no use.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                wanted = max(row + 1, self._ahead)
                if len(self._ends) < wanted:
                    self._decode(wanted)
            except StopIteration:
                raise IndexError(row) from None
            except BaseException as error:
                # For those who wait: reading cannot go on where it broke off.
                self._failure = error
                raise
        if row in self._paths:
            return Value(None, path=self._paths[row])
        return Value(self._read, self._ends[row - 1] if row else 0, self._ends[row])

    def _decode(self, wanted: int) -> None:
        """Go on until so many rows are there. Raises StopIteration if there are fewer."""
        with self._turns:
            while len(self._ends) < wanted:
                self._keep(*parts(next(self._decoded)))
        if len(self._ends) == self._rows:
            # A reader holds a page as long as it lives.
            self._decoded.close()

    def _keep(self, cells: pa.Array, paths: pa.Array | None) -> None:
        for number, value in enumerate(cells):
            data = value.as_buffer()
            if data is None:
                self._paths[len(self._ends)] = paths[number].as_py() if paths is not None else None
            else:
                self._write(memoryview(data))
            self._ends.append(self.size)

    def _write(self, data: memoryview) -> None:
        try:
            while data:
                written = os.pwrite(self._handle, data, self.size)
                self.size += written
                data = data[written:]
        except OSError as error:
            raise RowError(
                "unavailable",
                f"{self.uri}: its media cannot be kept on disk ({error.strerror}); make room in "
                "the folder for temporary files, or set TMPDIR to one on a larger disk",
            ) from error

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self._handle, end - start, start)


def _decoded(
    source: Ranged, metadata: pq.FileMetaData, group: int, names: list[str], step: int
) -> Generator[pa.Array, None, None]:
    """The column's cells, `step` at a time; the column chunk is read in order, once."""
    with pq.ParquetFile(
        RangeFile(source), metadata=metadata, buffer_size=_READ_AHEAD, pre_buffer=False
    ) as file:
        for batch in file.iter_batches(step, [group], names, use_threads=False):
            yield batch.column(0)


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
