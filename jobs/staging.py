"""Plan files on their way into the store: encoded and put by a thread, a file at a time."""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.cutting import shard_bounds
from jobs.plan import plan_key
from storage.objects import Store

#: Shards of a plan file, each a row group: few objects, and footers of a few hundred kB.
FILE_SHARDS = 256
#: Bytes after which a plan file ends early, so that wide rows do not fill the memory.
_FILE_BYTES = 32 << 20
#: Tables waiting to be encoded: enough to keep the encoder busy, few enough to be flat.
_WAITING = 4


class Staging:
    """Writes a plan's files. Use as a context manager; `finish` before leaving it."""

    def __init__(self, store: Store, token: str) -> None:
        self._store = store
        self._token = token
        self._firsts: list[int] = []
        self._sink = io.BytesIO()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="plan")
        self.shards = 0
        self.rows = 0

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        # What waits is not written any more: after `finish` there is nothing.
        self._pool.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.close()

    def add(self, table: pa.Table, lengths: list[int]) -> None:
        """Stage the table's first rows as shards of these lengths."""
        self.rows += sum(lengths)
        self._waiting.append(self._pool.submit(self._write, table, lengths))
        while len(self._waiting) > _WAITING:
            self._waiting.popleft().result()

    def finish(self) -> tuple[int, ...]:
        """Wait until all is in the store; gives the first shard of each file."""
        self._waiting.append(self._pool.submit(self._close))
        while self._waiting:
            self._waiting.popleft().result()
        return tuple(self._firsts)

    def _write(self, table: pa.Table, lengths: list[int]) -> None:
        for start, end in shard_bounds(lengths):
            if self._writer is None:
                self._firsts.append(self.shards)
                self._writer = self._new_writer(table.schema)
            self._writer.write_table(table.slice(start, end - start), row_group_size=end - start)
            self.shards += 1
            full = self.shards - self._firsts[-1] >= FILE_SHARDS
            if full or self._sink.tell() > _FILE_BYTES:
                self._close()

    def _close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        self._store.put(plan_key(self._token, len(self._firsts) - 1), self._sink.getvalue())

    def _new_writer(self, schema: pa.Schema) -> pq.ParquetWriter:
        self._sink = io.BytesIO()
        # Read back by row group alone: statistics and dictionaries would only cost time.
        return pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            # Shards are read by ranges, which no digest of the whole object covers.
            write_page_checksum=True,
        )
