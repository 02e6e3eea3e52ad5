"""An Arrow stream with a media column, read without the media: batch by batch, in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.arrow_stream import batches, read_schema
from storage.cell_columns import light_buffers, parts
from storage.cell_uri import Batch, references
from storage.parquet_cells import Rows
from storage.ranges import Ranged


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
        for lazy in batches(source):
            cells = lazy.batch.column(column)
            others = lazy.batch.drop_columns([column])
            lazy.fill([*light_buffers(cells), *(b for a in others.columns for b in a.buffers())])
            # Only now: how many are null is looked up in what was read.
            content, paths = parts(cells)
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
