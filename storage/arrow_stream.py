"""Arrow streams read in place: the record batches, of which only some columns are read.

pyarrow reads the body of each message whole, media and all. Here a message's header is
put before a body of pages that nobody has touched, which take no memory; pyarrow makes
arrays over them without a look inside; and what is wanted is then read to its place.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from storage.ranges import Ranged

_SCHEMA, _BATCH = 1, 3
#: Bytes read for a header: most are far smaller, and one read gets them.
_HEAD_BYTES = 16 << 10
#: Wanted ranges with less than this between them are read as one, up to so many bytes.
_GAP_BYTES = 64 << 10
_READ_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class _Head:
    """The header of a message: its bytes with the prefix, and how long its body is."""

    kind: int
    data: bytes
    body: int
    compressed: bool


def read_schema(source: Ranged) -> tuple[pa.Schema, int]:
    """The schema, and where the first message after it begins. Raises pa.ArrowInvalid."""
    head = _read_head(source, 0)
    if head is None or head.kind != _SCHEMA:
        raise pa.ArrowInvalid("not an Arrow stream, which begins with a schema")
    return pa.ipc.read_schema(pa.py_buffer(head.data)), len(head.data) + head.body


def batches(source: Ranged) -> Iterator[LazyBatch]:
    """The record batches in order, nothing of them read. Raises pa.ArrowInvalid."""
    schema, at = read_schema(source)
    while (head := _read_head(source, at)) is not None:
        yield LazyBatch(source, schema, at, head)
        at += len(head.data) + head.body


def batch_at(source: Ranged, schema: pa.Schema, at: int) -> LazyBatch:
    """The record batch that begins at byte `at`, nothing of it read. Raises pa.ArrowInvalid."""
    head = _read_head(source, at)
    if head is None:
        raise pa.ArrowInvalid(f"no record batch at byte {at:,}")
    return LazyBatch(source, schema, at, head)


class LazyBatch:
    """A record batch at byte `at` of the stream. What of it was not `fill`ed reads as zeros."""

    def __init__(self, source: Ranged, schema: pa.Schema, at: int, head: _Head) -> None:
        if head.kind != _BATCH:
            raise pa.ArrowInvalid(
                "a dictionary is among the record batches; write its columns as plain values"
            )
        if head.compressed:
            raise pa.ArrowInvalid("its record batches are compressed; write them uncompressed")
        self.at = at
        self._source = source
        size = len(head.data) + head.body
        self._pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._pages[: len(head.data)] = head.data
        self._whole = pa.py_buffer(self._pages)
        self.batch = pa.ipc.read_record_batch(pa.ipc.read_message(self._whole), schema)

    def place(self, buffer: pa.Buffer) -> int:
        """The byte of the stream at which a buffer of the batch begins."""
        return int(self.at + buffer.address - self._whole.address)

    def fill(self, buffers: Iterable[pa.Buffer | None]) -> None:
        """Read these buffers of the batch. Raises what `Ranged.read` does."""
        wanted = sorted((self.place(b) - self.at, b.size) for b in buffers if b and b.size)
        start = end = wanted[0][0] if wanted else 0
        for begin, size in wanted:
            if begin - end > _GAP_BYTES or begin + size - start > _READ_BYTES:
                self._read(start, end)
                start = begin
            end = max(end, begin + size)
        self._read(start, end)

    def _read(self, start: int, end: int) -> None:
        for at in range(start, end, _READ_BYTES):
            upto = min(at + _READ_BYTES, end)
            self._pages[at:upto] = self._source.read(self.at + at, self.at + upto)


def _read_head(source: Ranged, at: int) -> _Head | None:
    """The header of the message at byte `at`; None at the stream's end."""
    left = source.size - at
    if left <= 0:
        return None
    data = source.read(at, at + min(left, _HEAD_BYTES))
    try:
        mark, length = struct.unpack_from("<iI", data)
        if mark != -1:
            raise pa.ArrowInvalid("not a message of an Arrow stream (of Arrow 0.15 or later)")
        if length == 0:
            return None
        size = 8 + length
        if size > left:
            raise pa.ArrowInvalid(f"ends within the message at byte {at:,}")
        if size > len(data):
            data += source.read(at + len(data), at + size)
        head = _parse(data[:size])
    except (struct.error, IndexError) as error:
        raise pa.ArrowInvalid(f"no readable message at byte {at:,} ({error})") from error
    if not 0 <= head.body <= left - size:
        raise pa.ArrowInvalid(f"ends within the message at byte {at:,}")
    return head


def _parse(data: bytes) -> _Head:
    """A header from its flatbuffer: `Message` and `RecordBatch` of Arrow's `Message.fbs`."""
    root = 8 + struct.unpack_from("<I", data, 8)[0]
    kind = _field(data, root, 1)
    content = _field(data, root, 2)
    body = _field(data, root, 3)
    length = struct.unpack_from("<q", data, body)[0] if body else 0
    number = data[kind] if kind else 0
    compressed = False
    if number == _BATCH and content:
        table = content + struct.unpack_from("<I", data, content)[0]
        compressed = _field(data, table, 3) != 0
    return _Head(number, data, length, compressed)


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 if the table lacks it."""
    listing = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, listing)[0]
    slot = 4 + 2 * number
    if slot + 2 > size:
        return 0
    offset: int = struct.unpack_from("<H", data, listing + slot)[0]
    return table + offset if offset else 0
