"""A Parquet file with a media column, read without it: row group by row group, in place."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.ahead import ahead
from storage.cell_columns import leaves
from storage.cell_uri import references
from storage.parquet_sizes import dictionaries, rows_of_group, surely_at_once
from storage.ranges import Ranged, RangeFile

#: Bytes read at the end of a file, where its footer lies.
_TAIL_BYTES = 64 << 10
#: So many rows read at a time are enough that no dictionary need be read to make them more.
_ENOUGH_ROWS = 1024
#: Bytes of rows of a row group that are read before they are asked for, or a batch more.
_HELD_BYTES = 16 << 20
#: Columns of a row group up to so many bytes are read in as few reads as can be, and larger
#: ones so much at a time.
_AT_ONCE_BYTES = 8 << 20
_READ_AHEAD = 1 << 20
#: Row groups that are read at once.
_AHEAD = 8

#: The other columns, the cells' references, and their sizes.
Rows = tuple[pa.RecordBatch, pa.StringArray, pa.DoubleArray]
#: The other columns, the cells' paths, and how many rows.
_Batch = tuple[pa.RecordBatch, pa.StringArray | None, int]


class ParquetCells:
    """One file. Raises pa.ArrowException, OSError, and what reading does."""

    def __init__(self, source: Ranged) -> None:
        self._source = source
        metadata, footer = self._footer()
        self.schema: pa.Schema = metadata.schema.to_arrow_schema()
        #: SHA-256 of the footer.
        self.summary = hashlib.sha256(footer).hexdigest()

    def rows(self, column: str) -> Iterator[Rows]:
        """The other columns, the cells' references, and their sizes, some rows at a time.

        The sizes are their mean in the row group. That a cell has no bytes shows here only
        where no cell of its row group has any; then its path is given, or null.
        """
        metadata, _ = self._footer()
        media, *path = leaves(column, self.schema.field(column).type)
        others = [name for name in self.schema.names if name != column]
        first = 0
        jobs = (
            functools.partial(self._group, metadata, number, others, column, path)
            for number in range(metadata.num_row_groups)
        )
        for number, batches in enumerate(ahead(jobs, _AHEAD)):
            group = metadata.row_group(number)
            chunks = {(c := group.column(i)).path_in_schema: c for i in range(group.num_columns)}
            bare = _nulls(chunks[media]) == group.num_rows
            mean = chunks[media].total_uncompressed_size / max(1, group.num_rows)
            for batch, paths, count in batches:
                numbers = pa.array(np.arange(first, first + count, dtype=np.int64))
                first += count
                if bare:
                    uris = pa.nulls(count, pa.string()) if paths is None else paths
                else:
                    names = None if paths is None else paths.to_pylist()
                    source = self._source
                    uris = references(source.uri, column, source.tag, numbers, names=names)
                sizes = np.full(count, np.nan if bare else mean)
                yield batch, uris, pa.array(sizes)

    def _group(
        self,
        metadata: pq.FileMetaData,
        number: int,
        others: list[str],
        column: str,
        path: list[str],
    ) -> Iterable[_Batch]:
        """Batches of a row group; read by now if it is small, else while they are taken."""
        group = metadata.row_group(number)
        if not others and not path:
            # Nothing to read, and a batch of no columns would forget how many rows it has.
            return [(pa.RecordBatch.from_arrays([], []), None, group.num_rows)]
        chunks = [group.column(i) for i in range(group.num_columns)]
        size = sum(
            chunk.total_compressed_size
            for chunk in chunks
            if chunk.path_in_schema in path or chunk.path_in_schema.split(".")[0] != column
        )
        batches = self._batches(metadata, number, others, column, path, size <= _AT_ONCE_BYTES)
        return _begun(batches) if size <= _AT_ONCE_BYTES else batches

    def _batches(
        self,
        metadata: pq.FileMetaData,
        number: int,
        others: list[str],
        column: str,
        path: list[str],
        at_once: bool,
    ) -> Iterator[_Batch]:
        wanted = [*others, *path]
        rows = self._rows_at_once(metadata, number, wanted)
        with pq.ParquetFile(
            RangeFile(self._source),
            metadata=metadata,
            buffer_size=_READ_AHEAD,
            pre_buffer=at_once,
        ) as file:
            for batch in file.iter_batches(rows, [number], wanted, use_threads=False):
                paths = pc.struct_field(batch.column(column), "path") if path else None
                paths = None if paths is None else paths.cast(pa.string())
                yield batch.select(others), paths, batch.num_rows

    def _rows_at_once(self, metadata: pq.FileMetaData, number: int, wanted: list[str]) -> int:
        """How many rows of a row group may be read at once. Raises InvalidManifest."""
        group = metadata.row_group(number)
        paths = [group.column(i).path_in_schema for i in range(group.num_columns)]
        # A column's name, or a leaf's path, takes all leaves that it begins.
        leaves = {p for p in paths if any(f"{p}.".startswith(f"{name}.") for name in wanted)}
        rows = surely_at_once(metadata, number, leaves)
        if rows >= min(_ENOUGH_ROWS, group.num_rows):
            return rows
        readable = dictionaries(metadata, leaves)
        with pq.ParquetFile(
            RangeFile(self._source),
            metadata=metadata,
            read_dictionary=readable,
            buffer_size=_READ_AHEAD,
            pre_buffer=False,
        ) as file:
            return rows_of_group(self._source.uri, file, number, readable, leaves)

    def _footer(self) -> tuple[pq.FileMetaData, bytes]:
        source = self._source
        tail = source.read(max(0, source.size - _TAIL_BYTES), source.size)
        metadata = pq.read_metadata(RangeFile(source, tail))
        length = metadata.serialized_size + 8
        if length > len(tail):
            tail = source.read(max(0, source.size - length), source.size)
        return metadata, tail[-length:]


def _begun(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches; by now those are read that may be held, mostly all."""
    held, size = [], 0
    for batch in batches:
        held.append(batch)
        size += batch[0].nbytes + (0 if batch[1] is None else batch[1].nbytes)
        if size > _HELD_BYTES:
            break
    return itertools.chain(held, batches)


def _nulls(chunk: pq.ColumnChunkMetaData) -> int | None:
    """How many cells have no bytes, if the file says so."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return None
    return int(statistics.null_count)
