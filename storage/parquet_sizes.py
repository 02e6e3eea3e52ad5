"""How many rows of a Parquet file may be read at once, so that no file unpacks without end.

What a dictionary holds once may stand in every row, a text may repeat the one before it, and a
list of zeros is as short as its length: a file of 50 kB can be a table of gigabytes. What a
value can be at most bounds it, and tells rows that are too long to be any.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import numpy.typing as npt
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
#: Bytes that lists of a row group may take beyond one value a row: all may lie in one row.
_MOST_LISTS = 512 << 20
#: Bytes that a value takes beside its own: where it begins, and whether it is null.
_VALUE_BYTES = 5
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
#: Encodings of texts in which each value stands whole.
_WHOLE = frozenset({"PLAIN", "RLE", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"})
_DICTIONARY = frozenset({"PLAIN_DICTIONARY", "RLE_DICTIONARY"})
_TEXTS = (pa.BinaryArray, pa.StringArray, pa.LargeBinaryArray, pa.LargeStringArray)
_TOO_LONG = (
    f"longer than {_MOST_ROW >> 20} MiB; leave out what is large, or name it with --media-column "
    "if it is the rows' media"
)


def rows_at_once(name: str, file: pq.ParquetFile) -> int:
    """How many rows of the file called `name` may be read at once.

    `file` reads the columns of `dictionaries` as what they are. Raises InvalidManifest where
    some row must be too long.
    """
    readable = frozenset(dictionaries(file.metadata))
    groups = range(file.metadata.num_row_groups)
    rows = (rows_of_group(name, file, number, readable) for number in groups)
    return min(rows, default=MOST_ROWS)


def rows_of_group(
    name: str,
    file: pq.ParquetFile,
    number: int,
    readable: Collection[str],
    wanted: Collection[str] | None = None,
) -> int:
    """`rows_at_once` of a row group, whose leaves `wanted` (paths) are read, or all.

    `file` reads `readable`, paths that `dictionaries` gives, as dictionaries.
    """
    count: int = max(file.metadata.row_group(number).num_rows, 1)
    row = lists = 0
    flat = []
    for leaf in _leaves(file.metadata, number, wanted):
        row += leaf.size // count
        if leaf.is_suspect and leaf.path in readable and not leaf.more(leaf.size):
            flat.append(leaf.path)
            continue
        longest = _longest_value(file, number, leaf, readable)
        row += longest
        more = leaf.more(longest)
        if more > _MOST_LISTS and leaf.is_suspect and leaf.path in readable:
            row += _longest_row(file, number, leaf.path)
        else:
            lists += more
    row += longest_values(file, number, flat)
    if row > _MOST_ROW:
        raise InvalidManifest(f"{name}: rows {_TOO_LONG}")
    if lists > _MOST_LISTS:
        raise InvalidManifest(
            f"{name}: lists that may unpack to over {_MOST_LISTS >> 20} MiB in one row group; "
            "write it again with smaller row groups"
        )
    return max(1, min(MOST_ROWS, _MOST_BYTES // max(row + lists // count, 1)))


def surely_at_once(metadata: pq.FileMetaData, number: int, leaves: Collection[str]) -> int:
    """How many rows of a row group may be read at once for all that its footer says."""
    count: int = max(metadata.row_group(number).num_rows, 1)
    row = 0
    for leaf in _leaves(metadata, number, leaves):
        longest = leaf.size if leaf.is_coded else leaf.width
        # Lists may all lie in one row, so that fewer rows would not help.
        row += leaf.size // count + longest + leaf.more(longest)
    return min(MOST_ROWS, _MOST_BYTES // max(row, 1))


def dictionaries(metadata: pq.FileMetaData, wanted: Collection[str] | None = None) -> list[str]:
    """Leaves (of those wanted), by their paths, whose dictionaries may make rows long."""
    found: dict[str, bool] = {}
    for number in range(metadata.num_row_groups):
        for leaf in _leaves(metadata, number, wanted):
            if leaf.is_suspect:
                # Arrow cannot read texts that repeat others' beginnings as a dictionary.
                found[leaf.path] = found.get(leaf.path, True) and not leaf.is_delta
    return [path for path, readable in found.items() if readable]


def check_rows(name: str, first: int, batch: pa.RecordBatch) -> None:
    """Raise InvalidManifest if a row is too long; the batch's first is row `first` of the file."""
    if batch.nbytes > _MOST_ROW:
        for number in range(batch.num_rows):
            if batch.slice(number, 1).nbytes > _MOST_ROW:
                raise InvalidManifest(f"{name}, row {first + number}: {_TOO_LONG}")


def longest_values(file: pq.ParquetFile, number: int, paths: list[str]) -> int:
    """Bytes of the longest value of each leaf's dictionary together; `file` reads them as such."""
    if not paths:
        return 0
    first = next(file.iter_batches(1, [number], paths, use_threads=False), None)
    return 0 if first is None else sum(map(_longest, first.columns))


