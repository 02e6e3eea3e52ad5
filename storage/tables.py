"""Files of a manifest that are tables: what the reader of rows asks of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import Forbidden, InvalidManifest, NotFound
from storage.parquet_sizes import check_rows, dictionaries, rows_at_once
from storage.ranges import RangeFile, open_ranges

#: Bytes read ahead in each column, in place of a whole column chunk.
_READ_AHEAD = 256 * 1024


class TableFile(Protocol):
    """One file of a manifest. Its methods may raise InvalidManifest."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def schema(self) -> pa.Schema:
        """Its columns."""
        ...

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, with these columns; a hint may be there beside them."""
        ...


def schema_in_place(uri: str) -> pa.Schema:
    """The columns of a Parquet file, of which only the end is read. Raises InvalidManifest."""
    try:
        return pq.read_schema(RangeFile(open_ranges(uri)))
    except (NotFound, Forbidden) as error:
        raise InvalidManifest(f"{uri}: the manifest cannot be read: {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise InvalidManifest(
            f"{uri}: not a readable Parquet file ({error}); write it again"
        ) from error


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A local Parquet file. See `TableFile`."""

    name: str
    path: Path

    def schema(self) -> pa.Schema:
        """Its columns."""
        try:
            return pq.read_schema(self.path)
        except (pa.ArrowException, OSError) as error:
            raise InvalidManifest(
                f"{self.name}: not a readable Parquet file ({error}); write it again"
            ) from error

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Its rows, with these columns."""
        try:
            with self._opened() as source:
                first = 0
                for batch in source.iter_batches(self._rows_at_once(source), columns=names):
                    check_rows(self.name, first, batch)
                    # Parquet promises UTF-8 and writers do not always keep it.
                    batch.validate(full=True)
                    yield batch
                    first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InvalidManifest(
                f"{self.name}: damaged Parquet file ({error}); write it again"
            ) from error

    def _rows_at_once(self, source: pq.ParquetFile) -> int:
        with self._opened(read_dictionary=dictionaries(source.metadata)) as file:
            return rows_at_once(self.name, file)

    def _opened(self, **options: Any) -> pq.ParquetFile:
        # No memory map: its pages would count as memory of this process. Read-ahead in small
        # pieces, since a column chunk may hold a million rows.
        return pq.ParquetFile(
            self.path, memory_map=False, buffer_size=_READ_AHEAD, pre_buffer=False, **options
        )
