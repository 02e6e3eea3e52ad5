"""How many rows of a Parquet manifest may be read at once, so that no file unpacks without end.

What a dictionary holds once may stand in every row: a file of 50 kB can be a table of gigabytes.
The longest value of each dictionary bounds it, and tells rows that are too long to be any.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.errors import InvalidManifest

#: Rows read at a time at most, however large the file's row groups are.
MOST_ROWS = 32_768
#: Bytes that the rows read at a time may take, or one row if that takes more.
_MOST_BYTES = 64 << 20
#: Bytes of a row, as of a line of JSONL.
_MOST_ROW = 64 << 20
_TOO_LONG = (
    f"longer than {_MOST_ROW >> 20} MiB; leave out what is large, or name it with --media-column "
    "if it is the rows' media"
)


def rows_at_once(name: str, file: pq.ParquetFile) -> int:
    """How many rows of the file called `name` may be read at once.

    `file` reads the columns of `dictionaries` as what they are. Raises InvalidManifest where
    some row must be too long.
    """
    most = MOST_ROWS
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        total = sum(group.column(i).total_uncompressed_size for i in range(group.num_columns))
        row = total // max(group.num_rows, 1) + _dictionary_bytes(file, number, group)
        if row > _MOST_ROW:
            raise InvalidManifest(f"{name}: rows {_TOO_LONG}")
        most = min(most, _MOST_BYTES // max(row, 1))
    return max(most, 1)


def dictionaries(metadata: pq.FileMetaData) -> list[str]:
    """Columns, by their paths, whose dictionaries may make rows long."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return list(dict.fromkeys(path for group in groups for path in _suspects(group)))


def check_rows(name: str, first: int, batch: pa.RecordBatch) -> None:
    """Raise InvalidManifest if a row is too long; the batch's first is row `first` of the file."""
    if batch.nbytes > _MOST_ROW:
        for number in range(batch.num_rows):
            if batch.slice(number, 1).nbytes > _MOST_ROW:
                raise InvalidManifest(f"{name}, row {first + number}: {_TOO_LONG}")


def _suspects(group: pq.RowGroupMetaData) -> Iterator[str]:
    for number in range(group.num_columns):
        chunk = group.column(number)
        # A value is no longer than its chunk is.
        large = chunk.total_uncompressed_size * MOST_ROWS > _MOST_BYTES
        if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page and large:
            yield chunk.path_in_schema


def _dictionary_bytes(file: pq.ParquetFile, number: int, group: pq.RowGroupMetaData) -> int:
    """Bytes of a row that has the longest value of each dictionary of a row group."""
    names = list(_suspects(group))
    if not names:
        return 0
    first = next(file.iter_batches(1, row_groups=[number], columns=names), None)
    return 0 if first is None else sum(map(_longest, first.columns))


def _longest(array: pa.Array) -> int:
    if isinstance(array, pa.DictionaryArray):
        return pc.max(pc.binary_length(array.dictionary)).as_py() or 0
    if isinstance(array, pa.StructArray):
        return sum(map(_longest, array.flatten()))
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.MapArray | pa.FixedSizeListArray):
        # Of a map its keys and values.
        return _longest(array.values)
    return 0
