"""A Parquet file with a media column, read without it: row group by row group, in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.cell_columns import leaves
from storage.cell_uri import references
from storage.ranges import Ranged, RangeFile

#: Bytes read at the end of a file, where its footer lies.
_TAIL_BYTES = 64 << 10
#: Rows read at a time, however large a row group is.
_BATCH_ROWS = 32_768
#: Columns of a row group up to so many bytes are read in as few reads as can be, and larger
#: ones so much at a time.
_AT_ONCE_BYTES = 32 << 20
_READ_AHEAD = 1 << 20

Rows = tuple[pa.RecordBatch, pa.StringArray, pa.DoubleArray]


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
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = {(c := group.column(i)).path_in_schema: c for i in range(group.num_columns)}
            bare = _nulls(chunks[media]) == group.num_rows
            mean = chunks[media].total_uncompressed_size / max(1, group.num_rows)
            for batch, paths, count in self._group(metadata, number, others, column, path):
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
    ) -> Iterator[tuple[pa.RecordBatch, pa.StringArray | None, int]]:
        """Batches of a row group: the other columns, the cells' paths, and how many rows."""
        group = metadata.row_group(number)
        if not others and not path:
            # Nothing to read, and a batch of no columns would forget how many rows it has.
            yield pa.RecordBatch.from_arrays([], []), None, group.num_rows
            return
        wanted = [*others, *path]
        chunks = [group.column(i) for i in range(group.num_columns)]
        size = sum(
            chunk.total_compressed_size
            for chunk in chunks
            if chunk.path_in_schema in path or chunk.path_in_schema.split(".")[0] != column
        )
        with pq.ParquetFile(
            RangeFile(self._source),
            metadata=metadata,
            buffer_size=_READ_AHEAD,
            pre_buffer=size <= _AT_ONCE_BYTES,
        ) as file:
            for batch in file.iter_batches(_BATCH_ROWS, [number], wanted, use_threads=False):
                paths = pc.struct_field(batch.column(column), "path") if path else None
                paths = None if paths is None else paths.cast(pa.string())
                yield batch.select(others), paths, batch.num_rows

    def _footer(self) -> tuple[pq.FileMetaData, bytes]:
        source = self._source
        tail = source.read(max(0, source.size - _TAIL_BYTES), source.size)
        metadata = pq.read_metadata(RangeFile(source, tail))
        length = metadata.serialized_size + 8
        if length > len(tail):
            tail = source.read(max(0, source.size - length), source.size)
        return metadata, tail[-length:]


def _nulls(chunk: pq.ColumnChunkMetaData) -> int | None:
    """How many cells have no bytes, if the file says so."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_null_count:
        return None
    return int(statistics.null_count)