def is_coded(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a column chunk of texts or bytes may hold a value in fewer bytes than it has."""
    whole = _WHOLE.issuperset(chunk.encodings) and not chunk.has_dictionary_page
    return chunk.physical_type == "BYTE_ARRAY" and not whole


def has_dictionary(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether values that are shorter in a column chunk are all in its dictionary."""
    return is_coded(chunk) and (_WHOLE | _DICTIONARY).issuperset(chunk.encodings)


class _Leaf:
    """A column chunk: its path, and what its values may take."""

    def __init__(self, rows: int, chunk: pq.ColumnChunkMetaData, kind: pq.ColumnSchema) -> None:
        self.path = chunk.path_in_schema
        #: Bytes without compression.
        self.size: int = chunk.total_uncompressed_size
        self.is_coded = is_coded(chunk)
        self.has_dictionary = has_dictionary(chunk)
        self.is_delta = self.is_coded and not self.has_dictionary
        #: Bytes of a value that do not lie in the chunk, unless it is coded.
        self.width: int = _WIDTHS.get(chunk.physical_type, kind.length) + _VALUE_BYTES
        #: Values beyond one of each row.
        self._more: int = max(chunk.num_values - rows, 0) if kind.max_repetition_level else 0
        # A value is no longer than its chunk is.
        most = self.size * max(MOST_ROWS, chunk.num_values)
        self.is_suspect = self.is_coded and most > _MOST_BYTES

    def more(self, longest: int) -> int:
        """Bytes of values beyond one of each row, unless they are about what the chunk is."""
        total = self._more * longest
        return total if total > 4 * self.size else 0


def _leaves(
    metadata: pq.FileMetaData, number: int, wanted: Collection[str] | None = None
) -> Iterator[_Leaf]:
    group = metadata.row_group(number)
    for at in range(group.num_columns):
        chunk = group.column(at)
        if wanted is None or chunk.path_in_schema in wanted:
            yield _Leaf(group.num_rows, chunk, metadata.schema.column(at))


def _longest_value(
    file: pq.ParquetFile, number: int, leaf: _Leaf, readable: Collection[str]
) -> int:
    """Bytes that a value of a leaf takes at most, but for those that lie whole in the chunk."""
    if not leaf.is_coded:
        return leaf.width
    if not leaf.is_suspect or (leaf.more(leaf.size) and leaf.path not in readable):
        return leaf.size + leaf.width
    if leaf.path in readable:
        return longest_values(file, number, [leaf.path]) + leaf.width
    # Texts that repeat the one before: only reading them tells, a few at a time.
    longest = 0
    step = max(1, min(MOST_ROWS, _MOST_BYTES // leaf.size))
    for batch in file.iter_batches(step, [number], [leaf.path], use_threads=False):
        longest = max([longest, *map(_longest, batch.columns)])
        if longest > _MOST_BYTES // 2:
            break
    return longest + leaf.width


def _longest(array: pa.Array) -> int:
    if isinstance(array, pa.DictionaryArray):
        return _longest(array.dictionary)
    if isinstance(array, pa.ExtensionArray):
        return _longest(array.storage)
    if isinstance(array, pa.StructArray):
        return sum(map(_longest, array.flatten()))
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.MapArray | pa.FixedSizeListArray):
        # Of a map its keys and values.
        return _longest(array.values)
    if isinstance(array, _TEXTS):
        return pc.max(pc.binary_length(array)).as_py() or 0
    return int(array.nbytes)


def _longest_row(file: pq.ParquetFile, number: int, path: str) -> int:
    """Bytes of the longest row of a leaf in lists; read as a dictionary, values take 4 bytes."""
    longest = 0
    for batch in file.iter_batches(MOST_ROWS, [number], [path], use_threads=False):
        longest = max([longest, *(int(_sizes(c).max(initial=0)) for c in batch.columns)])
    return longest


def _sizes(array: pa.Array) -> npt.NDArray[np.int64]:
    """Bytes of each value of an array that has one leaf, a dictionary."""
    if isinstance(array, pa.DictionaryArray):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        found = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False).astype(np.int64)
        sizes: npt.NDArray[np.int64] = found + _VALUE_BYTES
        return sizes
    if isinstance(array, pa.StructArray):
        return sum(map(_sizes, array.flatten()), np.zeros(len(array), np.int64))
    ends = np.concatenate([[0], np.cumsum(_sizes(array.values))])
    if isinstance(array, pa.FixedSizeListArray):
        first = array.offset * array.type.list_size
        return np.diff(ends[first + np.arange(len(array) + 1) * array.type.list_size])
    return np.diff(ends[array.offsets.to_numpy()])
