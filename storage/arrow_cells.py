"""An Arrow stream with a media column, read without the media: batch by batch, in place."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.ahead import ahead
from storage.arrow_stream import LazyBatch, batches, read_schema
from storage.cell_columns import light_buffers, parts
from storage.cell_uri import Batch, references
from storage.parquet_cells import Rows
from storage.ranges import Ranged

#: Record batches that are read at once.
_AHEAD = 8


class ArrowCells:
    """One stream. Raises pa.ArrowException, OSError, and what reading does."""

    def __init__(self, source: Ranged) -> None:
        self._source = source
        self.schema: pa.Schema = read_schema(source)[0]
        #: SHA-256 of the schema.
        self.summary = hashlib.sha256(self.schema.serialize()).hexdigest()

    def rows(self, column: str) -> Iterator[Rows]:
        """The other columns, the cells' references, and their sizes, a record batch at a time.

        A cell without bytes has its path in place of a reference, or null.
        """
        source = self._source
        first = 0
        jobs = (functools.partial(_filled, lazy, column) for lazy in batches(source))
        for lazy, others in ahead(jobs, _AHEAD):
            # Only now: how many are null is looked up in what was read.
            content, paths = parts(lazy.batch.column(column))
            numbers = pa.array(np.arange(first, first + len(content), dtype=np.int64))
            uris = references(
                source.uri,
                column,
                source.tag,
                numbers,
                batch=Batch(lazy.at, first),
                names=None if paths is None else paths.to_pylist(),
            )
            first += len(content)
            if content.null_count:
                instead = pa.nulls(len(content), pa.string()) if paths is None else paths
                uris = pc.if_else(content.is_valid(), uris, instead)
            yield others, uris, pc.binary_length(content).cast(pa.float64())


def _filled(lazy: LazyBatch, column: str) -> tuple[LazyBatch, pa.RecordBatch]:
    """The batch, all read but the media, and its other columns."""
    others = lazy.batch.drop_columns([column])
    buffers = [buffer for array in others.columns for buffer in array.buffers()]
    lazy.fill([*light_buffers(lazy.batch.column(column)), *buffers])
    return lazy, others
