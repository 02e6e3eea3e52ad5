"""The bytes of cells: media that lie in a column of a Parquet file or an Arrow stream.

Rows of a shard are neighbours, so what was found out of a file, and the row groups that
were decoded, are kept for a while.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.arrow_stream import batch_at, read_schema
from storage.cell_columns import ArrowColumn, Value, holds_media, leaves
from storage.cell_uri import Cell, parse
from storage.errors import RowError, as_row_errors
from storage.objects import REMOTE, Store, split_bucket
from storage.parquet_column import Forgotten, ParquetColumn, ParquetGroups
from storage.ranges import ObjectRanges, Ranged, RangeFile
from storage.references import local_ranges
from storage.roots import Roots
from storage.spool import Sink, Spool

#: Open files of a format, and columns of their row groups or record batches, kept at most.
_FILES = 32
_COLUMNS = 64
#: Row groups decoded at once: each takes the memory of a page, which may be large.
_DECODED_AT_ONCE = 4
#: Bytes of decoded row groups kept on disk, beside the one in use.
_SPILL_BYTES = 4 << 30
#: Bytes handed on at a time.
_PART_BYTES = 8 << 20

T = TypeVar("T")


class Cells:
    """Reads cells for one process. Thread-safe.

    Local files must lie below `roots`; `store` gives the store of `s3://bucket`; decoded row
    groups are kept in `spool`.
    """

    def __init__(self, roots: Roots, spool: Spool, store: Callable[[str], Store]) -> None:
        self._roots = roots
        self._spool = spool
        self._turns = threading.Semaphore(_DECODED_AT_ONCE)
        self._store = store
        self._tables: _Kept[_Parquet] = _Kept(_FILES)
        self._groups: _Kept[ParquetColumn] = _Kept(_COLUMNS)
        self._streams: _Kept[tuple[Ranged, pa.Schema]] = _Kept(_FILES)
        self._batches: _Kept[ArrowColumn] = _Kept(_COLUMNS)

    def fill(self, uri: str, sink: Sink) -> str | None:
        """Put a cell's bytes into `sink`; where it has only a path, give that instead.

        Raises RowError (not_found too if the file is no more what was planned), and
        BadCredentials.
        """
        cell = parse(uri)
        with _row_errors(uri):
            value = self._find(cell, lambda size: _fits(sink, size))
            if value.read is None:
                if value.path and not value.path.startswith("cell:"):
                    return value.path
                raise RowError("not_found", f"{uri}: the cell has neither bytes nor a path")
            sink.expect(value.end - value.start)
            for start in range(value.start, value.end, _PART_BYTES):
                sink.write(value.read(start, min(start + _PART_BYTES, value.end)))
        return None

    def _find(self, cell: Cell, fits: Callable[[int], bool]) -> Value:
        if cell.batch is None:
            return self._in_parquet(cell, fits)
        batch = cell.batch
        source, schema = self._streams.get((cell.file, cell.tag), lambda: self._stream(cell))
        _media_type(schema, cell)
        column = self._batches.get(
            (cell.file, cell.tag, cell.column, batch.at),
            lambda: ArrowColumn(source, batch_at(source, schema, batch.at), cell.column),
        )
        return column.find(cell.row - batch.first)

    def _in_parquet(self, cell: Cell, fits: Callable[[int], bool]) -> Value:
        table = self._tables.get((cell.file, cell.tag), lambda: _Parquet(self._opened(cell)))
        names = leaves(cell.column, _media_type(table.schema, cell))
        group, row = table.groups.find(cell.row)
        key = (cell.file, cell.tag, cell.column, group)
        while True:
            column = self._groups.get(
                key,
                lambda: ParquetColumn(
                    table.source, table.metadata, group, names, self._spool, self._turns
                ),
            )
            try:
                return column.find(row, fits)
            except Forgotten:
                self._groups.drop(key, column)
            except BaseException:
                # Its reading has ended where it failed; the next row begins anew.
                self._groups.drop(key, column)
                raise
            finally:
                self._groups.trim(lambda kept: kept.size, _SPILL_BYTES)

    def _stream(self, cell: Cell) -> tuple[Ranged, pa.Schema]:
        source = self._opened(cell)
        return source, read_schema(source)[0]

    def _opened(self, cell: Cell) -> Ranged:
        source = self._source(cell.file)
        if source.tag != cell.tag:
            raise RowError(
                "not_found",
                f"{cell.file}: changed since the job was planned, so that its rows may be others "
                "now; submit it again with another --out",
            )
        return source

    def _source(self, uri: str) -> Ranged:
        if uri.partition("://")[0] in REMOTE:
            bucket, key = split_bucket(uri)
            store = self._store(bucket)
            found = store.head(key)
            if found is None:
                raise RowError("not_found", f"{uri}: no such object")
            return ObjectRanges(store, found)
        return local_ranges(self._roots, uri)


def _fits(sink: Sink, size: int) -> bool:
    try:
        sink.expect(size)
    except RowError:
        return False
    return True


class _Parquet:
    """An open Parquet file."""

    def __init__(self, source: Ranged) -> None:
        self.source = source
        self.metadata = pq.read_metadata(RangeFile(source))
        self.schema: pa.Schema = self.metadata.schema.to_arrow_schema()
        self.groups = ParquetGroups(self.metadata)


def _media_type(schema: pa.Schema, cell: Cell) -> pa.DataType:
    at = schema.get_field_index(cell.column)
    if at < 0 or not holds_media(schema.field(at).type):
        raise RowError("not_found", f"{cell.file}: no column {cell.column!r} that holds media")
    return schema.field(at).type


@contextlib.contextmanager
def _row_errors(uri: str) -> Iterator[None]:
    """What reading a table raises, as the outcome of a row."""
    try:
        with as_row_errors():
            yield
    except IndexError as error:
        raise RowError("not_found", f"{uri}: the table has no such row") from error
    except (pa.ArrowException, OSError) as error:
        raise RowError(
            "corrupt", f"{uri}: damaged or unreadable table ({error}); write it again"
        ) from error


class _Kept(Generic[T]):
    """Things by key, each made once, the least recently used given up. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._things: OrderedDict[Hashable, _Slot[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The thing of this key; what `make` raises is raised, and it is tried again next time."""
        with self._lock:
            slot = self._things.setdefault(key, _Slot())
            self._things.move_to_end(key)
            while len(self._things) > self._most:
                self._things.popitem(last=False)
        # Others wait for this one thing only.
        with slot.lock:
            if slot.thing is None:
                slot.thing = make()
            return slot.thing

    def drop(self, key: Hashable, thing: T) -> None:
        """Give it up, unless another has taken its place."""
        with self._lock:
            slot = self._things.get(key)
            if slot is not None and slot.thing is thing:
                del self._things[key]

    def trim(self, size: Callable[[T], int], most: int) -> None:
        """Give up the least recently used, but for one, until `most` bytes are left."""
        with self._lock:
            sizes = {k: size(s.thing) for k, s in self._things.items() if s.thing is not None}
            total = sum(sizes.values())
            for key in list(self._things)[:-1]:
                if total <= most:
                    break
                total -= sizes.get(key, 0)
                del self._things[key]


class _Slot(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.thing: T | None = None
