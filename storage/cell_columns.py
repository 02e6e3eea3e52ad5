"""Columns of tables that hold media: which may, and how one of their cells is found.

A column of media is binary, or a struct of binary `bytes` and a text `path`, as the
Hugging Face Hub stores images, audio and video.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage.arrow_stream import LazyBatch
from storage.errors import RowError
from storage.ranges import Ranged


@dataclass(frozen=True, slots=True)
class Value:
    """What a cell holds: bytes `start` to `end` of what `read` reads, or a path, or neither."""

    read: Callable[[int, int], bytes] | None
    start: int = 0
    end: int = 0
    path: str | None = None


def holds_media(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold media."""
    if isinstance(kind, pa.BaseExtensionType):
        return holds_media(kind.storage_type)
    if pa.types.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_binary(kind.field(at).type)
    return _is_binary(kind)


def media_columns(schema: pa.Schema) -> list[str]:
    """The columns that may hold media."""
    return [field.name for field in schema if holds_media(field.type)]


def has_path(kind: pa.DataType) -> bool:
    """Whether cells of a media column of this type can have a path in place of bytes."""
    if isinstance(kind, pa.BaseExtensionType):
        return has_path(kind.storage_type)
    at = kind.get_field_index("path") if pa.types.is_struct(kind) else -1
    return at >= 0 and (
        pa.types.is_string(kind.field(at).type) or pa.types.is_large_string(kind.field(at).type)
    )


def leaves(column: str, kind: pa.DataType) -> list[str]:
    """The names that Parquet has for a media column's parts: of its bytes, then of its path."""
    if isinstance(kind, pa.BaseExtensionType):
        return leaves(column, kind.storage_type)
    if not pa.types.is_struct(kind):
        return [column]
    return [f"{column}.bytes", *([f"{column}.path"] if has_path(kind) else [])]


def parts(cells: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """The bytes of a column's cells, and their paths if it has any."""
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if not pa.types.is_struct(cells.type):
        return cells, None
    paths = pc.struct_field(cells, "path").cast(pa.string()) if has_path(cells.type) else None
    return pc.struct_field(cells, "bytes"), paths


def light_buffers(cells: pa.Array) -> list[pa.Buffer | None]:
    """The buffers of a media column but for the media: which are null, how long, and paths."""
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if not pa.types.is_struct(cells.type):
        return list(cells.buffers()[:2])
    found = [cells.buffers()[0], *cells.field("bytes").buffers()[:2]]
    return found + (cells.field("path").buffers() if has_path(cells.type) else [])


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


class ArrowColumn:
    """A media column of one record batch of a stream, read a cell at a time. Thread-safe."""

    def __init__(self, source: Ranged, batch: LazyBatch, column: str) -> None:
        """Raises pa.ArrowInvalid, KeyError, and what reading does."""
        cells = batch.batch.column(column)
        batch.fill(light_buffers(cells))
        self._source = source
        self._cells, self._paths = parts(cells)
        # The arrays lie in the batch's pages.
        self._batch = batch
        offsets, data = self._cells.buffers()[1:3]
        wide = np.dtype(np.int64 if pa.types.is_large_binary(self._cells.type) else np.int32)
        count = offsets.size // wide.itemsize if offsets else 0
        self._offsets = np.frombuffer(offsets, wide, count) if count else None
        self._data = (batch.place(data), data.size) if data else (0, 0)

    def find(self, row: int) -> Value:
        """The cell of a row of the batch. Raises IndexError, and RowError if it is damaged."""
        if not 0 <= row < len(self._cells):
            raise IndexError(row)
        if not self._cells[row : row + 1].null_count and self._offsets is not None:
            start, end = int(self._offsets[row]), int(self._offsets[row + 1])
            at, size = self._data
            if not 0 <= start <= end <= size:
                raise RowError("corrupt", f"{self._source.uri}: damaged Arrow file; write it again")
            return Value(self._source.read, at + start, at + end)
        return Value(None, path=None if self._paths is None else self._paths[row].as_py())
